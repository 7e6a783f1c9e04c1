"""A file checked as a compiler checks a program: every problem with its place, its reason and what to do about it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from core.data.example import Problem
from core.data.files import File
from core.data.layouts import LAYOUTS, Enough, Notes
from core.data.learning import example_text
from core.data.openai_rules import judge_count, judge_file, judge_record
from core.data.reading import Reading, Step, detect, placed, steps
from core.data.seen import Seen
from core.errors import UserError

# Nobody mends more by hand. Errors come first; of one kind of warning this many, so that no kind hides the others.
MAX_LISTED = 1_000
MAX_LISTED_OF_A_KIND = 50
# A form that nearly all records share is meant, and those without it are worth a look.
NEARLY_ALL = 0.8
# Below this a share says nothing.
MIN_TO_COMPARE = 5
PROGRESS_EVERY = 1_000


@dataclass(frozen=True)
class Report:
    """What a check found. `examples` can be imported; `problems` lists some of those found, errors first.

    All problems are counted but for those of a record after its first hundred. `by_code` counts the problems of each
    kind, `fixes` those that each fix would mend.
    """

    file: str
    reading: Reading | None
    examples: int
    records: int
    errors: int
    warnings: int
    problems: list[Problem]
    by_code: dict[str, int]
    fixes: dict[str, int] = field(default_factory=dict)
    profile: str = ""

    @property
    def importable(self) -> bool:
        return self.errors == 0 and self.examples > 0

    @property
    def format(self) -> str:
        """ "OpenAI chat, JSON lines, UTF-8", or empty if the file could not be opened as anything."""
        return f"{LAYOUTS[self.reading.layout].title}, {self.reading.kind.title}" if self.reading else ""

    def as_dict(self) -> dict[str, Any]:
        """For `--json`; `errors` and `warnings` are the listed problems, the counts are of all."""
        return {
            "file": self.file,
            "format": self.format,
            "profile": self.profile,
            "importable": self.importable,
            "examples": self.examples,
            "records": self.records,
            "error_count": self.errors,
            "warning_count": self.warnings,
            "by_code": self.by_code,
            "fixes": self.fixes,
            "errors": [asdict(problem) for problem in self.problems if problem.severity == "error"],
            "warnings": [asdict(problem) for problem in self.problems if problem.severity == "warning"],
        }


def check(
    file: File,
    reading: Reading | None = None,
    *,
    profile: Literal["", "openai"] = "",
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Report:
    """Read the whole file and say what is wrong with it. Never raises on content.

    With the profile "openai" the errors are those of OpenAI's API alone; what only we would refuse becomes a warning.
    `on_progress` is told how many bytes of how many are done, `on_step` what each record gave.
    """
    tally = _Tally()
    examples = records = 0
    try:
        reading = reading or detect(file).reading
        watch = _Watch(file.name, reading.kind.unit)
        by_openai = profile == "openai"
        if by_openai:
            notes = Notes()
            judge_file(reading, notes)
            tally.add(placed(notes, file.name, 0))
            by_openai = not notes  # of a file in another format every line would be wrong, and for one reason
        for step in steps(file, reading):
            records += step.record.line > 0
            problems = _by_openai(step, file.name) if by_openai else list(step.read.problems)
            sound = not any(problem.severity == "error" for problem in problems)
            examples += sound if by_openai else len(step.read.examples)
            tally.add(problems)
            tally.add(watch.doubts(step))
            on_step(step)
            if records % PROGRESS_EVERY == 0:
                on_progress(step.record.end, file.size)
        tally.add(watch.afterwards())
        if by_openai:
            notes = Notes()
            judge_count(records, notes)
            tally.add(placed(notes, file.name, 0))
    except UserError as error:
        tally.add([Problem(file.name, 0, "", "unreadable", error.what, error.remedy)])
    on_progress(file.size, file.size)
    return Report(
        file.name,
        reading,
        examples,
        records,
        tally.errors,
        tally.warnings,
        tally.listed,
        dict(tally.by_code.most_common()),
        dict(tally.fixes.most_common()),
        profile,
    )


def _by_openai(step: Step, file: str) -> list[Problem]:
    """The API's errors in a record. One that it takes and we would refuse has our errors as warnings."""
    if step.value is None:
        return list(step.read.problems)
    notes = Notes()
    with suppress(Enough):
        judge_record(step.value, notes)
    ours = [problem for problem in step.read.problems if problem.code != "unknown_key"]
    if notes:
        return placed(notes, file, step.record.line) + [p for p in ours if p.severity == "warning"]
    return [replace(problem, severity="warning") for problem in ours]


