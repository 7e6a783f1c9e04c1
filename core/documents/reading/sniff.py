"""What a file is, by its first bytes, whatever its name says."""

from __future__ import annotations

import io
import re
import zipfile

# What it is called in a sentence, by key.
TITLES = {
    "text": "text",
    "pdf": "a PDF",
    "docx": "a Word document (.docx)",
    "pptx": "a PowerPoint presentation (.pptx)",
    "xlsx": "an Excel workbook (.xlsx)",
    "epub": "an e-book (.epub)",
    "zip": "a zip archive",
    "ole": "an old or encrypted Office file",
    "rtf": "a rich text file (.rtf)",
    "picture": "a picture",
    "archive": "a compressed archive",
    "program": "a program",
    "media": "sound or video",
    "database": "an SQLite database",
    "parquet": "a Parquet table",
}
_SIGNATURES = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (b"\x89PNG\r\n", "picture"),
    (b"\xff\xd8\xff", "picture"),
    (b"GIF8", "picture"),
    (b"II*\x00", "picture"),
    (b"MM\x00*", "picture"),
    (b"\x1f\x8b", "archive"),
    (b"7z\xbc\xaf\x27\x1c", "archive"),
    (b"Rar!\x1a\x07", "archive"),
    (b"BZh", "archive"),
    (b"\xfd7zXZ\x00", "archive"),
    (b"\x28\xb5\x2f\xfd", "archive"),
    (b"\x7fELF", "program"),
    (b"MZ\x90\x00", "program"),
    (b"\xcf\xfa\xed\xfe", "program"),
    (b"ID3", "media"),
    (b"OggS", "media"),
    (b"SQLite format 3\x00", "database"),
    (b"PAR1", "parquet"),
)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_PARTS = (("word/", "docx"), ("ppt/", "pptx"), ("xl/", "xlsx"), ("META-INF/container.xml", "epub"))


def sniff(data: bytes) -> str:
    """A key of `TITLES`; "text" for whatever has no signature, which may still turn out to be no text."""
    # The header of a PDF may come late, after the lines that a mail or web server has put before it.
    if re.search(rb"(?:^|[\r\n])%PDF-\d", data[:1024]):
        return "pdf"
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _kind_of_zip(data)
    if not _CONTROL.search(data[:64]):
        # Signatures of letters only may be words: "GIF89a and PNG compared", "ID3 tags explained".
        return "rtf" if data.startswith(b"{\\rtf") else "text"
    if data[:4] == b"RIFF":
        return "picture" if data[8:12] == b"WEBP" else "media"
    if data[4:8] == b"ftyp":
        return "media"
    return next((kind for signature, kind in _SIGNATURES if data.startswith(signature)), "text")


def _kind_of_zip(data: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return "zip"
    return next((kind for part, kind in _PARTS if any(name.startswith(part) for name in names)), "zip")
