"""Files, archives and folders into documents; a bad file never spoils the others."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from core.documents.reading.archives import CONTROLS, files_of, is_hidden, open_archive, printable, refusal, unpack
from core.documents.reading.document import READERS, ReadFiles, Refused, SourceDocument, extract, suffix_of
from core.documents.reading.parser import Parser
from core.documents.reading.sniff import TITLES, sniff
from core.errors import UserError

# Far above any document made by hand; a larger file is a dump, and would stall a page.
MAX_BYTES = 100_000_000
# Of all texts together, some 150,000 pages: they are held in memory until they are stored.
MAX_CHARACTERS_IN_ALL = 300_000_000
ARCHIVE = ".zip"
# Kinds that are zip archives inside.
_ZIPS = ("docx", "pptx", "xlsx", "epub", "zip")

Progress = Callable[[int, str], None]


def _silent(done: int, name: str) -> None: ...


class _Source(NamedTuple):
    """A file that is loaded only when its turn comes, so that no more than one is in memory."""

    name: str
    size: int
    load: Callable[[], bytes]


def read_document(name: str, data: bytes) -> SourceDocument:
    """Read one file by its suffix. Raises UserError naming the file and what is wrong with it."""
    with Parser() as parser:
        return _read(_Source(name, len(data), lambda: data), parser)


def read_files(
    files: Iterable[tuple[str, bytes]], on_progress: Progress = _silent, parser: Parser | None = None
) -> ReadFiles:
    """Read (name, bytes) pairs; a zip archive stands for the files in it, under their names in the archive.

    `on_progress(done, name)` is called before each file; an exception it raises ends the reading.
    """
    sources = (_Source(name, len(data), lambda data=data: data) for name, data in files)  # type: ignore[misc]
    return _read_all(sources, on_progress, parser or Parser())


def scan_folder(folder: Path, on_progress: Progress = _silent) -> ReadFiles:
    """Read everything below `folder` of a kind that is read, in order of names, which are relative to it.

    The files of an archive count as if they had been unpacked beside it. Hidden files, unknown kinds, and links that
    lead out of the folder are skipped. Raises UserError if it is none.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder.", "Give the folder that holds your documents.")
    skipped: list[str] = []
    found = _read_all(_below(folder, skipped), on_progress, Parser())
    found.skipped.extend(skipped)
    return found


def read_folder(folder: Path) -> list[SourceDocument]:
    """All documents below `folder`, or UserError if there is none or any of them cannot be read, listing these."""
    found = scan_folder(folder)
    if not found.documents and not found.refused:
        raise UserError(
            f"{folder} holds no {', '.join(sorted(READERS))} files.", "Add documents or choose another folder."
        )
    return found.complete()


def _read_all(sources: Iterable[_Source], on_progress: Progress, parser: Parser) -> ReadFiles:
    found = ReadFiles()
    names: set[str] = set()
    length = 0
    with parser:
        for done, source in enumerate(_with_archives(sources, found)):
            shown = printable(source.name, len(source.name))
            on_progress(done, shown)
            try:
                if source.name in names:
                    raise _error(source.name, UserError("there is another file of this name.", "Rename one of them."))
                names.add(source.name)
                if length > MAX_CHARACTERS_IN_ALL:
                    raise _error(source.name, UserError("the files before it fill the memory.", "Add it by itself."))
                found.documents.append(_read(source, parser))
                length += len(found.documents[-1].text)
            except UserError as error:
                found.refused.append(Refused(shown, error.what, error.remedy))
    return found


