"""A file as examples: its container and layout detected, its records read and mended one by one, problems named.

Reading streams: a record is held only while it is looked at, whatever the size of the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal, NamedTuple

from core.data.example import Example, Problem, Read
from core.data.files import File, FileKind, Record, detect_kind, records
from core.data.layouts import LAYOUTS, Notes, Talk, detect_layout
from core.data.layouts.layout import quote
from core.data.layouts.mapped import MAPPING_REMEDY, guess_mapping, reader
from core.data.mending import FIXES, Edit, repaired_json
from core.data.seen import Seen
from core.models.prompt import Message, calls_text

# Enough to know a layout by; the bytes bound what a file of huge records may cost.
SAMPLED_RECORDS = 50
SAMPLED_BYTES = 4_000_000
SHOWN_RECORDS = 5
# Whether broken JSON can be repaired is tried this often, so that a file of nothing else stays quick to check.
MAX_TRIED_REPAIRS = 1_000
# About 4,000 tokens: beyond what small models are tuned on, so the end may be cut off.
LONG_CHARACTERS = 16_000


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
    values: list[dict[str, Any]] = []
    for record in islice(records(file, kind), SAMPLED_RECORDS):
        if record.value is not None:
            values.append(record.value)
        if record.end > SAMPLED_BYTES:
            break
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
        found = True
        yield record_reader.step(record)
    if not found:
        remedy = 'Put one record on each line, such as {"messages": [...]}.'
        problem = Problem(file.name, 0, "", "empty", "The file holds no examples.", remedy, unit=reading.kind.unit)
        yield Step(Record(0, None), None, Read(0, (), (problem,)))


def prompt_key(messages: Sequence[Message]) -> str:
    """The group of an example that names none: the same prompt is the same source, so copies stay in one split."""
    text = "\n".join(f"{turn['role']}: {' '.join(turn['content'].split()).casefold()}" for turn in messages)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def example_text(example: Example) -> tuple[str, str]:
    """(everything asked, everything answered): equal for two examples exactly if a model would learn the same."""
    asked = "\x1e".join(
        f"{turn['role']}\x1f{turn['content']}{calls_text(turn.get('tool_calls') or ())}" for turn in example.messages
    )
    return f"{asked}\x1e{json.dumps(example.tools)}" if example.tools else asked, example.reference


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
        self._tried = 0
        self._seen = Seen()

    def step(self, record: Record) -> Step:
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
        talk = None if notes.failed else self._read(value, notes)
        examples = _examples(talk, self._answers, notes) if talk is not None else ()
        if notes.failed:
            examples = ()
            if "drop_empty" in self._fixes and all(f.fix == "drop_empty" for f in notes if f.severity == "error"):
                self._tell(record.line, "", json.dumps(value, ensure_ascii=False), "")
                return Step(record, value, Read(record.line, (), tuple(problems)))
        elif "drop_duplicates" in self._fixes:
            examples = tuple(example for example in examples if self._is_new(example, record.line))
        if not value.keys() <= self._known_keys:
            self._note_unused(value, notes)
        problems += placed(notes, self._file, record.line, self._unit)
        return Step(record, value, Read(record.line, tuple(examples), tuple(problems)))

    def _repaired(self, record: Record) -> dict[str, Any] | None:
        """The object that a broken line was meant to be, if it then reads without an error."""
        if record.problem is None or record.problem.code != "json" or not record.raw:
            return None
        if "repair_json" not in self._fixes:
            self._tried += 1
            if self._tried > MAX_TRIED_REPAIRS:
                return None
        value = repaired_json(record.raw)
        if not isinstance(value, dict):
            return None
        notes = Notes()
        return value if self._read(self._unpacked(value, Notes(), 0), notes) is not None else None

    def _unpacked(self, value: dict[str, Any], notes: Notes, line: int) -> dict[str, Any]:
        """The record with lists that stand as JSON texts, as in a spreadsheet's cell, made lists."""
        for key in self._layout.cells:
            cell = value.get(key)
            if not isinstance(cell, str) or not cell.lstrip().startswith("["):
                continue
            try:
                value = {**value, key: json.loads(cell)}
            except (ValueError, RecursionError) as error:
                mended = repaired_json(cell)
                if mended is None or "repair_json" not in self._fixes:
                    place = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
                    message = f'The text in "{key}" is no JSON{place}.'
                    remedy = "Check quotes, commas and brackets there."
                    notes.error(key, "json", message, remedy, "" if mended is None else "repair_json")
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
        self._known_keys.update(value)
        if unused:
            names = ", ".join(quote(name) for name in unused[:5])
            remedy = "Nothing to do unless you need it; this is said once, where it first occurs."
            notes.warn(unused[0], "unknown_key", f"Not used: {names}.", remedy)

    def _tell(self, line: int, field: str, before: str, after: str) -> None:
        if self._on_change is not None and line:
            self._on_change(Change(line, field, before, after))


