"""The demo project: its files are sound, and one call submits everything in order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from core.data.check import check
from core.data.dataset import datasets
from core.data.example import Example
from core.data.files import File
from core.data.reading import read_examples
from core.demo import FOLDER, demo_experiments, load_demo, start_demo
from core.documents.reading import read_folder
from core.evaluate.metrics import metric_named
from core.evaluate.plan import Plan
from core.jobs import queue
from core.models.catalogue import BUNDLED_MODEL
from core.store import lists

TASKS = load_demo().tasks


def submit(kind: str, spec: dict[str, Any], title: str, after: Sequence[int], expected_s: float) -> int:
    """Queue without starting."""
    return queue.submit(kind, spec, title=title, after=after, expected_s=expected_s, start=False)


def file_of(key: str, split: str) -> File:
    return File(f"{key}/{split}.jsonl", path=FOLDER / key / f"{split}.jsonl")


def read(key: str, split: str) -> list[Example]:
    return read_examples(file_of(key, split))


def test_three_tasks_and_about_forty_documents() -> None:
    assert [task.key for task in TASKS] == ["facts", "tickets", "cited"]
    documents = read_folder(FOLDER / load_demo().documents)
    assert 35 <= len(documents) <= 45
    assert len({document.title for document in documents}) == len(documents)


@pytest.mark.parametrize("key", [task.key for task in TASKS])
def test_examples_are_clean_and_share_no_group_between_training_and_test(key: str) -> None:
    train, test = read(key, "train"), read(key, "test")
    assert check(file_of(key, "train")).problems == check(file_of(key, "test")).problems == []
    assert 140 <= len(train) <= 180 and 50 <= len(test) <= 70
    assert not {e.group for e in train} & {e.group for e in test}
    prompts = [{json.dumps(e.messages) for e in side} for side in (train, test)]
    assert not prompts[0] & prompts[1]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.key)
def test_every_reference_is_right_by_its_own_metric(task: Any) -> None:
    metric = metric_named(task.metric)
    for split in ("train", "test"):
        assert all(metric.score(e.reference, e.reference) == 1 for e in read(task.key, split))


def test_cited_answers_name_documents_that_exist() -> None:
    titles = {document.title for document in read_folder(FOLDER / load_demo().documents)}
    for split in ("train", "test"):
        for example in read("cited", split):
            assert titles & set(json.loads(example.reference).values()), example.reference


def test_one_call_submits_seven_jobs_in_order() -> None:
    experiments = start_demo(submit)
    jobs = list(reversed(queue.jobs()))
    kinds = ["index", "train", "compare", "train", "compare", "train", "compare"]
    assert [job.kind for job in jobs] == kinds
    index, *rest = jobs
    for train, compare, experiment in zip(rest[::2], rest[1::2], experiments, strict=True):
        assert index.after == train.after == []
        assert compare.after == [index.id, train.id]
        assert compare.spec == {"experiment_id": experiment.id}
        assert train.spec["dataset_id"] == experiment.dataset_id
        assert train.spec["recipe"]["model"] == experiment.model == BUNDLED_MODEL
        rungs = Plan.model_validate(experiment.spec).ladder
        assert [rung.name for rung in rungs] == ["base", "prompt", "rag", "lora", "rag+lora"]
    assert [e.metric for e in experiments] == [task.metric for task in TASKS]
    assert sum(job.expected_s or 0 for job in jobs) < 15 * 60
    assert {key: e.id for key, e in demo_experiments().items()} == {
        task.key: e.id for task, e in zip(TASKS, experiments, strict=True)
    }
    assert len(datasets()) == 3
    (summary,) = lists.indexes()
    assert summary.documents >= 35 and not summary.ready


def test_before_it_was_started_there_is_no_demo() -> None:
    assert demo_experiments() == {}
