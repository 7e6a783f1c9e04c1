"""Metrics, case by case; every one gives a number from 0 to 1 for any text a model may produce."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from core.evaluate.metrics import metric_named, metrics
from core.evaluate.suggest import suggest_metric

HUGE = "1" * 5000
LONG = "word " * 20_000
DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("The Tides.", "tides", 1),
        ("tides and dogs", "tides", 0),
        ("60%", "0.6", 0),
        ("ÄRMEL", "ärmel", 1),
        ("", "tides", 0),
        ("the", "", 1),
        ('{"b": 2, "a": [1, {"c": null}]}', '{"a": [1, {"c": null}], "b": 2}', 1),
        ('{"a": [2, 1]}', '{"a": [1, 2]}', 0),
        ('{"a": "Yes"}', '{"a": "yes"}', 0),
        ('```json\n{"a": 1}\n```', '{"a": 1}', 0),
        ('{"a": 1}.', '{"a": 1}', 0),
        ('{"a": true}', '{"a": 1}', 0),
        ('{"a": {"b": [0]}}', '{"a": {"b": [false]}}', 0),
        ('{"a": 1.0}', '{"a": 1}', 1),
        ('{"a": NaN}', '{"a": 1}', 0),
        ('{"a": ' + HUGE + "}", '{"a": 1}', 0),
        ('{"a": 123456789012345678901}', '{"a": 123456789012345678901}', 1),
        ('{"a": 123456789012345678901}', '{"a": 123456789012345678902}', 0),
        (DEEP, "[]", 0),
        ("[" * 900 + "]" * 900, "[" * 900 + "]" * 900, 1),
        (LONG, LONG, 1),
        (LONG, "[1]", 0),
        ("7", "7", 1),
        ("true", "1", 0),
    ],
)
def test_exact_match(prediction: str, reference: str, expected: float) -> None:
    assert metric_named("exact_match").score(prediction, reference) == expected


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', 1),
        ('{"a": 1, "b": 3}', '{"b": 2, "a": 1}', 0.5),
        ('{"a": 1}', '{"a": 1, "b": 2}', 0.5),
        ('{"a": 1, "b": 2, "c": 3, "d": 4}', '{"a": 1, "b": 2}', 0.5),
        ('{"a": "The Dog!"}', '{"a": "dog"}', 1),
        ('{"a": true}', '{"a": 1}', 0),
        ('{"a": [true]}', '{"a": [1]}', 0),
        ('{"a": {"b": 0}}', '{"a": {"b": false}}', 0),
        ('{"a": 2.0}', '{"a": 2}', 1),
        ('{"a": null}', '{"a": null}', 1),
        ('{"a": null}', '{"b": null}', 0),
        ('{"a": {"b": [1, {"c": 2}]}}', '{"a": {"b": [1, {"c": 2}]}}', 1),
        ("{}", "{}", 1),
        ("", '{"a": 1}', 0),
        ("[1]", "[1]", 0),
        ('{"a": NaN}', '{"a": NaN}', 0),
        ('{"a": Infinity}', '{"a": 1}', 0),
        ('{"a": ' + HUGE + "}", '{"a": ' + HUGE + "}", 0),
        ('{"a": ' + DEEP + "}", '{"a": 1}', 0),
        (LONG, '{"a": 1}', 0),
    ],
)
def test_json_match(prediction: str, reference: str, expected: float) -> None:
    assert metric_named("json_match").score(prediction, reference) == expected


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        ("{}", 1),
        (' {"a": [1, {"b": null}]}\n', 1),
        ("[1]", 0),
        ('"text"', 0),
        ("null", 0),
        ("", 0),
        ('{"a": 1} and more', 0),
        ('```json\n{"a": 1}\n```', 0),
        ('{"a": NaN}', 0),
        ('{"a": -Infinity}', 0),
        ("{'a': 1}", 0),
        ('{"a": 1,}', 0),
        ('{"a": ' + HUGE + "}", 0),
        (DEEP, 0),
    ],
)
def test_json_valid(prediction: str, expected: float) -> None:
    assert metric_named("json_valid").score(prediction, "anything") == expected


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("the harbour master", "Harbour Master.", 1),
        ("harbour", "harbour master", 2 / 3),
        ("he is the harbour master of Pellin", "harbour master", 4 / 8),
        ("no no no", "no", 0.5),
        ("", "harbour", 0),
        ("", "", 1),
        ("the", "a", 1),
        ("dogs", "tides", 0),
        (LONG, LONG, 1),
        (LONG, "word", 2 / 20_001),
    ],
)
def test_token_f1(prediction: str, reference: str, expected: float) -> None:
    assert metric_named("token_f1").score(prediction, reference) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("It rises by four metres, they say.", "Four metres", 1),
        ("metres four", "four metres", 0),
        ("fourteen metres", "four", 0),
        ("anything", "", 0),
        ("", "four", 0),
        (LONG + "end", "the end", 1),
    ],
)
def test_contains(prediction: str, reference: str, expected: float) -> None:
    assert metric_named("contains").score(prediction, reference) == expected


texts = st.text(max_size=40) | st.sampled_from(
    ["", "{}", '{"a": 1}', '{"a": NaN}', "[[]]", "-1e999", '"\\ud800"', "\ud800"]
)


@given(texts, texts)
def test_every_metric_gives_a_share_for_any_text(prediction: str, reference: str) -> None:
    for metric in metrics():
        value = metric.score(prediction, reference)
        assert math.isfinite(value) and 0 <= value <= 1
        assert metric.kind == "continuous" or value in (0, 1)


@given(texts)
def test_the_reference_itself_is_never_beaten(text: str) -> None:
    for name in ("exact_match", "token_f1"):
        assert metric_named(name).score(text, text) == 1


def test_every_metric_explains_itself() -> None:
    assert {metric.name for metric in metrics()} >= {"exact_match", "json_match", "json_valid", "token_f1", "contains"}
    assert all(len(metric.explanation) > 20 and metric.title for metric in metrics())


def test_unknown_metric_names_those_there_are() -> None:
    with pytest.raises(UserError, match=r"no metric called bleu.*exact_match.*token_f1"):
        metric_named("bleu")


@pytest.mark.parametrize(
    ("references", "expected"),
    [
        (["fruit", "tool"] * 5, "exact_match"),
        (['{"kind": "fruit"}', '{"kind": "tool"}'] * 5, "exact_match"),
        ([f'{{"id": {n}}}' for n in range(10)], "json_match"),
        ([f"answer {n}" for n in range(10)], "token_f1"),
        ([f'{{"id": {n}}}' for n in range(9)] + ["text"], "token_f1"),
        (["only one"], "token_f1"),
    ],
)
def test_metric_is_suggested_from_the_answers(references: list[str], expected: str) -> None:
    assert suggest_metric(references)[0] == expected
