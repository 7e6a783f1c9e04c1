"""Personal data: found where it is, and not where it is not."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import pytest

from core.data.personal import personal_data

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the public data sets are not beside the repository")


def found(text: str) -> list[tuple[str, str]]:
    return [(finding.kind, text[finding.start : finding.end]) for finding in personal_data(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to jane.doe+x@example.co.uk.", [("e-mail", "jane.doe+x@example.co.uk")]),
        ("to='boss@company.com'", [("e-mail", "boss@company.com")]),
        ("Call +49 30 901820 or (415) 555-2671!", [("phone", "+49 30 901820"), ("phone", "(415) 555-2671")]),
        ("My phone number is 4155552671", [("phone", "4155552671")]),
        ("It is 4111 1111 1111 1111", [("card", "4111 1111 1111 1111")]),
        ("5500-0000-0000-0004", [("card", "5500-0000-0000-0004")]),
        ("id AKIAIOSFODNN7EXAMPLE", [("key", "AKIAIOSFODNN7EXAMPLE")]),
        (f"token ghp_{'a1B2' * 9}", [("key", f"ghp_{'a1B2' * 9}")]),
        (f"OPENAI_API_KEY=sk-proj-{'aB3_' * 12}", [("key", f"sk-proj-{'aB3_' * 12}")]),
        ("-----BEGIN RSA PRIVATE KEY-----", [("key", "BEGIN RSA PRIVATE KEY")]),
    ],
)
def test_what_is_personal_is_found_where_it_is(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "order 20255501234 of 2024-01-02 12:30:45",
        "1990-2000, 3,141,592.65358979, version 1.2.3.4",
        "4111 1111 1111 1112 fails the check digit",
        "0000 0000 0000 0000",
        "user@localhost and a@b, @handle, price @ 3.50",
        "a sentence_with_a_very_long_identifier_that_is_no_key at all",
        "8f14e45fceea167a5a36dedd4bea2543 is a checksum",
    ],
)
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    assert found(text) == []


@needs_data
def test_real_questions_and_passages_raise_no_false_alarm() -> None:
    with (DATA / "banking77/train.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    articles = json.loads((DATA / "xquad-en/xquad.en.json").read_text(encoding="utf-8"))["data"]
    texts += [paragraph["context"] for article in articles for paragraph in article["paragraphs"]]
    assert len(texts) > 10_000
    assert [found(text) for text in texts if found(text)] == []


@needs_data
def test_real_documentation_holds_only_its_sample_addresses() -> None:
    chunks = json.loads((DATA / "anthropic-docs-rag/anthropic_docs.json").read_text(encoding="utf-8"))
    assert {kind for chunk in chunks for kind in found(chunk["text"])} == {("e-mail", "EMAIL_002@example.com")}


@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000,
        "a@" * 100_000,
        "1 " * 100_000,
        "4" * 200_000,
        "://a:" * 40_000,
        "a.b-" * 50_000,
        "a@b.de " * 20_000,
    ],
)
def test_hostile_texts_take_no_longer(text: str) -> None:
    started = time.process_time()
    personal_data(text)
    assert time.process_time() - started < 3
