"""`python -m core estimate`: what the Train page says before a start, for a terminal or a program."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from core.data.dataset import datasets
from core.data.files import File
from core.data.reading import detect, read
from core.errors import UserError
from core.forecast.lengths import Counted, counted, counted_examples
from core.forecast.training import Forecast, forecast_of, passage_tokens
from core.models.access import ModelFacts, describe
from core.terminal import console, read_bytes
from core.train.estimate import refuse
from core.train.recipe_file import RecipeFile, read_recipe


def estimate(
    recipe: Annotated[Path, typer.Argument(help="A recipe as the Train page exports it (YAML).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")] = False,
) -> None:
    """Say what a training will take here and on common GPUs: memory by part, time and cost. Nothing is run."""
    file = read_recipe(read_bytes(recipe).decode("utf-8", "replace"), recipe.name)
    facts = describe(file.model)
    found = forecast_of(file.recipe, _counted(file, recipe.parent, facts), facts)
    refused = _refused(file, found)
    if as_json:
        # In ASCII: a pipe may have any encoding.
        sys.stdout.write(json.dumps(found.as_dict() | {"refused": refused}, indent=1) + "\n")
    else:
        _print(found, refused)


def _refused(file: RecipeFile, found: Forecast) -> str | None:
    """Why it cannot be run here at all, or None."""
    try:
        refuse(file.recipe, found.facts, found.counted.examples, found.device)
    except UserError as error:
        return str(error)
    return None


def _counted(file: RecipeFile, folder: Path, facts: ModelFacts) -> Counted:
    """Lengths of what the recipe learns from; a file is read, and nothing of it is stored."""
    added = passage_tokens(file.recipe, file.data.index)
    if file.data.train is not None:
        path = folder / file.data.train
        given = File(path.name, read_bytes(path))
        reads = read(given, detect(given).reading)
        return counted_examples((example for step in reads for example in step.examples), facts, added)
    known = [dataset.id for dataset in datasets()]
    if file.data.dataset not in known:
        listed = ", ".join(map(str, known)) or "none"
        raise UserError(
            "The recipe names no data set of this home.",
            f"Set `data: {{train: FILE}}`, or `data: {{dataset: NUMBER}}` with one of: {listed}.",
        )
    return counted(file.data.dataset, facts, added)


def _print(found: Forecast, refused: str | None) -> None:
    here, lengths = found.estimate, found.counted.lengths
    how = "counted" if found.counted.exact else "told from the size of the texts"
    console.print(f"{found.facts.id}, licence {found.facts.license or 'not stated'}", style="bold")
    mean, longest = sum(lengths) / max(1, len(lengths)), max(lengths, default=0)
    console.print(
        f"{found.counted.examples:,} training examples of {mean:,.0f} tokens on average, {longest:,} at most ({how}): "
        f"{here.tokens:,} tokens in {here.steps:,} steps."
    )
    if here.memory is None:
        console.print(here.unknown)
    else:
        parts = ", ".join(f"{part} {gb:.2f}" for part, gb in vars(here.memory).items() if gb >= 0.005)
        console.print(f"Memory: {here.memory.total:.2f} GB ({parts})")
        verdict = "fits" if here.fits else "does not fit"
        console.print(
            f"On {found.device.title} it {verdict}: {found.device.memory_gb:.1f} GB, {here.available_gb:.1f} free."
        )
    if here.seconds is not None:
        how = "as fast as the last run of its kind here" if found.measured else "told from the device's speed"
        console.print(f"Time here: {_duration(here.seconds)} ({how})")
    for advice in here.advice:
        console.print(f"- {advice}")
    if refused:
        console.print(f"Refused here: {refused}", style="red")
    table = Table(title="On rented GPUs")
    for heading in ("GPU", "GB", "needs GB", "fits", "time", "USD"):
        table.add_column(heading, justify="left" if heading == "GPU" else "right")
    for row in found.table:
        if row.needed_gb is None or row.hours is None or row.usd is None:
            table.add_row(row.title, f"{row.memory_gb:g}", "?", "?", "?", "?")
            continue
        fits = "yes" if row.fits else "no"
        time = _duration(3600 * row.hours)
        table.add_row(
            row.title,
            f"{row.memory_gb:g}",
            f"{row.needed_gb:.1f}",
            fits,
            time,
            f"{row.usd:.2f}" if row.usd >= 0.01 else "< 0.01",
        )
    console.print(table)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
