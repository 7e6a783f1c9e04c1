"""A file read to its end, for tests that look at all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.data.example import Example, Problem
from core.data.files import File, FileKind
from core.data.layouts import detect_layout
from core.data.reading import Reading, detect, read
from tests.factories import jsonl

AS_CHAT = Reading(FileKind("jsonl"), "chat")


@dataclass(frozen=True)
class Result:
    examples: tuple[Example, ...]
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.severity == "error"]


def gather(file: File, reading: Reading | None = None) -> Result:
    """Everything a file gives, as it is detected to be unless told otherwise."""
    found = list(read(file, reading or detect(file).reading))
    examples = tuple(example for record in found for example in record.examples)
    return Result(examples, tuple(problem for record in found for problem in record.problems))


def gather_records(records: Sequence[Any], **changes: Any) -> Result:
    """The same for records written as JSON lines, in the layout they are detected to have."""
    reading = Reading(FileKind("jsonl"), detect_layout(records) or "mapped", **changes)
    return gather(File("upload.jsonl", jsonl(records)), reading)
