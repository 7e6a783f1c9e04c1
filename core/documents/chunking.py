"""Documents into chunks that an embedder reads whole, each knowing where in its document it stands."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from core.documents.outline import outline

# Long enough to hold a thought, short enough that a few fit into a small model's prompt.
DEFAULT_CHUNK_TOKENS = 128
# A sentence that a cut would tear apart appears whole in one of the two chunks.
DEFAULT_OVERLAP_TOKENS = 16
# An encoder may take a run of any length for one unknown word; the model that reads the passage does not.
CHARACTERS_PER_TOKEN = 8
# Nor does it pass over rows of spaces or empty lines as some encoders do; aligned tables have some.
BLANKS_PER_TOKEN = 32
# Lines at least this long end where the page was full, and a sentence goes on in the next one.
WRAPPED_LINE = 40
# The splitter's time grows with the square of a line's length: a megabyte without a break is cut up beforehand.
LONGEST_LINE = 10_000


@dataclass(frozen=True)
class Chunk:
    """A passage of a document: `position` counts from 0 within it, and `text` is its characters `start` to `end`.

    `section` is the path of headings it begins under, its own included, joined by " > "; `page` is the page it begins
    on, from 1, in a document with pages.
    """

    position: int
    text: str
    section: str
    start: int
    end: int
    page: int | None = None


def sizes_for(max_tokens: int) -> tuple[int, int]:
    """(chunk, overlap) in tokens for an embedder that reads `max_tokens`, heading and special tokens included."""
    chunk = min(DEFAULT_CHUNK_TOKENS, max_tokens)
    return chunk, min(DEFAULT_OVERLAP_TOKENS, chunk // 8)


def split_text(
    text: str, tokenizer: Any, chunk_tokens: int, overlap_tokens: int, *, markdown: bool, pages: Sequence[int] = ()
) -> list[Chunk]:
    """Cut `text` into chunks of at most `chunk_tokens` of the embedder's own tokens, special ones not counted.

    Cuts fall on headings, then blocks (paragraphs, tables, code), then sentences, then words, whichever still fits;
    a lone heading stays with what follows it where there is room. `pages` is where each page begins in `text`.
    """
    structure = outline(text) if markdown else None
    flat = _flattened(text, structure.soft_breaks) if structure else _unwrapped(text)
    places = _cut(flat, text, tokenizer, chunk_tokens, overlap_tokens, markdown)
    if structure and (lone := _lone_heads(text, places, structure.heads)):
        places = _cut(_drawn_in(flat, lone), text, tokenizer, chunk_tokens, overlap_tokens, markdown)
    paths = _paths(structure.headings) if structure else []
    starts = [at for at, _ in paths]
    chunks: list[Chunk] = []
    for start, end in places:
        above = bisect_right(starts, start)
        section = paths[above - 1][1] if above else ""
        page = bisect_right(pages, start) or None
        chunks.append(Chunk(len(chunks), text[start:end], section, start, end, page))
    return chunks


def _paths(headings: Sequence[tuple[int, int, str]]) -> list[tuple[int, str]]:
    """(where it begins, the headings above it and itself) of every heading."""
    paths: list[tuple[int, str]] = []
    above: list[tuple[int, str]] = []
    for at, level, words in headings:
        above = [entry for entry in above if entry[0] < level] + [(level, words)]
        paths.append((at, " > ".join(words for _, words in above if words)))
    return paths


def _lone_heads(
    text: str, places: Sequence[tuple[int, int]], heads: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Those of the headings that fill a chunk by themselves: what they head does not fit beside them as a whole."""
    begins = [begin for begin, _ in heads]
    found: list[tuple[int, int]] = []
    for start, end in places:
        inside = heads[bisect_left(begins, start) : bisect_left(begins, end)]
        if inside and len(inside) == sum(bool(line.strip()) for line in text[start:end].splitlines()):
            found += inside
    return found


def _drawn_in(flat: str, heads: Sequence[tuple[int, int]]) -> str:
    """`flat` with these headings as the beginnings of what they head, so that it is cut at a sentence of that."""
    characters = list(flat)
    for begin, end in heads:
        for at in range(begin, end):
            characters[at] = {"#": "%", "\n": " "}.get(characters[at], characters[at])
    return "".join(characters)


def _flattened(text: str, soft_breaks: Sequence[int]) -> str:
    """`text` with spaces for those line breaks, so that a hard-wrapped paragraph is cut at its sentences."""
    characters = list(text)
    for at in soft_breaks:
        characters[at] = " "
    return "".join(characters)


def _unwrapped(text: str) -> str:
    """The same for plain text: a line goes on in the next where it is long, or broken within a sentence."""

    def join(match: re.Match[str]) -> str:
        goes_on = match[1] or match[2].islower()
        return match[0].replace("\n", " ") if goes_on else match[0]

    # Looked for from its first space only: from each, a long row of spaces would take the square of its length.
    return re.sub(rf"(?<=[^\n]{{{WRAPPED_LINE}}})(?<! )( *)\n(?=(\S))", join, text)


def _cut(
    flat: str, text: str, tokenizer: Any, chunk_tokens: int, overlap_tokens: int, markdown: bool
) -> list[tuple[int, int]]:
    """The (start, end) characters of the chunks of `flat`, none of which is too long in `text`, of the same length.

    Counting word by word is ten times faster than asking the tokenizer for every candidate, and right where it reads
    words one by one, as all-MiniLM's does. Where another counts more, its own count decides.
    """
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    kind = MarkdownSplitter if markdown else TextSplitter
    ruler, count = _ruler(tokenizer)
    splitter = kind.from_callback(count, chunk_tokens, overlap=overlap_tokens)
    places = _places(splitter, flat)
    measured = ruler.encode_batch_fast([text[start:end] for start, end in places], add_special_tokens=False)
    if all(len(encoding) <= chunk_tokens for encoding in measured):
        return places
    exact = kind.from_huggingface_tokenizer(ruler, chunk_tokens, overlap=overlap_tokens)
    return _places(exact, text)


def _places(splitter: Any, text: str) -> list[tuple[int, int]]:
    found = []
    for first, last in pairwise([0, *_long_line_cuts(text), len(text)]):
        for start, piece in splitter.chunk_indices(text[first:last]):
            if piece.strip():
                found.append((first + start, first + start + len(piece)))
    return found


def _long_line_cuts(text: str) -> Iterator[int]:
    """Where lines beyond `LONGEST_LINE` are cut: after a space, where one is near."""
    for line in re.finditer(rf"[^\n]{{{LONGEST_LINE + 1},}}", text):
        at = line.start() + LONGEST_LINE
        while at < line.end():
            at = text.rfind(" ", at - LONGEST_LINE // 2, at) + 1 or at
            yield at
            at += LONGEST_LINE


@lru_cache(maxsize=4)
def _ruler(tokenizer: Any) -> tuple[Any, Callable[[str], int]]:
    """The tokenizer without its limits, and how many tokens the words of a text have."""
    from tokenizers import Tokenizer

    # The splitter measures candidates longer than the encoder reads: its tokenizer must not cut or pad them.
    ruler = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    ruler.no_truncation()
    ruler.no_padding()

    @lru_cache(maxsize=100_000)
    def word(letters: str) -> int:
        return max(len(ruler.encode(letters, add_special_tokens=False)), len(letters) // CHARACTERS_PER_TOKEN)

    def count(text: str) -> int:
        return max(sum(map(word, text.split())), len(text) // BLANKS_PER_TOKEN)

    return ruler, count
