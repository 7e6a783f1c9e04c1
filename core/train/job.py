"""The job that trains an adapter."""

from __future__ import annotations

import shutil
from typing import Any

from sqlalchemy import delete, select

from core.data.dataset import examples_of
from core.jobs.context import JobContext, Stopped
from core.settings import get_settings
from core.store.database import session
from core.store.tables import Adapter, Metric
from core.train.recipe import Recipe
from core.train.trainer import newest_checkpoint, step_of, train


def run(context: JobContext) -> dict[str, Any]:
    """Spec: `dataset_id`, `recipe`, `name`. A stopped or killed run goes on from its last checkpoint."""
    recipe = Recipe.model_validate(context.spec["recipe"])
    dataset_id = context.spec["dataset_id"]
    learn = [example for _, example in examples_of(dataset_id, "train")]
    held_out = [example for _, example in examples_of(dataset_id, "validation")]
    _forget_lost_steps(context)
    result = train(recipe, learn, held_out, context.folder, context)
    if result.stopped:
        raise Stopped
    home = get_settings().home
    kept = home / "adapters" / str(context.job_id)
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(kept, ignore_errors=True)
    result.adapter.replace(kept)
    for checkpoint in context.folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint, ignore_errors=True)
    with session() as db:
        adapter = Adapter(
            name=context.spec["name"],
            job_id=context.job_id,
            dataset_id=dataset_id,
            base_model=recipe.model,
            method=recipe.method,
            recipe=recipe.model_dump(),
            path=kept.relative_to(home).as_posix(),
            eval_loss=result.eval_loss,
        )
        db.add(adapter)
        db.flush()
        found = {"adapter_id": adapter.id, "train_loss": result.train_loss, "eval_loss": result.eval_loss}
    return found | {"steps": result.steps, "seconds": result.seconds}


def adapter_of_job(job_id: int) -> Adapter | None:
    """The adapter a training job produced, if it has."""
    with session(read_only=True) as db:
        return db.scalar(select(Adapter).where(Adapter.job_id == job_id).order_by(Adapter.id.desc()))


def _forget_lost_steps(context: JobContext) -> None:
    """Drop what was recorded after the checkpoint we go on from: those steps are taken again."""
    checkpoint = newest_checkpoint(context.folder)
    step = step_of(checkpoint) if checkpoint else -1
    with session() as db:
        db.execute(delete(Metric).where(Metric.job_id == context.job_id, Metric.step > step))
