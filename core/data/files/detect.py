"""What kind of file this is: by its first bytes, and by its name only where these leave it open."""

from __future__ import annotations

import csv
import json
import re
import zipfile
from dataclasses import replace
from pathlib import PurePath

from core.data.files.encodings import decode_head, find_encoding
from core.data.files.json_whole import wraps
from core.data.files.model import DELIMITERS, File, FileKind
from core.data.files.parsing import WHITE, Refused, decode
from core.data.files.stream import Source, seekable
from core.errors import UserError

# Enough for the structure to show, and little enough to be read at once.
HEAD_BYTES = 2**18
# Below this share of rows with as many cells as the first, a delimiter is just punctuation.
_CONSISTENT = 0.9
_WRAPPED = re.compile(r'\{\s*"([^"\\]{0,100})"\s*:\s*\[\s*\{')
_WRAPPED_LATER = re.compile(r',\s*"([^"\\]{0,100})"\s*:\s*\[\s*\{')
_OLD_LINE_END = re.compile(r"\}\r\s*\{")
_TABLES = (".csv", ".tsv", ".tab")
_JSON_LINES = (".jsonl", ".ndjson")
_INSTEAD = "Give the examples as JSONL, JSON, CSV, Excel or Parquet."
_KNOWN: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF", "a PDF document", f"Add it as a document. {_INSTEAD}"),
    (b"\x89PNG", "an image", _INSTEAD),
    (b"\xff\xd8\xff", "an image", _INSTEAD),
    (b"GIF8", "an image", _INSTEAD),
    (b"\xd0\xcf\x11\xe0", "an old or encrypted Office file", "Save it without a password as .xlsx or CSV."),
    (b"BZh", "packed with bzip2", "Unpack it, or pack it with gzip."),
    (b"\xfd7zXZ", "packed with xz", "Unpack it, or pack it with gzip."),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", "Unpack it, or pack it with gzip."),
    (b"7z\xbc\xaf", "a 7z archive", "Unpack it and give its files one by one."),
    (b"Rar!", "a RAR archive", "Unpack it and give its files one by one."),
    (b"\x1f\x8b", "packed twice", "Unpack it once."),
    (b"SQLite format 3", "a database", "Export the table as CSV."),
    (b"ARROW1", "an Arrow file", "Save it as Parquet."),
    (b"\xff\xfe\x00\x00", "text in UTF-32", "Save it as UTF-8."),
    (b"\x00\x00\xfe\xff", "text in UTF-32", "Save it as UTF-8."),
)
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|\?xml|svg)", re.IGNORECASE)


def detect_kind(file: File) -> FileKind:
    """The kind of a file. Raises UserError if it holds nothing that could be records: nothing, an archive, an image."""
    with file.open() as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    with Source(file, packed) as source:
        head = b""
        while len(head) < HEAD_BYTES and (data := source.read(HEAD_BYTES - len(head))):
            head += data
    if head.startswith(b"PAR1"):
        return FileKind("parquet", packed)
    if head.startswith(b"PK\x03\x04"):
        _refuse_other_archives(file, packed)
        return FileKind("excel", packed)
    _refuse_known(file.name, head)
    encoding = find_encoding(head)
    if not encoding:
        raise _refused(file.name, "not text", _INSTEAD)
    text = decode_head(head, encoding).strip(WHITE)
    if not text:
        found = "is empty" if len(head) < HEAD_BYTES else "starts with nothing but white space"
        raise UserError(f"{file.name} {found}.", "Choose the file that holds the examples.")
    kind = _json(file.name, text, whole=len(head) < HEAD_BYTES) or _table(file.name, text, whole=len(head) < HEAD_BYTES)
    if not kind:
        raise _refused(
            file.name, "text without a structure", "Give one JSON object a line, or a table with named columns."
        )
    return replace(kind, gzip=packed, encoding=encoding)


