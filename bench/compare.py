"""The whole ladder of one task: our engine against one question at a time, and against batches of a fixed size.

    python -m bench.compare [--questions 60] [--rounds 1] [--without one,batches] [--fast-peers]

All answer the test questions of `tickets-json` by base, prompt, rag, lora and rag+lora, greedily, with the bundled
model and one adapter in one process; retrieval is done beforehand, from the demo's documents. The peers are
transformers' own `generate`, as one would write it: each question by itself, and batches of 16 in file order, padded
on the left, rung after rung, every prompt computed whole. On a GPU its continuous batching takes part too, on the
rungs without an adapter. `--fast-peers` gives the peers our matrix products (core/models/products.py), so that what is
left of the ratio is the order of work alone.

Prints seconds, ratios, how many answers are the same to the letter as those given one at a time, and memory: what the
process holds at most while our engine works, beside the weights of model and adapter. The adapter is trained once, in
a process of its own (some minutes), and kept with the index in --home.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.machine import describe
from core.models.catalogue import BUNDLED_MODEL
from core.models.generation import Request, Sampling
from core.models.loading import model_source
from core.models.local import LocalGenerator
from core.models.products import with_fast_products

ROOT = Path(__file__).resolve().parents[1]
TASK = ROOT.parent / "shared" / "data" / "ready" / "tickets-json"
DOCUMENTS = ROOT / "assets" / "demo" / "documents"
# (shots, retrieval, adapter)
RUNGS = {
    "base": (False, False, False),
    "prompt": (True, False, False),
    "rag": (False, True, False),
    "lora": (False, False, True),
    "rag+lora": (False, True, True),
}
SHOTS, PASSAGES, MAX_NEW_TOKENS, BATCH = 8, 2, 32, 16
LOOK_S = 0.005
UNTUNED = "ours without adapter"
Answers = dict[str, list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", type=Path, default=TASK, help="Folder with train.jsonl and test.jsonl.")
    parser.add_argument("--home", type=Path, default=Path(tempfile.gettempdir()) / "lowest-rung-bench-compare")
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--without", default="", help="Peers to leave out, by name: one, batches.")
    parser.add_argument("--fast-peers", action="store_true", help="Peers multiply as we do.")
    parser.add_argument("--prepare", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "LOWEST_RUNG_HOME": str(options.home)}
    if options.prepare:
        _prepare(options.task, options.home)
        return
    # In a process of its own, so that what training and retrieval take is not counted.
    command = [sys.executable, "-m", "bench.compare", "--prepare", "--home", options.home, "--task", options.task]
    subprocess.run([str(part) for part in command], check=True, cwd=ROOT)
    _measure(options)


def _measure(options: argparse.Namespace) -> None:
    import torch

    from core.models.loading import load_model

    chats = {rung: asked[: options.questions] for rung, asked in json.loads(_chats(options.home).read_text()).items()}
    adapter = _adapter(options.home)
    generator = LocalGenerator(load_model(BUNDLED_MODEL))
    print(describe())
    peer = Peer(generator, adapter, options.fast_peers)
    runs: dict[str, Callable[[], Answers]] = {"ours": lambda: _ours(generator, chats, adapter)}
    if "one" not in options.without:
        runs["one"] = lambda: peer.answers(chats, 1)
    if "batches" not in options.without:
        runs["batches"] = lambda: peer.answers(chats, BATCH)
    if torch.cuda.is_available():
        untuned = {rung: asked for rung, asked in chats.items() if not RUNGS[rung][2]}
        runs[UNTUNED] = lambda: _ours(generator, untuned, adapter)
        runs["continuous"] = lambda: _continuous(generator, peer, untuned)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    answers: dict[str, Answers] = {}
    for number in range(options.rounds):
        for name, run in runs.items():
            peak = Peak()
            started = time.perf_counter()
            with peak:
                answers[name] = run()
            seconds[name].append(time.perf_counter() - started)
            print(f"round {number + 1}, {name}: {seconds[name][-1]:.1f} s, at most {peak.gb:.2f} GB in memory")
            if name == "ours" and number == 0:
                weights = sum(p.nbytes for p in generator.loaded.model.parameters()) / 1e9
                print(f"  of which model and adapter {weights:.2f} GB, so {peak.gb - weights:.2f} GB above them")
    for name in [name for name in runs if name not in ("ours", UNTUNED)]:
        ours = UNTUNED if name == "continuous" else "ours"
        ratio = statistics.median(seconds[name]) / statistics.median(seconds[ours])
        print(f"{name} / {ours}: {ratio:.2f}, same answers: {_same(answers, name, ours)}")
    if {"one", "batches"} <= set(runs):
        print(f"batches against one at a time, same answers: {_same(answers, 'batches', 'one')}")


def _ours(generator: LocalGenerator, chats: dict[str, Any], adapter: Path) -> Answers:
    keys = [(rung, i) for rung, asked in chats.items() for i in range(len(asked))]
    requests = [Request(chats[rung][i], adapter if RUNGS[rung][2] else None) for rung, i in keys]
    texts = {rung: [""] * len(asked) for rung, asked in chats.items()}
    for batch in generator.answer(requests, Sampling(MAX_NEW_TOKENS)):
        for position, completion in batch:
            rung, i = keys[position]
            texts[rung][i] = completion.text
    return texts


class Peer:
    """The same weights and adapter as transformers and PEFT open them, in memory from the first question on."""

    def __init__(self, generator: LocalGenerator, adapter: Path, fast: bool) -> None:
        self._tokenizer, self._device = generator.loaded.tokenizer, generator.loaded.device
        self._dtype = generator.loaded.model.dtype
        self._adapter, self._fast = adapter, fast

    @cached_property
    def network(self) -> Any:
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        base = AutoModelForCausalLM.from_pretrained(model_source(BUNDLED_MODEL), dtype=self._dtype).to(self._device)
        if self._fast:
            with_fast_products(base)
        return PeftModel.from_pretrained(base, str(self._adapter)).eval()

    def answers(self, chats: dict[str, Any], size: int) -> Answers:
        import torch

        answers: Answers = {}
        for rung, asked in chats.items():
            answers[rung] = []
            switched = contextlib.nullcontext() if RUNGS[rung][2] else self.network.disable_adapter()
            with switched, torch.inference_mode():
                for start in range(0, len(asked), size):
                    inputs = self._tokenizer.apply_chat_template(
                        asked[start : start + size],
                        add_generation_prompt=True,
                        padding=True,
                        return_tensors="pt",
                        return_dict=True,
                    ).to(self._device)
                    output = self.network.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
                    new = output[:, inputs["input_ids"].shape[1] :]
                    texts = self._tokenizer.batch_decode(new, skip_special_tokens=True)
                    answers[rung] += [text.strip() for text in texts]
        return answers


def _continuous(generator: LocalGenerator, peer: Peer, chats: dict[str, Any]) -> Answers:
    """transformers' own continuous batching."""
    from transformers import GenerationConfig

    tokenizer = generator.loaded.tokenizer
    config = GenerationConfig(max_new_tokens=MAX_NEW_TOKENS, do_sample=False, eos_token_id=tokenizer.eos_token_id)
    keys = [(rung, chat) for rung, asked in chats.items() for chat in asked]
    prompts = [generator.tokenize(chat) for _, chat in keys]
    with peer.network.disable_adapter():
        found = peer.network.base_model.generate_batch(inputs=prompts, generation_config=config)
    answers: Answers = {rung: [] for rung, _ in keys}
    for (rung, _), output in zip(keys, found.values(), strict=True):
        answers[rung].append(tokenizer.decode(output.generated_tokens, skip_special_tokens=True).strip())
    return answers


