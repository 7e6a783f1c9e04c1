"""The files of a fine-tuning job, judged by OpenAI's rules, as a dataset: all of it is learned, nothing is held back.

A service does not choose examples for its client: those of the training file are learned, those of the validation file
measure, and a test, if anyone wants one, is the client's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict

from core.data.check import Report, check
from core.data.dataset import SPLITS, WARNINGS_KEPT
from core.data.example import Problem
from core.data.files import File
from core.data.reading import Step
from core.data.storing import columns, filling, sweep_unfinished
from core.data.survey import Source
from core.errors import UserError
from core.store.tables import Dataset

# A message with more would not be read.
PROBLEMS_SHOWN = 5

OnProgress = Callable[[float, float, str], None]


class RefusedFile(UserError):
    """A file that cannot be learned from; `param` says which of the two it is."""

    def __init__(self, param: str, problems: list[Problem], errors: int) -> None:
        shown = " ".join(f"{problem}" for problem in problems[:PROBLEMS_SHOWN])
        more = f" And {errors - PROBLEMS_SHOWN:,} more." if errors > PROBLEMS_SHOWN else ""
        noun = "problem" if errors == 1 else "problems"
        super().__init__(f"The {param.replace('_', ' ')} has {errors:,} {noun}: {shown}{more}", "Send a mended file.")
        self.param = param


def import_files(name: str, training: File, validation: File | None, *, seed: int, on_progress: OnProgress) -> Dataset:
    """A dataset of the splits train and validation. Raises RefusedFile, with nothing stored.

    `on_progress` is told (done, total, what is going on), in bytes; it may raise, to stop.
    """
    sweep_unfinished()
    given = {"training_file": training} | ({"validation_file": validation} if validation else {})
    size = sum(file.size for file in given.values())

    def phase(message: str, offset: int) -> Callable[[float], None]:
        return lambda done: on_progress(offset + done, 2 * size, message)

    offsets = {"training_file": 0, "validation_file": training.size}
    reports = {
        param: _checked(param, file, phase("Checking the files", offsets[param])) for param, file in given.items()
    }
    sources = [Source(given[param], report.reading) for param, report in reports.items() if report.reading is not None]
    counts, groups = Counter[str](), {split: set[str]() for split in SPLITS}
    dataset = Dataset(name=name, seed=seed, source=", ".join(file.name for file in given.values()))
    with filling(dataset) as filled:
        for split, source, offset in zip(SPLITS, sources, offsets.values(), strict=False):
            for _, example in source.examples(phase("Storing the examples", size + offset)):
                filled.add(split, counts[split], columns(example))
                counts[split] += 1
                groups[split].add(example.group)
        warnings = sum((Counter(report.by_code) for report in reports.values()), Counter[str]())
        dataset.notes = {
            "warnings": [asdict(p) for report in reports.values() for p in report.problems][:WARNINGS_KEPT],
            "warning_counts": dict(warnings),
            "split": "as the files sent to the server say, none held back for testing",
            "counts": {split: counts[split] for split in SPLITS},
            "groups": {split: len(names) for split, names in groups.items()},
            "seed": seed,
            "readings": [{**asdict(source.reading), "fixes": list(source.reading.fixes)} for source in sources],
            "layouts": [source.reading.layout for source in sources],
            "duplicates": {"exact": warnings["duplicate"]},
        }
    return dataset


def _checked(param: str, file: File, tick: Callable[[float], None]) -> Report:
    """The file's report. Raises RefusedFile for what OpenAI's API would refuse, and for what cannot be learned here,
    such as pictures: to leave it out in silence would be to train on something else."""
    ours: list[Problem] = []

    def see(step: Step) -> None:
        ours.extend(problem for problem in step.read.problems if problem.severity == "error")
        del ours[1000:]

    report = check(file, profile="openai", on_progress=lambda done, size: tick(done), on_step=see)
    errors = [problem for problem in report.problems if problem.severity == "error"]
    if param == "validation_file":
        # The least number is one of examples to learn from.
        errors = [problem for problem in errors if problem.code != "too_few"]
    if errors or ours:
        raise RefusedFile(param, errors or ours, max(report.errors if errors else 0, len(ours)))
    if not report.examples:
        raise RefusedFile(param, [Problem(file.name, 0, "", "empty", "It holds no examples.", "Add some.")], 1)
    return report
