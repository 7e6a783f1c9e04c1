"""Fine-tuning jobs as the API's clients know them: a row for each, which points at the job that does the work.

First that is the check of the files, then the training; what happens to it is told from that job's record. A row that
has its model stands on its own: the records behind it may be deleted.
"""

from __future__ import annotations

import csv
import io
import secrets
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import func, select

from core.api import file_store
from core.api.errors import ApiError
from core.api.names import public_name
from core.api.tuning_request import LARGEST_SEED, TuningRequest
from core.data.importing_job import BYTES_PER_SECOND, DEVICE
from core.jobs import queue
from core.jobs.states import ACTIVE
from core.store.database import lock, session
from core.store.tables import Adapter, FineTune, Job, Metric

Status = Literal["validating_files", "queued", "running", "pausing", "paused", "succeeded", "failed", "cancelled"]
ENDED = ("succeeded", "failed", "cancelled")
# Of the results file; accuracies are not measured here and stay empty.
COLUMNS = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")


@dataclass(frozen=True)
class Tuning:
    """A row and its job as they are at one moment; no job once its record was deleted."""

    row: FineTune
    job: Job | None

    @property
    def status(self) -> Status:
        row, job = self.row, self.job
        if row.fine_tuned_model is not None:
            return "succeeded"
        if row.error is not None:
            return "failed"
        if job is None:  # somebody deleted it in the app
            return "cancelled"
        if job.status == "stopped":
            return "cancelled" if job.stop_then == "discard" else "paused"
        if job.status in ("failed", "interrupted"):
            return "failed"
        if job.status == "running" and job.stop_requested_at is not None and job.stop_then != "keep":
            return "cancelled" if job.stop_then == "discard" else "pausing"
        if job.kind == "validate":
            return "validating_files"
        return "queued" if job.status == "queued" else "running"

    @property
    def error(self) -> dict[str, Any] | None:
        """`code`, `message` and `param` of one that failed; an interrupted one says that it can be resumed."""
        if self.status != "failed" or self.row.error is not None or self.job is None:
            return self.row.error
        code = "interrupted" if self.job.status == "interrupted" else "training_failed"
        return {"code": code, "message": f"{self.job.error} {self.job.remedy}".strip(), "param": None}

    @property
    def finished_at(self) -> float | None:
        if self.status not in ENDED:
            return None
        if self.row.finished_at is not None or self.job is None:
            return self.row.finished_at
        return self.job.finished_at


def create(request: TuningRequest, base: str) -> Tuning:
    """Begin a fine-tuning job of the base model with this id. Raises ApiError for files that there are not."""
    size = 0
    for param in ("training_file", "validation_file"):
        public_id = getattr(request, param)
        if public_id is not None:
            size += _usable(public_id, param)
    row = FineTune(
        public_id=file_store.new_id("ftjob-"),
        model=request.model,
        training_file=request.training_file,
        validation_file=request.validation_file,
        suffix=file_store.printable(request.suffix or "") or None,
        seed=secrets.randbelow(LARGEST_SEED + 1) if request.seed is None else request.seed,
        request={"hyperparameters": request.wanted.model_dump(), "metadata": request.metadata},
    )
    title = f"Check the files of {row.suffix or row.public_id}"
    spec = {"fine_tune": row.public_id, "model": base}
    expected = size / BYTES_PER_SECOND
    # The row first: any process may start the job as soon as it waits, and the job looks for its row.
    with session() as db:
        db.add(row)
    job_id = queue.submit("validate", spec, title=title, device=DEVICE, expected_s=expected, start=False)
    with session() as db:
        lock(db)
        added = db.get_one(FineTune, row.id)
        if added.job_id is None:
            added.job_id = job_id
    queue.dispatch()
    return find(row.public_id)


def find(public_id: str) -> Tuning:
    """The fine-tuning job of this id, as it is now. Raises ApiError 404 when there is none."""
    settle()
    with session(read_only=True) as db:
        query = select(FineTune, Job).outerjoin(Job, FineTune.job_id == Job.id)
        found = db.execute(query.where(FineTune.public_id == public_id)).first()
    if found is None:
        what = f"Could not find fine tune: {public_id[:64]}"
        raise ApiError(404, what, param="fine_tune_id", code="fine_tune_not_found")
    return Tuning(*found)


def all_tunings() -> list[Tuning]:
    """All of them, newest first."""
    settle()
    with session(read_only=True) as db:
        query = select(FineTune, Job).outerjoin(Job, FineTune.job_id == Job.id).order_by(FineTune.id.desc())
        return [Tuning(*found) for found in db.execute(query)]


