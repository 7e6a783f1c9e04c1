"""The same journey from the command line: `python -m core --help`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from sqlalchemy.exc import OperationalError

from core.api.command import key_commands, serve
from core.compare_command import compare, say_result
from core.data.command import check
from core.data.dataset import File, ImportRefused, create_dataset
from core.decide.command import decide
from core.documents.command import index, search
from core.documents.index import create_index
from core.documents.reading import read_folder
from core.errors import UserError
from core.evaluate.experiment import small_test_warning
from core.evaluate.metrics import metric_named
from core.evaluate.plan import MetricChoice, Plan
from core.evaluate.rungs import RungChoice, rungs_named
from core.forecast.command import estimate
from core.ladder import Climb, climb, default_rungs
from core.models.catalogue import BUNDLED_MODEL
from core.terminal import console, errors, in_foreground, prepare_folder, read_bytes
from core.train.command import train as train_command
from core.train.recipe import Recipe

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help="Find the lowest rung that works."
)


@app.callback()
def main() -> None:
    """Lowest Rung: prompt, retrieve or fine-tune? Find the lowest rung that works, on your own data."""


@app.command()
def ladder(
    train: Annotated[Path, typer.Option(help="Training examples, OpenAI chat JSONL.")],
    test: Annotated[
        Path | None, typer.Option(help="Test examples; left out, a fifth of the groups is held back.")
    ] = None,
    documents: Annotated[Path | None, typer.Option(help="Folder of Markdown and text files to retrieve from.")] = None,
    rungs: Annotated[str, typer.Option(help="Which rungs, such as base,prompt,rag; default: all that can be.")] = "",
    metric: Annotated[str | None, typer.Option(help="How answers are scored; default: chosen from the data.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for report.json and predictions.jsonl.")] = Path(
        "lowest-rung-report"
    ),
    model: Annotated[str, typer.Option(help="Bundled name, Hugging Face id or local folder.")] = BUNDLED_MODEL,
    method: Annotated[
        Literal["lora", "qlora"], typer.Option(help="qlora holds the base model in four bits while training.")
    ] = "lora",
    target: Annotated[float | None, typer.Option(help="Score that is good enough, above 0 up to 1.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of splits, shots and training.")] = 0,
) -> None:
    """Build, measure and compare the rungs on your data, and print the verdict."""
    prepare_folder(out)
    files = [File(path.name, read_bytes(path)) for path in (train, test) if path is not None]
    dataset = create_dataset(train.stem, files[0], files[1] if test else None, seed=seed)
    _say_warnings(dataset.notes)
    index_id = create_index(documents.name, read_folder(documents)).id if documents else None
    chosen = (
        [RungChoice(**vars(rung)) for rung in rungs_named(rungs.split(","))]
        if rungs
        else default_rungs(with_documents=index_id is not None)
    )
    wanted = Climb(
        name=train.stem,
        dataset_id=dataset.id,
        plan=Plan(rungs=chosen),
        index_id=index_id,
        metrics=(MetricChoice(name=metric_named(metric).name),) if metric else (),
        target=target,
        model=model,
        recipe=Recipe(model=model, method=method, seed=seed),
    )
    experiment = climb(wanted, in_foreground)
    say_result(experiment.id, out)


@app.command()
def demo(out: Annotated[Path, typer.Option(help="Folder for the reports.")] = Path("lowest-rung-demo")) -> None:
    """Run the demo project: three tasks whose right answers differ."""
    from core.demo import load_demo, start_demo

    prepare_folder(out)
    for task, experiment in zip(load_demo().tasks, start_demo(in_foreground), strict=True):
        say_result(experiment.id, out / task.key)


app.command("train")(train_command)
app.command()(estimate)
app.command()(decide)
app.command()(index)
app.command()(search)
app.command()(check)
app.command()(compare)
app.command()(serve)
app.add_typer(key_commands, name="keys")


def _say_warnings(notes: dict[str, Any]) -> None:
    for warning in notes["warnings"][:10]:
        console.print(f"Warning: {warning['file']}, line {warning['line']}: {warning['message']} {warning['remedy']}")
    few = small_test_warning(notes["counts"]["test"])
    if few:
        console.print(f"Note: {few}")


def run() -> int:
    """Run the command line; a person's mistake becomes a message and exit status 1, never a traceback."""
    try:
        app()
    except ImportRefused as refused:
        errors.print(refused.what, style="red")
        return 1
    except UserError as error:
        errors.print(f"{error.what}\n{error.remedy}".strip(), style="red")
        return 1
    except OperationalError as error:
        errors.print(f"The records could not be used: {error.orig}", style="red")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run())
