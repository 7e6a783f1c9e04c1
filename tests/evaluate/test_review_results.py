"""What a whole comparison with judges gives, and the odd corners of reports, votes and exports."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from core.evaluate import takeaway, votes
from core.evaluate.ballots import cast, next_pair, pairs_of
from core.evaluate.changes import between
from core.evaluate.effects import told
from core.evaluate.experiment import change_cap
from core.evaluate.job import spent_usd
from core.evaluate.labels import label_report
from core.evaluate.metrics import metric_named
from core.evaluate.metrics.registry import Answer, identity_of
from core.evaluate.plan import MetricChoice
from core.evaluate.reading import read_scores, read_values
from core.evaluate.rungs import rungs_named
from core.evaluate.statistics import compare_all, effects, examples_to_settle
from core.evaluate.statistics.clusters import clusters_of
from core.evaluate.statistics.paired import paired
from core.evaluate.verdict import decide
from core.export import safe_csv
from core.jobs.run import run_foreground
from core.store.database import session
from core.store.tables import Example, Experiment, Judgement, Prediction, Score
from tests.evaluate.answering import answering, made
from tests.evaluate.made import answered_experiment
from tests.factories import sorting_dataset
from tests.models.service import Handler

JUDGE = "remote/judge"


def fair(handler: Handler, request: dict[str, Any], attempt: int) -> None:
    """As a model: "fruit" with worked examples, else "tool". As a judge: for fruit, in either order."""
    text = request["messages"][-1]["content"]
    shown = text.partition("<answer ")[2].partition("</answer ")[0]
    if request["model"] != "judge":
        said = "fruit" if len(request["messages"]) > 2 else "tool"
    elif "<answer A " in text:
        said = json.dumps({"reason": "fruit is right", "better": "A" if "fruit" in shown else "B"})
    else:
        said = json.dumps({"reason": "so it is", "score": 5 if "fruit" in shown else 2})
    handler.answer(request, said)


@pytest.mark.integration
def test_a_whole_comparison_with_judges_of_both_kinds_is_reported_and_asks_nothing_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choice = MetricChoice(name="judge", settings={"model": JUDGE})
    with answering(monkeypatch, fair, price_input="100", price_output="100") as service:
        experiment = made(
            sorting_dataset(test=12),
            "base",
            "prompt",
            metrics=[MetricChoice(name="exact_match"), choice],
            judge={"model": JUDGE, "examples": 8},
        )
        job = run_foreground("compare", {"experiment_id": experiment.id})
        assert (job.status, job.error) == ("done", "")
        asked = len(service.requests)
        with session() as db:
            stored = db.get_one(Experiment, experiment.id)
            report, judgements = stored.report or {}, list(db.scalars(sa.select(Judgement)))
            pointwise = list(db.scalars(sa.select(Score).where(Score.metric == choice.identity)))
        again = run_foreground("compare", {"experiment_id": experiment.id})
        assert (again.status, len(service.requests)) == ("done", asked)
    assert len(pointwise) == 24 and {score.value for score in pointwise} == {1.0, 0.25}
    assert len(judgements) == 16 and {one.choice for one in judgements} == {"b"}
    assert asked == 24 + 24 + 16, "answers, scores, and eight pairs in both orders"
    each = (11 + 3) * 100 / 1e6
    assert spent_usd(experiment.id) == pytest.approx(asked * each), "all of it counts towards the cap"
    row = {row["rung"]: row["other_metrics"][choice.identity]["score"] for row in report["rungs"]}
    assert row == {"base": 0.25, "prompt": 1.0}
    judged = report["judge"]
    assert (judged["examples"], judged["asked"], judged["unreadable_share"]) == (8, 16, 0.0)
    assert judged["cost_usd"] == pytest.approx(16 * each)
    (pair,) = judged["pairs"]
    assert (pair["a"], pair["b"], pair["wins_b"], pair["order_ties"], pair["outcome"]) == (
        "base",
        "prompt",
        8,
        0,
        "better",
    )
    # People vote after the report was made: what is taken away knows all the same how far the judge agrees with them.
    for _ in range(3):
        ballot = next_pair(experiment.id, "Ann")
        assert ballot is not None
        cast(ballot, "Ann", "left" if ballot.left == "tool" else "right")
    told_kappa = votes.results(experiment.id).judge
    assert told_kappa is not None and told_kappa.observed == 0
    for page in (takeaway.html(experiment.id), takeaway.markdown(experiment.id)):
        assert "Judge model" in page and f"Agreement with people's votes: {told_kappa.text}." in page.replace(
            "&#39;", "'"
        )


@pytest.mark.integration
def test_what_a_judge_was_paid_for_before_the_cap_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = MetricChoice(name="judge", settings={"model": JUDGE})
    with answering(monkeypatch, fair, price_input="100", price_output="100") as service:
        # Sixty answers and some scores: no more is asked for than could be paid at the worst.
        experiment = made(
            sorting_dataset(test=60), "base", metrics=[MetricChoice(name="exact_match"), choice], spending_cap_usd=0.25
        )
        job = run_foreground("compare", {"experiment_id": experiment.id})
        assert job.status == "failed" and "spending cap" in job.error
        paid = len(service.requests) - 60
        with session() as db:
            kept = db.scalar(sa.select(sa.func.count()).select_from(Score).where(Score.metric == choice.identity))
        assert 0 < paid == kept < 60
        assert spent_usd(experiment.id) == pytest.approx((60 + paid) * 14 * 100 / 1e6)
        change_cap(experiment.id, 100.0)
        assert run_foreground("compare", {"experiment_id": experiment.id}).status == "done"
        assert len(service.requests) == 120


@pytest.mark.parametrize("name", ["exact_match", "token_f1", "accuracy"])
@pytest.mark.parametrize(
    ("output", "reference", "value"),
    [("", "A", 0), ("the", "A", 0), ("A.", "A", 1), (" a", "A", 1), ("+", "-", 0), ("-", "-", 1), ("B", "A", 0)],
)
def test_an_option_called_a_or_a_sign_is_no_empty_answer(name: str, output: str, reference: str, value: int) -> None:
    assert metric_named(name).score_all([Answer(output, reference)])[0].value == value


def test_sql_that_sorts_missing_values_elsewhere_is_another_query() -> None:
    def same(one: str, other: str) -> float:
        return metric_named("sql_match").score(
            f"SELECT a FROM t ORDER BY a {one}", f"SELECT a FROM t ORDER BY a {other}"
        )

    assert (same("NULLS FIRST", "NULLS LAST"), same("", "ASC"), same("DESC", "")) == (0, 1, 0)


def test_a_change_of_the_usual_rubric_is_another_metric() -> None:
    judge = metric_named("judge")
    assert judge.version and identity_of(judge, {}) != "judge"


def test_an_example_without_a_reference_costs_macro_f1_no_class() -> None:
    experiment = answered_experiment({"base": 40}, 40)
    seen = read_scores(experiment.id)
    with session() as db:
        db.get_one(Example, int(seen.examples[0])).reference = ""
    report = label_report(experiment.id, seen.rungs, seen.examples, 0)
    assert report is not None
    found = report["rungs"]["base"]
    assert found["accuracy"] == pytest.approx(39 / 40)
    assert 0.95 < found["macro_f1"] < 1, "one answer too many in one class, and no class that nothing ever hits"


def test_an_example_that_left_is_in_no_change() -> None:
    experiment = answered_experiment({"base": 5}, 10)
    with session() as db:
        db.get_one(Example, int(read_scores(experiment.id).examples[-1])).split = "removed"
    assert between(experiment.id, experiment.id).n == 9


def test_values_read_alone_are_those_among_all_scores() -> None:
    experiment = answered_experiment({"base": 5, "rag": 8}, 10)
    everything, values = read_scores(experiment.id), read_values(experiment.id, [experiment.metric])
    assert values.rungs == everything.rungs and values.groups == everything.groups
    assert np.array_equal(values.examples, everything.examples)
    for rung in everything.rungs:
        assert np.array_equal(values.answered[rung], everything.answered[rung])
        assert np.array_equal(
            values.values[experiment.metric][rung], everything.values[experiment.metric][rung], equal_nan=True
        )
    assert not values.outputs and not values.latency_s
    assert not read_values(experiment.id, ["another"]).values


def test_votes_where_the_deciding_metric_says_nothing_of_a_rung() -> None:
    experiment = answered_experiment({"base": 5, "rag": 8, "rag+lora": 8}, 10)
    with session() as db:
        stored = db.get_one(Experiment, experiment.id)
        report = json.loads(json.dumps(stored.report))
        report["verdict"]["rung"] = "rag"
        next(row for row in report["rungs"] if row["rung"] == "base")["score"] = None
        stored.report = report
    assert pairs_of(experiment.id)[0] == ("rag", "rag+lora")


def test_the_examples_shown_are_those_where_rungs_differ_even_if_a_rung_has_no_value() -> None:
    experiment = answered_experiment({"base": 20, "rag": 15, "rag+lora": 20}, 20)
    of_base = sa.select(Prediction.id).where(Prediction.rung == "base")
    with session() as db:
        db.execute(sa.update(Score).where(Score.prediction_id.in_(of_base)).values(value=None))
    page = takeaway.markdown(experiment.id)
    shown = [int(line.split()[-1]) for line in page.splitlines() if line.startswith("### Example")]
    assert shown == [1, 16, 17, 18, 19, 20], "counted from 1, as on the page"


def test_csv_has_a_column_for_each_metric_whatever_was_scored_first() -> None:
    experiment = answered_experiment({"base": 3}, 5, metrics=["exact_match", "token_f1"])
    with session() as db:
        first = db.scalars(sa.select(Score).where(Score.metric == "token_f1").order_by(Score.prediction_id)).first()
        db.delete(first)
    rows = list(csv.DictReader(io.StringIO(safe_csv(takeaway.csv_rows(experiment.id)).decode("utf-8-sig"))))
    assert [row["token_f1"] for row in rows][:2] == ["", "1.0"]
    assert [row["example"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert json.loads(next(takeaway.jsonl(experiment.id)))["scores"] == {"exact_match": 1.0, "token_f1": None}


def test_differences_are_told_in_points_and_the_smallest_that_matters_without_a_sign() -> None:
    experiment = answered_experiment({"base": 10, "prompt": 30}, 40)
    page = takeaway.markdown(experiment.id)
    assert "A difference of less than 5 points does not matter" in page
    assert "points with 80% probability" in page


def test_what_is_open_is_said_where_the_leader_is_settled_and_another_rung_is_not() -> None:
    base = np.array([1.0] * 210 + [0.0] * 90)
    prompt, lora = base.copy(), base.copy()
    prompt[210:213] = 1
    lora[:45], lora[210:256] = 0, 1
    scores = {"base": base, "prompt": prompt, "lora": lora}
    found = decide(list(scores), scores, compare_all(scores, kind="binary"), kind="binary")
    assert (found.rung, found.outcome) == ("base", "cannot tell yet")
    assert "The highest score is prompt's: 1 point more than base" in found.reason
    assert "What is open: lora could still prove up to" in found.reason


def test_further_examples_are_reckoned_at_the_level_that_holm_asks() -> None:
    rng = np.random.default_rng(4)
    scores = {name: (rng.random(60) < 0.5) * 1.0 for name in "abcde"}
    first = min(compare_all(scores, kind="binary"), key=lambda pair: pair.p)
    assert first.p_adjusted == 1, "which says nothing of the level any more"
    difference = scores[first.b] - scores[first.a]
    spread = paired(difference[:, None], clusters_of(None, 60), True, 0).spread[0]
    assert first.more == examples_to_settle(first.effect, spread, 60, 0.05, alpha=0.05 / 10, clusters=60)


def test_where_every_answer_failed_the_verdict_does_not_blame_the_metric() -> None:
    experiment = answered_experiment({"base": 0, "prompt": 0}, 12, failed=12)
    verdict = (experiment.report or {})["verdict"]
    assert (verdict["rung"], verdict["outcome"]) == (None, "cannot tell yet")
    assert "all failed or are missing" in verdict["reason"] and "metric" not in verdict["reason"]


def test_an_effect_that_may_be_chance_is_told_in_plain_words() -> None:
    rng = np.random.default_rng(0)
    scores = {"base": rng.random(30), "rag": rng.random(30)}
    (effect,) = effects(scores, rungs_named(list(scores)))
    assert told(effect, 0.05).startswith("With retrieval the score is ")
