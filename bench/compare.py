"""Comparing behind a few-shot prompt: our generation against one batch at a time without prefix reuse.

    python -m bench.compare [--train FILE] [--test FILE] [--rounds 2]

Both answer the same test questions behind the same worked examples, greedily, in batches of the same size, with the
bundled model in one process; the variants take turns. The peer is transformers' own `generate` in file order, as one
would write it. Prints the seconds, their ratio, and how many answers are the same to the letter.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

from bench.machine import describe
from core.data.files import File
from core.data.reading import read_examples
from core.evaluate.experiment import Plan, choose_shots
from core.models.catalogue import BUNDLED_MODEL
from core.models.generation import Sampling
from core.models.loading import load_model
from core.models.local import LocalGenerator
from core.models.prompt import build_messages

DEMO = Path(__file__).resolve().parents[1] / "assets" / "demo" / "tickets"
MAX_NEW_TOKENS = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, default=DEMO / "train.jsonl")
    parser.add_argument("--test", type=Path, default=DEMO / "test.jsonl")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    train, test = (read_examples(File(path.name, path=path)) for path in (options.train, options.test))
    shots = choose_shots(train, Plan().shots, seed=0)
    chats = [build_messages(example.messages, shots) for example in test]
    generator = LocalGenerator(load_model(BUNDLED_MODEL))
    print(describe())
    ours: list[float] = []
    theirs: list[float] = []
    for number in range(options.rounds):
        started = time.perf_counter()
        answers: dict[int, str] = {}
        for batch in generator.answer(chats, Sampling(MAX_NEW_TOKENS)):
            answers |= {position: completion.text for position, completion in batch}
        ours.append(time.perf_counter() - started)
        started = time.perf_counter()
        plain = _plain(generator, chats)
        theirs.append(time.perf_counter() - started)
        same = sum(answers[i] == text for i, text in enumerate(plain))
        print(
            f"round {number + 1}: ours {ours[-1]:.1f} s, plain {theirs[-1]:.1f} s, same answers {same} of {len(plain)}"
        )
    tokens = [generator.tokenize(chat) for chat in chats]
    shared = next(i for i, column in enumerate(zip(*tokens, strict=False)) if len(set(column)) > 1)
    print(f"{len(chats)} questions behind a shared prefix of {shared} tokens")
    print(f"plain / ours: {statistics.median(theirs) / statistics.median(ours):.2f}")


def _plain(generator: LocalGenerator, chats: list[Any]) -> list[str]:
    """Batches in file order, padded on the left, every prompt computed whole."""
    import torch

    model, tokenizer = generator.loaded.model, generator.loaded.tokenizer
    texts = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
    answers: list[str] = []
    for start in range(0, len(texts), generator.batch_size):
        inputs = tokenizer(
            texts[start : start + generator.batch_size],
            return_tensors="pt",
            padding=True,
            add_special_tokens=False,
            return_token_type_ids=False,
        )
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
        new = output[:, inputs["input_ids"].shape[1] :]
        answers += [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]
    return answers


if __name__ == "__main__":
    main()
