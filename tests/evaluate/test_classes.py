"""Classes: found in the references, read from the answers, counted in a matrix."""

from __future__ import annotations

import pytest

from core.evaluate.metrics import metric_named
from core.evaluate.metrics.classes import OTHER, classes_named, classes_of, confusion, macro_f1
from core.evaluate.metrics.registry import Answer

FRUIT = ["fruit", "tool", "tool", "fruit"]
QUEUES = ['{"queue": "bookings"}', '{"queue": "lost property"}'] * 3


def test_classes_are_the_short_list_that_references_come_from() -> None:
    classes = classes_of(FRUIT)
    assert classes is not None and classes.names == ("fruit", "tool")
    assert classes_of(["a", "b", "c"]) is None
    assert classes_of([]) is classes_of(["", ""]) is None
    assert classes_of([str(n) for n in range(101)] * 2) is None


def test_json_classes_are_called_by_their_value() -> None:
    classes = classes_of(QUEUES)
    assert classes is not None and classes.names == ("bookings", "lost property")
    assert classes.of('{ "queue":"bookings" }') == "bookings"
    assert classes.of('{"queue": "bookings", "mood": 1}') == OTHER
    assert classes.of("bookings") == classes.of('```json\n{"queue": "bookings"}\n```') == OTHER


def test_labels_are_the_classes_where_each_reference_names_its_own() -> None:
    references = ["It is a fruit, number 1.", "A tool, number 2.", "One more tool: 3.", "Fruit 4."]
    classes = classes_of(references, FRUIT)
    assert classes is not None and classes.names == ("fruit", "tool")
    assert [classes.of(reference) for reference in references] == FRUIT
    assert classes_of(references, ["tool", "tool", "fruit", "fruit"]) is None
    assert classes_of(references, [*FRUIT[:3], None]) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("card", "card"),
        ("Card.", "card"),
        ("card lost", "card lost"),
        ("I think this is about a lost-card, i.e. card lost!", "card lost"),
        ("card or refund", OTHER),
        ("cards", OTHER),
        ("", OTHER),
        ("card lost or refund", OTHER),
        ("The answer is: refund", "refund"),
    ],
)
def test_an_answer_names_one_class_or_none(text: str, expected: str) -> None:
    assert classes_named(["card", "card lost", "refund"]).of(text) == expected


def test_ways_of_writing_one_class_are_one_and_other_may_be_a_class() -> None:
    assert classes_named(["Fruit", "fruit.", "tool"]).names == ("Fruit", "tool")
    assert classes_named(['{"a": 1, "b": 2}', '{"b": 2, "a": 1}']).names == ('{"a": 1, "b": 2}',)
    named = classes_named(["other", "tool"])
    assert named.of("other") == "other (other)" and named.of("neither") == OTHER


def test_matrix_and_macro_f1_count_every_answer() -> None:
    true, given = ["a", "a", "a", "b"], ["a", OTHER, "b", "b"]
    assert confusion(true, given, ["a", "b"]) == [[1, 1, 1], [0, 1, 0], [0, 0, 0]]
    # Class a: precision 1, recall 1/3; class b: precision 1/2, recall 1.
    assert macro_f1(true, given) == pytest.approx((0.5 + 2 / 3) / 2)
    assert macro_f1(true, [OTHER] * 4) == 0


def test_accuracy_reads_the_class_out_of_a_sentence() -> None:
    answers = [Answer("It is a tool.", "tool"), Answer("A fruit, no tool", "tool"), Answer("hammer", "tool")]
    metric = metric_named("accuracy")
    assert [s.notes["class"] for s in metric.score_all(answers, {"classes": ["fruit", "tool"]})] == [
        "tool",
        OTHER,
        OTHER,
    ]
    assert metric.score('{"queue": "bookings"}', QUEUES[0]) == 1
    assert metric.score("bookings", QUEUES[0]) == 0
