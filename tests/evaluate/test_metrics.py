"""Metrics, case by case; every one gives a number from 0 to 1 for any text a model may produce."""

from __future__ import annotations

import json
import math
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import UserError
from core.evaluate.metrics import metric_named, metrics
from core.evaluate.metrics.bleu import corpus_bleu
from core.evaluate.metrics.chrf import corpus_chrf
from core.evaluate.metrics.registry import Answer, Metric
from core.evaluate.normalize import normalize

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
        ("the", "", 0),
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
        ("the", "a", 0),
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


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("The cat sat on the mat.", "the CAT sat on the mat", 1),
        ("sat cat the", "the cat sat", 1 / 3),
        ("a b c d", "a x c", 2 * 2 / 7),
        ("", "word", 0),
        ("", "", 1),
        ("?!", "...", 1),
        ("chuyến phà đầu tiên", "chuyến phà cuối cùng", 2 / 4),
        ("第一班渡轮", "第一班", 2 * 3 / 8),
        (LONG, LONG, 1),
    ],
)
def test_rouge_l(prediction: str, reference: str, expected: float) -> None:
    assert metric_named("rouge_l").score(prediction, reference) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_translation_metrics_know_the_extremes(name: str) -> None:
    score = metric_named(name).score
    assert score("", "") == 1 and score("", "text") == score("text", "") == 0
    assert score("The ferry leaves at noon.", "The ferry leaves at noon.") == pytest.approx(1)
    near = score("The ferry leaves at one.", "The ferry leaves at noon.")
    assert score("Bicycles travel free.", "The ferry leaves at noon.") < near < 1


def test_corpus_figures_are_not_the_mean_of_sentences() -> None:
    outputs, references = ["the boat is late", "no"], ["the boat is very late", "yes"]
    sentences = [metric_named("bleu").score(o, r) for o, r in zip(outputs, references, strict=True)]
    assert 0 < corpus_bleu(outputs, references) < 1
    assert corpus_bleu(outputs, references) != pytest.approx(sum(sentences) / 2)
    assert corpus_chrf(references, references) == pytest.approx(1)


words = st.lists(st.sampled_from(["the", "a", "Boat", "late,", "is", "42", "don't"]), max_size=12).map(" ".join)


@pytest.mark.integration
@settings(max_examples=50, deadline=None)
@given(words, words)
def test_rouge_l_is_that_of_the_rouge_score_package(prediction: str, reference: str) -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"])
    if prediction and reference:
        expected = scorer.score(reference, prediction)["rougeL"].fmeasure
        assert metric_named("rouge_l").score(prediction, reference) == pytest.approx(expected)


@pytest.mark.integration
@settings(max_examples=50, deadline=None)
@given(words, words)
def test_em_and_f1_are_those_of_the_squad_evaluation(prediction: str, reference: str) -> None:
    squad = pytest.importorskip("torchmetrics.functional.text.squad").squad
    if not (normalize(prediction) and normalize(reference)):
        return
    asked = {"prediction_text": prediction, "id": "1"}
    official = squad([asked], [{"answers": {"answer_start": [0], "text": [reference]}, "id": "1"}])
    assert metric_named("exact_match").score(prediction, reference) == pytest.approx(
        official["exact_match"].item() / 100
    )
    assert metric_named("token_f1").score(prediction, reference) == pytest.approx(official["f1"].item() / 100, abs=1e-6)


def test_json_match_says_which_keys_were_right() -> None:
    [scored] = metric_named("json_match").score_all([Answer('{"a": 1, "c": 3}', '{"a": 1, "b": 2}')])
    assert scored.value == pytest.approx(1 / 3)
    assert scored.notes == {"keys": {"a": True, "b": False, "c": False}}
    [scored] = metric_named("json_match").score_all([Answer("not JSON", '{"a": 1, "b": 2}')])
    assert scored.notes == {"keys": {"a": False, "b": False}}


