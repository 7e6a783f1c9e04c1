"""Jobs at a provider: what they say of themselves, which one is ours, and how one is cancelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.errors import UserError
from core.jobs import queue
from core.managed.calls import Provider, Refused, behind, is_thing, no_list
from core.managed.reached import Reached

MARK = "lowest_rung"
ENDED_BADLY = ("failed", "cancelled")
ENDED = ("succeeded", *ENDED_BADLY)
AUTO = "auto"
HYPERPARAMETERS = ("n_epochs", "batch_size", "learning_rate_multiplier")


def status_of(job: Any) -> str:
    """In OpenAI's words; some write it "canceled"."""
    return "cancelled" if job.status == "canceled" else str(job.status)


def hyperparameters_of(job: Any) -> dict[str, Any]:
    """Where the API had them first, else where it has them now; what is neither a number nor "auto" is left out."""
    supervised = getattr(getattr(job, "method", None), "supervised", None)
    found: dict[str, Any] = {}
    for place in (job.hyperparameters, getattr(supervised, "hyperparameters", None)):
        for name in HYPERPARAMETERS:
            value = getattr(place, name, None)
            if value == AUTO or (isinstance(value, int | float) and not isinstance(value, bool) and value > 0):
                found.setdefault(name, value)
    return found


def all_jobs(provider: Provider, reached: Reached, *, patience_s: float | None = None) -> list[Any]:
    """All jobs there; none where it keeps no list. Raises UserError when one may have been made unseen."""
    try:
        return list(
            provider.all(lambda client, after: client.fine_tuning.jobs.list(**behind(after)), patience_s=patience_s)
        )
    except Refused as refused:
        if not no_list(refused):
            raise
        if reached["perhaps_created"]:
            raise UserError(
                f"{provider.name} may have created the job before the connection failed, and has no list of "
                "jobs to look it up in.",
                "Look there. If there is none, start the fine-tune anew with another seed.",
            ) from refused
        return []


def created_before(
    provider: Provider, reached: Reached, spec: Mapping[str, Any], *, patience_s: float | None = None
) -> Any | None:
    """The job of this content that is there already, and has not ended badly.

    By its mark; without one, it is a job on our file that was not there before we asked for one, and that no other
    fine-tune of ours has for its own.
    """
    passed = set(reached["jobs_before"] or [])
    if reached["perhaps_created"]:
        others = (job for job in queue.jobs("managed", limit=10_000) if job.spec["key"] != spec["key"])
        passed.update(job.notes.get("remote_job_id") for job in others)
    for job in all_jobs(provider, reached, patience_s=patience_s):
        if status_of(job) in ENDED_BADLY:
            continue
        marks = job.metadata if isinstance(job.metadata, dict) else {}
        if marks.get(MARK) == spec["key"]:
            return job
        ours = job.training_file == reached["file_id"] and MARK not in marks
        if ours and reached["perhaps_created"] and job.id not in passed:
            return job
    return None


def looked_at(provider: Provider, remote_job_id: str) -> Any:
    """The job there, as it is now. Raises UserError."""
    try:
        return provider.ask(lambda client: client.fine_tuning.jobs.retrieve(remote_job_id), is_thing("status"))
    except Refused as refused:
        if refused.status != 404:
            raise
        raise Refused(
            f"The job {remote_job_id} is gone at {provider.name}. {refused.what}",
            "Check that the key is of the project it was made in, and resume this one. If it was deleted there, start "
            "the fine-tune anew with another seed.",
            refused.status,
            refused.code,
        ) from refused


def cancel_ours(
    provider: Provider, reached: Reached, spec: Mapping[str, Any], *, patience_s: float | None = None
) -> str:
    """Cancel the job there, also one that may have been created unheard; the status it has then.

    Empty where there is none. Raises UserError.
    """
    if not reached["remote_job_id"] and reached["perhaps_created"]:
        found = created_before(provider, reached, spec, patience_s=patience_s)
        if found is not None:
            reached.note(remote_job_id=found.id, remote_status=status_of(found))
    if not reached["remote_job_id"]:
        return ""
    status = cancel_remote(provider, reached["remote_job_id"], patience_s=patience_s)
    reached.note(remote_status=status)
    return status


def cancel_remote(provider: Provider, remote_job_id: str, *, patience_s: float | None = None) -> str:
    """Cancel a job there; the status it has then, which may be that it had ended before. Raises UserError."""
    jobs = provider.client.fine_tuning.jobs
    try:
        job = provider.ask(lambda _: jobs.cancel(remote_job_id), is_thing("status"), patience_s=patience_s)
    except Refused as refused:
        if refused.status not in (400, 404, 409, 422):
            raise
        # It has ended already, or is gone.
        if refused.status == 404:
            return "cancelled"
        job = provider.ask(lambda _: jobs.retrieve(remote_job_id), is_thing("status"), patience_s=patience_s)
    return status_of(job)
