"""Files in, a dataset out: all or nothing, under one content hash, with splits that never share a group.

Files are read twice, so that memory stays bounded and nothing is stored of a file that is refused: once to check them
and to decide who goes into which split, once to store what was decided.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import func, select

from core.data.check import Report
from core.data.duplicates import NearDuplicates
from core.data.example import Example, Problem
from core.data.files import File
from core.data.leaks import leaks
from core.data.reading import Reading
from core.data.splits import SplitPlan, assign
from core.data.storing import columns, content_hash, erase, example_of, filling, rows_of, sweep_unfinished
from core.data.survey import Source, Survey, shared_groups
from core.errors import UserError
from core.store.database import lock, session
from core.store.tables import Dataset, Experiment, Job
from core.store.tables import Example as ExampleRow

__all__ = [
    "MIN_TEST_EXAMPLES",
    "SPLITS",
    "File",
    "ImportRefused",
    "content_hash",
    "count_of",
    "create_dataset",
    "datasets",
    "delete_dataset",
    "examples_of",
    "import_dataset",
    "stream_examples",
    "sweep_unfinished",
]

SPLITS = ("train", "validation", "test")
# Below this a test can only see differences that nobody needs a test to see.
MIN_TEST_EXAMPLES = 20
WARNINGS_KEPT = 200
# So long a deletion is waited for, which is enough for some 10,000 examples.
ERASING_S = 3.0
ERASER = "erase a dataset"

PLAN = SplitPlan()

OnProgress = Callable[[float, float, str], None]
"""Told (done, total, what is going on): bytes, of which each file has two, for checking and for storing. It may raise,
to stop."""


class ImportRefused(UserError):
    """Nothing was imported. `problems` lists what to mend, of the `errors` there are; `reports` has one per file."""

    def __init__(self, problems: Sequence[Problem], errors: int = 0, reports: Sequence[Report] = ()) -> None:
        listed = [problem for problem in problems if problem.severity == "error"]
        self.errors = max(errors, len(listed))
        shown = "\n".join(f"- {problem}" for problem in listed[:20])
        more = f"\n- and {self.errors - 20:,} more" if self.errors > 20 else ""
        noun = "problem" if self.errors == 1 else "problems"
        super().__init__(f"Nothing was imported: {self.errors:,} {noun}.\n{shown}{more}")
        self.problems = list(problems)
        self.reports = list(reports)


def create_dataset(name: str, train: File, test: File | None = None, *, seed: int = 0) -> Dataset:
    """Import files as they are detected to be, with the usual shares. Raises like `import_dataset`."""
    return import_dataset(name, train, test=test, seed=seed)


def import_dataset(
    name: str,
    train: File,
    train_reading: Reading | None = None,
    test: File | None = None,
    test_reading: Reading | None = None,
    *,
    seed: int = 0,
    plan: SplitPlan = PLAN,
    on_progress: OnProgress = lambda done, total, message: None,
) -> Dataset:
    """Import examples and split them. Raises ImportRefused, with nothing stored, if any line of any file is bad.

    With a test file the given split is kept, and a group of the test file that also occurs in the training file is
    refused: a test that was trained on proves nothing. Prompts that are nearly the same in both are noted. Validation
    examples are always taken from the training side. What was decided is kept in the dataset's notes.
    """
    sweep_unfinished()
    progress = _Progress([train] if test is None else [train, test], on_progress)
    survey = Survey(NearDuplicates() if plan.keep_near_duplicates_together else None)
    reports = [survey.check(train, train_reading, progress.phase(f"Checking {train.name}"))]
    if test is not None:
        reports.append(survey.check(test, test_reading, progress.phase(f"Checking {test.name}", train.size)))
    sources = _sound(reports, [train] if test is None else [train, test])
    say = progress.phase("Comparing the examples", progress.total / 2)
    say(0)
    if test is not None and (problems := shared_groups(sources[0], sources[1], survey, say)):
        raise ImportRefused(problems, reports=reports)
    clusters, likeness = survey.compare(say)
    splits = _split(survey, plan, seed, clusters, train.name, given_test=test is not None)
    warnings = sum((Counter(report.by_code) for report in reports), Counter[str]())
    notes = {
        "warnings": [asdict(p) for report in reports for p in report.problems][:WARNINGS_KEPT],
        "warning_counts": dict(warnings),
        "split": _in_words(plan, seed, survey, given_test=test is not None),
        "counts": {split: splits.count(split) for split in SPLITS},
        "groups": _groups(survey.groups, splits),
        "plan": asdict(plan),
        "seed": seed,
        "readings": [{**asdict(source.reading), "fixes": list(source.reading.fixes)} for source in sources],
        "layouts": [source.reading.layout for source in sources],
        "leaks": _leaks(sources[0], sources[1], say) if test is not None else None,
        # How many examples repeat an earlier one to the letter, and how many have a prompt much like an earlier one's.
        "duplicates": {"exact": warnings["duplicate"], **likeness},
    }
    dataset = Dataset(name=name, seed=seed, source=", ".join(source.file.name for source in sources), notes=notes)
    with filling(dataset) as filled:
        offset, number, positions = progress.total / 2, 0, Counter[str]()
        for source in sources:
            say = progress.phase("Storing the examples", offset)
            for _, example in source.examples(say):
                if number == len(splits) or example.group != survey.groups[number]:
                    raise _changed(source)
                filled.add(splits[number], positions[splits[number]], columns(example))
                positions[splits[number]] += 1
                number += 1
            offset += source.file.size
        if number < len(splits):
            raise _changed(sources[-1])
    progress.phase("Imported")(progress.total)
    return dataset


def examples_of(dataset_id: int, split: str, limit: int | None = None) -> list[tuple[int, Example]]:
    """(row id, example) of one split, or of its first `limit`, in file order."""
    query = select(ExampleRow).where(ExampleRow.dataset_id == dataset_id, ExampleRow.split == split)
    with session(read_only=True) as db:
        rows = db.scalars(query.order_by(ExampleRow.position, ExampleRow.id).limit(limit))
        return [(row.id, example_of(row)) for row in rows]


def stream_examples(dataset_id: int, split: str) -> Iterator[tuple[int, Example]]:
    """As `examples_of`, a few at a time, for splits of any size."""
    return ((row.id, example_of(row)) for row in rows_of(dataset_id, split))


def count_of(dataset_id: int, split: str) -> int:
    """How many examples a split has; 0 if there is no such dataset."""
    with session(read_only=True) as db:
        dataset = db.get(Dataset, dataset_id)
        return int(dataset.notes["counts"][split]) if dataset is not None else 0


def datasets() -> list[Dataset]:
    """All datasets that are complete, newest first."""
    query = select(Dataset).where(Dataset.importing_at.is_(None)).order_by(Dataset.id.desc())
    with session(read_only=True) as db:
        return list(db.scalars(query))


def delete_dataset(dataset_id: int) -> None:
    """Remove a dataset and its examples. Refused while an experiment shows results on it, or a job uses it.

    It is out of sight when this returns; a million examples go on being erased for a minute or more.
    """
    with session() as db:
        lock(db)
        used = db.scalar(select(func.count()).where(Experiment.dataset_id == dataset_id))
        if used:
            raise UserError(
                f"{used} experiment{'s' if used > 1 else ''} still show results on this dataset.",
                "Delete them on the Compare page first.",
            )
        for job in db.scalars(select(Job).where(Job.status.in_(("queued", "running")))):
            if job.spec.get("dataset_id") == dataset_id:
                raise UserError(f"Job {job.id} ({job.title}) uses this dataset.", "Stop it first, or let it finish.")
        dataset = db.get(Dataset, dataset_id)
        if dataset is None:
            return
        # Out of sight at once; should the rest be interrupted, it is swept up like an unfinished import.
        dataset.importing_at = time.time()
    eraser = threading.Thread(target=erase, args=(dataset_id,), name=ERASER, daemon=True)
    eraser.start()
    eraser.join(ERASING_S)


class _Progress:
    """Turns bytes read of one file in one phase into bytes done of all."""

    def __init__(self, files: Sequence[File], on_progress: OnProgress) -> None:
        self.total = 2.0 * sum(file.size for file in files)
        self._report = on_progress

    def phase(self, message: str, offset: float = 0.0) -> Callable[[int | float], None]:
        return lambda done: self._report(min(offset + done, self.total), self.total, message)


def _sound(reports: Sequence[Report], files: Sequence[File]) -> list[Source]:
    """The files with their readings; raises ImportRefused if any has an error or nothing to import."""
    problems = [problem for report in reports for problem in report.problems]
    for report, file in zip(reports, files, strict=True):
        if not report.errors and not report.examples:
            remedy = "Give a file with examples, or take back the fixes that leave them out."
            problems.append(Problem(file.name, 0, "", "empty", "No example of the file is left.", remedy))
    if any(problem.severity == "error" for problem in problems):
        raise ImportRefused(problems, sum(report.errors for report in reports), reports)
    return [Source(file, report.reading) for report, file in zip(reports, files, strict=True) if report.reading]


def _split(survey: Survey, plan: SplitPlan, seed: int, clusters: Any, file: str, *, given_test: bool) -> list[str]:
    given = [False] * survey.sizes[0] + [True] * survey.sizes[1] if given_test else None
    splits = assign(survey.groups, survey.labels, plan, seed, clusters, given)
    if plan.test_share and "test" not in splits:
        raise UserError(
            f"All examples of {file} belong to one group or ask nearly the same, so none can be held back for testing.",
            "Give a test file of its own, or examples that differ.",
        )
    return splits


def _in_words(plan: SplitPlan, seed: int, survey: Survey, *, given_test: bool) -> str:
    parts = ["given test file" if given_test else f"{plan.test_share:.0%} held back for testing, in whole groups"]
    parts.append(f"{plan.validation_share:.0%} of the rest for validation")
    if plan.stratify and any(label is not None for label in survey.labels):
        parts.append("labels shared out evenly")
    if plan.keep_near_duplicates_together:
        parts.append("near duplicates kept together")
    return ", ".join([*parts, f"seed {seed}"])


def _groups(groups: Sequence[str], splits: Sequence[str]) -> dict[str, int]:
    """How many different groups each split has: as many independent observations."""
    found: dict[str, set[str]] = {split: set() for split in SPLITS}
    for group, split in zip(groups, splits, strict=True):
        found[split].add(group)
    return {split: len(names) for split, names in found.items()}


def _leaks(train: Source, test: Source, say: Callable[[int], None]) -> dict[str, Any]:
    def tick() -> None:
        say(0)

    learnt, tested = ((example for _, example in source.examples(lambda done: tick())) for source in (train, test))
    return leaks(learnt, tested, tick).as_dict()


def _changed(source: Source) -> UserError:
    return UserError(f"{source.file.name} changed while it was imported.", "Import it again; nothing was stored.")
