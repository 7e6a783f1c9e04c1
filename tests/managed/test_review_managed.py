"""What could be paid for twice, forgotten or sent to the wrong place: the moments between one step and the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import UserError
from core.jobs import queue
from core.managed import job as managed_job
from core.managed import migrate
from core.managed.migrate import bring
from core.managed.plan import Prepared, TuneSettings, prepare, start
from core.managed.runs import can_cancel, cancel, run_of
from core.models import services
from core.models.services import Service
from core.settings import get_settings
from core.store.tables import Job
from tests.factories import sorting_dataset
from tests.managed.conftest import Work
from tests.managed.provider import MODEL, Provider, providing

Begin = Callable[[], int]


@pytest.fixture
def lost(provider: Provider, begin: Begin, work: Work) -> Job:
    """A job whose creation came through unheard, at a provider without marks, and that ended before it could look."""
    provider.keeps_metadata = False
    provider.hold.clear()
    provider.misbehave("create", "drop_after")
    first = begin()
    listed = provider.next_misbehaviour

    def refuse_after_creation(step: str) -> object:
        if step == "list_jobs" and provider.creations:
            provider.misbehave("list_jobs", 401)
        return listed(step)

    provider.next_misbehaviour = refuse_after_creation  # type: ignore[method-assign,assignment]
    job = work(first)
    provider.next_misbehaviour = listed  # type: ignore[method-assign]
    assert job.status == "failed" and len(provider.creations) == 1
    assert run_of(first).remote_job_id is None
    return job


@pytest.mark.parametrize("deleted", [False, True])
def test_begun_anew_after_a_lost_creation_it_is_not_created_twice(
    provider: Provider, lost: Job, begin: Begin, work: Work, deleted: bool
) -> None:
    if deleted:
        queue.delete(lost.id)
    provider.hold.set()
    job = work(begin())
    assert job.status == "done", job.error
    assert len(provider.creations) == 1


def test_lost_creation_can_be_cancelled_without_being_resumed(provider: Provider, lost: Job) -> None:
    assert can_cancel(run_of(lost.id))
    assert cancel(lost.id) == "At there it is cancelled."
    assert [job["status"] for job in provider.jobs.values()] == ["cancelled"]
    assert not can_cancel(run_of(lost.id))


def test_lost_creation_is_cancelled_while_it_waits_to_be_resumed(provider: Provider, lost: Job) -> None:
    queue.resume(lost.id)
    cancel(lost.id)
    assert [job["status"] for job in provider.jobs.values()] == ["cancelled"]


def test_discarded_while_waiting_it_is_followed_and_not_created_again(
    provider: Provider, begin: Begin, work: Work
) -> None:
    """Where jobs carry no marks; it may be discarded on Jobs, where nobody asks the provider."""
    provider.keeps_metadata = False
    provider.hold.clear()
    provider.misbehave("poll", 401)
    job = work(begin())
    queue.resume(job.id)
    queue.request_stop(job.id, "discard")
    queue.resume(job.id)
    provider.hold.set()
    assert work(job.id).status == "done"
    assert len(provider.creations) == 1


def test_another_fine_tune_of_the_same_file_is_not_taken_for_the_lost_one(
    provider: Provider, prepared: Prepared, lost: Job, work: Work
) -> None:
    ours = next(iter(provider.jobs))
    settings = prepared.settings.model_copy(update={"seed": 2})
    other = prepare("there", MODEL, prepared.dataset_id, settings)
    provider.hold.set()
    second = work(start(other, other.price_usd))
    assert len(provider.creations) == 2 and run_of(second.id).remote_job_id != ours
    queue.resume(lost.id)
    work(lost.id)
    assert run_of(lost.id).remote_job_id == ours and len(provider.creations) == 2


def test_nothing_goes_to_an_address_that_was_not_confirmed(begin: Begin, work: Work) -> None:
    job_id = begin()
    with providing() as stranger:
        services.save(Service(name="there", url=stranger.url, timeout_s=0.3), stranger.key)
        job = work(job_id)
        assert job.status == "failed" and "address" in job.error
        assert stranger.requests == []


def test_the_other_spelling_of_cancelled_is_an_end(provider: Provider, begin: Begin, work: Work) -> None:
    provider.ends = "canceled"
    job = work(begin())
    assert job.status == "failed" and "was cancelled" in job.error
    assert not can_cancel(run_of(job.id))


def test_success_without_a_model_is_not_waited_for_without_end(
    provider: Provider, begin: Begin, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(managed_job, "MODEL_WITHIN_S", 0.2)
    provider.ends = "succeeded"
    move_on = provider.move_on

    def without_model(job_id: str) -> dict[str, object]:
        return move_on(job_id) | {"fine_tuned_model": None}

    provider.move_on = without_model  # type: ignore[method-assign]
    job = work(begin())
    assert job.status == "failed" and "names no model" in job.error


def test_file_without_end_is_not_downloaded_without_end(
    provider: Provider, there: str, begin: Begin, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(begin())
    monkeypatch.setattr(migrate, "MOST_BYTES", 100)
    with pytest.raises(UserError, match="larger than"):
        bring(there, next(iter(provider.jobs)))
    assert not list(Path(get_settings().home).glob("bringing-*"))


def test_gone_at_the_provider_is_told_with_a_way_on(provider: Provider, begin: Begin, work: Work) -> None:
    provider.hold.clear()
    provider.misbehave("poll", 404)
    job = work(begin())
    assert job.status == "failed" and "is gone at there" in job.error and "seed" in job.remedy
    assert len(provider.creations) == 1


def test_sum_confirmed_holds_where_only_the_method_names_the_epochs(
    provider: Provider, there: str, prepared: Prepared, work: Work
) -> None:
    automatic = prepare(there, MODEL, prepared.dataset_id, TuneSettings(price_training=5_000.0))
    move_on = provider.move_on

    def by_method(job_id: str) -> dict[str, object]:
        job = move_on(job_id)
        chosen = {"n_epochs": 50}
        return job | {
            "hyperparameters": None,
            "method": {"type": "supervised", "supervised": {"hyperparameters": chosen}},
        }

    provider.move_on = by_method  # type: ignore[method-assign]
    job = work(start(automatic, automatic.price_usd))
    assert job.status == "failed" and "chose 50 epochs" in job.error
    assert next(iter(provider.jobs.values()))["status"] == "cancelled"


@pytest.mark.parametrize(
    ("name", "number", "field"),
    [
        ("learning_rate_multiplier", 1e5, "learning rate"),
        ("batch_size", 100_003, "accumulation"),
        ("n_epochs", 5_000, "epochs"),
    ],
)
def test_numbers_of_a_provider_beyond_a_recipe_are_refused_in_words(
    home: Path, name: str, number: float, field: str
) -> None:
    with pytest.raises(UserError, match=f"the {field} would be"):
        migrate.twin_recipe(sorting_dataset().id, {name: number})


def test_half_examples_to_a_step_are_rounded(home: Path) -> None:
    recipe, _ = migrate.twin_recipe(sorting_dataset().id, {"batch_size": 2.5})
    assert recipe.batch_size * recipe.accumulation == 2
