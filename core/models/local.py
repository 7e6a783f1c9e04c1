"""Answers from weights in this process, fast where many questions are asked at once.

Three things make a comparison quick: chats of similar length share a batch, so little is spent on padding; the tokens
with which all chats start (instructions and worked examples) are run through the model once; and adapters are switched
on one base model instead of loading it again.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import UserError
from core.models.generation import Completion, Sampling
from core.models.loading import LoadedModel, load_model
from core.models.prompt import Message

if TYPE_CHECKING:
    import torch

# Answers computed side by side. 16 is where a CPU's matrix products stop gaining; GPUs take more.
BATCH_SIZE = {"cpu": 16, "cuda": 64}
# Tokens (prompt and answer) a batch may hold, so that 16 chats of 8,000 tokens do not exhaust the memory.
BATCH_TOKENS = {"cpu": 16_384, "cuda": 131_072}


class LocalGenerator:
    """The Generator protocol over transformers; one base model, any number of adapters."""

    def __init__(self, loaded: LoadedModel, *, batch_size: int | None = None, share_prefix: bool = True) -> None:
        self.model = loaded.id
        self.loaded = loaded
        self.batch_size = batch_size or BATCH_SIZE[loaded.device.type]
        self.share_prefix = share_prefix
        self._network: Any = loaded.model
        self._adapters: dict[Path, str] = {}
        self._whole: tuple[Path, Any] | None = None

    def answer(
        self, chats: Sequence[Sequence[Message]], sampling: Sampling, adapter: Path | None = None
    ) -> Iterator[list[tuple[int, Completion]]]:
        """See Generator.answer. Longest chats come first, so that the time left is never understated."""
        import torch

        tokens = [self.tokenize(chat) for chat in chats]
        room = self.loaded.context - sampling.max_new_tokens
        refused = [i for i, ids in enumerate(tokens) if len(ids) > room]
        if refused:
            yield [(i, _too_long(len(tokens[i]), sampling.max_new_tokens, self.loaded.context)) for i in refused]
        order = sorted((i for i, ids in enumerate(tokens) if len(ids) <= room), key=lambda i: -len(tokens[i]))
        if not order:
            return
        torch.manual_seed(sampling.seed)
        with torch.inference_mode(), self._switched_to(adapter):
            shared = _common_prefix([tokens[i] for i in order]) if self.share_prefix else 0
            started = time.perf_counter()
            cache = self._run_prefix(tokens[order[0]][:shared]) if shared else None
            spent = time.perf_counter() - started
            for batch in self._batches(order, tokens, sampling):
                completions = self._generate([tokens[i] for i in batch], cache, shared, sampling, spent)
                spent = 0.0
                yield list(zip(batch, completions, strict=True))

    def tokenize(self, chat: Sequence[Message]) -> list[int]:
        """The chat as token ids, ending where the assistant starts to speak."""
        ids: list[int] = self.loaded.tokenizer(render(self.loaded.tokenizer, chat), add_special_tokens=False)[
            "input_ids"
        ]
        return ids

    def _batches(self, order: list[int], tokens: list[list[int]], sampling: Sampling) -> Iterator[list[int]]:
        budget = BATCH_TOKENS[self.loaded.device.type]
        start = 0
        while start < len(order):
            longest = len(tokens[order[start]]) + sampling.max_new_tokens
            size = max(1, min(self.batch_size, budget // longest))
            yield order[start : start + size]
            start += size

    def _run_prefix(self, ids: list[int]) -> Any:
        import torch
        from transformers import DynamicCache

        cache = DynamicCache(config=self.loaded.model.config)
        self._network(input_ids=torch.tensor([ids], device=self.loaded.device), past_key_values=cache, use_cache=True)
        return cache

    def _generate(
        self, batch: list[list[int]], cache: Any, shared: int, sampling: Sampling, spent: float
    ) -> list[Completion]:
        """Answer one batch. Padding stands between the shared prefix and the rest, so the prefix lines up."""
        import torch
        from transformers import GenerationConfig

        started = time.perf_counter()
        tokenizer, device = self.loaded.tokenizer, self.loaded.device
        longest = max(map(len, batch))
        pads = [longest - len(ids) for ids in batch]
        rows = [
            ids[:shared] + [tokenizer.pad_token_id] * pad + ids[shared:] for ids, pad in zip(batch, pads, strict=True)
        ]
        mask = [[1] * shared + [0] * pad + [1] * (longest - shared - pad) for pad in pads]
        past: dict[str, Any] = {}
        if cache is not None:
            past["past_key_values"] = copy.deepcopy(cache)
            past["past_key_values"].batch_repeat_interleave(len(batch))
        ends = self.loaded.model.generation_config.eos_token_id
        config = GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=sampling.temperature > 0,
            temperature=sampling.temperature or None,
            top_k=None,
            top_p=None,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=ends,
        )
        output: torch.Tensor = self._network.generate(
            input_ids=torch.tensor(rows, device=device),
            attention_mask=torch.tensor(mask, device=device),
            generation_config=config,
            **past,
        )
        stops = set(ends if isinstance(ends, list) else [ends])
        seconds = (time.perf_counter() - started + spent) / len(batch)
        completions = []
        for ids, new in zip(batch, output[:, longest:].tolist(), strict=True):
            end = next((i for i, token in enumerate(new) if token in stops), None)
            kept = new if end is None else new[:end]
            completions.append(
                Completion(
                    text=tokenizer.decode(kept, skip_special_tokens=True).strip(),
                    input_tokens=len(ids),
                    output_tokens=len(kept) + (end is not None),
                    latency_s=seconds,
                    finish_reason="length" if end is None else "stop",
                )
            )
        return completions

    @contextmanager
    def _switched_to(self, adapter: Path | None) -> Iterator[None]:
        """Within the block, calls use `adapter`: LoRA matrices or a whole tuned model; None for the base."""
        if adapter is None:
            with self._network.disable_adapter() if self._adapters else nullcontext():
                yield
        elif is_whole_model(adapter):
            base, self._network = self._network, self._tuned(adapter)
            try:
                yield
            finally:
                self._network = base
        else:
            if adapter not in self._adapters:
                self._adapters[adapter] = self._load_adapter(adapter, f"adapter{len(self._adapters)}")
            self._network.set_adapter(self._adapters[adapter])
            yield

    def _tuned(self, folder: Path) -> Any:
        """The model in `folder`; the last one asked for stays in memory beside the base."""
        if self._whole is None or self._whole[0] != folder:
            self._whole = None  # frees the other first
            self._whole = (folder, load_model(str(folder)).model)
        return self._whole[1]

    def _load_adapter(self, folder: Path, name: str) -> str:
        from peft import PeftModel

        if not (folder / "adapter_model.safetensors").is_file():
            raise UserError(
                f"The adapter in {folder.name} has no adapter_model.safetensors.",
                "Train it again, or bring an adapter saved as safetensors; pickled weights are not opened.",
            )
        if self._adapters:
            self._network.load_adapter(str(folder), adapter_name=name)
        else:
            self._network = PeftModel.from_pretrained(self.loaded.model, str(folder), adapter_name=name)
        self._network.eval()
        return name


def is_whole_model(folder: Path) -> bool:
    """Whether full fine-tuning left a model of its own there, rather than matrices for a base."""
    return (folder / "config.json").is_file()


def render(tokenizer: Any, chat: Sequence[Message], *, generation_prompt: bool = True) -> str:
    """The chat as the model's own template writes it; instructions join the first question where it has no place."""
    from jinja2 import TemplateError

    turns = [dict(turn, role="system") if turn["role"] == "developer" else dict(turn) for turn in chat]
    options = {"tokenize": False, "add_generation_prompt": generation_prompt}
    try:
        return str(tokenizer.apply_chat_template(turns, **options))
    except TemplateError:
        system = "\n\n".join(turn["content"] for turn in turns if turn["role"] == "system")
        rest = [turn for turn in turns if turn["role"] != "system"]
        if not system or not rest:
            raise
        rest[0]["content"] = f"{system}\n\n{rest[0]['content']}"
        return str(tokenizer.apply_chat_template(rest, **options))


def _common_prefix(rows: list[list[int]]) -> int:
    """How many tokens all rows start with, leaving at least one token of each to start generating from."""
    first, last = min(rows), max(rows)
    limit = min(map(len, rows)) - 1
    for position in range(limit):
        if first[position] != last[position]:
            return position
    return limit


def _too_long(prompt: int, new: int, context: int) -> Completion:
    message = (
        f"The prompt has {prompt} tokens and the answer may take {new}, but the model reads {context} at most. "
        "Use fewer passages or examples."
    )
    return Completion(text="", input_tokens=prompt, finish_reason="error", error=message)