def settle() -> None:
    """Move the queue on, and write down what the trainings that are done have made."""
    query = select(FineTune, Job).join(Job, FineTune.job_id == Job.id).where(FineTune.fine_tuned_model.is_(None))
    with session(read_only=True) as db:
        active = db.scalar(query.where(Job.status.in_(ACTIVE)).limit(1)) is not None
    if active:
        queue.dispatch()
    with session(read_only=True) as db:
        done = [Tuning(*found) for found in db.execute(query.where(Job.status == "done", Job.kind == "train"))]
    for tuning in done:
        _settle(tuning)


def cancel(public_id: str) -> Tuning:
    """End it for good; what it saved is thrown away. Raises ApiError for one that has ended."""
    tuning = find(public_id)
    if tuning.status in ENDED or tuning.job is None:
        raise _conflict(tuning, "cancelled")
    if tuning.job.status == "stopped":
        with session() as db:
            lock(db)
            db.get_one(Job, tuning.job.id).stop_then = "discard"
        queue.throw_away_discarded(tuning.job.id)
    else:
        _stop(tuning, "discard")
    return find(public_id)


def pause(public_id: str) -> Tuning:
    """Stop it, to go on later from the checkpoint it saves. Raises ApiError for one that has ended."""
    tuning = find(public_id)
    if tuning.status in ENDED:
        raise _conflict(tuning, "paused")
    _stop(tuning, "")
    return find(public_id)


def resume(public_id: str) -> Tuning:
    """Go on with one that was paused, interrupted or failed in training. Raises ApiError for all others."""
    tuning = find(public_id)
    if tuning.status == "pausing":
        raise ApiError(409, "The job is still saving its checkpoint. Please try again in a moment.", code="conflict")
    if tuning.job is None or tuning.row.error is not None or tuning.status not in ("paused", "failed"):
        raise _conflict(tuning, "resumed")
    queue.resume(tuning.job.id)
    return find(public_id)


def _stop(tuning: Tuning, then: Literal["", "discard"]) -> None:
    assert tuning.job is not None
    queue.request_stop(tuning.job.id, then)
    with session(read_only=True) as db:
        now = db.get_one(FineTune, tuning.row.id).job_id
    if now is not None and now != tuning.job.id:
        # The check of the files had ended, and the training begun.
        queue.request_stop(now, then)


def _usable(public_id: str, param: str) -> int:
    """The bytes of a file. Raises ApiError unless it is there and may be learned from."""
    found = file_store.find(public_id)
    if found is None:
        raise ApiError(
            400, f"invalid {param}: the file {public_id} does not exist.", param=param, code="file_not_found"
        )
    if found.purpose != "fine-tune":
        raise ApiError(
            400,
            f"invalid {param}: {public_id} has the purpose '{found.purpose}'; it must be 'fine-tune'.",
            param=param,
            code="invalid_file_purpose",
        )
    return found.bytes


def _conflict(tuning: Tuning, wish: str) -> ApiError:
    what = f"The job {tuning.row.public_id} cannot be {wish}: it has the status '{tuning.status}'"
    error = tuning.row.error
    return ApiError(400, f"{what} ({error['message']})" if error else f"{what}.", code="invalid_job_status")


def _settle(tuning: Tuning) -> None:
    """Note the model, the results file and the figures of a training that is done. Several may try; one does it."""
    row, job = tuning.row, tuning.job
    assert job is not None
    with session(read_only=True) as db:
        adapter = db.get(Adapter, job.result["adapter_id"])
        tokens = db.scalar(select(func.sum(Metric.value)).where(Metric.job_id == job.id, Metric.name == "tokens"))
    results = file_store.store("step_metrics.csv", "fine-tune-results", _results(job.id))
    with session() as db:
        lock(db)
        found = db.get_one(FineTune, row.id)
        first = found.fine_tuned_model is None and found.error is None
        if first and adapter is None:
            found.error = {"code": "model_deleted", "message": "The tuned model was deleted.", "param": None}
        elif first and adapter is not None:
            found.fine_tuned_model, found.result_file = public_name(adapter), results.public_id
            found.trained_tokens, found.finished_at = int(tokens or 0), job.finished_at
    if not first or adapter is None:
        file_store.delete(results)


def losses(job_id: int) -> dict[int, dict[str, float]]:
    """By step, in order: `loss` and `eval_loss` where they were measured, and the `time` of the last of them."""
    found: dict[int, dict[str, float]] = {}
    for _, step, name, value, at in queue.metrics(job_id, names=("loss", "eval_loss")):
        found.setdefault(step, {}).update({name: value, "time": at})
    return dict(sorted(found.items()))


def _results(job_id: int) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for step, values in losses(job_id).items():
        table.writerow([step, values.get("loss"), None, values.get("eval_loss"), None])
    return text.getvalue().encode()
