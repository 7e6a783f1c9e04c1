"""What has happened to a fine-tuning job, and the checkpoints it left: told from its records whenever asked for.

Nothing is written for it, so an event's id is made of what it is about, and stays the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

from openai.types.fine_tuning import FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from core.api.names import checkpoint_name
from core.api.tunings import Tuning, losses
from core.jobs import queue
from core.store.tables import Job

Level = Literal["info", "warn", "error"]


def events(tuning: Tuning) -> list[FineTuningJobEvent]:
    """All events, newest first."""
    told = list(enumerate(_told(tuning)))
    told.sort(key=lambda pair: (pair[1]["created_at"], pair[0]), reverse=True)
    return [FineTuningJobEvent.model_validate(event | {"created_at": int(event["created_at"])}) for _, event in told]


def checkpoints(tuning: Tuning) -> list[FineTuningJobCheckpoint]:
    """The checkpoints that can be asked, last step first: those a training that is done has kept."""
    job = tuning.job
    if tuning.status != "succeeded" or job is None:
        return []
    measured = losses(job.id)
    folders = {int(folder.name.rpartition("-")[2]): folder for folder in queue.folder(job.id).glob("checkpoint-*")}
    return [
        FineTuningJobCheckpoint.model_validate(
            {
                "id": f"ftckpt_{_own(tuning)}-{step}",
                "object": "fine_tuning.job.checkpoint",
                "created_at": int(measured.get(step, {}).get("time", folder.stat().st_mtime)),
                "fine_tuned_model_checkpoint": checkpoint_name(job, step),
                "fine_tuning_job_id": tuning.row.public_id,
                "step_number": step,
                "metrics": {"step": step} | _metrics(measured.get(step, {})),
            }
        )
        for step, folder in sorted(folders.items(), reverse=True)
    ]


def _told(tuning: Tuning) -> Iterator[dict[str, Any]]:
    """As plain values, in the order in which things of the same moment happened."""
    row, job = tuning.row, tuning.job

    def event(key: str, at: float, message: str, level: Level = "info", **more: Any) -> dict[str, Any]:
        return {
            "id": f"ftevent-{_own(tuning)}-{key}",
            "object": "fine_tuning.job.event",
            "created_at": at,
            "level": level,
            "message": message,
            "type": "message",
            "data": {},
        } | more

    yield event("created", row.created_at, f"Created fine-tuning job: {row.public_id}")
    files = " and ".join(file for file in (row.training_file, row.validation_file) if file)
    yield event("validating", row.created_at, f"Validating training file: {files}")
    if job is not None and job.kind == "train":
        yield event("queued", job.created_at, "Files validated, moving job to queued state")
        if job.started_at is not None:
            begun = "Fine-tuning job started" if not _resumed(job) else "Fine-tuning job resumed"
            # A resumed job has forgotten when it first started.
            yield event(f"started-{int(job.started_at)}", job.started_at, begun)
        for number, mark in enumerate(job.notes.get("events", [])):
            yield event(f"mark-{number}", mark["time"], mark["text"], data={"step": mark["step"]})
        for step, values in losses(job.id).items():
            if message := _sentence(step, int(job.total), values):
                data = {"step": step, "total_steps": int(job.total)} | _metrics(values)
                yield event(f"metrics-{step}", values["time"], message, type="metrics", data=data)
        for found in reversed(checkpoints(tuning)):
            name = found.fine_tuned_model_checkpoint
            yield event(
                f"checkpoint-{found.step_number}",
                tuning.finished_at or 0.0,
                f"Checkpoint created at step {found.step_number} with checkpoint ID: {name}",
                data={"step": found.step_number},
            )
    ended = tuning.finished_at or row.created_at
    match tuning.status:
        case "succeeded":
            yield event("model", ended, f"New fine-tuned model created: {row.fine_tuned_model}")
            yield event("succeeded", ended, "The job has successfully completed")
        case "failed":
            error = tuning.error or {}
            yield event(f"failed-{int(ended)}", ended, f"The job failed. {error.get('message', '')}".strip(), "error")
        case "cancelled":
            at = (job and (job.finished_at or job.stop_requested_at)) or ended
            yield event("cancelled", at, "The job was cancelled", "warn")
        case "paused" | "pausing":
            at = (job and (job.finished_at or job.stop_requested_at)) or ended
            what = "The job is paused" if tuning.status == "paused" else "The job is saving a checkpoint to be paused"
            yield event(f"{tuning.status}-{int(at)}", at, what, "warn")


def _own(tuning: Tuning) -> str:
    return tuning.row.public_id.removeprefix("ftjob-")


def _resumed(job: Job) -> bool:
    return any(mark["text"].startswith("Resumed") for mark in job.notes.get("events", []))


def _sentence(step: int, total: int, values: dict[str, float]) -> str:
    """ "Step 3/20: training loss=1.20, validation loss=1.31"; empty where nothing was measured."""
    parts = [
        f"{title}={values[name]:.2f}"
        for name, title in (("loss", "training loss"), ("eval_loss", "validation loss"))
        if name in values
    ]
    return f"Step {step}/{total}: {', '.join(parts)}" if parts else ""


def _metrics(values: dict[str, float]) -> dict[str, float]:
    """By the API's names; the whole validation file is measured each time. What was no number is left out."""
    named = (("train_loss", "loss"), ("valid_loss", "eval_loss"), ("full_valid_loss", "eval_loss"))
    return {name: values[ours] for name, ours in named if math.isfinite(values.get(ours, math.nan))}
