"""Files in, a dataset out: all or nothing, under one content hash, with splits that never share a group."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import delete, func, insert, select

from core.data.chat_jsonl import prompt_key, read_chat_jsonl
from core.data.example import Example, Problem
from core.data.splits import TEST_SHARE, VALIDATION_SHARE, hold_out
from core.errors import UserError
from core.store.database import session
from core.store.tables import Dataset, Experiment
from core.store.tables import Example as ExampleRow

SPLITS = ("train", "validation", "test")
# Below this a test can only see differences that nobody needs a test to see.
MIN_TEST_EXAMPLES = 20
# Holding one back for validation must leave the ten examples that training needs at least.
MIN_TO_VALIDATE = 11


class ImportRefused(UserError):
    """Nothing was imported; `problems` lists every line to mend."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        errors = [problem for problem in problems if problem.severity == "error"]
        shown = "\n".join(f"- {problem}" for problem in errors[:20])
        more = f"\n- and {len(errors) - 20} more" if len(errors) > 20 else ""
        noun = "problem" if len(errors) == 1 else "problems"
        super().__init__(f"Nothing was imported: {len(errors)} {noun}.\n{shown}{more}")
        self.problems = list(problems)


@dataclass(frozen=True)
class File:
    """An upload: its name, for messages only, and its bytes."""

    name: str
    data: bytes


def create_dataset(name: str, train: File, test: File | None = None, *, seed: int = 0) -> Dataset:
    """Import examples and split them. Raises ImportRefused, with nothing stored, if any line of any file is bad.

    With a test file the given split is kept, and a group of the test file that also occurs in the training file is
    refused: a test that was trained on proves nothing. Validation examples are always taken from the training side.
    """
    results = [read_chat_jsonl(file.name, file.data) for file in (train, test) if file is not None]
    problems = [problem for result in results for problem in result.problems]
    if any(result.errors for result in results):
        raise ImportRefused(problems)
    if test is None:
        everything = results[0].examples
        kept, held = hold_out(everything, TEST_SHARE, seed)
        learn, tested = [everything[i] for i in kept], [everything[i] for i in held]
        if not tested:
            raise UserError(
                f"All examples of {train.name} belong to one group, so none can be held back for testing.",
                "Give a test file of its own, or more than one group.",
            )
    else:
        learn, tested = list(results[0].examples), list(results[1].examples)
        _refuse_leak(train.name, learn, test.name, tested)
    kept, held = hold_out(learn, VALIDATION_SHARE if len(learn) >= MIN_TO_VALIDATE else 0, seed)
    splits = {"train": [learn[i] for i in kept], "validation": [learn[i] for i in held], "test": tested}
    notes = {
        "warnings": [asdict(problem) for problem in problems][:200],
        "split": "given test file" if test else f"{TEST_SHARE:.0%} of the groups held back for testing, seed {seed}",
        "counts": {split: len(examples) for split, examples in splits.items()},
    }
    source = ", ".join(file.name for file in (train, test) if file is not None)
    dataset = Dataset(name=name, hash=content_hash(splits), seed=seed, source=source, notes=notes)
    with session() as db:
        db.add(dataset)
        db.flush()
        rows = [
            {"dataset_id": dataset.id, "position": position, "split": split, **_columns(example)}
            for split, examples in splits.items()
            for position, example in enumerate(examples)
        ]
        db.execute(insert(ExampleRow), rows)
    return dataset


def content_hash(splits: dict[str, list[Example]]) -> str:
    """SHA-256 over every example in order with its split: the same data split the same way has the same hash."""
    digest = hashlib.sha256()
    for split, examples in splits.items():
        for example in examples:
            digest.update(json.dumps([split, asdict(example)], sort_keys=True).encode())
    return digest.hexdigest()


def examples_of(dataset_id: int, split: str) -> list[tuple[int, Example]]:
    """(row id, example) of one split, in file order."""
    query = (
        select(ExampleRow)
        .where(ExampleRow.dataset_id == dataset_id, ExampleRow.split == split)
        .order_by(ExampleRow.position)
    )
    with session(read_only=True) as db:
        return [(row.id, _example(row)) for row in db.scalars(query)]


def browse(
    dataset_id: int, split: str, search: str = "", offset: int = 0, limit: int = 50
) -> tuple[int, list[ExampleRow]]:
    """(how many match, one page of them): rows of a split whose prompt or reference contains `search`, in any case."""
    query = select(ExampleRow).where(ExampleRow.dataset_id == dataset_id, ExampleRow.split == split)
    rows = query.order_by(ExampleRow.position)
    with session(read_only=True) as db:
        if not search:
            count = db.scalar(select(func.count()).select_from(query.subquery())) or 0
            return count, list(db.scalars(rows.offset(offset).limit(limit)))
        # Compared here: SQLite knows the case of ASCII letters only, and the stored JSON escapes all others.
        needle = search.casefold()
        found = [row for row in db.scalars(rows) if any(needle in text.casefold() for text in _texts(row))]
        return len(found), found[offset : offset + limit]


def _texts(row: ExampleRow) -> list[str]:
    return [*(turn["content"] for turn in row.messages), row.reference]


def datasets() -> list[Dataset]:
    """All datasets, newest first."""
    with session(read_only=True) as db:
        return list(db.scalars(select(Dataset).order_by(Dataset.id.desc())))


def delete_dataset(dataset_id: int) -> None:
    """Remove a dataset and its examples. Refused while an experiment still shows results on it."""
    with session() as db:
        used = db.scalar(select(func.count()).where(Experiment.dataset_id == dataset_id))
        if used:
            raise UserError(
                f"{used} experiment{'s' if used > 1 else ''} still show results on this dataset.",
                "Delete them on the Compare page first.",
            )
        db.execute(delete(Dataset).where(Dataset.id == dataset_id))


def _refuse_leak(train_name: str, train: Sequence[Example], test_name: str, test: Sequence[Example]) -> None:
    seen = Counter(example.group for example in train)
    problems = [
        Problem(
            test_name,
            0,
            "group",
            "leak",
            f"Example {number} {_shared(example)}, which {train_name} trains on.",
            "Move the whole group to one file: a test that was trained on proves nothing.",
        )
        for number, example in enumerate(test, start=1)
        if example.group in seen
    ]
    if problems:
        raise ImportRefused(problems)


def _shared(example: Example) -> str:
    if example.group == prompt_key(example.messages):
        return f'asks "{example.messages[-1]["content"][:60]}"'
    return f'belongs to the group "{example.group[:60]}"'


def _columns(example: Example) -> dict[str, object]:
    columns = asdict(example)
    columns["messages"] = [dict(turn) for turn in example.messages]
    return columns


def _example(row: ExampleRow) -> Example:
    return Example(tuple(row.messages), row.reference, row.group, row.label, row.context)
