"""Chunks: short enough for the embedder to read to their end, and together the whole text."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.documents.chunking import Chunk, split_text
from core.models.embedding import load_embedder


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_embedder().tokenizer


def uncovered(text: str, chunks: list[Chunk]) -> str:
    """What of `text` is in no chunk, when chunks come in order and do not overlap."""
    left, at = "", 0
    for chunk in chunks:
        found = text.index(chunk.text, at)
        left, at = left + text[at:found], found + len(chunk.text)
    return left + text[at:]


pieces = st.lists(
    st.sampled_from(
        ["word", "Größe", "日本語", "# Heading", "- item", "\n\n", "\n", ". ", "a" * 70, "```\ncode\n```", "🙂"]
    )
    | st.text(max_size=12),
    max_size=60,
).map(" ".join)


@settings(deadline=None)
@given(pieces, st.sampled_from([8, 16, 40]), st.booleans())
def test_nothing_is_lost_and_nothing_is_too_long(tokenizer: Any, text: str, limit: int, markdown: bool) -> None:
    chunks = split_text(text, tokenizer, limit, 0, markdown=markdown)
    assert uncovered(text, chunks).strip() == ""
    assert [chunk.position for chunk in chunks] == list(range(len(chunks)))
    assert all(len(tokenizer.tokenize(chunk.text)) <= limit for chunk in chunks)


def test_chunks_overlap_where_asked_and_still_hold_every_word(tokenizer: Any) -> None:
    words = [f"w{number}" for number in range(400)]
    chunks = split_text(" ".join(words), tokenizer, 32, 8, markdown=False)
    runs = [[int(word[1:]) for word in chunk.text.split()] for chunk in chunks]
    assert all(run == list(range(run[0], run[-1] + 1)) for run in runs)
    assert all(after[0] <= before[-1] for before, after in pairwise(runs))
    assert (runs[0][0], runs[-1][-1]) == (0, 399)


def test_text_longer_than_the_embedder_reads_is_cut_not_truncated(tokenizer: Any) -> None:
    text = " ".join(f"word{number}" for number in range(3000))
    chunks = split_text(text, tokenizer, 128, 0, markdown=True)
    assert len(chunks) > 20
    assert uncovered(text, chunks).strip() == ""


def test_heading_stays_with_what_follows(tokenizer: Any) -> None:
    text = "\n\n".join(f"## Part {n}\n\n" + "Some sentence here. " * 6 for n in range(4))
    chunks = split_text(text, tokenizer, 48, 0, markdown=True)
    assert [chunk.text.split("\n")[0] for chunk in chunks] == [f"## Part {n}" for n in range(4)]
