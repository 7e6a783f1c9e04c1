"""`python -m core compare`: one experiment from a file, in the foreground; the app shows it like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from sqlalchemy import select

from core.data.dataset import File, create_dataset, datasets
from core.documents.index import create_index
from core.documents.reading import read_folder
from core.errors import UserError
from core.evaluate.experiment import small_test_warning
from core.evaluate.report import write_report
from core.experiment_file import Data, read_experiment
from core.ladder import climb
from core.store.database import session
from core.store.tables import Dataset, Experiment
from core.store.tables import Index as IndexRow
from core.terminal import console, errors, in_foreground, prepare_folder, read_bytes

# Apart from 1, which says that something went wrong: everything was measured, and a rung is not good enough.
MINIMUM_MISSED = 3


def compare(
    experiment: Annotated[Path, typer.Argument(help="An experiment as the Compare page exports it (YAML).")],
    out: Annotated[Path, typer.Option(help="Folder for report.json, predictions.jsonl and the report.")] = Path(
        "lowest-rung-report"
    ),
) -> None:
    """Measure the rungs of an experiment file. Exit status 3 when a rung misses the minimum stated for it."""
    prepare_folder(out)
    file = read_experiment(read_bytes(experiment).decode("utf-8", "replace"), experiment.name)
    dataset = _dataset(file.data, experiment.parent, file.seed or 0)
    few = small_test_warning(dataset.notes["counts"]["test"])
    if few:
        console.print(f"Note: {few}")
    stored = climb(file.climb(dataset, _index(file.data, experiment.parent)), in_foreground)
    report = say_result(stored.id, out)
    missed = [minimum for minimum in report["minimums"] if not minimum["reached"]]
    for minimum in missed:
        errors.print(
            f"{minimum['rung']} scores {minimum['score']:.3f}, less than the minimum of {minimum['asked']:.3f}.",
            style="red",
        )
    if missed:
        raise typer.Exit(MINIMUM_MISSED)


def say_result(experiment_id: int, out: Path) -> dict[str, Any]:
    """Print scores and verdict, write the files into `out`, and return the report."""
    with session(read_only=True) as db:
        experiment = db.get_one(Experiment, experiment_id)
    report = experiment.report
    assert report is not None  # the comparison ended "done", and stores it before that
    table = Table(title=f"{experiment.name}: {report['metric']} over {report['n']} test examples")
    for heading in ("rung", "score", "95% interval", "scored", "s/answer", "tokens in", "tokens out", "set-up s"):
        table.add_column(heading, justify="left" if heading == "rung" else "right", no_wrap=heading == "rung")
    for row in report["rungs"]:
        low, high = row["interval"]
        latency = row["latency_p50_s"]
        table.add_row(
            row["rung"],
            f"{row['score']:.3f}",
            f"{low:.3f} to {high:.3f}",
            f"{row['scored']} of {row['of']}",
            "-" if latency is None else f"{latency:.2f}",
            f"{row['input_tokens']:,}",
            f"{row['output_tokens']:,}",
            f"{row['setup_s']:.0f}",
        )
    console.print(table)
    for warning in report.get("warnings", []):
        console.print(f"Note: {warning}")
    verdict = report["verdict"]
    console.print(f"Verdict: {verdict['rung'] or 'none'} ({verdict['outcome']})", style="bold")
    console.print(verdict["reason"])
    for path in write_report(experiment_id, out):
        console.print(f"Written: {path}")
    return report


def _dataset(data: Data, folder: Path, seed: int) -> Dataset:
    """The data set that an experiment names, or a new one from its files. Raises UserError when it is another one."""
    if data.train is not None:
        paths = [folder / path for path in (data.train, data.test) if path is not None]
        files = [File(path.name, read_bytes(path)) for path in paths]
        found = create_dataset(data.name or paths[0].stem, files[0], files[1] if data.test else None, seed=seed)
    else:
        listed = {dataset.id: dataset for dataset in datasets()}
        if data.dataset not in listed:
            known = ", ".join(f"{d.id} ({d.name})" for d in listed.values()) or "none"
            raise UserError(
                "The experiment names no data set of this home."
                if data.dataset is None
                else f"There is no data set {data.dataset} in this home.",
                f"Set `data: {{train: FILE, test: FILE}}`, or `data: {{dataset: NUMBER}}` with one of: {known}.",
            )
        found = listed[data.dataset]
    if data.hash and data.hash != found.hash:
        raise UserError(
            f"The experiment was made for data with the hash {data.hash}, and {found.name} has {found.hash}.",
            "Choose the data it was made for, or remove `hash` from the file to measure on these.",
        )
    return found


def _index(data: Data, folder: Path) -> int | None:
    """The index to retrieve from, if any. Raises UserError when it does not exist."""
    if data.documents is not None:
        path = folder / data.documents
        return create_index(path.resolve().name, read_folder(path)).id
    if data.index is None:
        return None
    with session(read_only=True) as db:
        known = list(db.scalars(select(IndexRow.id)))
    if data.index not in known:
        raise UserError(
            f"There is no index {data.index} in this home.",
            f"Set `data: {{documents: FOLDER}}`, or one of: {', '.join(map(str, known)) or 'none so far'}.",
        )
    return data.index
