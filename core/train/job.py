"""The job that trains, and what it leaves behind."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError

from core.data.dataset import examples_of
from core.data.example import Example
from core.errors import UserError
from core.jobs.context import JobContext, Stopped
from core.models.package import public_config
from core.models.prompt import Passage
from core.settings import get_settings
from core.store.database import session
from core.store.tables import Adapter, Dataset, Metric
from core.train import samples
from core.train.checkpoints import (
    copy_result,
    eval_loss_of,
    keep_weights,
    newest_checkpoint,
    remove_checkpoints,
    step_of,
    train_loss_of,
)
from core.train.recipe import Recipe
from core.train.recorder import Recorder, add_event
from core.train.samples import Question
from core.train.trainer import train


class JobRecorder:
    """A job's context as the trainer knows it, with the table of sample answers behind it."""

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self.progress = context.progress
        self.metric = context.metric
        self.note = context.note
        self.stop_requested = context.stop_requested

    @property
    def notes(self) -> dict[str, Any]:
        return self._context.notes

    @property
    def stop_then(self) -> str:
        return self._context.stop_then

    def sample(self, step: int, questions: list[Question], answers: list[str]) -> None:
        try:
            samples.store(self._context.job_id, step, samples.answered(questions, answers))
        except SQLAlchemyError as error:
            # Answers to read along are worth less than the run.
            self._context.log(f"The sample answers of step {step} could not be recorded: {error.__cause__ or error}.")


def run(context: JobContext) -> dict[str, Any]:
    """Spec: `dataset_id`, `recipe`, `name`, and `index_id` for a recipe with passages.

    A stopped or killed run goes on from its last checkpoint. One that is stopped to be kept ends as done. With
    `keep_checkpoints` the weights of the last two stay beside the result.
    """
    # Written once the adapter is safe: whatever kills the process from there on, nothing is trained again.
    kept = context.folder / "result.json"
    if not kept.is_file():
        _write_whole(kept, json.dumps(_train(context)))
    if context.spec.get("keep_checkpoints"):
        keep_weights(context.folder)
    else:
        remove_checkpoints(context.folder)
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def _train(context: JobContext) -> dict[str, Any]:
    """Train, and keep the best as an adapter. Raises Stopped when the run shall not end as done."""
    recorder: Recorder = JobRecorder(context)
    work = work_of(context)
    _forget_lost_steps(context, recorder)
    result = train(work.recipe, work.train, work.validation, context.folder, recorder, passages=work.passages)
    if context.stop_then == "discard" or (result.stopped and context.stop_then != "keep"):
        raise Stopped
    if result.stopped or result.stopped_early:
        why = "as you asked" if result.stopped else "since the validation loss had stopped falling"
        add_event(recorder, result.steps, f"Ended at step {result.steps}, {why}.")
    adapter = store_adapter(context.job_id, context.spec, result.best, figures(context.notes, result.steps))
    return {
        "adapter_id": adapter.id,
        "train_loss": result.train_loss,
        "eval_loss": result.eval_loss,
        "best_step": result.best_step,
        "steps": result.steps,
        "seconds": result.seconds,
        "stopped_early": result.stopped_early,
    }


def store_adapter(job_id: int, spec: dict[str, Any], checkpoint: Path, figures: dict[str, Any]) -> Adapter:
    """Keep a checkpoint's weights as an adapter: a folder, a model card in it, and a row. `figures` join its notes.

    A run that was kept, resumed and kept again leaves two adapters, since a comparison may rest on the first; of the
    same step there is one.
    """
    from core.train.card import model_card

    recipe, step = Recipe.model_validate(spec["recipe"]), step_of(checkpoint)
    home = get_settings().home
    with session(read_only=True) as db:
        earlier = list(db.scalars(select(Adapter).where(Adapter.job_id == job_id)))
    adapter = next((found for found in earlier if found.notes.get("step") == step and not found.deleted_at), None)
    if adapter is None:
        number = f"{job_id}-{len(earlier) + 1}" if earlier else f"{job_id}"
        adapter = Adapter(name=spec["name"], job_id=job_id, path=f"adapters/{number}", method=recipe.method)
    copy_result(checkpoint, home / adapter.path)
    config = home / adapter.path / "adapter_config.json"
    if config.is_file():
        config.write_text(public_config(config, recipe.model), encoding="utf-8")
    with session() as db:
        dataset = db.get(Dataset, spec["dataset_id"])
        adapter.dataset_id = dataset.id if dataset else None
        adapter.base_model, adapter.recipe = recipe.model, recipe.model_dump()
        adapter.eval_loss = eval_loss_of(checkpoint)
        adapter.notes = {
            "step": step,
            "train_loss": train_loss_of(checkpoint),
            "data_hash": dataset.hash if dataset else "",
            "data_name": dataset.name if dataset else "",
        } | figures
        adapter = db.merge(adapter)
    (home / adapter.path / "README.md").write_text(model_card(adapter), encoding="utf-8")
    return adapter


