"""What reading a file gives, and the readers by suffix."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from core.errors import UserError

Meta = Mapping[str, str | int | float | bool]


# Of the text, some 10,000 pages: it is shown, stored and cut as a whole.
MAX_CHARACTERS = 20_000_000


@dataclass(frozen=True)
class SourceDocument:
    """One file's text, as Markdown or plain text (`gives_markdown` tells which from the name).

    `name` is how users know it: its path below the folder. `pages` holds the character of `text` where each page
    begins, the first being page 1; empty for kinds without pages. `meta` is what the file says about itself (its
    front matter, author, language), plus `warning` where a part of it could not be read.
    """

    name: str
    title: str
    text: str
    pages: tuple[int, ...] = ()
    meta: Meta = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """SHA-256 of everything but the name: two files of one content have one hash."""
        content = json.dumps([self.title, self.text, self.pages, dict(sorted(self.meta.items()))])
        return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True)
class Extracted:
    """What a reader makes of a file's bytes. Without a `title` the document is named after its file."""

    text: str
    title: str = ""
    pages: tuple[int, ...] = ()
    meta: Meta = field(default_factory=dict)


@dataclass(frozen=True)
class Refused:
    """A file that could not be read: what is wrong with it, naming it, and what to do."""

    name: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what} {self.remedy}".strip()


@dataclass(frozen=True)
class ReadFiles:
    """What became of several files. `skipped` names those that nobody asked to read: hidden ones in an archive or
    folder, and kinds that hold no documents."""

    documents: list[SourceDocument] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def complete(self) -> list[SourceDocument]:
        """The documents, where none may be missing: UserError if any file was refused, listing these."""
        if self.refused:
            listed = "\n".join(f"- {refused}" for refused in self.refused[:20])
            more = f"\n- and {len(self.refused) - 20} more" if len(self.refused) > 20 else ""
            raise UserError(f"{len(self.refused)} of the documents cannot be read:\n{listed}{more}")
        return self.documents


@dataclass(frozen=True)
class Reader:
    """`read` takes a file's bytes and raises UserError, without the file's name, where they cannot be read.

    A `risky` one runs a complicated parser, which a hostile or broken file may hang or crash: it is called in a
    process of its own. `looks` is the kind, of `core.documents.reading.sniff`, that such a file must be.
    """

    read: Callable[[bytes], Extracted]
    risky: bool
    markdown: bool
    looks: str


READERS: dict[str, Reader] = {}


def reader(
    *suffixes: str, looks: str, risky: bool = True, markdown: bool = True
) -> Callable[[Callable[[bytes], Extracted]], Callable[[bytes], Extracted]]:
    """Register a function as the reader of files with these suffixes."""

    def register(read: Callable[[bytes], Extracted]) -> Callable[[bytes], Extracted]:
        READERS.update(dict.fromkeys(suffixes, Reader(read, risky, markdown, looks)))
        return read

    return register


def extract(name: str, data: bytes) -> Extracted:
    """What the reader of this suffix makes of `data`. Raises UserError, without the name, when it cannot."""
    found = READERS[suffix_of(name)].read(data)
    check_length(len(found.text))
    return found


def check_length(characters: int) -> None:
    """Raises UserError for more text than a document may have."""
    if characters > MAX_CHARACTERS:
        raise UserError(
            f"more than {MAX_CHARACTERS / 1e6:.0f} million characters are too many for one document.", "Split it up."
        )


def suffix_of(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def gives_markdown(name: str) -> bool:
    """Whether a document of this name is Markdown, where `#` begins a heading, or plain text, where it does not."""
    return suffix_of(name) in READERS and READERS[suffix_of(name)].markdown
