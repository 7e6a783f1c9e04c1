"""The report: nothing that failed leaves the denominator, and the file says exactly what was promised."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, insert, select, update

from core.data.dataset import File, create_dataset, examples_of
from core.evaluate.experiment import create_experiment
from core.evaluate.plan import MetricChoice, Plan
from core.evaluate.report import build_report, store_report, write_report
from core.evaluate.rungs import LADDER
from core.evaluate.scoring import ensure_scores
from core.evaluate.takeaway import jsonl as lines_of
from core.store.database import session
from core.store.tables import Example, Experiment, Prediction, Score
from tests.evaluate.made import answered_experiment
from tests.factories import chat, jsonl, sorting

KEYS = {"model", "metric", "n", "rungs", "comparisons", "verdict"}
RUNG_KEYS = {"rung", "score", "interval", "scored", "of", "latency_p50_s", "input_tokens", "output_tokens", "setup_s"}
COMPARISON_KEYS = {"a", "b", "effect", "interval", "p", "p_adjusted", "outcome"}
VERDICT_KEYS = {"rung", "outcome", "reason"}


def strictly(text: str) -> Any:
    """JSON as other programs read it: no NaN, no Infinity."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


def test_report_has_the_promised_keys_and_numbers() -> None:
    experiment = answered_experiment({"base": 5, "prompt": 30}, 40)
    report = strictly(json.dumps(build_report(experiment.id)))
    assert report.keys() >= KEYS and report["verdict"].keys() >= VERDICT_KEYS
    assert all(row.keys() >= RUNG_KEYS for row in report["rungs"])
    assert all(row.keys() >= COMPARISON_KEYS for row in report["comparisons"])
    assert (report["n"], report["metric"]) == (40, "exact_match")
    base, prompt = report["rungs"]
    assert (base["rung"], base["score"], base["scored"], base["of"]) == ("base", 5 / 40, 40, 40)
    assert (prompt["score"], prompt["input_tokens"], prompt["output_tokens"]) == (30 / 40, 400, 80)
    assert prompt["latency_p50_s"] == pytest.approx(1.95)
    assert prompt["interval"][0] < 0.75 < prompt["interval"][1]
    (pair,) = report["comparisons"]
    assert (pair["a"], pair["b"], pair["outcome"]) == ("base", "prompt", "better")
    assert pair["effect"] == pytest.approx(25 / 40)
    assert report["verdict"]["rung"] == "prompt"


def test_failed_and_missing_answers_score_zero_and_are_counted() -> None:
    experiment = answered_experiment({"base": 100}, 10, failed=2, missing=3)
    report = build_report(experiment.id)
    (row,) = report["rungs"]
    assert (row["scored"], row["failed"], row["missing"], row["of"], row["score"]) == (5, 2, 3, 10, 0.5)
    assert row["input_tokens"] == 70
    told = " ".join(report["warnings"])
    assert "Answers failed and score 0: base 2 of 10. Most often: It broke." in told
    assert "Answers are missing and score 0: base 3 of 10." in told
    lines = [strictly(line) for line in lines_of(experiment.id)]
    assert len(lines) == 7
    assert [line["score"] for line in lines] == [1, 1, 1, 1, 1, 0, 0]
    assert [line["error"] for line in lines[-2:]] == ["It broke."] * 2


