"""The job of a managed fine-tune: upload, create, follow. Whatever interrupts it, nothing is done or paid for twice.

Files carry the hash of their content in their name, and are looked for before they are uploaded. The job there carries
a mark made of all that determines it, and is looked for before it is created; providers that keep no marks are told
by which jobs were there before. What has been reached is in a file before the next step is taken, see `Reached`.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.jobs.context import JobContext, Stopped
from core.managed.calls import Passing, Provider, Refused, behind, is_thing, no_list, span
from core.managed.following import Follower
from core.managed.outgoing import lines, remote_name
from core.managed.plan import TuneSettings
from core.managed.providers import on_this_machine, rules_of, training_price
from core.managed.reached import Reached
from core.managed.remote_jobs import (
    ENDED,
    ENDED_BADLY,
    MARK,
    all_jobs,
    cancel_ours,
    cancel_remote,
    created_before,
    hyperparameters_of,
    looked_at,
    status_of,
)
from core.models.services import OF_SERVICE, service, set_prices

# How often the provider is asked how far it is: our own server, and others.
NEAR_S, FAR_S = 2.0, 10.0
FILE_POLL_S = 2.0
# Some say that a job has succeeded a moment before they name its model.
MODEL_WITHIN_S = 600.0
# Less than the quarter of an hour after which a job that should stop is ended by force.
CANCEL_PATIENCE_S = 600.0
# Statuses of a file that is not ready yet, of OpenAI and of Azure.
FILE_NOT_READY = ("uploaded", "pending", "running", "notRunning")
# A little more than confirmed is rounding, and tokens that only the provider's own counting sees.
TOLERANCE, TOLERANCE_USD = 1.05, 0.01


def run(context: JobContext) -> dict[str, Any]:
    """Spec: see `core.managed.plan.start`. The result names the model, as the provider does and as a rung does.

    Stopped, it only stops following, and the provider goes on; stopped to be discarded, it cancels the job there.
    """
    tune = ManagedTune(context)
    context.note(error_code="")
    try:
        tune.upload()
        tune.create()
        return tune.follow()
    except Refused as refused:
        context.note(error_code=refused.code or str(refused.status))
        raise
    except Stopped:
        if context.stop_then == "discard":
            tune.cancel()
        raise


class ManagedTune:
    """One managed fine-tune, from the first file to the model."""

    def __init__(self, context: JobContext) -> None:
        spec = context.spec
        self.context = context
        self.reached = Reached(spec["key"], context.note)
        self.settings = TuneSettings.model_validate(spec["settings"])
        self.service = service(spec["service"])
        self.provider = Provider(self.service, context.check_stop, self._say)
        self._message = ""
        if self.reached["remote_status"] in ENDED_BADLY:
            # Resumed after it ended badly there: a person wants it to be tried once more.
            self.reached.note(remote_job_id=None, remote_status=None, perhaps_created=False)

    def upload(self) -> None:
        """Make sure that the files are there; nothing is sent once the job is created."""
        if self.reached["remote_job_id"]:
            return
        spec = self.context.spec
        if self.service.url != spec["url"]:
            raise UserError(
                f"The address of {self.service.name} has changed since this fine-tune was confirmed; nothing was sent.",
                "Start it anew for the new address.",
            )
        sent = [("train", spec["training_hash"], "file_id")]
        if spec["validation_hash"]:
            sent.append(("validation", spec["validation_hash"], "validation_file_id"))
        for split, wanted, field in sent:
            self._say(f"Preparing the {split} file")
            path = self._written(split, wanted)
            file = self._known_file(self.reached[field]) or self._uploaded(path, remote_name(wanted))
            self.reached.note(**{field: file})
            self._wait_for_file(file)
            path.unlink()

    def create(self) -> None:
        """Make sure that the job is there, once."""
        if self.reached["remote_job_id"]:
            return
        self._say(f"Creating the job at {self.service.name}")
        if not self.reached["perhaps_created"]:
            self.reached.note(jobs_before=[job.id for job in all_jobs(self.provider, self.reached)])
        tries = self.provider.tries()
        while True:
            self.context.check_stop()
            job = created_before(self.provider, self.reached, self.context.spec)
            if job is None:
                before = self.reached["perhaps_created"]
                self.reached.note(perhaps_created=True)
                try:
                    job = self.provider.once(self._create, is_thing("status"))
                except Refused:
                    self.reached.note(perhaps_created=before)
                    raise
                except Passing as trouble:
                    if not trouble.done:
                        self.reached.note(perhaps_created=before)
                    tries(trouble)
                    continue
            self.reached.note(remote_job_id=job.id, remote_status=status_of(job))
            self.context.log(f"The job at {self.service.name} is {job.id}.")
            return

    def follow(self) -> dict[str, Any]:
        """Tell what the provider does until it is done. Raises UserError when it ends badly there."""
        follower = Follower(self.context, self.provider, self.reached["remote_job_id"])
        pause = NEAR_S if on_this_machine(self.service) else FAR_S
        succeeded_at: float | None = None
        while True:
            job = looked_at(self.provider, self.reached["remote_job_id"])
            status = status_of(job)
            self.reached.note(remote_status=status)
            follower.look(job)
            self._hold_to_the_sum(job)
            if status in ENDED_BADLY:
                raise self._ended_badly(job)
            if status == "succeeded":
                if isinstance(job.fine_tuned_model, str):
                    break
                succeeded_at = succeeded_at or time.monotonic()
                if time.monotonic() - succeeded_at > MODEL_WITHIN_S:
                    raise UserError(
                        f"{self.service.name} says that the job has succeeded, and names no model after "
                        f"{span(MODEL_WITHIN_S)}.",
                        "Look there; resume this one to look again.",
                    )
            self.provider.rest(pause)
        follower.finish(job)
        tokens, usd = job.trained_tokens, self.context.spec["usd_per_million"]
        cost = tokens * usd / 1e6 if isinstance(tokens, int) and usd is not None else None
        model: str = job.fine_tuned_model
        self.reached.note(fine_tuned_model=model, trained_tokens=tokens, cost_usd=cost)
        printed = training_price(self.service, self.context.spec["model"])
        if printed is not None and printed.token_price is not None:
            # What a comparison with it will cost, and when its spending cap is reached.
            set_prices(self.service.name, model, (printed.token_price.input, printed.token_price.output))
        return {
            "fine_tuned_model": model,
            "model_id": f"{OF_SERVICE}{self.service.name}/{model}",
            "trained_tokens": tokens,
            "cost_usd": cost,
        }

    def cancel(self) -> None:
        """Cancel the job there, also one that may have been created in the moment of stopping."""
        self.provider = Provider(self.service, say=self._say)
        cancel_ours(self.provider, self.reached, self.context.spec, patience_s=CANCEL_PATIENCE_S)

    def _written(self, split: str, wanted: str) -> Path:
        """The split as the file to send. Raises UserError when it is not what was checked and confirmed."""
        path, digest = self.context.folder / f"{split}.jsonl", hashlib.sha256()
        with path.open("wb") as file:
            for _, line in lines(self.context.spec["dataset_id"], split):
                digest.update(line)
                file.write(line)
        if digest.hexdigest() != wanted:
            path.unlink()
            raise UserError(
                "The data has changed since it was checked and its price was confirmed; nothing was sent.",
                "Start the fine-tune anew.",
            )
        return path

    def _known_file(self, file_id: str | None) -> str | None:
        """The file of an earlier attempt, if the provider still has it."""
        if not file_id:
            return None
        try:
            self.provider.ask(lambda client: client.files.retrieve(file_id), is_thing())
        except Refused as refused:
            if refused.status != 404:
                raise
            return None
        return file_id

    def _uploaded(self, path: Path, name: str) -> str:
        """The id of the file there, uploaded unless it is there already."""
        size = path.stat().st_size
        tries = self.provider.tries()
        while True:
            self.context.check_stop()
            if found := self._file_named(name, size):
                return found
            self._say(f"Uploading {size / 1e6:,.1f} MB to {self.service.name}")
            try:
                return self._sent(path, name)
            except Passing as trouble:
                tries(trouble)

    def _sent(self, path: Path, name: str) -> str:
        with path.open("rb") as content:
            file = self.provider.once(
                lambda client: client.files.create(file=(name, content), purpose="fine-tune"), is_thing()
            )
        return str(file.id)

    def _file_named(self, name: str, size: int) -> str | None:
        try:
            files = self.provider.all(lambda client, after: client.files.list(**behind(after)))
            for file in files:
                if (file.filename, file.bytes) == (name, size) and file.status not in ("error", "deleted"):
                    return str(file.id)
        except Refused as refused:
            if not no_list(refused):
                raise
        return None

    def _wait_for_file(self, file_id: str) -> None:
        """Azure takes no job whose file it has not read yet."""
        while rules_of(self.service).file_ready:
            file = self.provider.ask(lambda client: client.files.retrieve(file_id), is_thing("status"))
            if file.status not in FILE_NOT_READY:
                if file.status in ("error", "failed"):
                    said = f" It says: {file.status_details}" if file.status_details else ""
                    raise UserError(f"{self.service.name} could not use the file.{said}", "Check the data.")
                return
            self._say(f"{self.service.name} reads the file")
            self.provider.rest(FILE_POLL_S)

    def _create(self, client: Any) -> Any:
        rules, chosen = rules_of(self.service), self.settings.hyperparameters
        asked: dict[str, Any] = {"model": self.context.spec["model"], "training_file": self.reached["file_id"]}
        if self.reached["validation_file_id"]:
            asked["validation_file"] = self.reached["validation_file_id"]
        if self.settings.suffix:
            asked["suffix"] = self.settings.suffix
        if self.settings.seed is not None:
            asked["seed"] = self.settings.seed
        if rules.metadata:
            asked["metadata"] = {MARK: self.context.spec["key"]}
        if chosen and rules.hyperparameters == "method":
            asked["method"] = {"type": "supervised", "supervised": {"hyperparameters": chosen}}
        elif chosen:
            asked["hyperparameters"] = chosen
        return client.fine_tuning.jobs.create(**asked)

    def _hold_to_the_sum(self, job: Any) -> None:
        """Cancel what the provider makes longer than was confirmed. Raises UserError."""
        spec, epochs = self.context.spec, hyperparameters_of(job).get("n_epochs")
        if not spec["usd_per_million"] or spec["confirmed_usd"] is None or not isinstance(epochs, int):
            return
        cost = spec["tokens"] * epochs * spec["usd_per_million"] / 1e6
        if status_of(job) in ENDED or cost <= spec["confirmed_usd"] * TOLERANCE + TOLERANCE_USD:
            return
        status = cancel_remote(self.provider, job.id)
        self.reached.note(remote_status=status)
        raise UserError(
            f"{self.service.name} chose {epochs} epochs, which would cost about ${cost:.2f}; you confirmed "
            f"${spec['confirmed_usd']:.2f}. The job there is {status}.",
            "Start anew with a number of epochs of your own, or confirm the higher sum.",
        )

    def _ended_badly(self, job: Any) -> UserError:
        where = f"at {self.service.name}"
        if status_of(job) == "cancelled":
            return UserError(f"The job was cancelled {where}.", "Resume this one to have it created there once more.")
        error = job.error
        said, code = getattr(error, "message", None), getattr(error, "code", None)
        about = f" It says: {' '.join(str(said).split())[:500]}" if said else " It does not say why."
        return UserError(
            f"The fine-tune failed {where}{f' ({code})' if code else ''}.{about}",
            "Mend what it complains about and start anew; resume this one only to send the same once more.",
        )

    def _say(self, message: str) -> None:
        notes = self.context.notes
        self.context.progress(notes.get("steps", 0), notes.get("total_steps", 0), message)
