"""The climb: what is missing is submitted in order, and what cannot work is said before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from core.data.dataset import File, create_dataset
from core.documents.index import create_index
from core.documents.reading import read_document
from core.errors import UserError
from core.evaluate.plan import MetricChoice, Plan
from core.evaluate.rungs import RungChoice
from core.jobs import queue
from core.ladder import Climb, climb, default_rungs
from core.models.catalogue import BUNDLED_MODEL
from core.store import lists
from core.store.database import session
from core.store.tables import Adapter, Dataset, Index
from tests.factories import chat, jsonl, sorting, sorting_dataset

ALL = ("base", "prompt", "rag", "lora", "rag+lora")


def plan(*rungs: str) -> Plan:
    return Plan(rungs=[RungChoice.model_validate(rung) for rung in rungs])


def submit(kind: str, spec: dict[str, Any], title: str, after: Sequence[int], expected_s: float) -> int:
    """Queue without starting."""
    return queue.submit(kind, spec, title=title, after=after, expected_s=expected_s, start=False)


def index() -> Index:
    return create_index("d", [read_document("a.md", b"# A\n\nText.")])


def submitted() -> list[tuple[str, list[int]]]:
    return [(job.kind, job.after) for job in reversed(queue.jobs())]


def test_index_and_training_come_before_the_comparison() -> None:
    experiment = climb(Climb("x", sorting_dataset().id, plan(*ALL), index_id=index().id), submit)
    assert submitted() == [("index", []), ("train", []), ("compare", [1, 2])]
    jobs = {job.kind: job for job in queue.jobs()}
    assert jobs["compare"].spec == {"experiment_id": experiment.id}
    assert (experiment.job_id, experiment.train_job_id) == (jobs["compare"].id, jobs["train"].id)
    assert all((job.expected_s or 0) > 0 for job in jobs.values())


@pytest.mark.parametrize(
    ("rungs", "kinds"),
    [(("base",), ["compare"]), (("prompt", "base"), ["compare"]), (("lora",), ["train", "compare"])],
)
def test_only_what_the_rungs_need_is_submitted(rungs: tuple[str, ...], kinds: list[str]) -> None:
    climb(Climb("x", sorting_dataset().id, plan(*rungs)), submit)
    assert [kind for kind, _ in submitted()] == kinds


def test_index_that_another_job_fills_is_waited_for_not_filled_again() -> None:
    filling = index()
    job = submit("index", {"index_id": filling.id}, "Index", (), 1)
    climb(Climb("x", sorting_dataset().id, plan("rag"), index_id=filling.id), submit, index_job=job)
    assert submitted() == [("index", []), ("compare", [job])]


def dataset_of(train: int) -> Dataset:
    return create_dataset("d", File("a", jsonl(sorting(train))), File("b", jsonl(sorting(3, start=900))))


@pytest.mark.parametrize(
    ("rungs", "more", "said"),
    [
        (("base", "rag"), {}, "rag needs documents"),
        (("base", "lora", "rag+lora"), {}, r"rag\+lora needs documents"),
        ((), {}, "No rung was chosen"),
        (("base", "lora"), {"metrics": (MetricChoice(name="bluer"),)}, "no metric called bluer"),
        (("base", "lora"), {"target": 85.0}, "not a share"),
        (("base", "lora"), {"model": "remote/gpt"}, "cannot be measured on the remote model"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_submitted(
    rungs: tuple[str, ...], more: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        climb(Climb("x", sorting_dataset().id, plan(*rungs), **more), submit)
    assert caught.value.remedy
    assert queue.jobs() == [] and lists.experiments() == []


def test_adapter_that_is_there_is_not_trained_again(home: Path) -> None:
    dataset = dataset_of(8)
    with session() as db:
        db.add(adapter := Adapter(name="a", base_model=BUNDLED_MODEL, method="lora", path="adapters/1"))
    experiment = climb(Climb("x", dataset.id, plan("base", "lora"), adapter_id=adapter.id), submit)
    own = climb(Climb("x", dataset.id, plan("base", f"lora#{adapter.id}")), submit)
    assert [kind for kind, _ in submitted()] == ["compare", "compare"]
    assert (experiment.adapter_id, own.adapter_id) == (adapter.id, None)


def test_too_few_training_examples_stop_only_the_rungs_that_learn() -> None:
    dataset = dataset_of(8)
    with pytest.raises(UserError, match=r"8 training examples are too few.*at least 10"):
        climb(Climb("x", dataset.id, plan("base", "lora")), submit)
    assert queue.jobs() == []
    climb(Climb("x", dataset.id, plan("base", "prompt")), submit)
    assert [kind for kind, _ in submitted()] == ["compare"]


def test_metric_is_chosen_from_the_answers_when_none_is_named() -> None:
    classes = climb(Climb("x", sorting_dataset().id, plan("base")), submit)
    texts = create_dataset("t", File("a", jsonl(chat(f"q{n}", f"answer {n}") for n in range(20))))
    free = climb(Climb("x", texts.id, plan("base")), submit)
    named = climb(Climb("x", texts.id, plan("base"), metrics=(MetricChoice(name="contains"),)), submit)
    assert [e.metric for e in (classes, free, named)] == ["exact_match", "token_f1", "contains"]


def test_rungs_with_retrieval_are_the_default_only_with_documents() -> None:
    assert [choice.rung.name for choice in default_rungs(with_documents=True)] == list(ALL)
    assert [choice.rung.name for choice in default_rungs(with_documents=False)] == ["base", "prompt", "lora"]
