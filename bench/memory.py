"""Whether the memory that is estimated before a training is the memory it takes.

    python -m bench.memory [--only 135M:lora]

Builds models of Llama's architecture with random weights at four sizes, trains each for a few real steps in a process
of its own, and compares the estimate with the peak of its memory from the first step on: what torch has allocated on
a GPU, the memory that is the process's own on a CPU. Pages of the weights' file that the system keeps at hand and
drops at need are nobody's, and are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from bench.machine import describe
from core.data.example import Example
from core.models.estimate import Memory, Shape
from core.train.estimate import memory_of
from core.train.recipe import Recipe
from core.train.trainer import train

VOCAB = 49_152
SHAPES = {
    "30M": Shape(8, 384, 1024, 6, 2, 64, VOCAB, True),
    "135M": Shape(30, 576, 1536, 9, 3, 64, VOCAB, True),
    "360M": Shape(32, 960, 2560, 15, 5, 64, VOCAB, True),
    "1B": Shape(16, 2048, 8192, 32, 8, 64, VOCAB, True),
}
# (size, method, batch, tokens of an example): what differs is what the estimate must get right.
VARIANTS = (
    ("30M", "lora", 8, 512),
    ("135M", "lora", 8, 256),
    ("360M", "lora", 4, 256),
    ("1B", "lora", 2, 256),
    ("135M", "lora", 2, 1024),
    ("30M", "full", 8, 512),
    ("135M", "full", 4, 256),
    ("135M", "qlora", 8, 256),
    ("360M", "qlora", 4, 256),
    ("1B", "qlora", 2, 256),
    ("135M", "dora", 4, 256),
)
STEPS = 3
EXAMPLES = 16
# The answer's share of an example, as in the demo's tasks.
ANSWER = 0.2
LOOK_S = 0.005


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="Variants whose name holds this, such as 135M or lora.")
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        print(json.dumps(_measure(*json.loads(options.variant))))
        return
    print(describe())
    print(f"{'variant':34} {'estimate':>9} {'measured':>9} {'ratio':>6}")
    for variant in VARIANTS:
        size, method, batch, tokens = variant
        name = f"{size}:{method} {batch} x {tokens} tokens"
        if options.only not in name:
            continue
        command = [sys.executable, "-m", "bench.memory", "--variant", json.dumps(variant)]
        found = json.loads(
            subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip().splitlines()[-1]
        )
        memory = _estimate(variant, found)
        # The context of a GPU and its gaps are no allocation of ours, and cannot be read here.
        told = memory.total if found["device"] == "cpu" else memory.allocated
        print(f"{name:34} {told:6.2f} GB {found['gb']:6.2f} GB {told / found['gb']:6.2f}   {_parts(memory)}")


def _estimate(variant: tuple[str, str, int, int], found: dict[str, Any]) -> Memory:
    """As the Train page tells it, for the examples that were trained on."""
    size, method, batch, tokens = variant
    recipe = Recipe(model=size, method=method, batch_size=batch, max_length=2 * tokens, samples=0)
    lengths = [found["tokens"]] * EXAMPLES
    return memory_of(recipe, lengths, found["answer"] / found["tokens"], SHAPES[size], found["device"])


def _parts(memory: Memory) -> str:
    return ", ".join(f"{part} {gb:.2f}" for part, gb in vars(memory).items() if gb)


def _measure(size: str, method: Any, batch: int, tokens: int) -> dict[str, Any]:
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    from core.models.loading import load_tokenizer

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        _build(SHAPES[size], folder)
        tokenizer = load_tokenizer(str(folder))
        recipe = Recipe(
            model=str(folder),
            method=method,
            batch_size=batch,
            max_steps=STEPS,
            max_length=2 * tokens,
            evaluations=1,
            samples=0,
            seed=1,
        )
        from core.train.tokens import encode

        examples = [_example(tokenizer, number, tokens) for number in range(EXAMPLES)]
        encoded = [encode(tokenizer, example, 2 * tokens) for example in examples]
        peak = Peak()
        train(recipe, examples, [], Path(scratch) / "run", peak)
        peak.done.set()
        cuda = torch.cuda.is_available()
        return {
            "device": "cuda" if cuda else "cpu",
            "gb": torch.cuda.max_memory_allocated() / 1e9 if cuda else peak.gb,
            "tokens": max(len(e.input_ids) for e in encoded),
            "answer": max(e.learned for e in encoded),
        }


def _build(shape: Shape, folder: Path) -> None:
    """Random weights in the 16 bits that models are published in, and the bundled model's tokenizer.

    In a process of its own: what it allocates would be there for the run to use.
    """
    code = f"""
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from core.models.loading import bundled_folder
tokenizer = AutoTokenizer.from_pretrained(bundled_folder())
torch.set_default_dtype(torch.bfloat16)
config = LlamaConfig(
    vocab_size={shape.vocab}, hidden_size={shape.hidden}, intermediate_size={shape.intermediate},
    num_hidden_layers={shape.layers}, num_attention_heads={shape.heads}, num_key_value_heads={shape.kv_heads},
    max_position_embeddings=8192, tie_word_embeddings={shape.tied},
    bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
)
LlamaForCausalLM(config).save_pretrained({str(folder)!r})
tokenizer.save_pretrained({str(folder)!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def _example(tokenizer: Any, number: int, tokens: int) -> Example:
    """A question and an answer that take about so many tokens, all alike in length."""
    words = tokenizer.decode(tokenizer("The quick brown fox jumps over the lazy dog. " * tokens)["input_ids"][:tokens])
    cut = int(len(words) * (1 - ANSWER)) - 120
    return Example(
        ({"role": "user", "content": f"{number:03} {words[:cut]}"},), words[-int(len(words) * ANSWER) :], str(number)
    )


class Peak:
    """The recorder of the run: from the first step on, it looks at the process's memory."""

    def __init__(self) -> None:
        self.gb = 0.0
        self.notes: dict[str, Any] = {}
        self.done = threading.Event()
        self.watching = False

    def _watch(self) -> None:
        while not self.done.wait(LOOK_S):
            self.gb = max(self.gb, own_gb())

    def progress(self, done: float, total: float, message: str = "") -> None:
        if total and not self.watching:
            self.watching = True
            threading.Thread(target=self._watch, daemon=True).start()

    def metric(self, step: int, **values: float) -> None: ...

    def note(self, **fields: Any) -> None: ...

    def stop_requested(self) -> bool:
        return False

    @property
    def stop_then(self) -> str:
        return ""

    def sample(self, step: int, questions: Any, answers: list[str]) -> None: ...


def own_gb() -> float:
    """Memory that is this process's own, in GB: resident, without the pages of files."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(fields["RssAnon"].split()[0]) * 1024 / 1e9


if __name__ == "__main__":
    main()
