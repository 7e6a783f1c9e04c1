"""Metrics are suggested by what the data is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.data.example import Example
from core.data.files import File
from core.data.reading import read_examples
from core.evaluate.metrics import metric_named
from core.evaluate.metrics.registry import Answer
from core.evaluate.plan import MetricChoice
from core.evaluate.suggest import suggest, suggest_metric
from core.settings import REPOSITORY

LONG = "The ferry sails in all weather but a storm, and whoever has booked is told the evening before. " * 4


def examples(references: list[str], question: str = "Why?", **more: Any) -> list[Example]:
    return [
        Example(({"role": "user", "content": question},), reference, str(n), **more)
        for n, reference in enumerate(references)
    ]


def names(found: list[Example]) -> list[str]:
    return [suggestion.name for suggestion in suggest(found)]


@pytest.mark.parametrize(
    ("references", "expected"),
    [
        (["fruit", "tool"] * 5, "exact_match"),
        (['{"kind": "fruit"}', '{"kind": "tool"}'] * 5, "exact_match"),
        ([f'{{"id": {n}}}' for n in range(10)], "json_match"),
        ([f"answer {n}" for n in range(10)], "token_f1"),
        ([f'{{"id": {n}}}' for n in range(9)] + ["text"], "token_f1"),
        (["only one"], "token_f1"),
        ([], "token_f1"),
        ([f"SELECT a FROM t WHERE b = {n}" for n in range(10)], "sql_match"),
        ([f"{n}. {LONG}" for n in range(10)], "rouge_l"),
    ],
)
def test_deciding_metric_is_suggested_from_the_answers(references: list[str], expected: str) -> None:
    assert suggest_metric(references)[0] == expected
    assert names(examples(references))[0] == expected


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("facts", ["token_f1", "contains", "retrieval_recall"]),
        ("tickets", ["exact_match", "accuracy", "json_valid", "json_schema"]),
        ("cited", ["json_match", "json_valid", "json_schema", "citation", "retrieval_recall"]),
    ],
)
def test_of_the_demo_tasks(task: str, expected: list[str]) -> None:
    path = REPOSITORY / "assets" / "demo" / task / "train.jsonl"
    assert names(read_examples(File(path.name, path=path))) == expected


@pytest.mark.parametrize(
    ("task", "expected"),
    [("tickets-json", "exact_match"), ("xquad-facts", "token_f1"), ("xquad-cited", "json_match")],
)
def test_of_the_ready_tasks_and_references_score_full_marks(shared_data: Path, task: str, expected: str) -> None:
    path = shared_data / "ready" / task / "train.jsonl"
    found = read_examples(File(path.name, path=path))
    suggested = suggest(found)
    assert suggested[0].name == expected
    for suggestion in suggested:
        metric = metric_named(suggestion.name)
        assert (
            suggestion.why.endswith(".") and MetricChoice(name=suggestion.name, settings=suggestion.settings).identity
        )
        if "passages" not in metric.needs and suggestion.name != "citation":
            answers = [Answer(example.reference, example.reference) for example in found]
            assert all(scored.value == 1 for scored in metric.score_all(answers, suggestion.settings))


def test_suggested_settings_fit_the_answers_they_come_from() -> None:
    found = examples(['{"queue": "a", "n": 1}', '{"queue": "b", "n": 2}'] * 3)
    by_name = {s.name: s.settings for s in suggest(found)}
    schema = json.loads(by_name["json_schema"]["json_schema"])
    assert schema["required"] == ["n", "queue"]
    assert by_name["accuracy"] == {"classes": ['{"queue": "a", "n": 1}', '{"queue": "b", "n": 2}']}
    for name, settings in by_name.items():
        assert metric_named(name).read_settings(settings) is not None or not settings


def test_questions_without_an_answer_suggest_refusal() -> None:
    found = examples([f"answer {n}" for n in range(9)]) + examples(["I don't know."])
    assert names(found)[0] == "token_f1" and "refusal" in names(found)
    labelled = examples([f"answer {n}" for n in range(9)]) + examples(["x"], label="unanswerable")
    assert "refusal" in names(labelled)
    assert "refusal" not in names(examples([f"answer {n}" for n in range(9)]))


def test_other_languages_suggest_language_and_chrf() -> None:
    vietnamese = "Chuyến phà đầu tiên trong ngày rời bến cảng lúc bảy giờ sáng."
    found = examples([f"{vietnamese} {n}" for n in range(9)], question=vietnamese)
    by_name = {s.name: s for s in suggest(found)}
    assert by_name["language"].settings == {"language": "vi"} and "chrf" in by_name
    assert "Vietnamese" in by_name["language"].why and "unlike" not in by_name["language"].why
    translated = examples([f"{vietnamese} {n}" for n in range(9)], question="Translate this long sentence, please.")
    assert "unlike the questions" in {s.name: s for s in suggest(translated)}["language"].why
    assert "language" not in names(examples([f"{LONG} {n}" for n in range(9)], question=LONG))


def test_short_answers_are_in_the_language_of_the_questions() -> None:
    question = "Wann fährt das erste Schiff am Morgen aus dem Hafen ab?"
    assert {s.name: s for s in suggest(examples([f"{n} Uhr" for n in range(9)], question))}["language"].settings == {
        "language": "de"
    }


def test_labels_that_the_answers_name_are_classes() -> None:
    found = [e for n, kind in enumerate(["fruit", "tool"] * 4) for e in examples([f"It is a {kind}: {n}."], label=kind)]
    by_name = {s.name: s for s in suggest(found)}
    assert next(iter(by_name)) == "token_f1" and by_name["accuracy"].settings == {"classes": ["fruit", "tool"]}


def test_examples_with_context_suggest_groundedness() -> None:
    assert "groundedness" in names(examples([f"answer {n}" for n in range(9)], context="What it says."))
