"""How documents are cut and embedded: the settings, preset to the embedder's limit, and a look at the chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import streamlit as st

from core.documents.chunking import sizes_for
from core.documents.cutting import LEAST_HEADING_TOKENS, SPECIAL_TOKENS, Piece, cut
from core.documents.index import check_size
from core.documents.reading import SourceDocument
from core.models.catalogue import catalogue
from core.models.embedding import load_embedder
from pages.widgets.errors import plain
from pages.widgets.once import once
from pages.widgets.words import many

EMBEDDERS = {entry.id: entry for entry in catalogue("embedding")}
# What an embedder that we do not know is taken to read; the job looks up its real limit and says if this was too much.
USUAL_LIMIT, HIGHEST_LIMIT = 512, 8192
PER_PAGE = 5


class Cutting(NamedTuple):
    """Embedder, and tokens of a chunk and of the overlap."""

    embedder: str
    chunk: int
    overlap: int


def longest_chunk(embedder: str) -> int:
    """The largest chunk that leaves the embedder room for a heading."""
    limit = EMBEDDERS[embedder].context if embedder in EMBEDDERS else HIGHEST_LIMIT
    return limit - SPECIAL_TOKENS - LEAST_HEADING_TOKENS


def cutting_fields(key: str, preset: Cutting | None = None) -> Cutting:
    """The fields of the settings, `preset` to these or to what suits the chosen embedder."""
    ids = list(EMBEDDERS)
    if preset and preset.embedder not in ids:
        ids.append(preset.embedder)
    with st.grid(3, min_column_width=190):
        embedder = str(
            st.selectbox(
                "Embedder",
                ids,
                ids.index(preset.embedder) if preset else 0,
                format_func=lambda i: EMBEDDERS[i].title if i in EMBEDDERS else i,
                key=f"{key}_embedder",
                accept_new_options=True,
                help="Turns passages and questions into vectors. Choose one, or type a Hugging Face id or a local "
                "folder; one that is not bundled is downloaded by the job. For documents that are not in English take "
                "a multilingual one.",
            )
        )
        most = longest_chunk(embedder)
        entry = EMBEDDERS.get(embedder)
        chunk, overlap = sizes_for(min(entry.context if entry else USUAL_LIMIT, most))
        if preset and preset.embedder == embedder:
            chunk, overlap = min(preset.chunk, most), preset.overlap
        chunk = int(
            st.number_input(
                "Chunk size, tokens",
                16,
                most,
                chunk,
                step=16,
                key=f"{key}_chunk_{embedder}",
                help="Passages are at most this long. Short ones are found more exactly, long ones carry more context; "
                "the retrieval lab measures which is better here. "
                + (
                    f"This embedder reads {entry.context} tokens, of which some are kept for the headings."
                    if entry
                    else "It must not be more than the embedder reads, which is looked up when it is opened."
                ),
            )
        )
        overlap = int(
            st.number_input(
                "Overlap, tokens",
                0,
                chunk // 2,
                min(overlap, chunk // 2),
                step=4,
                key=f"{key}_overlap_{embedder}_{chunk}",
                help="Text that two neighbouring chunks share, so that no sentence is torn apart for good.",
            )
        )
    return Cutting(embedder, chunk, overlap)


def preview(documents: Sequence[SourceDocument], cutting: Cutting, key: str) -> None:
    """The chunks of one of the documents, as the job would cut it."""
    number = st.selectbox(
        "Document", range(len(documents)), format_func=lambda i: documents[i].name, key=f"{key}_preview_document"
    )
    document = documents[number]
    with st.spinner("Cutting the document; the first time the embedder is loaded, a few seconds"):
        pieces, tokens = once((document.name, document.hash, cutting), lambda: _cut(document, cutting))
    lengths = f", {min(tokens)} to {max(tokens)} tokens each" if tokens else ""
    st.caption(f"{many(len(pieces), 'chunk')}{lengths}. Each is embedded under its title and section.")
    pages = -(-len(pieces) // PER_PAGE)
    page = st.pagination(pages, key=f"{key}_preview_page_{document.hash}_{cutting}") if pages > 1 else 1
    for piece, length in list(zip(pieces, tokens, strict=True))[PER_PAGE * (page - 1) : PER_PAGE * page]:
        chunk = piece.chunk
        with st.container(border=True):
            place = ([plain(chunk.section)] if chunk.section else []) + ([f"page {chunk.page}"] if chunk.page else [])
            st.caption(" · ".join([f"**Chunk {chunk.position + 1}**", *place, f"{length} tokens"]))
            st.text(chunk.text)


def _cut(document: SourceDocument, cutting: Cutting) -> tuple[list[Piece], list[int]]:
    embedder = load_embedder(cutting.embedder)
    check_size(cutting.chunk, embedder)
    pieces = cut(document.name, document.title, document.text, embedder, *cutting[1:], document.pages)
    texts = [piece.chunk.text for piece in pieces]
    return pieces, [len(ids) for ids in embedder.tokenizer(texts, add_special_tokens=False)["input_ids"]]
