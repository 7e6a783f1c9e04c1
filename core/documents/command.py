"""`python -m core index` and `python -m core search`: the Documents half of the Data page, for a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import select

from core.documents.chunking import sizes_for
from core.documents.index import Changes, change_settings, check_size, create_index, sync_documents
from core.documents.languages import language_advice
from core.documents.reading import ARCHIVE, SUFFIXES, scan_folder
from core.documents.reading.archives import is_hidden, printable
from core.documents.retrieval import MODES, Hit, Mode
from core.documents.retrieval import search as find
from core.errors import UserError
from core.jobs.run import run_foreground
from core.models.catalogue import BUNDLED_EMBEDDER
from core.models.embedding import load_embedder
from core.models.loading import compute_device
from core.store.database import session
from core.store.tables import Index

# Names shown of each sort of change; a folder may hold thousands.
LISTED = 20


def index(
    folder: Annotated[Path, typer.Argument(help="Folder of documents; folders in it are read too.")],
    collection: Annotated[str, typer.Option(help="Name of the collection; default: that of the folder.")] = "",
    embedder: Annotated[
        str, typer.Option(help="Bundled name, Hugging Face id or local folder; default: as it is, or the bundled one.")
    ] = "",
    chunk: Annotated[int, typer.Option(min=0, help="Tokens of a chunk; 0: as it is, or what suits the embedder.")] = 0,
    overlap: Annotated[int, typer.Option(min=-1, help="Tokens that neighbours share; -1: as for --chunk.")] = -1,
) -> None:
    """Bring a collection to the state of a folder: adds, updates and removes documents, and embeds what is new."""
    read = scan_folder(folder, lambda done, name: _progress(f"Reading {name}"))
    _progress("")
    for refused in read.refused:
        _complain(str(refused))
    for document in read.documents:
        if "warning" in document.meta:
            _complain(f"{document.name}: {document.meta['warning']}")
    _say_names("Skipped", [name for name in read.skipped if not is_hidden(name)])
    if not read.documents:
        remedy = f"Add some ({', '.join((*SUFFIXES, ARCHIVE))}), or give another folder."
        raise UserError(f"{folder} holds no documents that can be read.", remedy)
    name = printable(collection or folder.resolve().name)
    found = next((index for index in _collections() if index.name == name), None)
    encoder = load_embedder(embedder or (found.embedder if found else BUNDLED_EMBEDDER))
    check_size(chunk, encoder)
    if found is None:
        usual = sizes_for(encoder.max_tokens)
        found = create_index(
            name,
            read.documents,
            embedder=encoder.id,
            chunk_tokens=chunk or usual[0],
            overlap_tokens=overlap if overlap >= 0 else usual[1],
        )
        changes = Changes(added=tuple(document.name for document in read.documents))
    else:
        change_settings(
            found.id,
            embedder=embedder or None,
            chunk_tokens=chunk or None,
            overlap_tokens=overlap if overlap >= 0 else None,
        )
        # A file that could not be read is still there: what it said before is better than nothing.
        kept = {refused.name for refused in read.refused}
        changes = sync_documents(found.id, read.documents, remove_missing=True, keep=kept)
    _say_changes(changes)
    job = run_foreground(
        "index",
        {"index_id": found.id},
        title=f"Index: {name}",
        device=compute_device(),
        on_progress=lambda done, total, message: _progress(f"{message}: {done:.0f} of {total:.0f}"),
    )
    _progress("")
    if job.status != "done":
        raise UserError(
            job.error or f"Indexing was {job.status}.", job.remedy or "Give the same command again to go on."
        )
    total = len(changes.added) + len(changes.changed) + len(changes.unchanged)
    _say(f"{name}: {total:,} documents in {job.result['chunks']:,} chunks. Search: python -m core search QUERY")
    with session(read_only=True) as db:
        advice = language_advice(db.get_one(Index, found.id))
    if advice:
        _say(f"Note: {advice}")


def search(
    query: Annotated[str, typer.Argument(help="What to look for, in plain words.")],
    collection: Annotated[str, typer.Option(help="Name of the collection; default: the newest.")] = "",
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="Passages to find.")] = 5,
    mode: Annotated[
        str, typer.Option(help="dense (by meaning), sparse (by words) or hybrid; default: the collection's own.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")] = False,
) -> None:
    """Find passages in a collection."""
    if not query.strip():
        raise UserError("Nothing is asked.", "Say what to look for, in plain words.")
    hits = find(_named(collection).id, [query], k, mode=_mode(mode))[0]
    if as_json:
        print(json.dumps([_row(hit) for hit in hits], ensure_ascii=False, indent=2))  # noqa: T201 - the output itself
        return
    if not hits:
        _say("Nothing was found.")
    for number, hit in enumerate(hits, start=1):
        page = f", page {hit.page}" if hit.page else ""
        section = f", {hit.section}" if hit.section else ""
        _say(f"{number}. {hit.source}{section}{page} ({hit.score:.3f})\n   {hit.why}\n{_indented(hit.text)}\n")


def _row(hit: Hit) -> dict[str, Any]:
    found = hit.as_dict()
    keys = ("section", "page", "score", "text", "title", "start", "end")
    ranks = ("dense_rank", "dense_score", "sparse_rank", "sparse_score", "rerank_score", "matched")
    return {"document": hit.source, **{key: found[key] for key in (*keys, *ranks)}}


def _mode(given: str) -> Mode | None:
    if not given:
        return None
    found = next((mode for mode in MODES if mode == given), None)
    if found is None:
        raise UserError(f"There is no mode {given}.", f"Use one of {', '.join(MODES)}.")
    return found


def _collections() -> list[Index]:
    with session(read_only=True) as db:
        return list(db.scalars(select(Index).order_by(Index.id.desc())))


def _named(name: str) -> Index:
    """The newest collection of this name, or of all. Raises UserError that lists those there are."""
    there = _collections()
    found = next((index for index in there if not name or index.name == name), None)
    if found is None:
        if not there:
            raise UserError("There is no collection yet.", "Make one: python -m core index FOLDER")
        names = ", ".join(dict.fromkeys(index.name for index in there))
        raise UserError(f"There is no collection {name}.", f"There are: {names}.")
    return found


def _say_changes(changes: Changes) -> None:
    for word, names in (("Added", changes.added), ("Changed", changes.changed), ("Removed", changes.removed)):
        _say_names(word, names)
    if changes.unchanged:
        _say(f"Unchanged: {len(changes.unchanged):,}")


def _say_names(word: str, names: Sequence[str]) -> None:
    if names:
        more = f", and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
        _say(f"{word} {len(names):,}: {', '.join(names[:LISTED])}{more}")


def _indented(text: str) -> str:
    return "\n".join(f"   {line}" for line in text.splitlines())


def _say(text: str) -> None:
    typer.echo(_printable(text))


def _complain(text: str) -> None:
    typer.echo(_printable(text), err=True)


def _progress(text: str) -> None:
    """One line that overwrites itself; nothing where nobody watches."""
    if sys.stderr.isatty():
        typer.echo(f"\r\033[K{_printable(text)[:100]}", nl=False, err=True)


def _printable(text: str) -> str:
    """Without control characters: a document's text must not drive the terminal."""
    return "\n".join(printable(line, len(line)) for line in text.replace("\t", " ").split("\n"))
