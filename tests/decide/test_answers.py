"""Answers from files, links and forms: what is wrong is named, and what is right arrives unchanged."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from core.decide.answers import UNSURE, Answer, from_link, in_words, read_answers, read_answers_file, settled, to_link
from core.decide.engine import rung_of
from core.decide.rulebook import rulebook
from core.decide.schema import Question
from core.errors import UserError

QUESTIONS = rulebook().questions


def possible(question: Question) -> list[Answer]:
    numbers = [0.0, 0.3, 1234.5, question.most] if question.kind == "number" else []
    return [*question.values(), *numbers, UNSURE]


EVERY_ANSWER = [(question.id, value) for question in QUESTIONS for value in possible(question)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "answers.json"


def refusal(raw: object) -> str:
    with pytest.raises(UserError) as caught:
        read_answers(raw)
    assert caught.value.remedy
    return caught.value.what


def refused_file(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_answers_file(path)
    assert caught.value.remedy
    return caught.value.what


# Values


@pytest.mark.parametrize(("key", "value"), EVERY_ANSWER)
def test_every_possible_answer_is_accepted_as_it_is(key: str, value: Answer) -> None:
    assert read_answers({key: value}) == {key: value}


def test_answers_keep_their_order_and_null_is_none() -> None:
    assert list(read_answers({"gpu_gb": 8, "gap": None, "changes_often": UNSURE, "examples": 3})) == [
        "gpu_gb",
        "changes_often",
        "examples",
    ]
    assert read_answers({}) == {}


def test_unsure_is_kept_but_settles_nothing() -> None:
    assert settled(read_answers({"gap": UNSURE, "changes_often": False, "examples": 0})) == {
        "changes_often": False,
        "examples": 0,
    }


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("gap", "facts", '"facts" is none of knowledge, behavior, both'),
        ("gap", "Knowledge", '"Knowledge" is none of'),
        ("gap", "", '"" is none of'),
        ("gap", True, "true is none of"),
        ("gap", 1, "1 is none of"),
        ("gap", ["knowledge"], '["knowledge"] is none of'),
        ("gap", {"value": "knowledge"}, '{"value": "knowledge"} is none of'),
        ("prompt_tried", False, "false is none of no, some, exhausted"),
        ("changes_often", "true", '"true" is neither true nor false'),
        ("changes_often", 1, "1 is neither true nor false"),
        ("changes_often", 0, "0 is neither true nor false"),
        ("examples", True, "true is not a number"),
        ("examples", False, "false is not a number"),
        ("examples", "5", '"5" is not a number'),
        ("examples", [5], "[5] is not a number"),
        ("examples", {}, "{} is not a number"),
        ("examples", math.nan, "NaN is not a finite number"),
        ("examples", math.inf, "Infinity is not a finite number"),
        ("examples", -math.inf, "-Infinity is not a finite number"),
        ("examples", 1e400, "Infinity is not a finite number"),
        ("examples", -1, "-1 examples is outside 0 to 1,000,000,000"),
        ("examples", -1e-9, "outside 0 to 1,000,000,000"),
        ("examples", 10**400, "outside 0 to 1,000,000,000"),
        ("latency_s", 86_401, "86401 seconds is outside 0 to 86,400"),
        ("corpus_tokens", 2e12, "outside 0 to 1,000,000,000,000"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_by_name(key: str, value: object, named: str) -> None:
    what = refusal({key: value})
    assert what.startswith(f"{key}: ")
    assert named in what


@pytest.mark.parametrize(("key", "near"), [("gapp", "gap"), ("example", "examples"), ("gpu", "gpu_gb")])
def test_an_unknown_key_is_named_with_the_nearest_known(key: str, near: str) -> None:
    what = refusal({key: "x"})
    assert f'"{key}"' in what
    assert f"did you mean {near}?" in what


@pytest.mark.parametrize("key", ["zzz", "", "__class__", "today", 7, None])
def test_a_key_like_nothing_known_is_told_what_is_known(key: Any) -> None:
    what = refusal({key: "x"})
    assert all(question.id in what for question in QUESTIONS)


def test_every_problem_is_told_at_once_and_long_ones_are_cut() -> None:
    what = refusal({"gapp": 1, "examples": -1, "gap": "x" * 10_000, "y" * 10_000: 1, "changes_often": True})
    assert all(part in what for part in ("gapp", "examples: ", "gap: "))
    assert "changes_often: " not in what
    assert len(what) < 1_500


@pytest.mark.parametrize("raw", [None, [], [{"gap": "both"}], "gap", 5, True])
def test_what_is_not_an_object_is_refused(raw: object) -> None:
    assert refusal(raw) == "The answers are not an object."


# Files


def test_a_file_is_read_with_or_without_byte_order_mark(file: Path) -> None:
    for start in (b"", b"\xef\xbb\xbf"):
        file.write_bytes(start + b'{"gap": "knowledge",\r\n "corpus_tokens": 5e4, "needs_citations": null}\n')
        assert read_answers_file(file) == {"gap": "knowledge", "corpus_tokens": 50_000}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "line 1, column 1"),
        ('{"gap": "knowledge",\n "changes_often": tru}', "line 2, column 19"),
        ('{"gap": "knowledge",}', "line 1, column 21"),
        ("{'gap': 'knowledge'}", "line 1, column 2"),
        ('{"gap": "knowledge"}\n{"gap": "both"}', "line 2, column 1"),
        ('{"gap": "know', "line 1, column 9"),
    ],
)
def test_broken_json_is_told_with_line_and_column(file: Path, text: str, place: str) -> None:
    file.write_text(text)
    what = refused_file(file)
    assert file.name in what
    assert place in what


@pytest.mark.parametrize("content", [b'{"gap": "\xff"}', '{"gap": "both"}'.encode("utf-16"), b"\x89PNG\r\n\x1a\n"])
def test_what_is_not_utf8_is_told(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert "cannot be read" in refused_file(file)


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    assert "cannot be read" in refused_file(tmp_path / "absent.json")
    assert "cannot be read" in refused_file(tmp_path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1", "1" * 400])
def test_numbers_that_json_or_python_admit_but_nobody_means_are_refused(file: Path, number: str) -> None:
    file.write_text(f'{{"examples": {number}}}')
    assert refused_file(file).startswith("examples: ")


def test_a_number_of_thousands_of_digits_is_refused_like_any_other(file: Path) -> None:
    file.write_text(f'{{"examples": {"1" * 5_000}}}')
    refused_file(file)


def test_nesting_is_refused_at_any_depth(file: Path) -> None:
    for depth in (1, 10, *range(850, 1_010), 100_000):
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            file.write_text(f'{{"gap": {opening * depth}1{closing * depth}}}')
            refused_file(file)


def test_two_answers_to_one_question_are_refused(file: Path) -> None:
    """Neither is silently dropped: here the first would keep the data in, and the last let them out."""
    file.write_text('{"data_may_leave": false, "data_may_leave": true}')
    assert "data_may_leave" in refused_file(file)


# Links


@pytest.mark.parametrize(("key", "value"), EVERY_ANSWER)
def test_every_answer_survives_a_link(key: str, value: Answer) -> None:
    link = to_link({key: value})
    assert all(isinstance(word, str) for word in link.values())
    assert from_link(link) == ({key: value}, [])


@pytest.mark.parametrize("number", [200 / 7, 1_000 / 30, 12_345_678_901.0, math.nextafter(200_000, 0)])
def test_a_number_survives_a_link_to_its_last_digit(number: float) -> None:
    """Fractions come from volumes told by the week or month."""
    assert from_link(to_link({"corpus_tokens": number})) == ({"corpus_tokens": number}, [])


def test_a_link_leads_to_the_same_rung_right_below_a_threshold() -> None:
    answers: dict[str, Answer] = {"gap": "knowledge", "changes_often": False, "corpus_tokens": 199_999.999_999_9}
    assert rung_of(from_link(to_link(answers))[0]) == rung_of(answers) == "long-context"


def test_garbage_in_a_link_is_told_and_the_rest_kept() -> None:
    answers, problems = from_link(
        {
            "gap": "<script>alert(1)</script>",
            "changes_often": "yes",
            "examples": "many",
            "budget_usd": "nan",
            "gpu_gb": "1e999",
            "latency_s": "-3",
            "corpus_tokens": "",
            "behavior_kind": "tone",
            "requests_per_day": "200",
            "needs_citations": "true",
        }
    )
    assert answers == {"behavior_kind": "tone", "requests_per_day": 200.0, "needs_citations": True}
    wrong = ("gap", "changes_often", "examples", "budget_usd", "gpu_gb", "latency_s", "corpus_tokens")
    assert [problem.split(":")[0] for problem in problems] == list(wrong)


def test_parameters_that_are_no_questions_belong_to_somebody_else() -> None:
    assert from_link({"utm_source": "mail", "experiment": "3"}) == ({}, [])


# Words


@pytest.mark.parametrize(("key", "value"), EVERY_ANSWER)
def test_every_answer_has_words(key: str, value: Answer) -> None:
    question = rulebook().question(key)
    words = in_words(key, value)
    if value == UNSURE:
        assert words == "Not sure"
    elif question.kind == "choice":
        assert words == question.options[str(value)]
    elif question.kind == "yes_no":
        assert words == ("Yes" if value is True else "No")
    else:
        assert words.endswith(f" {question.unit}")
        assert float(words.removesuffix(question.unit).replace(",", "")) == pytest.approx(float(value))


def test_numbers_are_told_with_thousands_and_unit() -> None:
    assert in_words("requests_per_day", 5_000.0) == "5,000 requests a day"
    assert in_words("latency_s", 0.3) == "0.3 seconds"
    assert in_words("corpus_tokens", 1e12) == "1,000,000,000,000 tokens"