def _examples(talk: Talk, answers: Literal["last", "each"], notes: Notes) -> tuple[Example, ...]:
    """The examples of a record, with what is doubtful about them noted."""
    turns = talk.turns
    holder = talk.places[0].split("[")[0] if talk.places else ""
    if turns[-1]["role"] != "assistant":
        has_answer = any(turn["role"] == "assistant" for turn in turns)
        found = "does not end with the assistant's turn" if has_answer else "has no assistant turn"
        remedy = "Add the answer you expect as the last turn."
        notes.error(holder, "no_answer", f'"{holder}" {found}.', remedy, "drop_trailing" if has_answer else "")
        return ()
    asked = next((i for i, turn in enumerate(turns) if turn["role"] == "user"), len(turns))
    said = [i for i, turn in enumerate(turns) if turn["role"] == "assistant"]
    learnt = [i for i in said if turns[i].get("weight") != 0]
    if not learnt:
        remedy = "Give the answer to learn the weight 1, or take the weights out."
        notes.error(holder, "no_answer", f'Every assistant turn of "{holder}" has the weight 0.', remedy)
        return ()
    learnt = [i for i in learnt if i > asked]
    if not learnt:
        remedy = "Add the question before the answer."
        notes.error(holder, "no_question", f'"{holder}" has no user turn.', remedy)
        return ()
    chosen = learnt if answers == "each" else learnt[-1:]
    # Of a conversation cut into several examples, the group is what all of them share: the first question.
    group = talk.group or prompt_key(turns[: chosen[0]])
    examples = tuple(_example(talk, i, group) for i in chosen)
    _doubts(talk, chosen, notes)
    return examples


def _example(talk: Talk, position: int, group: str) -> Example:
    answer = talk.turns[position]
    calls = answer.get("tool_calls")
    reference = answer["content"]
    if calls:
        reference = "\n".join(part for part in (reference, calls_text(calls)) if part)
    prompt = tuple(talk.turns[:position])
    return Example(prompt, reference, group, talk.label, talk.context, talk.tools, calls)


def _doubts(talk: Talk, chosen: Sequence[int], notes: Notes) -> None:
    """Warn of what can be learnt from, but is seldom meant."""
    for i in chosen:
        content, place = talk.turns[i]["content"], talk.places[i]
        if not content:  # a call, which is judged where it is read
            continue
        if content[0].isspace() or content[-1].isspace():
            message = "The answer starts or ends with white space."
            notes.warn(place, "white_space", message, "Trim it: a model learns to write it.", "trim")
        if not any(map(str.isalnum, content)):
            message = f"The answer {quote(content)} holds no letter and no digit."
            notes.warn(place, "short_answer", message, "Check that this is the answer you want.")
    size = sum(len(turn["content"]) for turn in talk.turns)
    if size > LONG_CHARACTERS:
        message = f"The example has {size:,} characters, about {size // 4:,} tokens."
        notes.warn(talk.places[-1], "long", message, "Check the length that training cuts it to, or shorten it.")
    for i in range(1, len(talk.turns)):
        role = talk.turns[i]["role"]
        if role == talk.turns[i - 1]["role"] and role in ("user", "assistant"):
            message = f"Two turns of the {role} follow each other."
            notes.warn(talk.places[i], "turn_order", message, "Join them, or put the missing turn between them.")
            return
