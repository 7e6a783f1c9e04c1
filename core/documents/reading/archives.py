"""Zip archives: their files in memory, within limits, under names that lead nowhere else."""

from __future__ import annotations

import io
import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from core.errors import UserError

# More files than anyone reads through; an archive of a whole disk is a mistake.
MAX_FILES = 10_000
# Of all files together, unpacked: ten times what an upload may have.
MAX_UNPACKED = 1_000_000_000
# Text shrinks to a tenth, tables to a thirtieth; only repetition made for it shrinks to less than 1/200.
MAX_RATIO = 200
# Below this size no ratio does harm.
HARMLESS = 10_000_000
CONTROLS = "its name holds control characters."
# Control characters, halves of characters, ends of lines; and those that turn the direction of writing, by which
# "exe.md" is shown as "dm.exe". Spaces of other widths and joiners are in names that people give.
_DRIVING = ("Cc", "Cs", "Zl", "Zp")
_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
# What a broken or strange archive makes the standard library raise.
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError)


def open_archive(data: bytes) -> zipfile.ZipFile:
    """A zip file's directory, checked against bombs by the sizes it states, beyond which nothing is ever unpacked.

    Also for Office files and e-books, which are zip archives. Raises UserError without the file's name.
    """
    # Counted before it is read: a directory of millions of entries would fill the memory by itself.
    if data.count(b"PK\x01\x02") > 10 * MAX_FILES:
        raise UserError(f"it holds more than {MAX_FILES:,} files.", "Split it up.")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _BROKEN as error:
        raise UserError("it is damaged: its list of files cannot be read.", "Pack or save it anew.") from error
    entries = archive.infolist()
    if len(entries) > MAX_FILES:
        raise UserError(f"it holds {len(entries):,} files, more than {MAX_FILES:,}.", "Split it up.")
    total = sum(entry.file_size for entry in entries)
    if total > MAX_UNPACKED:
        raise UserError(
            f"it would unpack to {total / 1e9:.1f} GB, more than {MAX_UNPACKED / 1e9:.0f} GB.", "Split it up."
        )
    for entry in entries:
        if entry.file_size > HARMLESS and entry.file_size > MAX_RATIO * max(entry.compress_size, 1):
            raise UserError(
                f"{printable(entry.filename)} in it would unpack to {entry.file_size / 1e6:.0f} MB from "
                f"{entry.compress_size / 1e3:.0f} kB: a decompression bomb.",
                "Leave it out, or add that file by itself.",
            )
    # Many harmless ones, or several that share their bytes.
    if total > 10 * HARMLESS and total > MAX_RATIO * len(data):
        raise UserError(
            f"it would unpack to {total / 1e6:.0f} MB from {len(data) / 1e3:.0f} kB: a decompression bomb.",
            "Leave it out, or add its files by themselves.",
        )
    return archive


def files_of(archive: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    """Its entries, in order of their names, without folders."""
    return iter(sorted((entry for entry in archive.infolist() if not entry.is_dir()), key=lambda e: e.filename))


def refusal(entry: zipfile.ZipInfo) -> str:
    """Why an entry's name or nature is not accepted; empty if it is."""
    # The name as it is written: the standard library ends it at a NUL.
    name = entry.orig_filename
    if "\\" in name or name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in PurePosixPath(name).parts:
        return "its name leads out of the archive."
    if printable(name, len(name)) != name:
        return CONTROLS
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "it is a link to another file."
    if entry.flag_bits & 1:
        return "it is encrypted."
    return ""


def unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """One entry's bytes, no more than it states. Raises UserError where it is damaged."""
    try:
        return archive.read(entry)
    except _BROKEN as error:
        raise UserError("it is damaged within the archive.", "Pack it anew.") from error


def is_hidden(name: str) -> bool:
    """Files that systems leave behind: `.git/config`, `.DS_Store`, `__MACOSX/x.md`, `~$report.docx`."""
    return any(part.startswith((".", "~$")) or part == "__MACOSX" for part in PurePosixPath(name).parts)


def printable(name: str, longest: int = 200) -> str:
    """A name from a file as it may be shown: on one line, in the order it is written, and not endless."""
    shown = "".join("?" if unicodedata.category(one) in _DRIVING or one in _TURNING else one for one in name)
    return shown if len(shown) <= longest else shown[:100] + "..." + shown[-90:]
