"""The way out of a provider: bring the data and settings of a fine-tune there, train its open twin, compare both."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data.dataset import File, count_of, import_dataset
from core.errors import UserError
from core.evaluate.plan import Plan
from core.evaluate.rungs import RungChoice
from core.forecast.hyperparameters import recipe_for
from core.jobs.background import in_background
from core.ladder import Climb, Submit, climb
from core.managed.calendar import Notice
from core.managed.calls import Provider, Refused, behind, is_thing
from core.managed.remote_jobs import AUTO, HYPERPARAMETERS, hyperparameters_of, status_of
from core.models.catalogue import BUNDLED_MODEL
from core.models.services import OF_SERVICE, service
from core.settings import get_settings
from core.store.tables import Experiment
from core.train.recipe import Recipe

# Somebody waits for the page.
LIST_PATIENCE_S, DOWNLOAD_PATIENCE_S = 5.0, 60.0
MOST_LISTED = 200
# No provider takes larger files; what is longer is no training file.
MOST_BYTES = 1e9
# A recipe knows no larger seeds.
SEEDS = 2**32


@dataclass(frozen=True)
class RemoteTune:
    """A fine-tune at a provider. `hyperparameters` as the API has them: numbers, or "auto"."""

    id: str
    model: str
    status: str
    fine_tuned_model: str | None
    created_at: dt.datetime | None
    hyperparameters: dict[str, Any]
    training_file: str
    validation_file: str | None
    seed: int


@dataclass(frozen=True)
class Brought:
    """A fine-tune's data, now a data set. `rung_model` is its model as a rung names it; None if it made none.

    `seen_in_training`: the fine-tune has learned from the test examples, so that a comparison on them flatters it.
    """

    dataset_id: int
    tune: RemoteTune
    rung_model: str | None
    train_examples: int
    test_examples: int
    seen_in_training: bool
    notices: list[Notice]


def existing(service_name: str) -> list[RemoteTune]:
    """The newest fine-tunes at a provider. Raises UserError."""
    provider, found = Provider(service(service_name)), []
    for job in provider.all(
        lambda client, after: client.fine_tuning.jobs.list(**behind(after)), patience_s=LIST_PATIENCE_S
    ):
        if isinstance(job.training_file, str) and isinstance(job.model, str):
            found.append(_tune(job))
        if len(found) == MOST_LISTED:
            break
    return found


def bring(
    service_name: str,
    remote_job_id: str,
    *,
    test: File | None = None,
    on_progress: Callable[[float, float, str], None] = lambda done, total, message: None,
) -> Brought:
    """Download what a fine-tune learned from and import it. Raises UserError; then nothing is stored.

    To test on: the file given; else its validation file, from which it did not learn; else a part of what it did
    learn from, which is said.
    """
    provider = Provider(service(service_name))
    job = provider.ask(
        lambda client: client.fine_tuning.jobs.retrieve(remote_job_id), is_thing(), patience_s=LIST_PATIENCE_S
    )
    tune = _tune(job)
    with tempfile.TemporaryDirectory(dir=get_settings().home, prefix="bringing-") as folder:
        train = _downloaded(provider, tune.training_file, Path(folder) / "training.jsonl")
        if test is None and tune.validation_file:
            test = _downloaded(provider, tune.validation_file, Path(folder) / "validation.jsonl")
        name = tune.fine_tuned_model or tune.id
        dataset = import_dataset(name, train, test=test, on_progress=on_progress)
    notices = []
    if test is None:
        what = "The fine-tune has learned from all of these examples, those set aside for testing among them."
        remedy = "A comparison on them flatters it, and not its twin. Bring a file of examples that it has not seen."
        notices.append(Notice("warning", what, remedy))
    return Brought(
        dataset_id=dataset.id,
        tune=tune,
        rung_model=f"{OF_SERVICE}{service_name}/{tune.fine_tuned_model}" if tune.fine_tuned_model else None,
        train_examples=count_of(dataset.id, "train"),
        test_examples=count_of(dataset.id, "test"),
        seen_in_training=test is None,
        notices=notices,
    )


def twin_recipe(
    dataset_id: int, hyperparameters: dict[str, Any], model: str = BUNDLED_MODEL, seed: int = 0
) -> tuple[Recipe, dict[str, str]]:
    """(the recipe of the open twin, why each setting that came from the provider is as it is). Raises UserError.

    Epochs and examples to a step are taken over. A provider's learning rate is its secret; its multiplier scales the
    one that suits the open model.
    """
    wanted = {name: hyperparameters.get(name) or AUTO for name in HYPERPARAMETERS}
    recipe, _ = recipe_for(model, dataset_id, wanted, seed % SEEDS)
    why = {
        "n_epochs": ("epochs", "As often as there."),
        "batch_size": ("batch_size", "As many examples to a step as there."),
        "learning_rate_multiplier": (
            "learning_rate",
            f"What suits this model, times the {wanted['learning_rate_multiplier']} of the provider.",
        ),
    }
    return recipe, dict(reason for name, reason in why.items() if wanted[name] != AUTO)


def start_twin(
    dataset_id: int,
    rung_model: str,
    recipe: Recipe,
    name: str,
    *,
    submit: Submit = in_background,
    spending_cap_usd: float | None = None,
) -> Experiment:
    """Train the open twin, then ask it, its base and the managed model the same test questions. Raises UserError.

    `spending_cap_usd` holds for what the managed model is asked; None for no limit.
    """
    rungs = [RungChoice(), RungChoice(adapter=True), RungChoice(tuned=True, model=rung_model)]
    plan = Plan(rungs=rungs, spending_cap_usd=spending_cap_usd)
    return climb(Climb(name, dataset_id, plan, model=recipe.model, recipe=recipe), submit)


def _tune(job: Any) -> RemoteTune:
    created = job.created_at
    return RemoteTune(
        id=job.id,
        model=job.model,
        status=status_of(job),
        fine_tuned_model=job.fine_tuned_model if isinstance(job.fine_tuned_model, str) else None,
        created_at=dt.datetime.fromtimestamp(created, dt.UTC) if isinstance(created, int | float) else None,
        hyperparameters=hyperparameters_of(job),
        training_file=job.training_file,
        validation_file=job.validation_file if isinstance(job.validation_file, str) else None,
        seed=job.seed if isinstance(job.seed, int) else 0,
    )


def _downloaded(provider: Provider, file_id: str, path: Path) -> File:
    """A file of the provider on this disk, under the name it has there. Raises UserError."""

    def fetch(client: Any) -> None:
        with client.files.with_streaming_response.content(file_id) as response, path.open("wb") as out:
            for piece in response.iter_bytes():
                out.write(piece)
                if out.tell() > MOST_BYTES:
                    raise UserError(
                        f"The file {file_id} at {provider.name} is larger than {MOST_BYTES / 1e6:,.0f} MB.",
                        "Import your own copy of a part of it on the Data page, and train on that.",
                    )

    try:
        known = provider.ask(lambda client: client.files.retrieve(file_id), is_thing(), patience_s=LIST_PATIENCE_S)
        provider.ask(fetch, patience_s=DOWNLOAD_PATIENCE_S)
    except Refused as refused:
        if refused.status != 404:
            raise
        raise UserError(
            f"The file {file_id} of this fine-tune is no longer at {provider.name}.",
            "Import your own copy of it on the Data page, and train on that.",
        ) from refused
    name = known.filename if isinstance(known.filename, str) and known.filename else path.name
    return File(Path(name).name[:120], path=path)
