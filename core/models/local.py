"""Answers from weights in this process: one base model in memory, adapters switched on it.

All requests of one adapter, whichever rungs they come from, are one pool that batching.py answers.
"""

from __future__ import annotations

import random
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.models.generation import Completion, Request, Sampling, never
from core.models.loading import LoadedModel
from core.models.networks import Networks
from core.models.prompt import Message
from core.models.rows import Pool, Row


class LocalGenerator:
    """The Generator protocol over transformers; one base model, any number of adapters."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.model = loaded.id
        self.loaded = loaded
        self._networks = Networks(loaded)

    def answer(
        self, requests: Sequence[Request], sampling: Sampling, *, stop: Callable[[], bool] = never
    ) -> Iterator[list[tuple[int, Completion]]]:
        """See Generator.answer. Longest chats come first, so that the time left is never understated."""
        room = self.loaded.context - sampling.max_new_tokens
        refused: list[tuple[int, Completion]] = []
        pools: dict[Path | None, list[Row]] = defaultdict(list)
        for i, request in enumerate(requests):
            try:
                # Of thousands of prompts at once, as lists the tokens would take more room than the model.
                ids = array("i", self.tokenize(request.chat))
            except UserError as error:
                refused.append((i, _failed(0, str(error))))
                continue
            if len(ids) > room:
                refused.append((i, _too_long(len(ids), sampling.max_new_tokens, self.loaded.context)))
            else:
                pools[request.adapter].append(Row(i, ids, random.Random(request.seed)))
        if refused:
            yield refused
        for adapter, rows in pools.items():
            try:
                network = self._networks.switched_to(adapter)
            except UserError as error:
                yield [(row.position, _failed(len(row.prompt), str(error))) for row in rows]
                continue
            pool = Pool(
                network, self.loaded.device, rows, sampling, self.ends, self.loaded.tokenizer.pad_token_id, stop
            )
            for done in self._engine(pool):
                yield [(row.position, self._completion(row)) for row in done]
            if stop():
                return

    def tokenize(self, chat: Sequence[Message]) -> list[int]:
        """The chat as token ids, ending where the assistant starts to speak. Raises UserError if there is none."""
        from jinja2 import TemplateError

        try:
            text = render(self.loaded.tokenizer, chat)
        except TemplateError as error:
            raise UserError(
                f"The chat template of {self.model} refuses this conversation: {error}",
                "Change the order of its turns, or choose another model.",
            ) from error
        ids: list[int] = self.loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    @cached_property
    def _bytes_per_token(self) -> int | None:
        from core.models.slots import bytes_per_token

        return bytes_per_token(self.loaded.model, self.loaded.device)

    @cached_property
    def _can_pack(self) -> bool:
        from core.models.slots import can_pack

        return can_pack(self.loaded.model, self.loaded.device)

    def _engine(self, pool: Pool) -> Iterator[list[Row]]:
        from core.models import batching, plain
        from core.models.slots import positions_vary

        if self._bytes_per_token is None or not self._can_pack:
            return plain.answered(pool, alone=positions_vary(pool.network))
        return batching.answered(pool, self._bytes_per_token)

    @property
    def ends(self) -> frozenset[int]:
        ends = self.loaded.model.generation_config.eos_token_id
        return frozenset(ends if isinstance(ends, list) else [ends])

    def _completion(self, row: Row) -> Completion:
        ended = row.new[-1] in self.ends
        return Completion(
            text=self.loaded.tokenizer.decode(row.new[: len(row.new) - ended], skip_special_tokens=True).strip(),
            input_tokens=len(row.prompt),
            output_tokens=len(row.new),
            latency_s=row.seconds,
            finish_reason="stop" if ended else "length",
        )


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


def _too_long(prompt: int, new: int, context: int) -> Completion:
    return _failed(
        prompt,
        f"The prompt has {prompt} tokens and the answer may take {new}, but the model reads {context} at most. "
        "Use fewer passages or examples, or shorten the conversation.",
    )


def _failed(prompt: int, error: str) -> Completion:
    return Completion(text="", input_tokens=prompt, finish_reason="error", error=error)
