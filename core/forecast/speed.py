"""How fast trainings were on this machine: the best forecast of the next one."""

from __future__ import annotations

from sqlalchemy import func, select

from core.store.database import session
from core.store.tables import Job, Metric
from core.train.recipe import Recipe

# So many runs are looked back at; older ones had other libraries.
LOOKED_BACK = 200
KINDS = ("train", "preflight")


def tokens_per_s(recipe: Recipe, device: str) -> float | None:
    """Tokens a second, without padding, of the last run of this model and method on `device`; None without one.

    Of a training it is the mean over its steps, of a pre-flight that of the longest batch.
    """
    with session(read_only=True) as db:
        for job in _runs(device):
            if not _alike(job, recipe):
                continue
            steps = select(func.avg(Metric.value)).where(Metric.job_id == job.id, Metric.name == "tokens_per_s")
            mean = db.scalar(steps)
            if mean:
                return float(mean)
            for check in job.notes.get("preflight", []):
                if check["name"] == "step" and check["data"].get("seconds"):
                    return float(check["data"]["tokens"] / check["data"]["seconds"])
    return None


def seconds_per_step(recipe: Recipe, device: str) -> float | None:
    """Seconds of one step of the optimiser: of the last run of this model and method, else of the last of any.

    Steps of other batches are taken to last as much longer as they have more examples.
    """
    runs = [(job, seconds) for job in _runs(device) if (seconds := _seconds_per_step(job))]
    if not runs:
        return None
    job, seconds = next((run for run in runs if _alike(run[0], recipe)), runs[0])
    was = Recipe.model_validate(job.spec["recipe"])
    return seconds * recipe.batch_size * recipe.accumulation / (was.batch_size * was.accumulation)


def _runs(device: str) -> list[Job]:
    query = select(Job).where(Job.kind.in_(KINDS), Job.device == device).order_by(Job.id.desc()).limit(LOOKED_BACK)
    with session(read_only=True) as db:
        return list(db.scalars(query))


def _alike(job: Job, recipe: Recipe) -> bool:
    was = job.spec["recipe"]
    return bool(was.get("model") == recipe.model and was.get("method", "lora") == recipe.method)


def _seconds_per_step(job: Job) -> float | None:
    """Of a whole run what it took, evaluations and all; else what its pre-flight measured."""
    if job.status == "done" and job.result.get("steps"):
        return float(job.result["seconds"] / job.result["steps"])
    found = job.notes.get("measured", {}).get("seconds_per_step")
    return None if found is None else float(found)
