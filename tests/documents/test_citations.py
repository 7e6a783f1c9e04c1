"""Citations: the passage that says it, and its characters as they were written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.documents.citations import cite
from core.documents.retrieval import Hit

TIDES = (
    "# Tides\n\nAt Pellin the sea  rises FOUR metres between low and high water. A crossing takes 35 minutes\n"
    "and costs 12.50 euros, dogs included."
)
DOGS = "Dogs travel free on the car deck, on a lead. Bicycles cost 3 euros."
HITS = [{"text": DOGS}, {"text": TIDES}]


@pytest.mark.parametrize(
    ("answer", "hit", "cited"),
    [
        ("four metres", 1, "FOUR metres"),
        (
            "The sea rises four metres between low and high water.",
            1,
            "sea  rises FOUR metres between low and high water",
        ),
        ("Dogs travel free on the car deck!", 0, "Dogs travel free on the car deck"),
        ("35 minutes", 1, "35 minutes"),
        ("The crossing takes 35 minutes and costs 12.50 euros", 1, "takes 35 minutes\nand costs 12.50 euros"),
    ],
)
def test_the_passage_and_its_characters(answer: str, hit: int, cited: str) -> None:
    (citation,) = cite(answer, HITS)
    assert citation.hit_index == hit and citation.share == pytest.approx(1)
    assert cited in HITS[hit]["text"][citation.start : citation.end]


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "yes",
        "no.",
        "ogs travel",
        "The crossing takes 45 minutes and costs 12.50 euros",
        "Cats are not mentioned in any of the documents that were found.",
        '{"found": true, "note": null}',
        "{broken json",
    ],
)
def test_what_no_passage_says_is_not_cited(answer: str) -> None:
    assert cite(answer, HITS) == []


def test_every_statement_finds_its_own_passage() -> None:
    found = cite("Dogs travel free on the car deck. The fare is a secret. It rises four metres: at Pellin.", HITS)
    assert [citation.hit_index for citation in found] == [0]
    assert 0.2 < found[0].share < 0.6
    both = cite("Bicycles cost 3 euros. A crossing takes 35 minutes.", HITS)
    assert [citation.hit_index for citation in both] == [0, 1]
    assert sum(citation.share for citation in both) == pytest.approx(1)


def test_json_is_cited_value_by_value() -> None:
    answer = json.dumps({"time": "35 minutes", "free": ["car deck"], "price": 3, "ok": True})
    found = cite(answer, HITS)
    texts = [HITS[c.hit_index]["text"][c.start : c.end] for c in found]
    assert texts == ["35 minutes", "car deck"]


def test_json_deeper_than_python_follows_is_words_like_any() -> None:
    assert cite("[" * 100_000, HITS) == []
    deep = "[" * 900 + '"35 minutes"' + "]" * 900
    assert [HITS[c.hit_index]["text"][c.start : c.end] for c in cite(deep, HITS)] == ["35 minutes"]


def test_best_ranked_of_equals_is_cited_and_hits_do_as_well_as_rows() -> None:
    hits = [Hit(n, "d", "D", DOGS, 1.0) for n in range(3)]
    (citation,) = cite("Dogs travel free", hits)
    assert citation.hit_index == 0
    assert cite("Dogs travel free", [hit.as_dict() for hit in hits]) == [citation]
    assert cite("Dogs travel free", []) == []


def test_scripts_without_spaces_and_letters_that_grow() -> None:
    text = "前置きです。東京タワーの高さは333メートルである。Die STRASSE ist lang."
    (citation,) = cite("高さは333メートル", [{"text": text}])
    assert text[citation.start : citation.end] == "高さは333メートル"
    (citation,) = cite("Die Straße ist lang", [{"text": text}])
    assert text[citation.start : citation.end] == "Die STRASSE ist lang"


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_texts(answer: str, text: str) -> None:
    for citation in cite(answer, [{"text": text}]):
        assert 0 <= citation.start < citation.end <= len(text)
        assert 0 < citation.share <= 1
