"""Scores: worked out once for each answer, never for a failed one, and the error of a metric says where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from core.data.dataset import examples_of
from core.errors import UserError
from core.evaluate.experiment import change_metrics, rerun
from core.evaluate.metrics.registry import REGISTERED, Answer, Scored, answer_metric, batch_metric
from core.evaluate.plan import MetricChoice, metrics_of
from core.evaluate.reading import read_scores
from core.evaluate.scoring import ensure_scores, score_missing
from core.jobs.context import Stopped
from core.jobs.run import run_foreground
from core.store import lists
from core.store.database import session
from core.store.tables import Example, Experiment, Score
from tests.evaluate.answering import answering, kind, made, run, scores
from tests.factories import sorting_dataset
from tests.models.service import Handler, Service


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with answering(monkeypatch) as service:
        yield service


@pytest.fixture
def own_metrics() -> Iterator[None]:
    """What a test registers is gone after it."""
    before = dict(REGISTERED)
    yield
    REGISTERED.clear()
    REGISTERED.update(before)


def missing(experiment: Experiment, **more: Any) -> None:
    score_missing(experiment.id, metrics_of(experiment), **more)


def test_cheap_metrics_follow_the_answers(service: Service) -> None:
    experiment = made(sorting_dataset(test=6), "base", metrics=("exact_match", "token_f1"))

    def stop_at_the_third() -> None:
        if len(scores(experiment.id, "token_f1")) >= 3:
            raise Stopped

    with pytest.raises(Stopped):
        run(experiment, check_stop=stop_at_the_third)
    seen = read_scores(experiment.id)
    assert 3 <= seen.answered["base"].sum() == seen.scored["exact_match"]["base"].sum() < 6
    run(experiment)
    references = dict(examples_of(experiment.dataset_id, "test"))
    for (_, example), (value, _) in scores(experiment.id, "exact_match").items():
        assert value in (0, 1) and references[example]
    assert len(scores(experiment.id, "exact_match")) == len(scores(experiment.id, "token_f1")) == 6


def test_changed_metrics_ask_nothing_and_keep_what_was_scored(service: Service) -> None:
    experiment = made(sorting_dataset(test=5), "base", "prompt")
    run(experiment)
    asked = len(service.requests)
    with session(read_only=True) as db:
        before = db.execute(sa.select(Score.id, Score.value).where(Score.metric == "exact_match")).all()

    changed = change_metrics(experiment.id, ["token_f1", "exact_match", "json_valid"])
    assert (changed.metric, changed.report) == ("token_f1", None)
    run(changed)
    missing(changed)
    assert len(service.requests) == asked
    with session(read_only=True) as db:
        assert db.execute(sa.select(Score.id, Score.value).where(Score.metric == "exact_match")).all() == before
    assert len(scores(experiment.id, "token_f1")) == len(scores(experiment.id, "json_valid")) == 10
    with pytest.raises(UserError, match="No metric"):
        change_metrics(experiment.id, [])


def test_failed_answers_and_missing_references_count_as_nought_and_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, own_metrics: None
) -> None:
    @answer_metric("found", title="Found", kind="binary", family="retrieval", needs=["passages"])
    def found(answer: Answer) -> float | None:
        """Whether anything was found."""
        return float(bool(answer.passages)) if answer.retrieval else None

    def refuse_one(handler: Handler, request: dict[str, Any], attempt: int) -> None:
        if "number 1000" in request["messages"][-1]["content"]:
            handler.refuse(400, "No")
        else:
            handler.answer(request, "fruit")

    dataset = sorting_dataset(test=4)
    with session() as db:
        # No import lets an empty one in; older data may hold some.
        db.execute(sa.update(Example).where(Example.split == "test", Example.position == 3).values(reference=" "))
    with answering(monkeypatch, refuse_one):
        experiment = made(dataset, "base", metrics=("exact_match", "found"))
        run(experiment)
    missing(experiment)
    by_example = {example: found for (_, example), found in scores(experiment.id, "exact_match").items()}
    assert [by_example[id] for id, _ in examples_of(dataset.id, "test")] == [
        (0.0, {"failed": True}),
        (0.0, {}),
        (1.0, {}),
        (0.0, {"no_reference": True}),
    ]
    assert {value for value, _ in scores(experiment.id, "found").values()} == {None}


def test_error_of_a_metric_names_metric_example_and_reason_and_keeps_the_rest(
    service: Service, own_metrics: None
) -> None:
    @answer_metric("fussy", title="Fussy", kind="binary", family="own")
    def fussy(answer: Answer) -> float:
        """Fails on one question."""
        return 1 / ("number 1002" not in answer.messages[-1]["content"])

    @answer_metric("lavish", title="Lavish", kind="continuous", family="own")
    def lavish(answer: Answer) -> float:
        """Gives more than there is."""
        return 1.5 if "number 1001" in answer.messages[-1]["content"] else 1.0

    experiment = made(sorting_dataset(test=4), "base", metrics=("exact_match", "fussy"))
    run(experiment)
    with pytest.raises(UserError, match=r"The metric Fussy failed on test example 3: ZeroDivisionError"):
        missing(experiment)
    assert len(scores(experiment.id, "exact_match")) == 4
    with pytest.raises(UserError, match=r"The metric Lavish gave 1.5 for test example 2"):
        score_missing(experiment.id, [MetricChoice(name="lavish")])
    assert len(scores(experiment.id, "lavish")) == 3


def test_slow_scores_come_in_batches_survive_a_stop_and_are_taken_over(service: Service, own_metrics: None) -> None:
    batches: list[int] = []

    @batch_metric("dear", title="Dear", kind="continuous", family="judge", cost="paid")
    def dear(answers: Sequence[Answer], settings: Any) -> list[float | Scored | None]:
        """Costs money."""
        batches.append(len(answers))
        return [Scored(0.25, {"cost_usd": 1.0}) for _ in answers]

    experiment = made(sorting_dataset(test=40), "base", metrics=("exact_match", "dear"))
    run(experiment)
    assert batches == []

    def stop_after_two() -> None:
        if len(batches) == 2:
            raise Stopped

    with pytest.raises(Stopped):
        missing(experiment, check_stop=stop_after_two)
    assert len(scores(experiment.id, "dear")) == 32
    told: list[str] = []
    missing(experiment, progress=lambda done, total, message: told.append(message))
    assert batches == [16, 16, 8] and "Scoring: Dear" in told

    run(again := rerun(experiment.id))
    missing(again)
    assert batches == [16, 16, 8]
    taken = list(scores(again.id, "dear").values())
    assert {(value, notes["cost_usd"], notes["reused"]) for value, notes in taken} == {(0.25, 1.0, True)}
    assert len(taken) == 40

    # What has been changed since is judged anew.
    with session() as db:
        db.execute(sa.update(Example).where(Example.split == "test", Example.position < 3).values(reference="other"))
    run(third := rerun(experiment.id))
    missing(third)
    assert batches == [16, 16, 8, 3]


def test_answers_of_an_old_experiment_get_their_cheap_scores(service: Service) -> None:
    experiment = made(sorting_dataset(test=3), "base")
    run(experiment)
    with session() as db:
        db.execute(sa.delete(Score))
        old = db.get_one(Experiment, experiment.id)
        old.metrics, old.spec = [], {"rungs": ["base"], "shots": 8, "passages": 2, "max_new_tokens": 6}
    for _ in range(2):
        ensure_scores(experiment.id)
        assert len(scores(experiment.id, "exact_match")) == 3
    assert read_scores(experiment.id).scored["exact_match"]["base"].all()


def test_judging_a_failed_answer_is_never_paid_for(monkeypatch: pytest.MonkeyPatch, own_metrics: None) -> None:
    asked: list[str] = []

    @batch_metric("dear", title="Dear", kind="continuous", family="judge", cost="paid")
    def dear(answers: Sequence[Answer], settings: Any) -> list[float | Scored | None]:
        """Costs money."""
        asked.extend(answer.output for answer in answers)
        return [1.0 for _ in answers]

    def refuse_one(handler: Handler, request: dict[str, Any], attempt: int) -> None:
        if "number 1000" in request["messages"][-1]["content"]:
            handler.refuse(400, "No")
        else:
            kind(handler, request, attempt)

    with answering(monkeypatch, refuse_one):
        experiment = made(sorting_dataset(test=3), "base", metrics=("exact_match", "dear"))
        run(experiment)
    missing(experiment)
    assert len(asked) == 2 and all(asked)
    assert sorted(value for value, _ in scores(experiment.id, "dear").values() if value is not None) == [0, 1, 1]


@pytest.mark.integration
def test_job_after_a_change_of_metrics_asks_nothing_and_draws_new_conclusions(service: Service) -> None:
    experiment = made(sorting_dataset(test=8), "base", "prompt", minimums={"base": 1.0, "prompt": 0.0})
    first = run_foreground("compare", {"experiment_id": experiment.id})
    assert (first.status, first.error) == ("done", "")
    assert [(each["rung"], each["reached"]) for each in first.result["minimums"]] == [("base", False), ("prompt", True)]
    asked = len(service.requests)
    change_metrics(experiment.id, ["json_valid", "exact_match"])
    second = run_foreground("compare", {"experiment_id": experiment.id})
    assert (second.status, second.error, len(service.requests)) == ("done", "", asked)
    report = lists.experiment(experiment.id).report
    assert report is not None and report["metric"] == "json_valid"
    assert [row["score"] for row in report["rungs"]] == [0.0, 0.0]
