"""Changing the rows of a dataset by hand, so that every change can be taken back and no result loses its data.

A dataset that something rests on (an adapter, a comparison, a job) stays as it was; its copy can be changed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from core.data.learning import prompt_key
from core.data.storing import CONTENT, MAX_FOLDED, REMOVED, canonical, content_hash, filling, folded, row_hash, rows_of
from core.errors import UserError
from core.models.prompt import Message, calls_text
from core.store.database import lock, session
from core.store.tables import Adapter, Dataset, Experiment, Job
from core.store.tables import Example as ExampleRow

COPY = "Copy the data set and edit the copy."
MAX_NOTE = 10_000
# What an edit may change, and so what is kept of the row as it was imported.
_KEPT = ("split", "messages", "reference", "label", "calls", "group")
# So many of a prompt's words find the few rows that may hold the same prompt.
_WORDS = 12


def is_frozen(dataset_id: int) -> str:
    """Why this dataset may not be changed, as a sentence; empty if it may."""
    with session(read_only=True) as db:
        return _why_frozen(db, dataset_id)


def edit(example_id: int, *, turns: Sequence[str], reference: str, label: str | None) -> None:
    """Give an example other texts: one for each turn of its prompt, the answer, and the label, empty for none.

    Raises UserError, with nothing changed, when a text is empty or cannot be stored, when the same prompt stands in
    another split, or when the dataset is frozen.
    """
    for number, text in enumerate(turns, start=1):
        _refuse_broken(f"Turn {number}", text)
    _refuse_empty("The answer", reference)
    _refuse_broken("The answer", reference)
    _refuse_broken("The label", label or "")

    def edited(row: ExampleRow) -> dict[str, Any]:
        if len(turns) != len(row.messages):
            raise UserError(f"The prompt has {len(row.messages)} turns, not {len(turns)}.", "Give a text for each.")
        for number, (turn, text) in enumerate(zip(row.messages, turns, strict=True), start=1):
            if not turn.get("tool_calls"):
                _refuse_empty(f"Turn {number}", text)
        messages = [{**turn, "content": text} for turn, text in zip(row.messages, turns, strict=True)]
        # A group that the file did not name is the prompt itself.
        unnamed = row.group == prompt_key(tuple(row.messages))
        return {
            "messages": messages,
            "reference": reference,
            "label": (label or "").strip() or None,
            "calls": _calls_in(reference, row.calls),
            "group": prompt_key(tuple(messages)) if unnamed else row.group,
        }

    _rewrite(example_id, edited)


def restore(example_id: int) -> None:
    """Give an example its imported texts back. Raises UserError like `edit`."""

    def imported(row: ExampleRow) -> dict[str, Any]:
        kept = row.original or _kept(row)
        return {name: kept[name] for name in _KEPT if name != "split"}

    _rewrite(example_id, imported)


def remove(example_ids: Sequence[int]) -> None:
    """Take examples out of their splits, kept aside until they are put back. A split's last one must stay."""
    with _changing(example_ids) as (_, rows):
        for row in rows:
            row.split = REMOVED


def put_back(example_ids: Sequence[int]) -> None:
    """Put removed examples back where they were."""
    with _changing(example_ids) as (_, rows):
        for row in rows:
            if row.original is not None:
                row.split = row.original["split"]


def annotate(example_id: int, note: str) -> None:
    """Write a note beside an example, or take it away with an empty one. Frozen datasets take notes too."""
    note = note.strip()
    _refuse_broken("The note", note)
    if len(note) > MAX_NOTE:
        raise UserError(f"The note has {len(note):,} characters.", f"Use at most {MAX_NOTE:,}.")
    with session() as db:
        _rows(db, [example_id])[0].note = note


def copy_dataset(dataset_id: int, name: str) -> Dataset:
    """A dataset of the same examples, with their notes and edits, that nothing rests on yet."""
    with session(read_only=True) as db:
        source = _dataset(db, dataset_id)
    # A copy of a demo's data is no part of the demo.
    notes = {key: value for key, value in source.notes.items() if not key.startswith("demo")}
    copy = Dataset(name=name, seed=source.seed, source=source.source, notes=notes)
    counts = dict.fromkeys(source.notes["counts"], 0)
    with filling(copy) as filled:
        for split in (*counts, REMOVED):
            for row in rows_of(dataset_id, split):
                filled.add(row.split, row.position, _content(row), note=row.note, original=row.original)
                if split != REMOVED:
                    counts[split] += 1
        with session(read_only=True) as db:
            if _dataset(db, dataset_id).hash != source.hash:
                raise UserError("The data set was changed while it was copied.", "Copy it again; nothing was stored.")
        copy.notes = {**notes, "counts": counts, "copy_of": {"id": dataset_id, "name": source.name}}
    return copy


def _rewrite(example_id: int, rewritten: Callable[[ExampleRow], dict[str, Any]]) -> None:
    """Change the content of a row, unless its prompt would then stand in two splits."""
    # Looking for the prompt among a million takes a second or two, in which others must be able to write.
    with session(read_only=True) as db:
        (row,) = _rows(db, [example_id])
        dataset = _unfrozen(db, row.dataset_id)
        _refuse_leak(db, row, rewritten(row)["messages"])
    with _changing([example_id]) as (db, (row,)):
        values = rewritten(row)
        if _dataset(db, row.dataset_id).hash != dataset.hash:
            _refuse_leak(db, row, values["messages"])
        for name, value in values.items():
            setattr(row, name, value)


