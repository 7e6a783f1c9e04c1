"""What would be sent, what is wrong with it and what it will cost: all of it known before anything leaves the machine.

Only the training split is learned from, the validation split is measured on, and the test split is never sent: it is
what Compare asks the tuned model.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field

from core.data.dataset import count_of
from core.data.example import Problem
from core.errors import UserError
from core.jobs import queue
from core.managed.calendar import Notice, notices
from core.managed.outgoing import Check, Outgoing
from core.managed.providers import Kind, kind_of, known_model, on_this_machine, rules_of, training_price
from core.managed.remote_jobs import ENDED_BADLY
from core.managed.tokens import counter, usual_epochs
from core.models.services import Service, service
from core.settings import get_settings
from core.store.database import session
from core.store.tables import Dataset, Job

# A sum is confirmed as it is shown, in whole cents.
CENT = 0.01


class TuneSettings(BaseModel):
    """What may be chosen; empty is left to the provider, which calls it "auto"."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    epochs: int | None = Field(None, ge=1, le=50, description="How often every example is seen.")
    batch_size: int | None = Field(None, ge=1, le=1024, description="Examples in one step.")
    learning_rate_multiplier: float | None = Field(
        None, gt=0, le=100, description="What the provider's own learning rate is multiplied by."
    )
    suffix: str = Field("", pattern=r"^[A-Za-z0-9-]{0,64}$", description="Part of the new model's name.")
    seed: int | None = Field(None, ge=0, lt=2**31, description="Makes the training repeatable, as far as it can be.")
    validation: bool = Field(True, description="Send the validation examples too: the loss on them shows overfitting.")
    price_training: float | None = Field(
        None, ge=0, description="US dollars per million training tokens, where no printed price is known."
    )

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """As the API has them; what is left to the provider is left out."""
        chosen = {
            "n_epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate_multiplier": self.learning_rate_multiplier,
        }
        return {name: value for name, value in chosen.items() if value is not None}


@dataclass(frozen=True)
class Prepared:
    """A fine-tune ready to be confirmed.

    `problems` are by the provider's rules, at most 200 of the `errors` there are; their `line` is that of the file
    that would be sent. `tokens` are those of one pass over the training file. `epochs` is a guess unless
    `epochs_fixed`. `price_usd` is None where no price is known. `earlier`: our job of the very same content.
    """

    service: str
    url: str
    kind: Kind
    base_model: str
    dataset_id: int
    dataset_name: str
    settings: TuneSettings
    training: Outgoing
    validation: Outgoing | None
    problems: list[Problem]
    errors: int
    tokens: int
    tokens_how: str
    exact: bool
    epochs: int
    epochs_fixed: bool
    usd_per_million: float | None
    price_usd: float | None
    price_source: str
    notices: list[Notice]
    earlier: int | None
    key: str

    @property
    def billed_tokens(self) -> int:
        return self.tokens * self.epochs

    @property
    def why_not(self) -> str:
        """Why it cannot be started, as a sentence; empty when it can."""
        if self.errors:
            found = f"{self.errors:,} problem{'' if self.errors == 1 else 's'}"
            return f"The data has {found} by the provider's rules; it would be refused."
        return next((notice.what for notice in self.notices if notice.level == "error"), "")

    @property
    def startable(self) -> bool:
        return not self.why_not