class _Tally:
    """Problems counted all, and listed as far as a person would read."""

    def __init__(self) -> None:
        self.errors = self.warnings = 0
        self.by_code: Counter[str] = Counter()
        self.fixes: Counter[str] = Counter()
        self._errors: list[Problem] = []
        self._warnings: list[Problem] = []

    def add(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self.by_code[problem.code] += 1
            if problem.fix:
                self.fixes[problem.fix] += 1
            if problem.severity == "error":
                self.errors += 1
                if len(self._errors) < MAX_LISTED:
                    self._errors.append(problem)
            else:
                self.warnings += 1
                if self.by_code[problem.code] <= MAX_LISTED_OF_A_KIND:
                    self._warnings.append(problem)

    @property
    def listed(self) -> list[Problem]:
        """Errors first, each kind in the order of the file."""
        return (self._errors + self._warnings)[:MAX_LISTED]


class _Form:
    """Whether the examples share a form, and where the first one without it is."""

    def __init__(self) -> None:
        self.count = self.of = self.first_without = 0

    def see(self, has: bool, line: int) -> None:
        self.of += 1
        self.count += has
        if not has and not self.first_without:
            self.first_without = line

    @property
    def broken(self) -> bool:
        return self.of >= MIN_TO_COMPARE and NEARLY_ALL * self.of <= self.count < self.of


class _Watch:
    """What only shows across records: copies, answers that contradict each other, a form that some do not keep."""

    def __init__(self, file: str, unit: Literal["line", "row", "item"]) -> None:
        self._file, self._unit = file, unit
        self._prompts, self._answers = Seen(), Seen()
        self._json, self._system = _Form(), _Form()

    def doubts(self, step: Step) -> Iterator[Problem]:
        line = step.read.line
        for example in step.read.examples:
            asked, answered = example_text(example)
            prompt = hash(asked)
            same_prompt, same_both = (
                self._prompts.first(prompt, line),
                self._answers.first(hash((prompt, answered)), line),
            )
            if same_both != line:
                message = f"It says the same as {self._unit} {same_both}."
                yield self._warning(line, "duplicate", message, "Keep one of them.", "drop_duplicates")
            elif same_prompt != line:
                message = f"The same prompt has another answer in {self._unit} {same_prompt}."
                yield self._warning(line, "conflict", message, "Keep the right one, or say in the prompt what differs.")
            self._json.see(_is_json(answered), line)
            self._system.see(example.messages[0]["role"] in ("system", "developer"), line)

    def afterwards(self) -> Iterator[Problem]:
        if self._json.broken:
            found = f"{self._json.count:,} of {self._json.of:,} answers are JSON, and this one is not."
            yield self._warning(self._json.first_without, "mixed_answers", found, "Write all answers in one form.")
        if self._system.broken:
            found = (
                f"{self._system.count:,} of {self._system.of:,} examples start with instructions; this one does not."
            )
            remedy = "Give all of them the instructions that the model will get in use."
            yield self._warning(self._system.first_without, "mixed_system", found, remedy)

    def _warning(self, line: int, code: str, message: str, remedy: str, fix: str = "") -> Problem:
        return Problem(self._file, line, "", code, message, remedy, "warning", unit=self._unit, fix=fix)


def _is_json(answer: str) -> bool:
    """An object or a list: a number or a word alone is JSON by accident."""
    if answer[0] + answer[-1] not in ("{}", "[]"):
        return False
    try:
        json.loads(answer)
    except (ValueError, RecursionError):
        return False
    return True
