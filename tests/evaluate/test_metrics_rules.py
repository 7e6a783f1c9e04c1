"""Metrics that hold an answer against rules: schema, pattern, length, form, language, refusal."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.errors import UserError
from core.evaluate.metrics import metric_named
from core.evaluate.metrics.json_schema import infer_schema
from core.evaluate.metrics.registry import Answer, Scored

SCHEMA = {
    "type": "object",
    "properties": {"queue": {"enum": ["bookings", "payments"]}, "urgent": {"type": "boolean"}},
    "required": ["queue"],
    "additionalProperties": False,
}


def score(name: str, output: str, reference: str = "", settings: dict[str, Any] | None = None, **more: Any) -> Scored:
    return metric_named(name).score_all([Answer(output, reference, **more)], settings)[0]


@pytest.mark.parametrize(
    ("output", "expected", "error"),
    [
        ('{"queue": "bookings"}', 1, ""),
        ('{"queue": "bookings", "urgent": true}', 1, ""),
        ('{"queue": "weather"}', 0, "$.queue"),
        ('{"urgent": true}', 0, "'queue' is a required property"),
        ('{"queue": "bookings", "mood": 1}', 0, "mood"),
        ('{"queue": "bookings"', 0, "not JSON"),
        ("", 0, "not JSON"),
    ],
)
def test_json_schema(output: str, expected: float, error: str) -> None:
    for schema in (SCHEMA, json.dumps(SCHEMA)):
        scored = score("json_schema", output, settings={"json_schema": schema})
        assert scored.value == expected and error in scored.notes.get("error", "")


def test_without_a_schema_the_reference_sets_keys_and_types() -> None:
    assert score("json_schema", '{"a": 7, "b": "x"}', '{"a": 1, "b": "y"}').value == 1
    assert score("json_schema", '{"a": "7", "b": "x"}', '{"a": 1, "b": "y"}').value == 0
    assert score("json_schema", '{"a": 7}', "free text").value == 0


def test_schema_is_inferred_from_answers() -> None:
    schema = json.loads(infer_schema(['{"a": 1, "b": "x"}', '{"a": 2.5}', "no JSON"]))
    assert schema["required"] == ["a"] and schema["properties"]["a"]["type"] == "number"
    assert infer_schema(["only", "text"]) == ""


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ('{"type": "object",}', r"line 1, column 19"),
        ("[1]", "a schema is a JSON object"),
        ('{"type": "objekt"}', r"\$\.type: 'objekt'"),
        ('{"$ref": "https://example.org/schema.json"}', "leads out of the schema"),
        ('{"properties": {"a": {"$ref": "file:///etc/passwd"}}}', "leads out of the schema"),
        ("[" * 100_000, "nested too deeply"),
        ('{"properties": {"day": {"pattern": "(x"}}}', r"\$\.properties\.day\.pattern: '\(x' is not a 'regex'"),
        ('{"patternProperties": {"(x": {}}}', r"'\(x' is not a 'regex'"),
    ],
)
def test_unusable_schema_is_refused_with_the_place(schema: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        score("json_schema", "{}", settings={"json_schema": schema})


def test_schema_may_refer_to_its_own_parts() -> None:
    schema = {"$defs": {"n": {"type": "integer"}}, "type": "array", "items": {"$ref": "#/$defs/n"}}
    assert score("json_schema", "[1, 2]", settings={"json_schema": schema}).value == 1
    assert score("json_schema", '["1"]', settings={"json_schema": schema}).value == 0


def test_pattern_in_a_schema_has_half_a_second_for_an_answer() -> None:
    def follows(pattern: str, text: str) -> Scored:
        return score("json_schema", json.dumps([text]), settings={"json_schema": {"items": {"pattern": pattern}}})

    assert follows(r"^\d{4}-\d{2}$", "2024-05").value == 1
    assert follows(r"^\d{4}-\d{2}$", "May").notes["error"] == r"$[0]: 'May' does not match '^\\d{4}-\\d{2}$'"
    assert follows(r"^\p{Han}+$", "渡轮").value == 1
    assert follows("", "anything").value == 1
    assert follows("^(a|aa)+$", "a" * 60 + "b").notes["too_slow"]


@pytest.mark.parametrize(
    ("settings", "output", "expected"),
    [
        ({}, " \n", 0),
        ({}, "x", 1),
        ({"pattern": r"\d{4}-\d{2}"}, "It was 2024-05.", 1),
        ({"pattern": r"\d{4}-\d{2}", "where": "whole"}, "It was 2024-05.", 0),
        ({"pattern": r"\d{4}-\d{2}", "where": "whole"}, " 2024-05\n", 1),
        ({"pattern": "yes"}, "YES", 0),
        ({"pattern": "yes", "ignore_case": True}, "YES", 1),
        ({"pattern": r"\p{Han}+", "where": "whole"}, "渡轮", 1),
    ],
)
def test_regex(settings: dict[str, Any], output: str, expected: float) -> None:
    assert score("regex", output, settings=settings).value == expected


def test_runaway_pattern_ends_and_unusable_one_is_refused() -> None:
    assert score("regex", "a" * 60 + "b", settings={"pattern": "^(a|aa)+$"}) == Scored(0.0, {"too_slow": True})
    with pytest.raises(UserError, match=r"no regular expression: missing \)"):
        score("regex", "x", settings={"pattern": "(x"})


@pytest.mark.parametrize(
    ("settings", "output", "broken"),
    [
        ({}, "a few words", []),
        ({}, "", ["words"]),
        ({}, "word " * 101, ["words"]),
        ({"max_words": None, "max_lines": 2}, "one\n\ntwo\n", []),
        ({"max_words": None, "max_lines": 2}, "one\ntwo\nthree", ["lines"]),
        ({"min_characters": 3, "max_characters": 5}, "  abcdef  ", ["characters"]),
        ({"min_characters": 3, "max_characters": 5}, "  abcde  ", []),
        ({"min_words": 2, "max_characters": 2}, "abc", ["words", "characters"]),
    ],
)
def test_length(settings: dict[str, Any], output: str, broken: list[str]) -> None:
    scored = score("length", output, settings=settings)
    assert scored.notes["broken"] == broken and scored.value == (not broken)


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UserError, match="at least 5 and at most 3 words cannot both hold"):
        score("length", "x", settings={"min_words": 5, "max_words": 3})


@pytest.mark.parametrize(
    ("settings", "output", "broken"),
    [
        ({}, "Plain text, 3 * 4 = 12, in\ntwo lines.\n\nAnd a paragraph.", []),
        ({}, "    Indented for looks", []),
        ({}, "**bold**", ["markdown"]),
        ({}, "- a list", ["markdown"]),
        ({}, "# Heading", ["markdown"]),
        ({}, "`code`", ["markdown"]),
        ({}, "[link](https://example.org)", ["markdown"]),
        ({}, "a <b>tag</b>", ["markdown"]),
        ({"markdown": "allowed"}, "# Heading", []),
        ({}, " ", ["empty"]),
        ({"starts_with": "Dear ", "ends_with": "."}, "Dear all, it is late.", []),
        ({"starts_with": "Dear ", "ends_with": "."}, "Hello all!", ["starts_with", "ends_with"]),
        ({"required": ["ferry", "noon"]}, "The FERRY leaves", ["required"]),
        ({"forbidden": ["as an AI"]}, "As an ai I cannot", ["forbidden"]),
    ],
)
def test_form(settings: dict[str, Any], output: str, broken: list[str]) -> None:
    scored = score("form", output, settings=settings)
    assert scored.notes["broken"] == broken and scored.value == (not broken)


ENGLISH = "The first boat of the day leaves the harbour at seven."
VIETNAMESE = "Chuyến phà đầu tiên trong ngày rời bến cảng lúc bảy giờ."
GERMAN = "Das erste Schiff des Tages verlässt den Hafen um sieben Uhr."


@pytest.mark.parametrize(
    ("output", "reference", "question", "language", "expected"),
    [
        (GERMAN, GERMAN, "", "", 1),
        (ENGLISH, GERMAN, "", "", 0),
        (VIETNAMESE, "", "", "vi", 1),
        (ENGLISH, VIETNAMESE, "", "vi", 0),
        (GERMAN, "£480", GERMAN, "", 1),
        (ENGLISH, "£480", GERMAN, "", 0),
        (json.dumps({"answer": GERMAN, "source": "Fahrplan"}), GERMAN, "", "", 1),
        ("147,300", ENGLISH, "", "", 1),
        ("Zelda Harkaway", ENGLISH, "", "", 1),
        ("Зельда", ENGLISH, "", "", 0),
        ("Zelda", "", "", "ru", 0),
        ("第一班渡轮早上七点离开港口。", "", "", "zh", 1),
        ("", ENGLISH, "", "", 0),
        ("!?", ENGLISH, "", "", 0),
    ],
)
def test_language(output: str, reference: str, question: str, language: str, expected: float) -> None:
    asked = ({"role": "user", "content": question},)
    assert score("language", output, reference, {"language": language}, messages=asked).value == expected


def test_unknown_language_is_refused() -> None:
    with pytest.raises(UserError, match="'xx' is no code of a language"):
        score("language", ENGLISH, settings={"language": "xx"})


@pytest.mark.parametrize(
    ("output", "reference", "label", "expected"),
    [
        ("I don’t know.", "", None, 1),
        ("It is £480.", "", None, 0),
        ("It is £480.", "£480", None, 1),
        ("I am not sure, sorry.", "£480", None, 0),
        ("", "", None, 1),
        ("", "£480", None, 0),
        ("It is £480.", "£480", "Unanswerable", 0),
        ("This is not mentioned in the passages.", "The handbook has no information on that.", None, 1),
        ('{"answer": null, "source": null}', '{"answer": null, "source": null}', None, 1),
        ('{"answer": "£480", "source": "Charters"}', '{"answer": null, "source": null}', None, 0),
        ('{"answer": "I do not know", "source": ""}', '{"answer": null, "source": null}', None, 1),
        ("Das weiß ich nicht.", "", None, 1),
        ("我不知道答案。", "", None, 1),
        ("Tôi không biết.", "", None, 1),
        ("The piano answerphone is on deck.", "On deck", None, 1),
        ("It is £480. " + "More about it. " * 30 + "I don't know more.", "£480", None, 1),
    ],
)
def test_refusal(output: str, reference: str, label: str | None, expected: float) -> None:
    assert score("refusal", output, reference, label=label).value == expected


def test_phrases_of_a_refusal_can_be_set() -> None:
    settings = {"phrases": ["computer says no"]}
    assert score("refusal", "Computer says no!", settings=settings).value == 1
    assert score("refusal", "I don't know", settings=settings).value == 0


def test_a_setting_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match=r"maximum.*Known settings: min_words"):
        score("length", "x", settings={"maximum": 3})
