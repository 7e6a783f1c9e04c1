"""The way out: an existing fine-tune's data and settings, its open twin, and both compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from core.data.dataset import ImportRefused, count_of, examples_of
from core.data.files import File
from core.errors import UserError
from core.evaluate.plan import Plan
from core.managed.migrate import RemoteTune, bring, existing, start_twin, twin_recipe
from core.models.catalogue import BUNDLED_MODEL
from tests.factories import jsonl, sorting, sorting_dataset
from tests.managed.provider import MODEL, Provider


def tuned_before(provider: Provider, *, validation: bool = True, **asked: Any) -> dict[str, Any]:
    """A fine-tune that somebody has done at the provider, long before us."""
    files = {"training_file": provider.add_file("our train.jsonl", jsonl(sorting(40)))["id"]}
    if validation:
        files["validation_file"] = provider.add_file("our test.jsonl", jsonl(sorting(20, 1000)))["id"]
    job = provider.add_job({"model": MODEL, **files, **asked})
    while job["status"] != "succeeded":
        provider.move_on(job["id"])
    return job


def test_existing_fine_tunes_are_listed_with_their_settings(provider: Provider, there: str) -> None:
    first = tuned_before(provider, hyperparameters={"n_epochs": 4, "learning_rate_multiplier": 1.8})
    chosen = {"hyperparameters": {"n_epochs": 2, "batch_size": "auto"}}
    second = tuned_before(provider, method={"type": "supervised", "supervised": chosen})
    newest, oldest = existing(there)
    assert (newest.id, oldest.id) == (second["id"], first["id"])
    assert isinstance(oldest, RemoteTune) and oldest.fine_tuned_model == first["fine_tuned_model"]
    assert oldest.hyperparameters == {"n_epochs": 4, "learning_rate_multiplier": 1.8, "batch_size": "auto"}
    assert newest.hyperparameters["n_epochs"] == 2


def test_brought_data_is_tested_on_what_was_not_learned(provider: Provider, there: str) -> None:
    job = tuned_before(provider)
    brought = bring(there, job["id"])
    assert brought.rung_model == f"remote:there/{job['fine_tuned_model']}"
    assert not brought.seen_in_training and not brought.notices
    tests = [example.messages[0]["content"] for _, example in examples_of(brought.dataset_id, "test")]
    assert len(tests) == brought.test_examples == 20 and all("number 10" in text for text in tests)
    assert brought.train_examples + count_of(brought.dataset_id, "validation") == 40


def test_testing_on_what_was_learned_is_said(provider: Provider, there: str) -> None:
    brought = bring(there, tuned_before(provider, validation=False)["id"])
    assert brought.seen_in_training and "flatters" in brought.notices[0].remedy


def test_unseen_examples_can_be_brought_along(provider: Provider, there: str) -> None:
    job = tuned_before(provider, validation=False)
    brought = bring(there, job["id"], test=File("mine.jsonl", jsonl(sorting(25, 5000))))
    assert not brought.seen_in_training and brought.test_examples == 25


def test_passing_trouble_while_downloading_is_waited_out(provider: Provider, there: str, quick: None) -> None:
    job = tuned_before(provider)
    for step in ("poll", "file", "result"):
        for how in (429, 500, "drop"):
            provider.misbehave(step, how)
    assert bring(there, job["id"]).train_examples


def test_what_is_gone_is_named_and_nothing_is_stored(provider: Provider, there: str) -> None:
    job = tuned_before(provider)
    del provider.files[job["training_file"]]
    with pytest.raises(UserError, match=f"{job['training_file']} of this fine-tune is no longer"):
        bring(there, job["id"])
    with pytest.raises(UserError, match="404"):
        bring(there, "ftjob-none")


def test_broken_files_are_refused_by_the_line(provider: Provider, there: str) -> None:
    job = tuned_before(provider)
    provider.contents[job["training_file"]] += b"{broken\n"
    with pytest.raises(ImportRefused, match=r"our train.jsonl, line 41"):
        bring(there, job["id"])


def test_names_of_files_there_lead_nowhere_here(provider: Provider, there: str) -> None:
    job = tuned_before(provider)
    provider.files[job["training_file"]]["filename"] = "../../../etc/passwd"
    assert bring(there, job["id"]).train_examples


def test_twin_takes_over_what_the_provider_was_told() -> None:
    dataset = sorting_dataset(60)
    ours, no_reasons = twin_recipe(dataset.id, {})
    told, why = twin_recipe(
        dataset.id, {"n_epochs": 5, "batch_size": 4, "learning_rate_multiplier": 2.0}, BUNDLED_MODEL, seed=9
    )
    assert (told.epochs, told.batch_size * told.accumulation, told.seed) == (5, 4, 9)
    assert told.learning_rate == pytest.approx(2 * ours.learning_rate)
    assert set(why) == {"epochs", "batch_size", "learning_rate"} and not no_reasons
    assert twin_recipe(dataset.id, {"n_epochs": "auto", "batch_size": None})[0] == ours


def test_twin_is_trained_and_all_are_compared(provider: Provider, there: str) -> None:
    brought = bring(there, tuned_before(provider)["id"])
    assert brought.rung_model is not None
    recipe, _ = twin_recipe(brought.dataset_id, brought.tune.hyperparameters)
    submitted: list[tuple[str, dict[str, Any]]] = []

    def submit(kind: str, spec: dict[str, Any], title: str, after: Sequence[int], expected_s: float) -> int:
        submitted.append((kind, spec))
        return queued(kind, spec, after)

    experiment = start_twin(brought.dataset_id, brought.rung_model, recipe, "twin", submit=submit, spending_cap_usd=1.0)
    assert [kind for kind, _ in submitted] == ["train", "compare"]
    assert submitted[0][1]["recipe"]["model"] == BUNDLED_MODEL
    plan = Plan.model_validate(experiment.spec)
    assert [rung.switches for rung in plan.ladder] == ["base", "lora", "managed"]
    assert plan.ladder[-1].model == brought.rung_model and plan.spending_cap_usd == 1.0


def queued(kind: str, spec: dict[str, Any], after: Sequence[int]) -> int:
    from core.jobs import queue

    return queue.submit(kind, spec, after=after, start=False)
