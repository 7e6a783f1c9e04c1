"""A long beginning that all prompts share: held once for all rows, against a copy for each.

    python -m bench.held [--questions 48] [--shots 40] [--rounds 2]

Tickets of the demo behind the same worked examples, greedy, the bundled model, both ways in one process. Prints
seconds, their ratio, and whether all answers are the same to the letter.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

from bench.machine import describe
from core.models import prefixes
from core.models.catalogue import BUNDLED_MODEL
from core.models.generation import Request, Sampling
from core.models.loading import load_model
from core.models.local import LocalGenerator
from core.models.prompt import Message, Shot, build_messages

TASK = Path(__file__).resolve().parents[1] / "assets" / "demo" / "tickets"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=48)
    parser.add_argument("--shots", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    print(describe())
    chats = _chats(options.questions, options.shots)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    answers: dict[bool, list[str]] = {}
    held_by = prefixes.HELD_BY
    for _ in range(options.rounds):
        for held in (True, False):
            # A generator of its own, whose network is asked whether it can pack before the clock runs.
            generator = LocalGenerator(load_model(BUNDLED_MODEL))
            assert generator._can_pack and generator._bytes_per_token
            prefixes.HELD_BY = held_by if held else sys.maxsize
            began = time.perf_counter()
            found = dict(pair for batch in generator.answer(chats, Sampling(32)) for pair in batch)
            seconds[held].append(time.perf_counter() - began)
            answers[held] = [found[i].text for i in range(len(chats))]
    prompt = len(generator.tokenize(chats[0].chat))
    one, other = (statistics.median(seconds[held]) for held in (True, False))
    same = sum(a == b for a, b in zip(answers[True], answers[False], strict=True))
    print(f"{len(chats)} prompts of about {prompt} tokens, {options.shots} worked examples in each")
    print(f"held once: {one:.1f} s; a copy for each row: {other:.1f} s; copies / held: {other / one:.2f}")
    print(f"same answers: {same} of {len(chats)}")


def _chats(questions: int, shots: int) -> list[Request]:
    train, test = ([json.loads(line) for line in _lines(split)] for split in ("train", "test"))
    examples = [Shot(tuple(each["messages"][:-1]), each["messages"][-1]["content"]) for each in train[:shots]]
    asked: list[list[Message]] = [each["messages"][:-1] for each in (test + train[shots:])[:questions]]
    return [Request(build_messages(turns, examples, [])) for turns in asked]


def _lines(split: str) -> list[str]:
    return (TASK / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    main()
