"""What a provider tells of a fine-tune while it runs, as our own training tells it: the same names on the same charts.

Events come newest first and in pages, some of them late. The result file, once it is there, fills what was missed.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import math
from typing import Any

from core.errors import UserError
from core.jobs import queue
from core.jobs.context import JobContext
from core.managed.calls import Provider, behind

# Their names and ours; of two for one of ours, the later one is the better measurement.
NAMES = {
    "train_loss": "loss",
    "training_loss": "loss",
    "train_accuracy": "accuracy",
    "train_mean_token_accuracy": "accuracy",
    "training_token_accuracy": "accuracy",
    "valid_loss": "eval_loss",
    "validation_loss": "eval_loss",
    "full_valid_loss": "eval_loss",
    "full_validation_loss": "eval_loss",
    "valid_accuracy": "eval_accuracy",
    "valid_mean_token_accuracy": "eval_accuracy",
    "validation_token_accuracy": "eval_accuracy",
    "full_valid_mean_token_accuracy": "eval_accuracy",
    "learning_rate": "learning_rate",
}
STATES = {
    "validating_files": "checks the files",
    "queued": "has it in its queue",
    "running": "trains",
    "paused": "has paused it",
    "succeeded": "is done",
}
# Messages kept for the screen, the newest; all of them are in the job's log.
KEPT = 100
SAID_CHARACTERS = 500
RESULTS = "results.csv"
# The model is there by then: nobody should wait an hour for a table.
RESULT_PATIENCE_S = 60.0


class Follower:
    """Keeps a job's record in step with what the provider says of it."""

    def __init__(self, context: JobContext, provider: Provider, remote_job_id: str) -> None:
        self._context = context
        self._provider = provider
        self._remote_job_id = remote_job_id
        self._seen: set[str] = set()
        self._messages: list[dict[str, Any]] = []
        # What an earlier attempt has recorded is not recorded again.
        self._recorded = {step for _, step, _, _, _ in queue.metrics(context.job_id)}
        self._step = max(self._recorded, default=0)
        self._total = int(context.notes.get("total_steps") or 0)

    def look(self, job: Any) -> None:
        """Record what is new, and say how far it is. A provider without events costs the chart, not the job."""
        try:
            events = self._new_events()
        except UserError as error:
            self._context.log(f"The events could not be read: {error}")
            events = []
        points: dict[int, dict[str, float]] = {}
        for event in events:
            data = event.data if isinstance(event.data, dict) else {}
            self._total = max(self._total, _whole(data.get("total_steps")) or 0)
            step, values = _whole(data.get("step")), named(data)
            if step is not None and values:
                points.setdefault(step, {}).update(values)
            self._tell(event, step)
        # Steps only rise on a chart; what comes late is filled in from the result file.
        for step in sorted(step for step in points if step > self._step):
            self._context.metric(step, **points[step])
            self._recorded.add(step)
            self._step = step
        if events:
            self._messages.sort(key=lambda message: float(message["time"]))
            shown = self._messages[: -KEPT - 1 : -1]
            self._context.note(remote_events=shown, steps=self._step, total_steps=self._total)
        doing = STATES.get(job.status, f"says {job.status}")
        self._context.progress(self._step, self._total, f"{self._provider.name} {doing}")

    def finish(self, job: Any) -> None:
        """Fetch the result file and fill in the steps that no event told; the model is there without it."""
        try:
            for file_id in job.result_files if isinstance(job.result_files, list) else []:
                text = table_of(self._content(file_id))
                (self._context.folder / RESULTS).write_text(text, encoding="utf-8")
                self._fill(points_of(text))
        except (UserError, UnicodeDecodeError, csv.Error) as error:
            self._context.log(f"The result file could not be read: {error}")
        self._context.progress(self._step, self._total or self._step, "Done")

    def _fill(self, points: dict[int, dict[str, float]]) -> None:
        if not points or points.keys() <= self._recorded:
            return
        # From the first step on: a chart takes a step that comes again for a new beginning.
        for step in sorted(points):
            self._context.metric(step, **points[step])
        self._recorded |= points.keys()
        self._step = max(self._step, *points)
        self._context.note(steps=self._step, total_steps=max(self._total, self._step))

    def _content(self, file_id: str) -> bytes:
        content: bytes = self._provider.ask(
            lambda client: client.files.content(file_id).read(), patience_s=RESULT_PATIENCE_S
        )
        return content

    def _new_events(self) -> list[Any]:
        """Oldest first. The pages are read back to the first event that is known."""
        fresh = []
        for event in self._provider.all(
            lambda client, after: client.fine_tuning.jobs.list_events(self._remote_job_id, **behind(after)),
            patience_s=0,
        ):
            if event.id in self._seen:
                break
            fresh.append(event)
        self._seen.update(event.id for event in fresh)
        return fresh[::-1]

    def _tell(self, event: Any, step: int | None) -> None:
        """Keep the message, log it, and mark warnings and errors on the curves."""
        if event.type == "metrics":
            return
        message = " ".join(str(event.message or "").split())[:SAID_CHARACTERS]
        at = float(event.created_at) if isinstance(event.created_at, int | float) else 0.0
        level = event.level if event.level in ("info", "warn", "error") else "info"
        self._messages.append({"time": at, "level": level, "message": message})
        self._context.log(f"{self._provider.name}: {message}")
        if level != "info":
            mark = {"step": step if step is not None else self._step, "time": at, "text": message}
            marks = self._context.notes.get("events", [])
            if mark not in marks:
                self._context.note(events=[*marks, mark])


def named(data: dict[str, Any]) -> dict[str, float]:
    """The numbers of one step under our own names; what is no number is left out."""
    values = {}
    for theirs, ours in NAMES.items():
        value = data.get(theirs)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            values[ours] = float(value)
    return values


def points_of(text: str) -> dict[int, dict[str, float]]:
    """The result file by step: a table with a column `step`, and empty cells where nothing was measured."""
    points: dict[int, dict[str, float]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        step = _whole(_number(row.get("step")))
        values = named({name: _number(cell) for name, cell in row.items() if isinstance(name, str)})
        if step is not None and values:
            points[step] = values
    return points


def table_of(content: bytes) -> str:
    """The result file as text: OpenAI sends it in base64, others as it is. Raises UnicodeDecodeError."""
    if b"," not in content:
        try:
            content = base64.b64decode(content, validate=False)
        except binascii.Error:
            return ""
    return content.decode("utf-8-sig")


def _number(cell: Any) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value) if 0 <= value < 2**31 else None
