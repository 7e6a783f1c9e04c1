"""Documents into chunks that an embedder reads whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Long enough to hold a thought, short enough that a few fit into a small model's prompt.
DEFAULT_CHUNK_TOKENS = 128
# A sentence that a cut would tear apart appears whole in one of the two chunks.
DEFAULT_OVERLAP_TOKENS = 16


@dataclass(frozen=True)
class Chunk:
    """A passage of a document: `position` counts from 0 within it."""

    position: int
    text: str


def split_text(text: str, tokenizer: Any, chunk_tokens: int, overlap_tokens: int, *, markdown: bool) -> list[Chunk]:
    """Cut `text` into chunks of at most `chunk_tokens` of the embedder's own tokens.

    Cuts fall on headings, then paragraphs, then sentences, then words, whichever still fits; a lone heading stays
    with what follows it where there is room.
    """
    from semantic_text_splitter import MarkdownSplitter, TextSplitter
    from tokenizers import Tokenizer

    # The splitter measures candidates longer than the encoder reads: its tokenizer must not cut or pad them.
    ruler = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    ruler.no_truncation()
    ruler.no_padding()
    splitter = MarkdownSplitter if markdown else TextSplitter
    pieces = splitter.from_huggingface_tokenizer(ruler, chunk_tokens, overlap=overlap_tokens).chunks(text)
    return [Chunk(position, piece) for position, piece in enumerate(pieces) if piece.strip()]