def prepare(
    service_name: str,
    base_model: str,
    dataset_id: int,
    settings: TuneSettings | None = None,
    *,
    today: dt.date | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Prepared:
    """Check the data, count and price it, without asking anybody. Raises UserError for what does not exist.

    `on_progress` is told how many examples of how many are done.
    """
    settings = settings or TuneSettings()
    asked, dataset = service(service_name), _dataset(dataset_id)
    if not base_model.strip():
        raise UserError("No base model is named.", "Choose the model to be tuned.")
    splits = ["train", "validation"] if settings.validation else ["train"]
    total = sum(count_of(dataset_id, split) for split in splits)
    count, exact, how = counter(base_model)
    check = Check(count, longest=_context(base_model))
    training = check.file(dataset_id, "train", lambda done: on_progress(done, total))
    validation = None
    if settings.validation and count_of(dataset_id, "validation"):
        validation = check.file(dataset_id, "validation", lambda done: on_progress(training.examples + done, total))
    usd, source = _price(asked, base_model, settings)
    epochs = settings.epochs or usual_epochs(training.examples)
    price = None if usd is None else training.tokens * epochs * usd / 1e6
    key = _key(asked, base_model, training, validation, settings)
    return Prepared(
        service=service_name,
        url=asked.url,
        kind=kind_of(asked),
        base_model=base_model,
        dataset_id=dataset_id,
        dataset_name=dataset.name,
        settings=settings,
        training=training,
        validation=validation,
        problems=check.problems,
        errors=check.errors,
        tokens=training.tokens,
        tokens_how=how if exact and not check.guessed else f"{how}; tools and calls are estimated" if exact else how,
        exact=exact and not check.guessed,
        epochs=epochs,
        epochs_fixed=settings.epochs is not None,
        usd_per_million=usd,
        price_usd=price,
        price_source=source,
        notices=[*notices(asked, base_model, today), *_doubts(asked, settings, epochs, price, check, training)],
        earlier=_earlier(key),
        key=key,
    )


def start(prepared: Prepared, confirmed_usd: float | None) -> int:
    """Queue the fine-tune and return its job. What is the same to the letter is never made twice.

    `confirmed_usd` is the sum that a person has agreed to. Raises UserError when the price is known and not confirmed,
    when something stands against it, or when the same model has been made already. The same fine-tune that is under
    way, or was stopped while the provider went on, is gone on with instead.
    """
    if not prepared.startable:
        raise UserError(prepared.why_not, "Mend it first.")
    price = prepared.price_usd
    if price and (confirmed_usd is None or confirmed_usd < price - CENT / 2):
        raise UserError(f"It would cost about ${price:.2f}, which nobody has confirmed.", "Confirm the sum.")
    with FileLock(get_settings().home / "managed.lock"):
        earlier = _earlier(prepared.key)
        if earlier is not None:
            return _again(queue.get(earlier))
        return queue.submit(
            "managed",
            {
                "service": prepared.service,
                "url": prepared.url,
                "model": prepared.base_model,
                "dataset_id": prepared.dataset_id,
                "name": prepared.dataset_name,
                "settings": prepared.settings.model_dump(),
                "training_hash": prepared.training.hash,
                "validation_hash": prepared.validation.hash if prepared.validation else None,
                "tokens": prepared.tokens,
                "usd_per_million": prepared.usd_per_million,
                "confirmed_usd": confirmed_usd,
                "key": prepared.key,
            },
            title=f"Fine-tune: {prepared.dataset_name} on {prepared.base_model} at {prepared.service}",
            # A queue of its own: it only waits for the provider, and so need not wait for others of its kind.
            device=f"network-{prepared.key[:8]}",
        )


def _doubts(
    asked: Service, settings: TuneSettings, epochs: int, price: float | None, check: Check, training: Outgoing
) -> list[Notice]:
    """What follows from the data and the settings."""
    found = []
    most = rules_of(asked).most_megabytes
    if most is not None and training.bytes > most * 1e6:
        what = f"The training file has {training.bytes / 1e6:,.0f} MB; the provider takes {most:.0f}."
        found.append(Notice("error", what, "Tune on a part of the data."))
    if check.cut:
        many = "1 example is" if check.cut == 1 else f"{check.cut:,} examples are"
        what = f"{many} longer than the model learns from: the provider cuts the end off."
        found.append(Notice("warning", what, "Shorten them: an answer that is cut off teaches to stop short."))
    if settings.epochs is None and price:
        what = f"The provider chooses the epochs; the price is for {epochs}, its rule of thumb."
        remedy = "Should it choose so many that the sum you confirmed is not enough, the job is cancelled at once."
        found.append(Notice("info", what, remedy))
    if price is None:
        found.append(
            Notice(
                "warning",
                "What this provider asks for training is not known here, so neither is the price.",
                "Look it up and type the price of a million training tokens, or set a limit at the provider.",
            )
        )
    return found


def _price(asked: Service, base_model: str, settings: TuneSettings) -> tuple[float | None, str]:
    """(US dollars per million training tokens, where that is from)."""
    if settings.price_training is not None:
        return settings.price_training, "as you typed it"
    if printed := training_price(asked, base_model):
        return printed.training, f"{printed.source}, read {printed.read}"
    if on_this_machine(asked):
        return 0.0, "a server on this machine"
    return None, "unknown"


def _context(base_model: str) -> int | None:
    known = known_model(base_model)
    return known.context if known else None


def _key(
    asked: Service, base_model: str, training: Outgoing, validation: Outgoing | None, settings: TuneSettings
) -> str:
    """A hash of everything that determines the model: the provider, the base, the data and the settings."""
    content = [
        asked.url,
        base_model,
        training.hash,
        validation.hash if validation else None,
        settings.model_dump(exclude={"price_training"}),
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _earlier(key: str) -> int | None:
    """Our newest job of the same content that is under way, done, or can go on where the provider is."""
    for job in queue.jobs("managed", limit=10_000):
        if job.spec.get("key") == key and (job.status in (*queue.ACTIVE, "done") or _goes_on(job)):
            return job.id
    return None


def _goes_on(job: Job) -> bool:
    """Whether a job that ended here may have left one at the provider that has not ended badly."""
    left = job.notes.get("remote_job_id") or job.notes.get("perhaps_created")
    return bool(left) and job.notes.get("remote_status") not in ENDED_BADLY


def _again(job: Job) -> int:
    if job.status == "done":
        raise UserError(
            f"Job {job.id} has made this very model: {job.result.get('fine_tuned_model')}.",
            "Use that one, or change the seed or the suffix to make another.",
        )
    if job.status not in queue.ACTIVE:
        queue.resume(job.id)
    return job.id


def _dataset(dataset_id: int) -> Dataset:
    with session(read_only=True) as db:
        dataset = db.get(Dataset, dataset_id)
    if dataset is None or dataset.importing_at is not None:
        raise UserError("The data set is gone.", "Choose another.")
    return dataset
