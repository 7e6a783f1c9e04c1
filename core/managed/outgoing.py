"""The files that a fine-tune would send, written, checked and counted line by line, whatever their size."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from core.data.dataset import stream_examples
from core.data.example import Problem
from core.data.exporting import chat_record
from core.data.layouts import Enough, Notes
from core.data.openai_rules import judge_count, judge_record
from core.data.reading import placed

# Nobody mends more by hand.
MAX_LISTED = 200
PROGRESS_EVERY = 500


@dataclass(frozen=True)
class Outgoing:
    """A file that would be sent. `hash` is the SHA-256 of its bytes, and part of the `name` it has there."""

    split: str
    examples: int
    bytes: int
    hash: str
    tokens: int

    @property
    def name(self) -> str:
        return remote_name(self.hash)


def remote_name(hash: str) -> str:
    """What a file of that content is called at a provider, so that it is found there again."""
    return f"lowest-rung-{hash[:24]}.jsonl"


def lines(dataset_id: int, split: str) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The file of a split as it is sent, line by line: the record, and its bytes."""
    for _, example in stream_examples(dataset_id, split):
        record = chat_record(example)
        yield record, (json.dumps(record, ensure_ascii=False) + "\n").encode()


class Check:
    """Every file that would be sent, looked through once."""

    def __init__(self, count: Callable[[dict[str, Any]], int], longest: int | None) -> None:
        self._count, self._longest = count, longest
        self.problems: list[Problem] = []
        self.errors = self.cut = 0
        self.guessed = False

    def file(self, dataset_id: int, split: str, on_progress: Callable[[int], None]) -> Outgoing:
        digest, size, tokens, number = hashlib.sha256(), 0, 0, 0
        name = f"{split}.jsonl"
        for record, line in lines(dataset_id, split):
            number += 1
            notes = Notes()
            with suppress(Enough):
                judge_record(record, notes)
            self._add(placed(notes, name, number))
            digest.update(line)
            size += len(line)
            length = self._count(record)
            tokens += length if self._longest is None else min(length, self._longest)
            self.cut += self._longest is not None and length > self._longest
            self.guessed |= "tools" in record or any("tool_calls" in message for message in record["messages"])
            if number % PROGRESS_EVERY == 0:
                on_progress(number)
        if split == "train":
            notes = Notes()
            judge_count(number, notes)
            self._add(placed(notes, name, 0))
        return Outgoing(split, number, size, digest.hexdigest(), tokens)

    def _add(self, problems: list[Problem]) -> None:
        self.errors += sum(problem.severity == "error" for problem in problems)
        self.problems += problems[: MAX_LISTED - len(self.problems)]
