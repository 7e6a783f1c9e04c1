"""The job that opens a fine-tuning job: its files are checked and become a dataset, and the training is queued.

In a process of its own, since half a gigabyte of examples would slow the server's answers for minutes, and in the
imports' queue, since it needs no accelerator. It outlives the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from core.api import file_store
from core.api.training_data import OnProgress, RefusedFile, import_files
from core.data.dataset import delete_dataset
from core.data.files import File
from core.errors import UserError
from core.forecast.hyperparameters import recipe_for
from core.jobs import queue
from core.jobs.background import job_device
from core.jobs.context import JobContext
from core.ladder import submit_training
from core.models.loading import load_tokenizer
from core.store.database import session
from core.store.tables import Dataset, FineTune, Job


class _Gone(UserError):
    """A file that was deleted before it was read."""

    def __init__(self, param: str, public_id: str) -> None:
        super().__init__(f"The {param.replace('_', ' ')} {public_id} was deleted before it was read.", "Send it again.")
        self.param = param


def run(context: JobContext) -> dict[str, Any]:
    """Spec: `fine_tune`, the public id of one. From its end on, the fine-tune's job is the training."""
    tune = _tune(context.spec["fine_tune"])
    training = _queued(tune)
    if training is None:
        dataset_id = _dataset(tune, context)
        # Makes the bundled model ready, or brings a tokenizer here: lengths are then counted, and a model that cannot
        # be had is found now.
        load_tokenizer(context.spec["model"])
        recipe, chosen = recipe_for(context.spec["model"], dataset_id, tune.request["hyperparameters"], tune.seed)
        _leave_if_stopped(context, dataset_id)
        _change(tune.id, request=tune.request | {"chosen": chosen})

        def submit(kind: str, spec: dict[str, Any], title: str, after: Sequence[int], expected_s: float) -> int:
            spec |= {"fine_tune": tune.public_id, "keep_checkpoints": True}
            return queue.submit(
                kind, spec, title=title, device=job_device(), after=after, expected_s=expected_s, start=False
            )

        training = submit_training(dataset_id, recipe, name_of(tune), submit)
    _change(tune.id, job_id=training)
    # Asked for at the last moment: what is to stop has another number by now, which whoever asks from here on finds.
    _hear(context)
    if context.stop_requested():
        queue.request_stop(training, "discard" if context.stop_then == "discard" else "")
    queue.dispatch()
    return {"job_id": training}


def name_of(tune: FineTune) -> str:
    """What its training and adapter are called here."""
    return tune.suffix or tune.public_id


def _tune(public_id: str) -> FineTune:
    with session() as db:
        tune = db.scalar(select(FineTune).where(FineTune.public_id == public_id))
        if tune is None:
            raise UserError(f"There is no fine-tuning job {public_id}.", "Create it again.")
        tune.error = None
        return tune


def _queued(tune: FineTune) -> int | None:
    """The training that an attempt before queued, if it was killed right after."""
    with session(read_only=True) as db:
        jobs = db.scalars(select(Job).where(Job.kind == "train", Job.created_at >= tune.created_at))
        return next((job.id for job in jobs if job.spec.get("fine_tune") == tune.public_id), None)


def _dataset(tune: FineTune, context: JobContext) -> int:
    """The dataset of its files, which an attempt before may have stored. Raises UserError, noted in the fine-tune."""
    kept: int | None = context.notes.get("dataset_id")
    if kept is not None:
        with session(read_only=True) as db:
            if db.get(Dataset, kept) is not None:
                return kept

    def on_progress(done: float, total: float, message: str) -> None:
        context.progress(done, total, message)
        context.check_stop()

    try:
        dataset = _imported(tune, on_progress)
    except (RefusedFile, _Gone) as refused:
        _change(tune.id, error={"code": f"invalid_{refused.param}", "message": str(refused), "param": refused.param})
        raise
    context.note(dataset_id=dataset.id)
    return dataset.id


def _imported(tune: FineTune, on_progress: OnProgress) -> Dataset:
    """Raises RefusedFile, or _Gone for a file that its client deletes before or while it is read."""
    training, validation = _files(tune)
    assert training is not None
    try:
        return import_files(name_of(tune), training, validation, seed=tune.seed, on_progress=on_progress)
    except FileNotFoundError:
        _files(tune)
        raise


def _files(tune: FineTune) -> tuple[File | None, File | None]:
    return _file("training_file", tune.training_file), _file("validation_file", tune.validation_file)


def _file(param: str, public_id: str | None) -> File | None:
    if public_id is None:
        return None
    found = file_store.find(public_id)
    if found is None:
        raise _Gone(param, public_id)
    return File(found.name, path=file_store.path_of(found))


def _hear(context: JobContext) -> None:
    """Of a request to stop that is in the record: by itself this process would hear of it half a second later."""
    mine = queue.get(context.job_id)
    if mine.stop_requested_at is not None:
        context.request_stop(mine.stop_then)


def _leave_if_stopped(context: JobContext, dataset_id: int) -> None:
    """Raise Stopped if it is to stop; what was stored for a cancelled job goes."""
    _hear(context)
    if context.stop_requested() and context.stop_then == "discard":
        delete_dataset(dataset_id)
    context.check_stop()


def _change(tune_id: int, **columns: Any) -> None:
    with session() as db:
        tune = db.get_one(FineTune, tune_id)
        for name, value in columns.items():
            setattr(tune, name, value)
