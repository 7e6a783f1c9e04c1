"""The managed fine-tunes there are, as screens show them; to stop following one, and to cancel it at its provider."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import partial
from typing import Any

from core.errors import UserError
from core.jobs import queue
from core.managed.calendar import Notice, model_notices
from core.managed.calls import Provider
from core.managed.providers import kind_of, training_price
from core.managed.reached import Reached
from core.managed.remote_jobs import ENDED, cancel_ours
from core.models.services import OF_SERVICE, service, services
from core.store.database import lock, session
from core.store.tables import Job

# What our own statuses are called while the provider has none yet.
BEFORE = {"queued": "waiting", "running": "preparing", "done": "succeeded"}
# A page waits for the provider's answer to a cancellation no longer than this.
CANCEL_PATIENCE_S = 5.0
NOTHING = "It was stopped before there was anything to cancel at the provider."


@dataclass(frozen=True)
class ManagedRun:
    """A managed fine-tune with its job.

    `status`: "waiting", "preparing", then the provider's own: "validating_files", "queued", "running", "paused",
    "succeeded", "failed", "cancelled". `following` says whether our job is under way; without, the provider goes on
    alone. `events` are the provider's messages, newest first: `time`, `level`, `message`. `rung_model` is the model as
    Compare knows it. `deploy_first`: it cannot be asked before it is deployed, and `rung_model` is empty until then.
    """

    job: Job
    job_id: int
    service: str
    model: str
    dataset_id: int
    remote_job_id: str | None
    status: str
    following: bool
    fine_tuned_model: str | None
    rung_model: str | None
    confirmed_usd: float | None
    cost_usd: float | None
    trained_tokens: int | None
    events: list[dict[str, Any]]
    files: dict[str, str]
    error: str
    remedy: str
    deploy_first: bool


@dataclass(frozen=True)
class TunedModel:
    """A model that a managed fine-tune made; `id` is what a rung names. `notices`: until when it can be asked.

    `usd`: what a million tokens of prompts and of answers cost, as printed; None where nothing is known.
    """

    id: str
    job_id: int
    service: str
    base_model: str
    dataset_id: int
    created_at: float
    deploy_first: bool
    notices: list[Notice]
    usd: tuple[float, float] | None


def runs() -> list[ManagedRun]:
    """All of them, newest first."""
    azure = _azure()
    return [_run(job, azure) for job in queue.jobs("managed", limit=1_000)]


def run_of(job_id: int) -> ManagedRun:
    """Raises UserError when there is no such job."""
    return _run(queue.get(job_id), _azure())


def stop_following(job_id: int) -> None:
    """Let the provider go on alone; `queue.resume` follows it again."""
    queue.request_stop(job_id)


def can_cancel(run: ManagedRun) -> bool:
    """Whether there is anything to cancel: work of ours that is under way, or a job there that may not have ended."""
    notes = run.job.notes
    there = notes.get("remote_job_id") is not None or notes.get("perhaps_created")
    return run.following or (bool(there) and notes.get("remote_status") not in ENDED)


def cancel(job_id: int) -> str:
    """Cancel a fine-tune at its provider, and say what came of it. Raises UserError when the provider refuses.

    A job that follows does it itself, at its next step; without one the provider is asked from here.
    """
    run = run_of(job_id)
    if run.following:
        queue.request_stop(job_id, "discard")
        if queue.get(job_id).status in queue.ACTIVE:
            return f"It is being cancelled at {run.service}."
    reached = Reached(run.job.spec["key"], partial(_note, job_id))
    if reached["remote_status"] in ENDED:
        return f"It had ended at {run.service} already: {reached['remote_status']}."
    if not reached["remote_job_id"] and not reached["perhaps_created"]:
        return NOTHING
    status = cancel_ours(Provider(service(run.service)), reached, run.job.spec, patience_s=CANCEL_PATIENCE_S)
    if not status:
        return f"{run.service} lists no job of this fine-tune that could be cancelled."
    return f"At {run.service} it is {status}."


def models() -> list[TunedModel]:
    """Every model that was made at a service that is still saved, newest first."""
    saved, azure, today = {each.name: each for each in services()}, _azure(), dt.date.today()
    found = []
    for job in queue.jobs("managed", limit=1_000):
        run = _run(job, azure)
        if job.status != "done" or run.fine_tuned_model is None or run.service not in saved:
            continue
        asked = saved[run.service]
        price = training_price(asked, run.model)
        per_token = price.token_price if price else None
        found.append(
            TunedModel(
                id=run.rung_model or f"{OF_SERVICE}{run.service}/{run.fine_tuned_model}",
                job_id=job.id,
                service=run.service,
                base_model=run.model,
                dataset_id=run.dataset_id,
                created_at=job.finished_at or job.created_at,
                deploy_first=run.deploy_first,
                notices=model_notices(run.model, today) if kind_of(asked) == "openai" else [],
                usd=(per_token.input, per_token.output) if per_token else None,
            )
        )
    return found


def name_deployment(job_id: int, deployment: str) -> None:
    """Under which name an Azure model was deployed: by that it is asked. Raises UserError for an empty name."""
    if not deployment.strip() or "/" in deployment:
        raise UserError("That is no name of a deployment.", "Copy it from Azure's portal.")
    _note(job_id, deployment=deployment.strip())


def _run(job: Job, azure: set[str]) -> ManagedRun:
    spec, notes = job.spec, job.notes
    model = notes.get("fine_tuned_model")
    asked_as = notes.get("deployment") or (None if spec["service"] in azure else model)
    files = {name: notes[name] for name in ("file_id", "validation_file_id") if notes.get(name)}
    return ManagedRun(
        job=job,
        job_id=job.id,
        service=spec["service"],
        model=spec["model"],
        dataset_id=spec["dataset_id"],
        remote_job_id=notes.get("remote_job_id"),
        status=notes.get("remote_status") or BEFORE.get(job.status, job.status),
        following=job.status in queue.ACTIVE,
        fine_tuned_model=model,
        rung_model=f"{OF_SERVICE}{spec['service']}/{asked_as}" if asked_as else None,
        confirmed_usd=spec["confirmed_usd"],
        cost_usd=notes.get("cost_usd"),
        trained_tokens=notes.get("trained_tokens"),
        events=notes.get("remote_events", []),
        files=files,
        error=job.error,
        remedy=job.remedy,
        deploy_first=spec["service"] in azure and not notes.get("deployment"),
    )


def _azure() -> set[str]:
    """Names of the services at which a model must be deployed before it can be asked."""
    return {each.name for each in services() if kind_of(each) == "azure"}


def _note(job_id: int, **fields: Any) -> None:
    """Add to the notes of a job that does not run; one that does writes its own."""
    with session() as db:
        lock(db)
        job = db.get_one(Job, job_id)
        job.notes = job.notes | fields