def _read(source: _Source, parser: Parser) -> SourceDocument:
    name = source.name
    try:
        if printable(name, len(name)) != name:
            raise UserError(CONTROLS, "Rename the file.")
        reader = READERS.get(suffix_of(name))
        if reader is None:
            raise UserError("this kind of file is not read.", f"Use one of {', '.join(sorted(READERS))}.")
        data = _load(source)
        kind = sniff(data)
        if kind != reader.looks:
            raise _mismatch(kind, reader.looks)
        if kind in _ZIPS:
            open_archive(data).close()
        found = parser.parse(name, data) if reader.risky else extract(name, data)
        if not found.text.strip():
            raise UserError("the document is empty.", "Remove it or fill it in.")
    except UserError as error:
        raise _error(name, error) from error
    title = " ".join(_whole(found.title).split())
    stem = PurePosixPath(name).stem.replace("-", " ").replace("_", " ")
    meta = {_whole(key): _whole(value) if isinstance(value, str) else value for key, value in found.meta.items()}
    return SourceDocument(name, title or stem, _whole(found.text), found.pages, meta)


def _whole(text: str) -> str:
    """Without what no database stores, in as many characters: NUL and halves of characters, which escapes can write."""
    return text.encode(errors="replace").decode().replace("\x00", " ")


def _load(source: _Source) -> bytes:
    if source.size > MAX_BYTES:
        raise UserError(f"{source.size / 1e6:.0f} MB is more than one document may have.", "Split it up.")
    try:
        data = source.load()
    except OSError as error:
        raise UserError(f"it cannot be opened: {error.strerror}.", "Check its permissions.") from error
    if not data:
        raise UserError("the document is empty.", "Remove it or fill it in.")
    return data


def _mismatch(kind: str, expected: str) -> UserError:
    if kind == "ole" and expected in _ZIPS:
        return UserError(
            "it is encrypted, or in the format that Office used before 2007.",
            "Save a copy without a password, as .docx, .pptx or .xlsx.",
        )
    return UserError(
        f"its name promises {TITLES[expected]}, its content looks like {TITLES[kind]}.",
        "Give it the ending of what it is, or save it in the kind that its name says.",
    )


def _error(name: str, error: UserError) -> UserError:
    return UserError(f"{printable(name)}: {error.what}", error.remedy)


def _with_archives(sources: Iterable[_Source], found: ReadFiles) -> Iterator[_Source]:
    """The sources, with the files of an archive in its place; what is refused or skipped in it goes to `found`."""
    for source in sources:
        if suffix_of(source.name) != ARCHIVE:
            yield source
            continue
        try:
            data = _load(source)
            if sniff(data) not in _ZIPS:
                raise _mismatch(sniff(data), "zip")
            archive = open_archive(data)
        except UserError as error:
            error = _error(source.name, error)
            found.refused.append(Refused(source.name, error.what, error.remedy))
            continue
        with archive:
            yield from _entries(source.name, archive, found)


def _entries(name: str, archive: zipfile.ZipFile, found: ReadFiles) -> Iterator[_Source]:
    for entry in files_of(archive):
        inner = printable(entry.orig_filename)
        why, remedy = refusal(entry), "Leave it out, or add that file by itself."
        if is_hidden(entry.filename) and not why:
            found.skipped.append(inner)
        elif not why and suffix_of(entry.filename) == ARCHIVE:
            why, remedy = "archives within archives are not opened.", "Unpack it and add what it holds."
        elif not why and suffix_of(entry.filename) not in READERS:
            found.skipped.append(inner)
        elif not why:
            path = (PurePosixPath(name).parent / entry.filename).as_posix()
            yield _Source(path, entry.file_size, lambda entry=entry: unpack(archive, entry))  # type: ignore[misc]
        if why:
            found.refused.append(Refused(inner, f"{name}, {inner}: {why}", remedy))


def _below(folder: Path, skipped: list[str]) -> Iterator[_Source]:
    inside = folder.resolve()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file():
            continue
        if is_hidden(name) or suffix_of(name) not in (*READERS, ARCHIVE) or not path.resolve().is_relative_to(inside):
            skipped.append(printable(name))
        else:
            yield _Source(name, path.stat().st_size, path.read_bytes)
