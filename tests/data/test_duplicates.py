"""Duplicates: every real pair found, no false one, and templates never lumped together."""

from __future__ import annotations

import csv
import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import triu
from sklearn.feature_extraction.text import CountVectorizer

from core.data.duplicates import NearDuplicates, Pair, fingerprint, normalised, prompt_text
from core.data.example import Example
from tests.factories import example

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the public data sets are not beside the repository")


def found(texts: list[str]) -> tuple[list[int], list[Pair]]:
    near = NearDuplicates()
    for text in texts:
        near.add(text)
    clusters, pairs = near.find()
    return clusters.tolist(), pairs


def banking() -> list[str]:
    with (DATA / "banking77/train.csv").open(encoding="utf-8") as file:
        return [row["text"] for row in csv.DictReader(file)]


def grams(text: str) -> set[str]:
    padded = f" {normalised(text)} "
    return {padded[i : i + 5] for i in range(max(1, len(padded) - 4))}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What  IS it?", "what is it"),
        ("“Hello,” she said.", '"hello" she said'),
        ("ﬁne print", "fine print"),
        ("Ｆｕｌｌ　ｗｉｄｔｈ！", "full width"),
        ("cafe\u0301", "café"),
        ("Straße", "STRASSE"),
        ("it’s", "it's"),
    ],
)
def test_looks_do_not_matter(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("C", "C#"), ("1.5", "15"), (".5", "5"), ("-5", "5"), ("3+4", "3-4"), ("?", "!"), ("a b", "ab"), ("100%", "100")],
)
def test_what_changes_the_meaning_stays(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


@settings(deadline=None)
@given(st.text())
def test_normalising_twice_changes_nothing_for_plain_text(text: str) -> None:
    once = normalised(text)
    assert once == " ".join(once.split())
    assert bool(once) == bool(text.split())


def test_fingerprints_tell_copies_from_looks_from_answers() -> None:
    prints = [
        fingerprint(each) for each in (example("Q?", "A"), example("Q?", "A"), example("q", "a."), example("q", "b"))
    ]
    assert prints[0] == prints[1]
    assert prints[0].exact != prints[2].exact and prints[0].normalised == prints[2].normalised
    assert prints[2].normalised != prints[3].normalised and len({each.prompt for each in prints}) == 1


def test_instructions_are_no_part_of_what_is_asked() -> None:
    turns = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"})
    assert prompt_text(Example(turns, "me", "g")) == "Who?"
    assert prompt_text(Example(turns[:1], "me", "g")) == "Be brief."


def test_typos_are_near_and_other_questions_and_numbers_are_not() -> None:
    clusters, pairs = found(
        [
            "Where can I find the invoice of my last order?",
            "Where can I find the invoices of my last order?",
            "How do I close my account?",
            "where can i find the INVOICE of my last order",
            "Where can I find the invoice of order number 12?",
            "Where can I find the invoice of order number 13?",
        ]
    )
    assert clusters[0] == clusters[1] == clusters[3]
    assert len(set(clusters)) == 4
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 1)]
    assert pairs[0].similarity >= 0.8


@pytest.mark.parametrize("count", [12, 500])
def test_a_template_does_not_make_prompts_alike(count: int) -> None:
    words = [f"{a}{b}" for a in ("zinc", "oak", "velvet", "marble", "linen") for b in "qwrtpsdfghjklzxcvbnm"]
    chance = random.Random(0)
    texts = [
        f"Classify this ticket into one of our categories and answer with its name only. Ticket: {' '.join(ticket)}"
        for ticket in (chance.sample(words, 4) for _ in range(count))
    ]
    assert len(set(found(texts)[0])) >= count - 2
    # A real copy with a typo is still found within the template.
    clusters, _ = found([*texts, texts[3][:-1]])
    assert clusters[-1] == clusters[3]