def _json(name: str, text: str, whole: bool) -> FileKind | None:
    """JSON or JSON lines, if the text starts like that or is named so."""
    suffix = _suffix(name)
    first, _, rest = text.partition("\n")
    first, second = first.rstrip(), rest.lstrip(WHITE)
    if text[0] not in "{[":
        # Damaged, since neither starts like this; the reader says how. A table that is named so is still a table.
        if suffix not in (".json", *_JSON_LINES) or _table("", text, whole):
            return None
        return FileKind("json" if suffix == ".json" else "jsonl")
    if suffix in _TABLES and not _starts_with_json(text):
        return None
    if text[0] == "[":
        return FileKind("jsonl" if second.startswith("[") and _starts_with_json(first) else "json")
    if second.startswith("{") and first.endswith("}"):
        return FileKind("jsonl")
    if (wrapped := _WRAPPED.match(text)) and wraps(wrapped[1], first=True):
        return FileKind("json")
    if not second and any(wraps(found[1], first=False) for found in _WRAPPED_LATER.finditer(text)):
        return FileKind("json")
    if "\n" not in text and _OLD_LINE_END.search(text):
        return FileKind("json")  # Nothing but a line feed ends a line of JSON lines; here the objects are a sequence.
    if first.endswith(("{", "[", ",", ":")) and rest:
        return FileKind("json")
    return FileKind("json" if suffix == ".json" else "jsonl")


def _starts_with_json(text: str) -> bool:
    """Whether a JSON value comes first, or the beginning of one that the text cuts off."""
    try:
        decode(text)
    except json.JSONDecodeError as error:
        return error.pos >= len(text.rstrip(WHITE)) - 1 or error.msg.startswith("Unterminated")
    except Refused:
        return True
    return True


def _table(name: str, text: str, whole: bool) -> FileKind | None:
    """CSV or TSV with the delimiter that cuts the rows alike, or what the name says if none does."""
    lines = text.splitlines(keepends=True)
    if not whole and len(lines) > 1:
        lines.pop()
    alike = {delimiter: _alike(lines, delimiter) for delimiter in DELIMITERS}
    delimiter, (share, _) = max(alike.items(), key=lambda item: item[1])
    suffix = _suffix(name)
    if share < (0.5 if suffix in _TABLES else _CONSISTENT):
        if suffix not in _TABLES:
            return None
        delimiter = "," if suffix == ".csv" else "\t"
    return FileKind("tsv" if delimiter == "\t" else "csv", delimiter=delimiter)


def _alike(lines: list[str], delimiter: str) -> tuple[float, int]:
    """(share of the rows with as many cells as the first, how many cells that is); (0, 0) if that is a single one."""
    try:
        widths = [len(cells) for cells in csv.reader(lines, delimiter=delimiter) if cells]
    except csv.Error:
        return 0, 0
    if len(widths) < 2 or widths[0] < 2:
        return 0, 0
    return widths.count(widths[0]) / len(widths), widths[0]


def _refuse_known(name: str, head: bytes) -> None:
    for magic, what, remedy in _KNOWN:
        if head.startswith(magic):
            raise _refused(name, what, remedy)
    if head[257:262] == b"ustar":
        raise _refused(name, "a tar archive", "Unpack it and give its files one by one.")
    if _MARKUP.match(head):
        raise _refused(name, "a web page or other markup", f"Add it as a document. {_INSTEAD}")


def _refuse_other_archives(file: File, packed: bool) -> None:
    """Every new Office file is a zip archive, told by what is in it."""
    try:
        with seekable(file, packed) as stream, zipfile.ZipFile(stream) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"{file.name} is a damaged workbook or zip archive.", "Save or copy the file again.") from error
    if names & {"xl/workbook.xml", "xl/workbook.bin"}:
        return
    for part, what in (("word/document.xml", "a Word document"), ("ppt/presentation.xml", "a presentation")):
        if part in names:
            raise _refused(file.name, what, f"Add it as a document. {_INSTEAD}")
    raise _refused(file.name, "a zip archive", "Unpack it and give its files one by one.")


def _refused(name: str, what: str, remedy: str) -> UserError:
    return UserError(f"{name} holds no examples: it is {what}.", remedy)


def _suffix(name: str) -> str:
    return PurePath(name.lower().removesuffix(".gz")).suffix
