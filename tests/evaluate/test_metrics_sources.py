"""Metrics of what was retrieved: was the right passage there, is the answer in it, is its source named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.evaluate.metrics import metric_named
from core.evaluate.metrics.registry import Answer, Scored

CHARTERS = {
    "title": "Wedding Charters",
    "source": "docs/wedding-charters.md",
    "text": "A wedding charter is reserved with a deposit of £480. The rest is due on the day.",
}
TIDES = {"title": "Tides", "source": "tides.md", "text": "The tide rises by four metres in spring."}
CITED = '{"answer": "£480", "source": "Wedding Charters"}'


def score(name: str, output: str, reference: str = "", settings: dict[str, Any] | None = None, **more: Any) -> Scored:
    more = {"passages": [TIDES, CHARTERS], "retrieval": True} | more
    return metric_named(name).score_all([Answer(output, reference, **more)], settings)[0]


@pytest.mark.parametrize(
    ("reference", "more", "rank"),
    [
        ("£480", {}, 2),
        ("A deposit of 480", {}, None),
        ("four metres", {}, 1),
        ("£999", {}, None),
        ("48", {}, None),
        (CITED, {}, 2),
        ('{"answer": "£999", "source": "wedding-charters.md"}', {}, 2),
        ('{"answer": "£999", "source": "Teashop"}', {}, None),
        ("no such thing", {"label": "tides"}, 1),
        ("no such thing", {"context": "wedding_charters"}, 2),
        ("no such thing", {"context": CHARTERS["text"]}, None),
        ("A wedding charter is reserved with a deposit of £480. Call us.", {}, 2),
        ("", {}, None),
        ("£480", {"passages": []}, None),
    ],
)
def test_retrieval_recall(reference: str, more: dict[str, Any], rank: int | None) -> None:
    expected = Scored(0.0) if rank is None else Scored(1.0, {"rank": rank})
    assert score("retrieval_recall", "anything", reference, **more) == expected


def test_retrieval_recall_by_one_of_the_two() -> None:
    wrong_source, wrong_answer = '{"answer": "£480", "source": "Tea"}', '{"answer": "£9", "source": "Tides"}'
    for by, source, answer in (("answer", 1, 0), ("source", 0, 1), ("either", 1, 1)):
        assert score("retrieval_recall", "", wrong_source, {"by": by}).value == source
        assert score("retrieval_recall", "", wrong_answer, {"by": by}).value == answer


def test_rungs_without_retrieval_have_no_recall_and_no_groundedness() -> None:
    for name in ("retrieval_recall", "groundedness"):
        assert score(name, "£480", "£480", passages=[], retrieval=False) == Scored(None)


@pytest.mark.parametrize(
    ("output", "more", "expected"),
    [
        ("A wedding charter is reserved with a deposit of £480.", {}, 1),
        ("A wedding charter is reserved with a deposit of £999.", {}, 0),
        ("£480", {}, 1),
        ("The tide rises by four metres in spring. Cats are welcome on every single boat.", {}, 39 / 76),
        ('{"answer": "four metres", "source": "Lighthouse"}', {}, 11 / 21),
        ("", {}, 0),
        ("due", {}, 1),
        ("yes", {}, 0),
        ("It opens at nine.", {"passages": [], "retrieval": False, "context": "It opens at nine."}, 1),
        ("It opens at nine.", {"passages": []}, 0),
    ],
)
def test_groundedness(output: str, more: dict[str, Any], expected: float) -> None:
    assert score("groundedness", output, **more).value == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("output", "reference", "expected"),
    [
        (CITED, CITED, 1),
        ('{"answer": "wrong", "source": "wedding charters"}', CITED, 1),
        ('{"answer": "£480", "source": "wedding-charters.md"}', CITED, 1),
        ('{"answer": "£480", "source": "Tides"}', CITED, 0),
        ('{"answer": "£480", "source": "Teashop"}', CITED, 0),
        ('{"answer": "£480"}', CITED, 0),
        ('{"answer": "£480", "source": ["Wedding Charters"]}', CITED, 1),
        ('{"answer": "£480", "source": ["Wedding Charters", "Tides"]}', CITED, 0),
        ("It is £480 [Wedding Charters].", "£480 [Wedding Charters]", 1),
        ("It is £480 [Tides].", "£480 [Wedding Charters]", 0),
        ("It is £480.", "£480 [Wedding Charters]", 0),
        ("It is £480 [Wedding Charters].", "£480", 1),
        ("It is £480 [Teashop].", "£480", 0),
        ("", CITED, 0),
    ],
)
def test_citation(output: str, reference: str, expected: float) -> None:
    assert score("citation", output, reference).value == expected


def test_the_right_source_by_luck_counts_only_where_that_is_allowed() -> None:
    more: dict[str, Any] = {"passages": [], "retrieval": False}
    assert score("citation", CITED, CITED, **more).value == 0
    assert score("citation", CITED, CITED, {"retrieved": False}, **more).value == 1
    assert score("citation", '{"quelle": "Tides"}', '{"quelle": "Tides"}', {"field": "quelle"}).value == 1


def test_on_real_answers_the_own_article_is_found_and_another_is_not(shared_data: Path) -> None:
    folder = shared_data / "ready"
    if not folder.is_dir():
        pytest.skip("the ready tasks are absent")
    with (folder / "xquad-cited" / "test.jsonl").open(encoding="utf-8") as lines:
        references = [json.loads(line)["messages"][-1]["content"] for line in lines]
    articles = {path.stem: path.read_text(encoding="utf-8") for path in (folder / "xquad-facts" / "docs").glob("*.md")}
    shown = [{"title": "", "source": f"{stem}.md", "text": text} for stem, text in articles.items()]
    metric = metric_named("retrieval_recall")
    by_answer = metric.score_all([Answer("", r, passages=shown, retrieval=True) for r in references], {"by": "answer"})
    assert sum(scored.value or 0 for scored in by_answer) / len(references) > 0.95
    by_source = metric.score_all(
        [Answer("", r, passages=shown[:1], retrieval=True) for r in references], {"by": "source"}
    )
    assert 0 <= sum(scored.value or 0 for scored in by_source) / len(references) < 0.2
