"""Chunks: short enough for the embedder to read to their end, each in its place, and together the whole text."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.documents import outline
from core.documents.chunking import BLANKS_PER_TOKEN, Chunk, sizes_for, split_text
from core.models.embedding import load_embedder

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_embedder().tokenizer


def uncovered(text: str, chunks: list[Chunk]) -> str:
    """What of `text` is in no chunk."""
    kept = bytearray(len(text))
    for chunk in chunks:
        kept[chunk.start : chunk.end] = b"\x01" * (chunk.end - chunk.start)
    return "".join(character for character, there in zip(text, kept, strict=True) if not there)


pieces = st.lists(
    st.sampled_from(
        [
            *("word", "Größe", "日本語", "# Heading", "- item", "\n\n", "\n", "\r\n", ". ", "a" * 70, "🙂", "e\u0301"),
            *("```\ncode\n```", "| a | b |\n|---|---|\n| 1 | 2 |", "> quoted", "Under\n=====", "\x0c", "\u2028"),
        ]
    )
    | st.text(max_size=12),
    max_size=60,
).map(" ".join)


@settings(deadline=None)
@given(pieces, st.sampled_from([8, 16, 40]), st.sampled_from([0, 4]), st.booleans())
def test_nothing_is_lost_or_too_long_and_every_chunk_is_where_it_says(
    tokenizer: Any, text: str, limit: int, overlap: int, markdown: bool
) -> None:
    chunks = split_text(text, tokenizer, limit, overlap, markdown=markdown)
    assert uncovered(text, chunks).strip() == ""
    assert [chunk.position for chunk in chunks] == list(range(len(chunks)))
    assert all(text[chunk.start : chunk.end] == chunk.text and chunk.text.strip() for chunk in chunks)
    assert all(a.start <= b.start and a.end <= b.end for a, b in pairwise(chunks))
    assert all(len(tokenizer.tokenize(chunk.text)) <= limit for chunk in chunks)
    if not overlap:
        assert all(a.end <= b.start for a, b in pairwise(chunks))


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


def test_run_that_the_embedder_takes_for_one_unknown_word_is_cut_too(tokenizer: Any) -> None:
    text = "A key follows.\n\n" + "x1" * 50_000
    chunks = split_text(text, tokenizer, 64, 0, markdown=True)
    assert max(len(chunk.text) for chunk in chunks) < 64 * 16
    assert uncovered(text, chunks).strip() == ""


def test_heading_stays_with_what_follows(tokenizer: Any) -> None:
    text = "\n\n".join(f"## Part {n}\n\n" + "Some sentence here. " * 6 for n in range(4))
    chunks = split_text(text, tokenizer, 48, 0, markdown=True)
    assert [chunk.text.split("\n")[0] for chunk in chunks] == [f"## Part {n}" for n in range(4)]


@pytest.mark.parametrize("below", ["{}", "## Next\n\n{}", "- {}", "1. {}"])
def test_title_is_no_chunk_of_its_own_where_a_cut_can_keep_it_with_what_follows(tokenizer: Any, below: str) -> None:
    sentence = "The quay is closed at noon on every day of the week. "
    text = "# Quays\n\n" + below.format(sentence * 12)
    chunks = split_text(text, tokenizer, 48, 8, markdown=True)
    assert chunks[0].text.startswith("# Quays\n\n") and "The quay is closed at noon" in chunks[0].text
    assert chunks[0].text.endswith(".") and uncovered(text, chunks).strip() == ""
    assert all(len(tokenizer.tokenize(chunk.text)) <= 48 for chunk in chunks)


def test_rows_of_spaces_neither_hang_nor_make_a_chunk_endless(tokenizer: Any) -> None:
    began = time.process_time()
    chunks = split_text("x" * 41 + " " * 300_000 + "y\n", tokenizer, 64, 8, markdown=False)
    chunks += split_text(("\n" * 999 + "x") * 200, tokenizer, 64, 8, markdown=True)
    assert time.process_time() - began < 5
    assert max(len(chunk.text) for chunk in chunks) < 65 * BLANKS_PER_TOKEN


def test_long_text_is_parsed_in_portions_to_the_same_outline(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n\n".join(f"# Part {n}\n\nIt is\nwrapped.\n\n## Of {n}\n\n- item" for n in range(40))
    whole = outline.outline(text)
    monkeypatch.setattr(outline, "PORTION", 100)
    parts = outline.outline(text)
    assert (parts.headings, parts.soft_breaks) == (whole.headings, whole.soft_breaks) and len(whole.headings) == 80


def test_section_is_the_path_of_headings_above() -> None:
    tokenizer = load_embedder().tokenizer
    filler = "This sentence is here to fill a passage. " * 8
    text = "\n\n".join(
        [
            f"Before any heading. {filler}",
            f"Guide\n=====\n\n{filler}",
            f"## Using `st.cache` with [links](https://x.org) & *care* ##\n\n{filler}",
            f"```\n# a comment in code\n```\n\n{filler}",
            f"#### Deep\n\n{filler}",
            f"## Second\n\n> # quoted\n\n{filler}",
            f"# Other\n\n{filler}",
        ]
    )
    chunks = split_text(text, tokenizer, 96, 0, markdown=True)
    using = "Guide > Using st.cache with links & care"
    assert list(dict.fromkeys(chunk.section for chunk in chunks)) == [
        "",
        "Guide",
        using,
        f"{using} > Deep",
        "Guide > Second",
        "Other",
    ]
    assert {chunk.section for chunk in split_text(text, tokenizer, 96, 0, markdown=False)} == {""}


def test_page_is_the_one_a_chunk_begins_on(tokenizer: Any) -> None:
    text = "One. " * 60 + "Two. " * 60 + "Three. " * 60
    pages = (0, 300, 600, 600)
    for chunk in split_text(text, tokenizer, 32, 0, markdown=False, pages=pages):
        # Page 3 is blank: it begins where page 4 does.
        assert chunk.page == (1 if chunk.start < 300 else 2 if chunk.start < 600 else 4)
    assert split_text(text, tokenizer, 32, 0, markdown=False)[0].page is None


@pytest.mark.parametrize("markdown", [True, False])
def test_hard_wrapped_paragraph_is_cut_at_sentences_not_at_line_ends(tokenizer: Any, markdown: bool) -> None:
    sentence = (
        "The ferry to the outer islands leaves at seven in the morning\nevery day but Sunday, when it leaves at nine."
    )
    text = " \n".join([sentence] * 12)
    chunks = split_text(text, tokenizer, 40, 0, markdown=markdown)
    assert len(chunks) >= 12
    assert all(chunk.text.startswith("The ferry") and chunk.text.endswith("nine.") for chunk in chunks)


def test_table_and_code_stay_whole_where_they_fit(tokenizer: Any) -> None:
    table = "| port | hour |\n|---|---|\n" + "\n".join(f"| Pellin {n} | {n} |" for n in range(5))
    code = "```python\n" + "\n".join(f"x{n} = {n}" for n in range(8)) + "\n```"
    filler = "Some sentences come before it here. " * 9
    for block in (table, code):
        chunks = split_text(f"{filler}\n\n{block}\n\n{filler}", tokenizer, 96, 0, markdown=True)
        assert any(block in chunk.text for chunk in chunks)


def test_sizes_fit_what_the_embedder_reads() -> None:
    assert sizes_for(256) == (128, 16) == sizes_for(8192)
    assert sizes_for(64) == (64, 8)


def test_real_pages_are_cut_a_good_deal_faster_than_they_are_embedded(tokenizer: Any) -> None:
    """An embedder on two cores manages about 100 chunks a second; cutting must stay below a tenth of its time."""
    pages = sorted((DATA / "streamlit-docs" / "content").rglob("*.md"))[:80]
    if not pages:
        pytest.skip("the Streamlit documentation is not beside the repository")
    texts = [page.read_text(encoding="utf-8") for page in pages]
    split_text(texts[0], tokenizer, 110, 16, markdown=True)
    began = time.process_time()
    chunks = [split_text(text, tokenizer, 110, 16, markdown=True) for text in texts]
    took = time.process_time() - began
    assert sum(map(len, chunks)) / took > 1000
    for text, cut in zip(texts, chunks, strict=True):
        assert uncovered(text, cut).strip() == ""
        assert all(len(tokenizer.tokenize(chunk.text)) <= 110 for chunk in cut)
