"""`python -m core compare`: one experiment from a file, in the foreground; the app shows it like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from core.evaluate.experiment import small_test_warning
from core.evaluate.report import write_report
from core.experiment_file import read_experiment
from core.ladder import climb
from core.sources import dataset_of, index_of
from core.store.database import session
from core.store.tables import Experiment
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
    named = file.data.model_copy(update={"name": file.data.name or file.name})
    dataset = dataset_of(named, experiment.parent, file.seed or 0, "experiment")
    few = small_test_warning(dataset.notes["counts"]["test"])
    if few:
        console.print(f"Note: {few}")
    stored = climb(file.climb(dataset, index_of(file.data, experiment.parent)), in_foreground)
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
