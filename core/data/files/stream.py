"""The bytes of a file as they are read: unpacked within limits, and in an encoding in which a line feed is one byte."""

from __future__ import annotations

import codecs
import gzip
import io
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from core.data.files.model import HARMLESS_BYTES, MAX_RATIO, MAX_UNPACKED_BYTES, File, FileKind
from core.errors import UserError

CHUNK_BYTES = 2**17


class Source(io.RawIOBase):
    """The content of a file; `done` is how many bytes of the file itself have been used.

    Reading raises UserError when packed content is cut off, damaged, or unpacks to more than any real file would.
    """

    def __init__(self, file: File, packed: bool) -> None:
        self._file = file
        self._packed = file.open()
        self._stream: BinaryIO | gzip.GzipFile = gzip.GzipFile(fileobj=self._packed) if packed else self._packed
        self._is_packed = packed
        self._unpacked = 0

    @property
    def done(self) -> int:
        return self._packed.tell()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._stream.read(min(len(buffer), CHUNK_BYTES))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(
                f"{self._file.name} is damaged: its gzip data breaks off after {self._unpacked:,} bytes of content.",
                "Make or copy the file again.",
            ) from error
        self._unpacked += len(data)
        if self._is_packed:
            refuse_bomb(self._file.name, self._unpacked, self._packed.tell())
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        self._packed.close()
        super().close()


def refuse_bomb(name: str, unpacked: int, packed: int) -> None:
    """Raise UserError if content unpacks to more than any real file would."""
    if unpacked > MAX_UNPACKED_BYTES or unpacked > max(HARMLESS_BYTES, packed * MAX_RATIO):
        raise UserError(
            f"{name} unpacks to more than {unpacked // 2**20:,} MiB from {packed / 2**20:.1f} MiB: "
            "reading stopped, since no real data does that.",
            "Give the file unpacked, or in parts.",
        )


class _Recoded(io.RawIOBase):
    """UTF-16 as UTF-8. What is no character becomes bytes that are not UTF-8, to be found with their line later."""

    def __init__(self, source: BinaryIO, encoding: str) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready and not self._ended:
            data = self._source.read(CHUNK_BYTES)
            self._ended = not data
            try:
                text = self._decoder.decode(data, final=self._ended)
            except UnicodeDecodeError:  # Half a character at the very end.
                text = "\ud800"
            self._ready = text.encode("utf-8", "surrogatepass")
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


@contextmanager
def content(file: File, kind: FileKind) -> Iterator[tuple[BinaryIO, str, Source]]:
    """(stream, its encoding, the source that counts): the content after any byte order mark.

    UTF-16 arrives as UTF-8, so that lines end in one byte whatever the encoding.
    """
    with Source(file, kind.gzip) as source:
        stream: BinaryIO = io.BufferedReader(source, CHUNK_BYTES)
        encoding = "utf-8" if kind.encoding == "utf-8-sig" else kind.encoding
        if encoding.startswith("utf-16"):
            stream, encoding = io.BufferedReader(_Recoded(stream, encoding), CHUNK_BYTES), "utf-8"
        if encoding == "utf-8" and stream.peek(3).startswith(codecs.BOM_UTF8):  # type: ignore[attr-defined]
            stream.read(3)
        yield stream, encoding, source


@contextmanager
def seekable(file: File, packed: bool) -> Iterator[BinaryIO]:
    """A stream that can be read from anywhere: the file itself, or its content unpacked into a temporary file."""
    if not packed:
        with file.open() as stream:
            yield stream
        return
    with Source(file, packed=True) as source, tempfile.SpooledTemporaryFile(HARMLESS_BYTES) as unpacked:
        while data := source.read(CHUNK_BYTES):
            unpacked.write(data)
        unpacked.seek(0)
        yield unpacked  # type: ignore[misc]