@pytest.mark.integration
def test_similarity_knows_the_same_meaning_in_other_words() -> None:
    reference = "Dogs must be kept on a lead on board."
    outputs = [
        "Please keep your dog leashed on the ship.",
        "The teashop closes at six.",
        "",
        reference,
        "\ud800 " + LONG,
    ]
    values = [s.value for s in metric_named("similarity").score_all([Answer(output, reference) for output in outputs])]
    same, other, empty, equal, odd = (value if value is not None else math.nan for value in values)
    assert same > 0.5 > other >= 0
    assert empty == 0 and equal == 1 and 0 <= odd < 0.5


CHEAP = [metric for metric in metrics() if metric.cost == "cheap"]
HOSTILE = [
    "",
    "{}",
    "null",
    '{"a": 1}',
    '{"a": NaN}',
    '{"source": ["x", 1]}',
    "[[]]",
    "-1e999",
    '"\\ud800"',
    "\ud800",
    "\x00\x1b[31m",
    "<script>alert(1)</script>",
    "select * from t where a = 'b'",
    "SELECT (((",
    "[a] [b]",
    "I don't know",
    "第一班渡轮",
    "\u202e\u0301",
]
texts = st.text(max_size=40) | st.sampled_from(HOSTILE)
passages = st.lists(st.fixed_dictionaries({"title": texts, "source": texts, "text": texts}), max_size=2)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts, texts, st.none() | texts, st.none() | texts, passages, st.booleans())
def test_every_metric_gives_a_share_or_nothing_for_any_answer(
    output: str, reference: str, label: str | None, context: str | None, shown: list[dict[str, str]], retrieval: bool
) -> None:
    answer = Answer(output, reference, ({"role": "user", "content": reference},), label, context, shown, retrieval)
    for metric in CHEAP:
        [scored] = metric.score_all([answer])
        if scored.value is None:
            assert "passages" in metric.needs and not retrieval
        else:
            assert math.isfinite(scored.value) and 0 <= scored.value <= 1
            assert metric.kind == "continuous" or scored.value in (0, 1)
        assert metric.score_all([answer]) == [scored]
        json.dumps(scored.notes)


@pytest.mark.parametrize("metric", CHEAP, ids=lambda metric: metric.name)
@pytest.mark.parametrize(
    "output",
    [LONG, "x" * 100_000, DEEP, "<b>" * 30_000, "SELECT " + "(" * 50_000, "[" + "a]" * 50_000, "One. " * 20_000],
    ids=["words", "one word", "brackets", "tags", "sql", "citations", "sentences"],
)
def test_an_answer_of_100_000_characters_takes_two_seconds_at_most(metric: Metric, output: str) -> None:
    passages = [{"title": "Tides", "source": "tides.md", "text": "The tide rises by four metres. " * 20}] * 5
    answer = Answer(output, "The tide rises by four metres.", context=LONG, passages=passages, retrieval=True)
    metric.score_all([Answer("warm up", "warm up")])
    began = time.process_time()
    [scored] = metric.score_all([answer])
    assert scored.value is not None and 0 <= scored.value <= 1
    assert time.process_time() - began < 2


@given(texts)
def test_the_reference_itself_is_never_beaten(text: str) -> None:
    for name in ("exact_match", "token_f1", "rouge_l", "chrf", "bleu"):
        assert metric_named(name).score(text, text) == pytest.approx(1)


def test_every_metric_and_every_setting_explains_itself() -> None:
    for metric in metrics():
        assert len(metric.explanation) > 20 and metric.explanation.endswith(".") and metric.title
        for name, field in (metric.settings.model_fields if metric.settings else {}).items():
            assert field.title and field.description, f"{metric.name}.{name}"


def test_unknown_metric_names_those_there_are() -> None:
    with pytest.raises(UserError, match=r"no metric called blue.*bleu.*exact_match.*token_f1"):
        metric_named("blue")