@pytest.mark.parametrize("tests", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("metric", ["exact_match", "token_f1"])
def test_report_of_a_tiny_test_is_valid_json_with_a_verdict(tests: int, metric: str, tmp_path: Path) -> None:
    experiment = answered_experiment({"base": 0, "prompt": tests}, tests, metrics=[metric])
    report = build_report(experiment.id)
    store_report(experiment.id, report)
    first, second, third = write_report(experiment.id, tmp_path / "out")
    assert third.read_text().startswith("<!DOCTYPE html>")
    assert strictly(first.read_text()) == report
    assert report["verdict"]["outcome"] and report["verdict"]["reason"]
    assert len(second.read_text().splitlines()) == 2 * tests


def test_all_answers_failing_is_scored_zero_of_all_with_a_verdict(tmp_path: Path) -> None:
    experiment = answered_experiment({"base": 4, "prompt": 4}, 4, failed=4)
    first, second, _ = write_report(experiment.id, tmp_path)
    report = strictly(first.read_text())
    assert [(row["score"], row["scored"], row["failed"], row["of"]) for row in report["rungs"]] == [(0, 0, 4, 4)] * 2
    assert [row["latency_p50_s"] for row in report["rungs"]] == [None, None]
    assert report["verdict"]["outcome"] == "cannot tell yet" and report["verdict"]["reason"]
    assert all(strictly(line)["error"] == "It broke." for line in second.read_text().splitlines())


def test_texts_leave_as_they_came(tmp_path: Path) -> None:
    odd = "<script>\u2028=1+1 [red] 日本 \\ \" '"
    dataset = create_dataset("d", File("a", jsonl(sorting(12))), File("b", jsonl([chat(odd, odd, group=odd)])))
    experiment = create_experiment("x", dataset.id, metrics=["exact_match"], plan=Plan(rungs=["base"]))
    ((row_id, _),) = examples_of(dataset.id, "test")
    with session() as db:
        db.add(
            Prediction(
                experiment_id=experiment.id,
                rung="base",
                example_id=row_id,
                output=odd,
                error=None,
                finish_reason="stop",
            )
        )
    ensure_scores(experiment.id)
    store_report(experiment.id, build_report(experiment.id))
    _, second, _ = write_report(experiment.id, tmp_path)
    (line,) = [strictly(line) for line in second.read_text(encoding="utf-8").split("\n") if line]
    assert line["output"] == line["reference"] == line["group"] == line["messages"][0]["content"] == odd
    assert line["score"] == 1


def test_other_metrics_have_intervals_and_do_not_decide() -> None:
    experiment = answered_experiment({"base": 5, "prompt": 30}, 40, metrics=["token_f1", "exact_match"])
    report = build_report(experiment.id)
    assert [(m["identity"], m["deciding"]) for m in report["metrics"]] == [("token_f1", True), ("exact_match", False)]
    other = report["rungs"][1]["other_metrics"]["exact_match"]
    assert other["score"] == 30 / 40 and other["interval"][0] < 30 / 40 < other["interval"][1]


def test_means_over_samples_are_no_longer_right_or_wrong() -> None:
    plan = Plan(temperature=0.7, samples=3)
    experiment = answered_experiment({"base": 5, "prompt": 20}, 30, plan=plan)
    with session() as db:
        first = db.query(Prediction).filter_by(experiment_id=experiment.id, rung="base", sample=0).first()
        assert first is not None
        db.query(Score).filter_by(prediction_id=first.id).update({"value": 0.0})
    report = build_report(experiment.id)
    assert (report["kind"], report["samples"], report["n"]) == ("continuous", 3, 30)
    base = report["rungs"][0]
    assert base["score"] == pytest.approx((5 - 1 / 3) / 30)
    assert base["input_tokens"] == 30 * 3 * 10
    assert len(list(lines_of(experiment.id))) == 2 * 30 * 3


def test_classes_are_told_apart_with_failures_and_nonsense_as_other() -> None:
    """References alternate between fruit and tool."""
    experiment = answered_experiment({"base": 40, "prompt": 10}, 40, failed=4)
    labels = build_report(experiment.id)["labels"]
    assert labels["classes"] == ["fruit", "tool"]
    base, prompt = labels["rungs"]["base"], labels["rungs"]["prompt"]
    assert base["confusion"]["counts"] == [[18, 0, 2], [0, 18, 2], [0, 0, 0]]
    assert prompt["confusion"]["counts"] == [[5, 0, 15], [0, 5, 15], [0, 0, 0]]
    assert base["accuracy"] == 0.9 and base["macro_f1"] == pytest.approx(2 * 18 / (20 + 18))
    assert base["macro_f1_interval"][0] < base["macro_f1"] < base["macro_f1_interval"][1]


def test_minimums_are_held_against_scores() -> None:
    plan = Plan(minimums={"base": 0.5, "prompt": 0.75, "lora": 0.1})
    experiment = answered_experiment({"base": 19, "prompt": 30}, 40, plan=plan)
    assert [(m["rung"], m["score"], m["reached"]) for m in build_report(experiment.id)["minimums"]] == [
        ("base", 19 / 40, False),
        ("prompt", 0.75, True),
        ("lora", None, False),
    ]


def test_every_doubt_is_said() -> None:
    records = [chat(f"Question {i}", "none" if i < 2 else "yes", group=f"g{i % 3}") for i in range(30)]
    dataset = create_dataset("d", File("a", jsonl(sorting(12))), File("b", jsonl(records)))
    with session() as db:
        db.execute(update(Example).where(Example.reference == "none").values(reference=""))
    experiment = answered_experiment({"base": 0, "rag@remote/big": 0}, 30, dataset=dataset, wrong="")
    told = " ".join(build_report(experiment.id)["warnings"])
    for doubt in (
        "come from only 3 groups",
        "2 of 30 test examples have no reference answer",
        "Many answers have no text at all: base 30 of 30",
        "The rungs answer with 2 models",
        "All rungs score the same on every example",
    ):
        assert doubt in told


def test_one_rung_one_example_has_a_report() -> None:
    report = build_report(answered_experiment({"base": 1}, 1).id)
    assert (report["verdict"]["outcome"], report["comparisons"], report["effects"]) == ("cannot tell yet", [], [])
    assert report["detectable_effect"] is None


def test_a_metric_that_does_not_apply_to_a_rung_leaves_it_out_and_says_so() -> None:
    experiment = answered_experiment({"base": 10, "rag": 20, "rag+lora": 30}, 30)
    with session() as db:
        theirs = select(Prediction.id).where(Prediction.experiment_id == experiment.id, Prediction.rung == "base")
        db.execute(update(Score).where(Score.prediction_id.in_(theirs)).values(value=None))
    report = build_report(experiment.id)
    assert [row["score"] is None for row in report["rungs"]] == [True, False, False]
    assert [(c["a"], c["b"]) for c in report["comparisons"]] == [("rag", "rag+lora")]
    assert any("does not apply to base" in warning for warning in report["warnings"])


def test_a_judge_that_cannot_be_read_decides_nothing() -> None:
    experiment = answered_experiment({"base": 5, "lora": 60}, 60)
    with session() as db:
        stored = db.get_one(Experiment, experiment.id)
        choice = MetricChoice(name="judge")
        stored.metric, stored.metrics = choice.identity, [choice.model_dump()]
        mine = select(Prediction.id).where(Prediction.experiment_id == experiment.id)
        db.execute(update(Score).where(Score.prediction_id.in_(mine)).values(metric=choice.identity))
        db.execute(
            update(Score).where(Score.prediction_id.in_(mine), Score.value == 0).values(notes={"unreadable": True})
        )
    report = build_report(experiment.id)
    assert report["verdict"]["outcome"] == "cannot tell yet"
    assert "could not be read for 46%" in report["verdict"]["reason"]


def test_five_rungs_of_5000_examples_are_reported_in_seconds() -> None:
    rng = np.random.default_rng(0)
    n, rungs = 5000, [rung.name for rung in LADDER]
    experiment = answered_experiment(dict.fromkeys(rungs, 0), 2, ready=False)
    with session(read_only=True) as db:
        dataset_id = db.get_one(Experiment, experiment.id).dataset_id
    with session() as db:
        # Of the two examples there are, 4,998 more.
        (row,) = db.execute(select(Example).where(Example.dataset_id == dataset_id, Example.split == "test").limit(1))
        first = {c.name: getattr(row[0], c.name) for c in Example.__table__.columns if c.name != "id"}
        db.execute(insert(Example), [first | {"position": 100 + i, "group": f"g{i}"} for i in range(n - 2)])
        ids = db.scalars(select(Example.id).where(Example.dataset_id == dataset_id, Example.split == "test")).all()
        db.execute(delete(Prediction).where(Prediction.experiment_id == experiment.id))
        db.execute(
            insert(Prediction),
            [
                {"experiment_id": experiment.id, "rung": rung, "example_id": i, "output": "fruit", "latency_s": 0.1}
                for rung in rungs
                for i in ids
            ],
        )
        predictions = db.scalars(select(Prediction.id).where(Prediction.experiment_id == experiment.id)).all()
        right = rng.random(len(predictions)) < np.repeat([0.2, 0.4, 0.5, 0.6, 0.8], n)
        db.execute(
            insert(Score),
            [
                {"prediction_id": p, "metric": "exact_match", "value": float(value), "notes": {}}
                for p, value in zip(predictions, right, strict=True)
            ],
        )
    started = time.process_time()
    report = build_report(experiment.id)
    assert time.process_time() - started < 10
    assert report["verdict"]["rung"] == "rag+lora"
    assert [effect["outcome"] for effect in report["effects"][:3]] == ["better"] * 3


def test_classes_that_stand_in_the_references_are_sliced_by_like_labels() -> None:
    experiment = answered_experiment({"base": 0, "prompt": 12}, 12)
    report = build_report(experiment.id)
    assert report["labels"] is not None and "actual" not in report["labels"]
    assert {row["slice"] for row in report["slices"]["label"]} == set(report["labels"]["classes"])
    assert sum(row["n"] for row in report["slices"]["label"]) == 12