@contextmanager
def _changing(example_ids: Sequence[int]) -> Iterator[tuple[Session, list[ExampleRow]]]:
    """Rows of one dataset to change inside; what hangs on them (hash, counts, search, originals) follows."""
    with session() as db:
        # A job that is being submitted on this dataset comes before or after, never in between.
        lock(db)
        rows = _rows(db, example_ids)
        dataset = _unfrozen(db, rows[0].dataset_id)
        before = [(row.split, _hash(row), _kept(row)) for row in rows]
        yield db, rows
        counts = Counter(dataset.notes["counts"])
        total = int(dataset.hash, 16)
        for row, (split, was, kept) in zip(rows, before, strict=True):
            total += _hash(row) - was
            counts[split] -= 1
            counts[row.split] += 1
            row.folded = folded(_content(row))
            original = row.original or kept
            row.original = None if original == _kept(row) else original
        del counts[REMOVED]
        for split, count in counts.items():
            if not count and dataset.notes["counts"][split]:
                raise UserError(f"No {split} example would be left.", "Keep at least one.")
        dataset.hash, dataset.notes = content_hash(total), {**dataset.notes, "counts": dict(counts)}


def _rows(db: Session, example_ids: Sequence[int]) -> list[ExampleRow]:
    rows = list(db.scalars(select(ExampleRow).where(ExampleRow.id.in_(example_ids))))
    if not rows or len(rows) < len(set(example_ids)):
        raise UserError("Some of these examples do not exist any more.", "Look at the list again.")
    if len({row.dataset_id for row in rows}) > 1:
        raise UserError("These examples belong to different data sets.", "Change one data set at a time.")
    return rows


def _dataset(db: Session, dataset_id: int) -> Dataset:
    dataset = db.get(Dataset, dataset_id)
    if dataset is None or dataset.importing_at is not None:
        raise UserError(f"Data set {dataset_id} does not exist any more.", "Choose another.")
    return dataset


def _unfrozen(db: Session, dataset_id: int) -> Dataset:
    dataset = _dataset(db, dataset_id)
    why = _why_frozen(db, dataset_id)
    if why:
        raise UserError(f"This data set cannot be changed: {why}", COPY)
    return dataset


def _why_frozen(db: Session, dataset_id: int) -> str:
    for table, one, many in (
        (Adapter, "an adapter was trained on it.", "{} adapters were trained on it."),
        (Experiment, "a comparison shows results on it.", "{} comparisons show results on it."),
    ):
        count = db.scalar(select(func.count()).where(table.dataset_id == dataset_id)) or 0
        if count:
            return one if count == 1 else many.format(count)
    # One that ended early counts too: resumed, it would go on with other data than it began with.
    for job in db.scalars(select(Job).where(Job.status != "done").order_by(Job.id)):
        if job.spec.get("dataset_id") == dataset_id:
            state = {"queued": "waits to use it", "running": "is using it"}.get(job.status, "could be resumed on it")
            return f"job {job.id} ({job.title}) {state}."
    return ""


def _refuse_leak(db: Session, row: ExampleRow, messages: Sequence[Message]) -> None:
    """Raise UserError if the row's new prompt also stands in another split, or did until it was taken out of there."""
    key = prompt_key(tuple(messages))
    if key == prompt_key(tuple(row.messages)):
        return
    split = _home(row)
    # The search text is cut, and white space may move the cut: only its first half is sure to be in both.
    text = " ".join(turn["content"] for turn in messages).casefold()[: MAX_FOLDED // 2]
    words = sorted(set(text.split()[:-1] or text.split()), key=len, reverse=True)[:_WORDS]
    query = select(ExampleRow).where(
        ExampleRow.dataset_id == row.dataset_id,
        ExampleRow.id != row.id,
        or_(ExampleRow.split != split, ExampleRow.split == REMOVED),
        *(ExampleRow.folded.contains(word, autoescape=True) for word in words),
    )
    for other in db.scalars(query, execution_options={"yield_per": 100}):
        if _home(other) != split and prompt_key(tuple(other.messages)) == key:
            raise UserError(
                f"The same prompt is in the {_home(other)} split (example {other.position + 1}): "
                "a test that was trained on proves nothing.",
                "Ask something else here, or change that example first.",
            )


def _home(row: ExampleRow) -> str:
    """The split a row is in, or would be put back into."""
    return str(row.original["split"]) if row.split == REMOVED and row.original else row.split


def _refuse_empty(what: str, text: str) -> None:
    if not text.strip():
        raise UserError(f"{what} is empty.", "Fill it in, or remove the example.")


def _refuse_broken(what: str, text: str) -> None:
    if "\x00" in text:
        raise UserError(f"{what} holds a NUL character.", "Take it out: no text needs one.")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UserError(f"{what} holds half a character.", "Replace the broken character.")


def _calls_in(reference: str, before: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """The tool calls of an answer that had some, read from its text; each keeps its id, by its place."""
    if before is None:
        return None
    if reference.endswith(calls_text(before)):
        return before
    calls = []
    for number, body in enumerate(re.findall(r"<tool_call>(.*?)</tool_call>", reference, re.DOTALL)):
        try:
            call = json.loads(body)
            name, arguments = call["name"], json.dumps(call["arguments"], ensure_ascii=False)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"Call {number + 1} of the answer cannot be read.",
                'Write {"name": "...", "arguments": {...}} between <tool_call> and </tool_call>.',
            ) from error
        same = {key: value for key, value in before[number].items() if key == "id"} if number < len(before) else {}
        calls.append({**same, "type": "function", "function": {"name": name, "arguments": arguments}})
    return calls or None


def _content(row: ExampleRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in CONTENT}


def _kept(row: ExampleRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _KEPT}


def _hash(row: ExampleRow) -> int:
    """The row's part of the dataset's hash; one that is taken out has none."""
    return 0 if row.split == REMOVED else row_hash(canonical(row.split, row.position, _content(row)))
