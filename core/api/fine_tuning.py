"""The routes of fine-tuning jobs. Each is a training job of this machine: its queue, its charts, its safety."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from core.api import tunings
from core.api.doors import Caller
from core.api.errors import ApiError
from core.api.lists import ListOf, page
from core.api.models import Models, base_of
from core.api.tuning_events import checkpoints, events
from core.api.tuning_request import TuningRequest
from core.api.tunings import Status, Tuning
from core.jobs import queue
from core.settings import get_settings

MOST_LISTED = 1_000
BY_METADATA = re.compile(r"metadata\[(.+)\]")

After = Annotated[str | None, Query(description="The last item of the page before.")]
Limit = Annotated[int, Query(ge=1, le=MOST_LISTED)]

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["fine-tuning"])


class TuningJob(FineTuningJob):
    """The package's type knows no status of a job that is paused, which the API's reference has."""

    status: Status  # type: ignore[assignment]


@router.post("")
def create_job(body: TuningRequest, caller: Caller, request: Request) -> TuningJob:
    """Check the files, then queue the training."""
    return _shown(tunings.create(body, _base(request.app.state.models, body.model)))


@router.get("")
def list_jobs(caller: Caller, request: Request, after: After = None, limit: Limit = 20) -> ListOf[TuningJob]:
    """The jobs created through the API, newest first; `metadata[KEY]=VALUE` keeps those that carry it."""
    query = request.query_params
    found = [tuning for tuning in tunings.all_tunings() if _matches(tuning.row.request.get("metadata"), query)]
    return page(found, [tuning.row.public_id for tuning in found], _shown, after=after, limit=limit)


@router.get("/{fine_tuning_job_id}")
def retrieve_job(fine_tuning_job_id: str, caller: Caller) -> TuningJob:
    return _shown(tunings.find(fine_tuning_job_id))


@router.post("/{fine_tuning_job_id}/cancel")
def cancel_job(fine_tuning_job_id: str, caller: Caller) -> TuningJob:
    """End the job; what it has learned is thrown away."""
    return _shown(tunings.cancel(fine_tuning_job_id))


@router.post("/{fine_tuning_job_id}/pause")
def pause_job(fine_tuning_job_id: str, caller: Caller) -> TuningJob:
    """Stop the job at its next step, with a checkpoint to go on from."""
    return _shown(tunings.pause(fine_tuning_job_id))


@router.post("/{fine_tuning_job_id}/resume")
def resume_job(fine_tuning_job_id: str, caller: Caller) -> TuningJob:
    """Go on with a job that was paused, or interrupted by a crash."""
    return _shown(tunings.resume(fine_tuning_job_id))


@router.get("/{fine_tuning_job_id}/events")
def list_events(
    fine_tuning_job_id: str, caller: Caller, after: After = None, limit: Limit = 20
) -> ListOf[FineTuningJobEvent]:
    """What has happened to the job, newest first."""
    found = events(tunings.find(fine_tuning_job_id))
    return page(found, [event.id for event in found], lambda found: found, after=after, limit=limit)


@router.get("/{fine_tuning_job_id}/checkpoints")
def list_checkpoints(
    fine_tuning_job_id: str, caller: Caller, after: After = None, limit: Limit = 10
) -> ListOf[FineTuningJobCheckpoint]:
    """The checkpoints that can be asked like models, last step first."""
    found = checkpoints(tunings.find(fine_tuning_job_id))
    return page(found, [checkpoint.id for checkpoint in found], lambda found: found, after=after, limit=limit)


def _base(models: Models, name: str) -> str:
    """The id within the product of a base model that may be trained. Raises ApiError for all others."""
    base = base_of(name)
    if base is None:
        found = models.named(name)
        if found.folder is not None:
            raise ApiError(
                400,
                f"{found.name} is fine-tuned already. Training starts from a base model here: {found.base}.",
                param="model",
                code="model_not_available",
            )
        base = found.base
    return base


def _matches(metadata: Mapping[str, str] | None, query: Mapping[str, str]) -> bool:
    wanted = {match[1]: value for name, value in query.items() if (match := BY_METADATA.fullmatch(name))}
    if not wanted:
        return query.get("metadata") != "null" or not metadata
    return all((metadata or {}).get(key) == value for key, value in wanted.items())


def _shown(tuning: Tuning) -> TuningJob:
    row, job = tuning.row, tuning.job
    hyperparameters: dict[str, Any] = row.request.get("chosen") or row.request["hyperparameters"]
    left = queue.time_left(job) if job is not None and tuning.status == "running" else None
    finished = tuning.finished_at
    return TuningJob.model_validate(
        {
            "id": row.public_id,
            "object": "fine_tuning.job",
            "created_at": int(row.created_at),
            "error": tuning.error,
            "fine_tuned_model": row.fine_tuned_model,
            "finished_at": None if finished is None else int(finished),
            "hyperparameters": hyperparameters,
            "model": row.model,
            "organization_id": get_settings().organization,
            "result_files": [row.result_file] if row.result_file else [],
            "seed": row.seed,
            "status": tuning.status,
            "trained_tokens": row.trained_tokens,
            "training_file": row.training_file,
            "validation_file": row.validation_file,
            "estimated_finish": None if left is None else int(time.time() + left),
            "integrations": [],
            "metadata": row.request.get("metadata"),
            "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
            # Beyond the reference, as the API itself gives it.
            "user_provided_suffix": row.suffix,
        }
    )
