"""A file as examples: its container and layout detected, its records read and mended one by one, problems named.

Reading streams: a record is held only while it is looked at, whatever the size of the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal, NamedTuple

from core.data.example import Example, Problem, Read
from core.data.files import File, FileKind, Record, detect_kind, records
from core.data.files.parsing import Refused, parse_part
from core.data.layouts import LAYOUTS, Enough, Notes, detect_layout
from core.data.layouts.layout import quote
from core.data.layouts.mapped import MAPPING_REMEDY, guess_mapping, reader
from core.data.learning import example_text, examples_of
from core.data.mending import DROP_BROKEN, FIXES, Edit, repaired_json
from core.data.seen import Seen

# Enough to know a layout by; the bytes bound what a file of huge records may cost.
SAMPLED_RECORDS = 50
SAMPLED_BYTES = 4_000_000
SHOWN_RECORDS = 5
# Whether broken JSON can be repaired is tried for so much of it, which takes a few seconds at worst: a file of nothing
# else stays quick to check.
TRIED_CHARACTERS = 1_000_000
# Keys that are not used are told once each; of a file with a new one on every line, so much of them is remembered.
REMEMBERED_KEYS = 1_000_000


@dataclass(frozen=True)
class Reading:
    """How a file is to be read. `mapping` names the columns for the layout "mapped" (see `MAPPED_FIELDS`).

    With answers="last" a conversation is one example, which ends with its last answer; with "each", every answer is
    one, and all of a conversation are one group.
    """

    kind: FileKind
    layout: str
    mapping: Mapping[str, str] = field(default_factory=dict)
    fixes: tuple[str, ...] = ()
    answers: Literal["last", "each"] = "last"


@dataclass(frozen=True)
class Detected:
    """A proposed reading and the reason for it, with the columns of the first records and a few of these."""

    reading: Reading
    why: str
    columns: list[str]
    sample: list[dict[str, Any]]


@dataclass(frozen=True)
class Change:
    """What a fix does to a record: one field before and after. `after` is empty where the record or turn goes."""

    line: int
    field: str
    before: str
    after: str


class Step(NamedTuple):
    """One record with what was read from it; `value` is None where there was no record to read."""

    record: Record
    value: dict[str, Any] | None
    read: Read


def detect(file: File, kind: FileKind | None = None) -> Detected:
    """Look at the start of a file, taking its kind as given if it is. Raises UserError for what holds no records."""
    kind = kind or detect_kind(file)
    values = _sample(file, kind)
    columns = list(dict.fromkeys(key for value in values for key in value))[:200]
    layout = detect_layout(values)
    mapping: dict[str, str] = {}
    if layout is not None:
        fitting = sum(LAYOUTS[layout].fits(value) for value in values)
        why = f"{fitting} of the first {len(values)} records are {LAYOUTS[layout].title}."
    elif not values:
        layout, why = "chat", "None of the first records could be read."
    else:
        listed = {key for value in values for key, cell in value.items() if isinstance(cell, (dict, list))}
        layout, mapping = "mapped", guess_mapping([column for column in columns if column not in listed])
        why = "No known layout fits. " + (
            f"{quote(mapping['prompt'])} looks like the prompt and {quote(mapping['answer'])} like the answer."
            if mapping
            else MAPPING_REMEDY
        )
    return Detected(Reading(kind, layout, mapping), why, columns, values[:SHOWN_RECORDS])


def _sample(file: File, kind: FileKind) -> list[dict[str, Any]]:
    """The first records that can be read; where none can, what a repair would make of them, if that has a layout."""
    values: list[dict[str, Any]] = []
    broken: list[str] = []
    for record in islice(records(file, kind), SAMPLED_RECORDS):
        if record.value is not None:
            values.append(record.value)
        elif record.raw:
            broken.append(record.raw)
        if values and record.end > SAMPLED_BYTES:
            break
    if not values:
        repaired = (repaired_json(text) for text in broken[:SHOWN_RECORDS])
        values = [value for value in repaired if isinstance(value, dict)]
        return values if detect_layout(values) else []
    return values


def read(file: File, reading: Reading, on_change: Callable[[Change], None] | None = None) -> Iterator[Read]:
    """What each record gives, in order. Raises UserError only if the file breaks as a whole half-way.

    `on_change` is told of everything that the fixes change.
    """
    return (step.read for step in steps(file, reading, on_change))


def read_examples(file: File) -> list[Example]:
    """All examples of a file as it is detected to be, leaving out what is broken: for files known to be sound."""
    return [example for read_ in read(file, detect(file).reading) for example in read_.examples]


def steps(file: File, reading: Reading, on_change: Callable[[Change], None] | None = None) -> Iterator[Step]:
    """As `read`, with the records."""
    if reading.layout == "mapped" and not (reading.mapping.get("prompt") and reading.mapping.get("answer")):
        message = "No column has been chosen for the prompt and the answer."
        problem = Problem(file.name, 0, "", "mapping", message, MAPPING_REMEDY, unit=reading.kind.unit)
        yield Step(Record(0, None), None, Read(0, (), (problem,)))
        return
    record_reader, found = _RecordReader(file.name, reading, on_change), False
    for record in records(file, reading.kind):
        found = found or record.line > 0
        yield record_reader.step(record)
    if not found:
        remedy = {
            "line": 'Put one record on each line, such as {"messages": [...]}.',
            "item": 'Put the records into a list, such as [{"messages": [...]}, ...].',
            "row": "Put the names of the columns into the first row and one record into each row below.",
        }[reading.kind.unit]
        problem = Problem(file.name, 0, "", "empty", "The file holds no examples.", remedy, unit=reading.kind.unit)
        yield Step(Record(0, None), None, Read(0, (), (problem,)))


def placed(notes: Notes, file: str, line: int, unit: Literal["line", "row", "item"] = "line") -> list[Problem]:
    """What was found wrong with a record, as problems of the file."""
    return [
        Problem(file, line, note.field, note.code, note.message, note.remedy, note.severity, unit=unit, fix=note.fix)
        for note in notes
    ]


class _RecordReader:
    """The reading of one file: what has been seen so far, and the record at hand."""

    def __init__(self, file: str, reading: Reading, on_change: Callable[[Change], None] | None) -> None:
        self._file, self._unit = file, reading.kind.unit
        self._layout = LAYOUTS[reading.layout]
        self._read = reader(reading.mapping) if reading.layout == "mapped" else self._layout.read
        self._fixes = frozenset(reading.fixes)
        self._mends = [fix.mend for key, fix in FIXES.items() if key in self._fixes and fix.mend is not None]
        self._answers = reading.answers
        self._on_change = on_change
        self._known_keys: set[str] = set()
        self._to_remember, self._to_try = REMEMBERED_KEYS, TRIED_CHARACTERS
        self._seen = Seen()

    def step(self, record: Record) -> Step:
        """The record read; one with an error that nothing mends can be left out, if that was chosen."""
        found = self._step(record)
        problems = found.read.problems
        if not any(problem.severity == "error" for problem in problems):
            return found
        if DROP_BROKEN in self._fixes:
            value = found.value if found.value is not None else record.value
            self._tell(record.line, "", record.raw or json.dumps(value, ensure_ascii=False), "")
            return found._replace(read=Read(record.line))
        offered = (
            replace(problem, fix=DROP_BROKEN) if problem.severity == "error" and not problem.fix else problem
            for problem in problems
        )
        return found._replace(read=replace(found.read, problems=tuple(offered)))

    def _step(self, record: Record) -> Step:
        value, problems = record.value, [record.problem] if record.problem else []
        if value is None:
            value = self._repaired(record)
            if value is None or "repair_json" not in self._fixes:
                if value is not None and record.problem:
                    problems = [replace(record.problem, fix="repair_json")]
                return Step(record, None, Read(record.line, (), tuple(problems)))
            self._tell(record.line, "", record.raw, json.dumps(value, ensure_ascii=False))
            problems = []
        notes = Notes()
        value = self._unpacked(value, notes, record.line)
        edits: list[Edit] = []
        for mend in self._mends:
            value = mend(value, edits)
        for edit in edits:
            self._tell(record.line, *edit)
        examples: tuple[Example, ...] = () if notes.failed else self._examples(value, notes)
        if notes.failed:
            if "drop_empty" in self._fixes and all(f.fix == "drop_empty" for f in notes if f.severity == "error"):
                self._tell(record.line, "", json.dumps(value, ensure_ascii=False), "")
                return Step(record, value, Read(record.line, (), tuple(problems)))
        elif "drop_duplicates" in self._fixes:
            examples = tuple(example for example in examples if self._is_new(example, record.line))
        if not value.keys() <= self._known_keys:
            self._note_unused(value, notes)
        problems += placed(notes, self._file, record.line, self._unit)
        return Step(record, value, Read(record.line, examples, tuple(problems)))

    def _examples(self, value: dict[str, Any], notes: Notes) -> tuple[Example, ...]:
        """No example if anything is an error."""
        try:
            talk = self._read(value, notes)
            examples = examples_of(talk, self._answers, notes) if talk is not None else ()
        except Enough:
            return ()
        return () if notes.failed else examples

    def _repaired(self, record: Record) -> dict[str, Any] | None:
        """The object that a broken line was meant to be, if its turns can then be read."""
        if record.problem is None or record.problem.code != "json" or not record.raw:
            return None
        value = self._mended(record.raw)
        if not isinstance(value, dict):
            return None
        notes = Notes()
        unpacked = self._unpacked(value, notes, 0)
        for mend in self._mends:
            unpacked = mend(unpacked, [])
        try:
            return value if self._read(unpacked, notes) is not None and not notes.failed else None
        except Enough:
            return None

    def _mended(self, text: str) -> Any:
        """What broken JSON was meant to be, or None if nobody can tell or too much of it has been tried."""
        if "repair_json" not in self._fixes:
            self._to_try -= len(text)
            if self._to_try < 0:
                return None
        return repaired_json(text)

    def _unpacked(self, value: dict[str, Any], notes: Notes, line: int) -> dict[str, Any]:
        """The record with lists that stand as JSON texts, as in a spreadsheet's cell, made lists."""
        for key in self._layout.cells:
            cell = value.get(key)
            if not isinstance(cell, str) or not cell.lstrip().startswith("["):
                continue
            try:
                value = {**value, key: parse_part(cell)}
            except Refused as bad:
                mended = self._mended(cell) if bad.code == "json" else None
                if mended is None or "repair_json" not in self._fixes:
                    place = f", character {bad.column}" if bad.column and "\n" not in cell else ""
                    message = f'The text in "{key}"{place}: {bad.message}'
                    notes.error(key, bad.code, message, bad.remedy, "" if mended is None else "repair_json")
                    continue
                self._tell(line, key, cell, json.dumps(mended, ensure_ascii=False))
                value = {**value, key: mended}
        return value

    def _is_new(self, example: Example, line: int) -> bool:
        first = self._seen.first(hash(example_text(example)), line)
        if first != line:
            self._tell(line, "", f"{example.messages[-1]['content']}\n{example.reference}", "")
        return first == line

    def _note_unused(self, value: Mapping[str, Any], notes: Notes) -> None:
        """A key that is not used is worth one sentence in a file, not one on every line."""
        unused = [] if self._layout.key == "mapped" else self._layout.unused(value)
        unused = [key for key in unused if key not in self._known_keys]
        self._to_remember -= sum(map(len, value))
        if self._to_remember < 0:
            return
        self._known_keys.update(value)
        if unused:
            names = ", ".join(quote(name) for name in unused[:5])
            remedy = "Nothing to do unless you need it; this is said once, where it first occurs."
            notes.warn(unused[0], "unknown_key", f"Not used: {names}.", remedy)

    def _tell(self, line: int, field: str, before: str, after: str) -> None:
        if self._on_change is not None and line:
            self._on_change(Change(line, field, before, after))