def _same(answers: dict[str, Answers], one: str, other: str) -> str:
    pairs = [pair for rung in answers[one] for pair in zip(answers[one][rung], answers[other][rung], strict=True)]
    return f"{sum(first == second for first, second in pairs)} of {len(pairs)}"


class Peak:
    """The most memory that this process holds within the block, looked at every few milliseconds."""

    def __init__(self) -> None:
        self.gb = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        import psutil

        process = psutil.Process()
        while not self._done.wait(LOOK_S):
            self.gb = max(self.gb, process.memory_info().rss / 1e9)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()


def _chats(home: Path) -> Path:
    return home / "chats.json"


def _adapter(home: Path) -> Path:
    return home / "adapter"


def _prepare(task: Path, home: Path) -> None:
    """Everything that is not measured: the prompts of each rung, and an adapter; kept for the next time."""
    from bench.silent import Silent
    from core.data.files import File
    from core.data.reading import read_examples
    from core.documents.index import build_index, create_index
    from core.documents.reading import read_folder
    from core.documents.retrieval import search
    from core.models.prompt import Shot, build_messages, last_question
    from core.train.recipe import Recipe
    from core.train.trainer import train

    learn, test = (read_examples(File(f"{name}.jsonl", path=task / f"{name}.jsonl")) for name in ("train", "test"))
    if not _chats(home).is_file():
        index = create_index("Demo documents", read_folder(DOCUMENTS))
        build_index(index.id)
        found = search(index.id, [last_question(example.messages) for example in test], PASSAGES)
        shots = [Shot(example.messages, example.reference) for example in learn[:: len(learn) // SHOTS][:SHOTS]]
        chats = {
            rung: [
                build_messages(
                    example.messages, shots if with_shots else (), [hit.passage for hit in hits] if retrieval else ()
                )
                for example, hits in zip(test, found, strict=True)
            ]
            for rung, (with_shots, retrieval, _) in RUNGS.items()
        }
        _chats(home).write_text(json.dumps(chats))
    if not _adapter(home).is_dir():
        with tempfile.TemporaryDirectory(dir=home) as scratch:
            trained = train(Recipe(samples=0, evaluations=1), learn, [], Path(scratch), Silent())
            trained.best.rename(_adapter(home))


if __name__ == "__main__":
    main()