def adapter_of_job(job_id: int) -> Adapter | None:
    """The adapter a training job produced, if it has and it was not deleted."""
    wanted = select(Adapter).where(Adapter.job_id == job_id, Adapter.deleted_at.is_(None))
    with session(read_only=True) as db:
        return db.scalar(wanted.order_by(Adapter.id.desc()))


@dataclass(frozen=True)
class Work:
    """What a training job's spec stands for: the recipe, the examples, and the passages beside them if it has any."""

    recipe: Recipe
    train: list[Example]
    validation: list[Example]
    passages: tuple[list[list[Passage]], list[list[Passage]]] | None = None


def work_of(context: JobContext) -> Work:
    """Raises UserError when the data set is gone, or the passages' index is missing."""
    from core.train.passages import passages_for

    recipe, dataset_id = Recipe.model_validate(context.spec["recipe"]), context.spec["dataset_id"]
    with session(read_only=True) as db:
        dataset = db.get(Dataset, dataset_id)
    if dataset is None or dataset.importing_at is not None:
        raise UserError("The data set of this run was deleted.", "Import it again, and start a new run on it.")
    learned, held_out = (
        [example for _, example in examples_of(dataset_id, split)] for split in ("train", "validation")
    )
    if recipe.passages is None:
        return Work(recipe, learned, held_out)
    if context.spec.get("index_id") is None:
        raise UserError("The recipe shows passages, but names no index.", "Choose the index they come from.")
    # Found once: the index may have changed when a run is resumed, and it would learn something else.
    kept = context.folder / "passages.json"
    if not kept.is_file():
        wanted = (context.spec["index_id"], recipe.passages, recipe.seed, context.progress)
        found = passages_for([*learned, *held_out], *wanted)
        _write_whole(kept, json.dumps([[asdict(passage) for passage in shown] for shown in found]))
    beside = [[Passage(**passage) for passage in shown] for shown in json.loads(kept.read_text(encoding="utf-8"))]
    return Work(recipe, learned, held_out, (beside[: len(learned)], beside[len(learned) :]))


def _write_whole(path: Path, text: str) -> None:
    """A file that is there whole or not at all."""
    scratch = path.with_suffix(".writing")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


def _forget_lost_steps(context: JobContext, recorder: Recorder) -> None:
    """Drop what was recorded after the checkpoint we go on from: those steps are taken again."""
    checkpoint = newest_checkpoint(context.folder)
    step = step_of(checkpoint) if checkpoint else -1
    with session() as db:
        db.execute(delete(Metric).where(Metric.job_id == context.job_id, Metric.step > step))
    samples.forget_after(context.job_id, step)
    if checkpoint:
        add_event(recorder, step, f"Resumed from the checkpoint of step {step}.")


def figures(notes: dict[str, Any], steps: int) -> dict[str, Any]:
    """What the adapter's notes say of its run, from the job's notes and the steps it took in the end."""
    checks = {check["name"]: check["data"] for check in notes.get("preflight", [])}
    return {
        "steps": steps,
        "seconds": notes.get("seconds"),
        "license": checks.get("model", {}).get("license", ""),
        "train_examples": checks.get("supervision", {}).get("examples"),
        "learned_tokens": checks.get("supervision", {}).get("learned_tokens"),
        "memory_gb": notes.get("measured", {}).get("memory_gb"),
    }