@settings(deadline=None)
@given(st.lists(st.text(alphabet="ab c", max_size=12), max_size=40))
def test_equal_normalised_texts_share_a_cluster_whatever_they_are(texts: list[str]) -> None:
    clusters, _ = found(texts)
    assert len(clusters) == len(texts)
    of: dict[str, int] = {}
    for text, cluster in zip(texts, clusters, strict=True):
        assert of.setdefault(normalised(text), cluster) == cluster


@pytest.mark.parametrize("text", ["", " ", "?", "日本語", "\ud800", "a" * 100_000, "\x00"])
def test_any_text_will_do(text: str) -> None:
    clusters, _ = found([text, "something else altogether", text])
    assert clusters[0] == clusters[2] != clusters[1]


@needs_data
def test_real_intents_do_not_collapse_and_every_pair_is_true() -> None:
    texts = banking()
    clusters, pairs = found(texts)
    assert Counter(clusters).most_common(1)[0][1] <= 10
    assert len(pairs) > 80
    for pair in pairs:
        a, b = grams(texts[pair.first]), grams(texts[pair.second])
        assert len(a & b) / len(a | b) >= 0.8
    wrapped = [
        f"Classify this ticket. Answer with one of the 77 intents of our bank only. Ticket: {text}" for text in texts
    ]
    assert Counter(found(wrapped)[0]).most_common(1)[0][1] <= 10


@needs_data
def test_most_true_pairs_of_a_real_file_are_found() -> None:
    texts = list(dict.fromkeys(normalised(text) for text in banking()[:2_500]))
    present = CountVectorizer(analyzer=grams, binary=True).fit_transform(texts)
    sizes = present.sum(axis=1).A1
    shared = triu(present @ present.T, 1).tocoo()
    union = sizes[shared.row] + sizes[shared.col] - shared.data
    like = shared.data >= 0.8 * union
    true = list(zip(shared.row[like], shared.col[like], strict=True))
    clusters, _ = found(texts)
    together = sum(clusters[i] == clusters[j] for i, j in true)
    assert len(true) >= 15
    # What is missed differs outside what half the file says.
    assert together >= 0.7 * len(true)


@needs_data
@pytest.mark.parametrize("name", ["tickets-json", "xquad-facts", "xquad-cited"])
def test_ready_files_hold_no_near_duplicates(name: str) -> None:
    lines = (DATA / "ready" / name / "train.jsonl").read_text(encoding="utf-8").splitlines()
    clusters, pairs = found([json.loads(line)["messages"][-2]["content"] for line in lines])
    assert len(set(clusters)) == 240 and not pairs


def test_adding_goes_on_after_finding() -> None:
    near = NearDuplicates()
    near.add("The quick brown fox jumps over the lazy dog.")
    near.find()
    near.add("The quick brown fox jumps over the lazy dogs.")
    clusters, pairs = near.find()
    assert clusters[0] == clusters[1] and len(pairs) == 1


def test_likest_names_the_nearest_that_came_before() -> None:
    near = NearDuplicates()
    for text in (
        "Please tell me how I can reset the password of my accounts today!!",
        "Please tell me how I could reset the passwords of my account today",
        "Please tell me how I can reset the password of my account todayy",
        "Please tell me how I can reset the password of my account today",
        "unrelated",
    ):
        near.add(text)
    likest = near.likest(3)
    assert set(likest) == {3} and likest[3].first == 2


def test_a_prompt_is_told_which_it_repeats() -> None:
    near = NearDuplicates()
    assert [near.add(text) for text in ("What?", "Who?", "what", "WHO", "What?")] == [0, 1, 0, 1, 0]


def test_crowds_of_prompts_that_are_all_alike_are_proved_by_few_pairs() -> None:
    chance = random.Random(0)
    crowds = ["".join(chance.choices("abcdefghijkl mnop", k=200)) for _ in range(30)]
    texts = [f"{crowd} {a}{b}" for crowd in crowds for a in "abcde" for b in "abcde"]
    clusters, pairs = found(texts)
    assert clusters == [clusters[position - position % 25] for position in range(len(texts))]
    assert len(set(clusters)) == 30
    # With all its neighbours of a band a text would be listed eight times.
    assert 30 <= len(pairs) < 2 * len(texts)
