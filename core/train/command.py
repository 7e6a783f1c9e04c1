"""`python -m core train`: one run from a recipe file, in the foreground; the app shows it like any other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select

from core.errors import UserError
from core.jobs import queue
from core.settings import get_settings
from core.sources import Sources, dataset_of, index_of
from core.store.database import session
from core.store.tables import Adapter, Document
from core.terminal import console, in_foreground, prepare_folder, read_bytes
from core.train.recipe_file import RecipeFile, read_recipe, write_recipe


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe as the Train page exports it (YAML).")],
    out: Annotated[Path, typer.Option(help="Folder for the adapter, its model card and the measurements.")] = Path(
        "lowest-rung-adapter"
    ),
    forgetting: Annotated[
        bool, typer.Option("--forgetting", help="Ask general questions before and after: what was forgotten?")
    ] = False,
) -> None:
    """Train an adapter as a recipe says. Killed or stopped, it is resumed on the Jobs page."""
    prepare_folder(out)
    file = read_recipe(read_bytes(recipe).decode("utf-8", "replace"), recipe.name)
    dataset = dataset_of(file.data, recipe.parent, file.seed, "recipe")
    spec = {"dataset_id": dataset.id, "recipe": file.recipe.model_dump(), "name": file.data.name or dataset.name}
    if file.passages is not None:
        spec["index_id"] = _index(file.data, recipe.parent)
    job_id = in_foreground("train", spec, f"Train: {spec['name']}")
    job = queue.get(job_id)
    for check in job.notes.get("preflight", []):
        console.print(f"{check['state']:>4}  {check['title']}: {check['detail']}")
    for event in job.notes.get("events", []):
        console.print(f"Step {event['step']}: {event['text']}")
    with session(read_only=True) as db:
        adapter = db.get_one(Adapter, job.result["adapter_id"])
    if forgetting:
        in_foreground("forgetting", {"adapter_id": adapter.id}, f"Forgetting check: {spec['name']}")
        with session(read_only=True) as db:
            adapter = db.get_one(Adapter, adapter.id)
        console.print(adapter.notes["forgetting"]["text"])
    used = RecipeFile.of(
        file.recipe, dataset=dataset.id, name=spec["name"], hash=dataset.hash, index=spec.get("index_id")
    )
    _write(out, adapter, used, job_id)
    loss = "" if adapter.eval_loss is None else f", evaluation loss {adapter.eval_loss:.4f} nats per answer token"
    console.print(f"Adapter {adapter.id} of step {adapter.notes['step']}{loss}. Written: {out}", style="bold")


def _index(named: Sources, folder: Path) -> int:
    """The index that a recipe's passages come from, built if it has not been. Raises UserError when it names none."""
    index_id = index_of(named, folder)
    if index_id is None:
        raise UserError(
            "The recipe shows passages, and names no index of this home.",
            "Set `data: {documents: FOLDER}`, or `data: {index: NUMBER}`.",
        )
    with session(read_only=True) as db:
        waits = db.scalar(select(Document.id).where(Document.index_id == index_id, Document.chunk_count == 0).limit(1))
    if waits is not None:
        in_foreground("index", {"index_id": index_id}, "Index")
    return index_id


def _write(out: Path, adapter: Adapter, recipe: RecipeFile, job_id: int) -> None:
    """The adapter's files, the recipe it was made by, and every measurement as a line of JSON."""
    shutil.copytree(get_settings().home / adapter.path, out, dirs_exist_ok=True)
    (out / "recipe.yaml").write_text(write_recipe(recipe), encoding="utf-8")
    with (out / "measurements.jsonl").open("w", encoding="utf-8") as lines:
        for _, step, name, value, at in queue.metrics(job_id):
            lines.write(json.dumps({"step": step, "name": name, "value": value, "time": at}) + "\n")
