"""Markdown and plain text files as documents: a name, a title and a body."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from core.errors import UserError

SUFFIXES = (".md", ".markdown", ".txt")
# Far above any document written by hand; a larger file is a mistake or a dump, and would stall a page.
MAX_BYTES = 20_000_000


@dataclass(frozen=True)
class SourceDocument:
    """One file's text. `name` is how users know it (its path below the folder); `hash` is of title and text."""

    name: str
    title: str
    text: str

    @property
    def hash(self) -> str:
        return hashlib.sha256(f"{self.title}\n{self.text}".encode()).hexdigest()


def read_document(name: str, data: bytes) -> SourceDocument:
    """Read one file by its suffix. Raises UserError naming the file and what is wrong with it."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{name}: this kind of file is not read.", f"Use one of {', '.join(SUFFIXES)}.")
    if len(data) > MAX_BYTES:
        raise UserError(f"{name}: {len(data) / 1e6:.0f} MB is more than one document may have.", "Split it up.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: byte {error.start} is not UTF-8.", "Save the file as UTF-8.") from error
    # PostgreSQL has no NUL in texts, and no document needs one.
    text = text.replace("\x00", "")
    title = ""
    if suffix != ".txt":
        header, text = _front_matter(text)
        title = str(header.get("title") or "")
        heading = re.search(r"^#\s+(.+?)\s*#*$", text, flags=re.MULTILINE)
        title = title or (heading.group(1) if heading else "")
    if not text.strip():
        raise UserError(f"{name}: the document is empty.", "Remove it or fill it in.")
    return SourceDocument(name, title.strip() or PurePosixPath(name).stem.replace("-", " ").replace("_", " "), text)


def _front_matter(text: str) -> tuple[dict[str, Any], str]:
    """(what the YAML header says, the text below it); without one, nothing and the whole text.

    Dashes that open a file without being front matter are text like any other.
    """
    import frontmatter
    import yaml

    handler = frontmatter.YAMLHandler()
    if not handler.detect(text):
        return {}, text
    try:
        written, body = handler.split(text)
        header = handler.load(written)
    except (ValueError, yaml.YAMLError):
        return {}, text
    return (header, body.strip()) if isinstance(header, dict) else ({}, text)


def read_folder(folder: Path) -> list[SourceDocument]:
    """All readable documents below `folder`, sorted by name. Raises UserError if there is none."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder.", "Give the folder that holds your documents.")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"{folder} holds no {', '.join(SUFFIXES)} files.", "Add documents or choose another folder.")
    return read_documents((path.relative_to(folder).as_posix(), path.read_bytes()) for path in files)


def read_documents(files: Iterable[tuple[str, bytes]]) -> list[SourceDocument]:
    """Read (name, bytes) pairs, all or none; the error lists every file that cannot be read."""
    documents: list[SourceDocument] = []
    refused: list[UserError] = []
    for name, data in files:
        try:
            documents.append(read_document(name, data))
        except UserError as error:
            refused.append(error)
    if refused:
        listed = "\n".join(f"- {error}" for error in refused[:20])
        more = f"\n- and {len(refused) - 20} more" if len(refused) > 20 else ""
        raise UserError(f"{len(refused)} of the documents cannot be read:\n{listed}{more}")
    return documents
