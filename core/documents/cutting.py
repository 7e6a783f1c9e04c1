"""A document as pieces ready to be embedded: each chunk under a heading that says where it stands."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from core.documents.chunking import Chunk, split_text
from core.documents.reading import gives_markdown
from core.models.catalogue import embedding_entry
from core.models.embedding import Embedder

# An encoder marks beginning and end, and some count the line break between heading and text.
SPECIAL_TOKENS = 3
# What a heading may always have, however large the chunks; more if the chunks leave room, up to the second number.
LEAST_HEADING_TOKENS, MOST_HEADING_TOKENS = 16, 64


@dataclass(frozen=True)
class Piece:
    """A chunk and what is embedded for it; `hash` is of all that determines its vector."""

    chunk: Chunk
    embedded: str
    hash: str


def heading(title: str, section: str) -> str:
    """Title and section path as one path; a document whose top heading is its title does not say it twice."""
    if not section or section == title or section.startswith(f"{title} > "):
        return section or title
    return f"{title} > {section}"


def cut(
    name: str,
    title: str,
    text: str,
    embedder: Embedder,
    chunk_tokens: int,
    overlap_tokens: int,
    pages: Sequence[int] = (),
) -> list[Piece]:
    """The pieces of one document in order. None is longer than `embedder` reads, heading included.

    Of pieces that are the same to the letter, as in a table with thousands of equal rows, the first is kept: the others
    would only take up places among the hits, and so many equal vectors cut the graph of the nearest ones into pieces
    that a search does not get out of.
    """
    size = min(chunk_tokens, embedder.max_tokens - SPECIAL_TOKENS - LEAST_HEADING_TOKENS)
    overlap = min(overlap_tokens, size - 1)
    chunks = split_text(text, embedder.tokenizer, size, overlap, markdown=gives_markdown(name), pages=pages)
    room = min(embedder.max_tokens - SPECIAL_TOKENS - size, MOST_HEADING_TOKENS)
    entry = embedding_entry(embedder.id)
    prefix = entry.passage_prefix if entry else ""
    cut_headings = _cut_to(
        {heading(title, chunk.section) for chunk in chunks}, embedder, room - _count(prefix, embedder)
    )
    pieces: dict[str, Piece] = {}
    for chunk in chunks:
        embedded = f"{prefix}{cut_headings[heading(title, chunk.section)]}\n{chunk.text}"
        digest = hashlib.sha256(f"{embedder.id}\n{embedded}".encode()).hexdigest()
        pieces.setdefault(digest, Piece(chunk, embedded, digest))
    return list(pieces.values())


def _count(text: str, embedder: Embedder) -> int:
    return len(embedder.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else 0


def _cut_to(headings: set[str], embedder: Embedder, tokens: int) -> dict[str, str]:
    """Each heading, and what is left of it within so many tokens."""
    kept = {}
    for text in headings:
        spans = embedder.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        kept[text] = text[: spans[:tokens][-1][1]] if spans and tokens > 0 else ""
    return kept
