"""The report: nothing that failed leaves the denominator, and the file says exactly what was promised."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.data.dataset import File, create_dataset, examples_of
from core.evaluate.experiment import Plan, create_experiment
from core.evaluate.report import answers, build_report, predictions_jsonl, store_report, write_report
from core.jobs.run import run_foreground
from core.settings import get_settings
from core.store.database import session
from core.store.tables import Experiment, Prediction
from tests.factories import chat, jsonl, sorting, sorting_dataset
from tests.models.service import Handler, serving

KEYS = {"model", "metric", "n", "rungs", "comparisons", "verdict"}
RUNG_KEYS = {"rung", "score", "interval", "scored", "of", "latency_p50_s", "input_tokens", "output_tokens", "setup_s"}
COMPARISON_KEYS = {"a", "b", "effect", "interval", "p", "p_adjusted", "outcome"}
VERDICT_KEYS = {"rung", "outcome", "reason"}


def strictly(text: str) -> Any:
    """JSON as other programs read it: no NaN, no Infinity."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


def answered_experiment(right: dict[str, int], tests: int, *, failed: int = 0, missing: int = 0) -> Experiment:
    """Predictions as if rungs had given so many right answers; the last ones failed, or are not there yet."""
    dataset = sorting_dataset(test=tests)
    experiment = create_experiment("made", dataset.id, metric="exact_match", plan=Plan(rungs=list(right)))
    with session() as db:
        for rung, count in right.items():
            for number, (row_id, example) in enumerate(examples_of(dataset.id, "test")[: tests - missing]):
                broken = number >= tests - missing - failed
                db.add(
                    Prediction(
                        experiment_id=experiment.id,
                        rung=rung,
                        example_id=row_id,
                        output=example.reference if broken or number < count else "wrong",
                        error="It broke." if broken else None,
                        finish_reason="error" if broken else "stop",
                        input_tokens=10,
                        output_tokens=2,
                        latency_s=number / 10,
                    )
                )
    return experiment


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
    (row,) = build_report(experiment.id)["rungs"]
    assert (row["scored"], row["of"], row["score"]) == (5, 10, 0.5)
    assert row["input_tokens"] == 70
    lines = [strictly(line) for line in predictions_jsonl(experiment.id).splitlines()]
    assert len(lines) == 7
    assert [line["score"] for line in lines] == [1, 1, 1, 1, 1, 0, 0]
    assert [line["error"] for line in lines[-2:]] == ["It broke."] * 2
    assert [len(row.predictions) for row in answers(experiment.id)] == [1] * 7 + [0] * 3


@pytest.mark.parametrize("tests", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("metric", ["exact_match", "token_f1"])
def test_report_of_a_tiny_test_is_valid_json_with_a_verdict(tests: int, metric: str, tmp_path: Path) -> None:
    experiment = answered_experiment({"base": 0, "prompt": tests}, tests)
    with session() as db:
        db.get_one(Experiment, experiment.id).metric = metric
    report = build_report(experiment.id)
    store_report(experiment.id, report)
    first, second = write_report(experiment.id, tmp_path / "out")
    assert strictly(first.read_text()) == report
    assert report["verdict"]["outcome"] and report["verdict"]["reason"]
    assert len(second.read_text().splitlines()) == 2 * tests


def test_all_answers_failing_is_scored_zero_of_all_with_a_verdict(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A remote service that refuses every request."""

    def refuse(handler: Handler, request: dict[str, Any], attempt: int) -> None:
        handler.refuse(400, "no such model")

    dataset = sorting_dataset(test=4)
    plan = Plan(rungs=["base", "prompt"], shots=2)
    experiment = create_experiment("x", dataset.id, metric="exact_match", plan=plan, model="remote/none")
    with serving(refuse) as service:
        monkeypatch.setenv("LOWEST_RUNG_GENERATION_URL", service.url)
        get_settings.cache_clear()
        job = run_foreground("compare", {"experiment_id": experiment.id})
    assert (job.status, job.error) == ("done", "")
    assert len(service.requests) == 8
    first, second = write_report(experiment.id, tmp_path)
    report = strictly(first.read_text())
    assert [(row["score"], row["scored"], row["of"]) for row in report["rungs"]] == [(0, 0, 4)] * 2
    assert [row["latency_p50_s"] for row in report["rungs"]] == [None, None]
    assert report["verdict"]["outcome"] == "cannot tell yet" and report["verdict"]["reason"]
    assert all("no such model" in strictly(line)["error"] for line in second.read_text().splitlines())


def test_texts_leave_as_they_came(tmp_path: Path) -> None:
    odd = "<script>\u2028=1+1 [red] 日本 \\ \" '"
    dataset = create_dataset("d", File("a", jsonl(sorting(12))), File("b", jsonl([chat(odd, odd, group=odd)])))
    experiment = create_experiment("x", dataset.id, metric="exact_match", plan=Plan(rungs=["base"]))
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
    store_report(experiment.id, build_report(experiment.id))
    _, second = write_report(experiment.id, tmp_path)
    (line,) = [strictly(line) for line in second.read_text(encoding="utf-8").split("\n") if line]
    assert line["output"] == line["reference"] == line["group"] == line["messages"][0]["content"] == odd
    assert line["score"] == 1
