"""What must be known of all examples before the first can be stored, gathered while their files are checked."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from core.data.check import Report, check
from core.data.duplicates import NearDuplicates, prompt_text
from core.data.example import Example, Problem
from core.data.files import File
from core.data.learning import prompt_key
from core.data.reading import Reading, Step, steps

# So many records are read between two reports: a moment, unless they are huge.
TICK_EVERY = 100
# Nobody mends more by hand.
MAX_LEAKS = 1_000

Tick = Callable[[int], None]
"""Told how many bytes of a file have been read; it may raise, to stop."""


@dataclass(frozen=True)
class Source:
    """A file and how to read it."""

    file: File
    reading: Reading

    def examples(self, tick: Tick) -> Iterator[tuple[int, Example]]:
        """(line, example) of every example in order."""
        for number, step in enumerate(steps(self.file, self.reading)):
            if number % TICK_EVERY == 0:
                tick(step.record.end)
            for example in step.read.examples:
                yield step.read.line, example


@dataclass
class Survey:
    """Group, label and line of every example of one or two files, in order; no text, so about 300 bytes each.

    `near` collects what the prompts are like; it is None where likeness does not matter.
    """

    near: NearDuplicates | None
    groups: list[str] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    lines: array[int] = field(default_factory=lambda: array("L"))
    sizes: list[int] = field(default_factory=list)
    """How many examples each file gave."""
    _names: dict[str, str] = field(default_factory=dict)

    def check(self, file: File, reading: Reading | None, tick: Tick) -> Report:
        """Check a file, and note its examples as long as it is sound."""
        sound, seen, before = True, 0, len(self.groups)

        def see(step: Step) -> None:
            nonlocal sound, seen
            seen += 1
            if seen % TICK_EVERY == 0:
                tick(step.record.end)
            sound = sound and not any(problem.severity == "error" for problem in step.read.problems)
            if sound:
                for example in step.read.examples:
                    self._add(step.read.line, example)

        report = check(file, reading, on_step=see)
        self.sizes.append(len(self.groups) - before)
        return report

    def compare(self, tick: Tick) -> tuple[Any, dict[str, Any]]:
        """(the near-duplicate cluster of each example, or None; what is to be noted about likeness)."""
        if self.near is None:
            return None, {}
        import numpy as np

        clusters, _ = self.near.find(lambda: tick(0))
        return clusters, {"alike": len(clusters) - len(np.unique(clusters)), "compared_all": self.near.compared_all}

    def _add(self, line: int, example: Example) -> None:
        self.groups.append(example.group)
        # Labels are few and repeat: one text of each is enough.
        label = example.label
        self.labels.append(label if label is None else self._names.setdefault(label, label))
        self.lines.append(line)
        if self.near is not None:
            self.near.add(prompt_text(example))


def shared_groups(train: Source, test: Source, survey: Survey, tick: Tick) -> list[Problem]:
    """An error for each example of the test file whose group is also in the training file, 1,000 at most."""
    learnt = survey.sizes[0]
    first_line: dict[str, int] = {}
    for group, line in zip(survey.groups[:learnt], survey.lines, strict=False):
        first_line.setdefault(group, line)
    if first_line.keys().isdisjoint(survey.groups[learnt:]):
        return []
    unit = train.reading.kind.unit
    problems = []
    for line, example in test.examples(lambda done: tick(0)):
        if example.group not in first_line:
            continue
        where = f"which {train.file.name} trains on ({unit} {first_line[example.group]})"
        problems.append(
            Problem(
                test.file.name,
                line,
                "group",
                "leak",
                f"This {_shared(example)}, {where}.",
                "Move the whole group to one file: a test that was trained on proves nothing.",
                unit=test.reading.kind.unit,
            )
        )
        if len(problems) == MAX_LEAKS:
            break
    return problems


def _shared(example: Example) -> str:
    if example.group == prompt_key(example.messages):
        return f'asks "{example.messages[-1]["content"][:60]}"'
    return f'belongs to the group "{example.group[:60]}"'
