"""Readers that misbehave as a parser does over a hostile file; the worker of the tests registers them."""

from __future__ import annotations

import ctypes
import time

from core.documents.reading.document import Extracted, reader


@reader(".fine", looks="text")
def fine(data: bytes) -> Extracted:
    return Extracted(data.decode())


@reader(".hang", looks="text")
def hang(data: bytes) -> Extracted:
    time.sleep(600)
    return Extracted("never")


@reader(".crash", looks="text")
def crash(data: bytes) -> Extracted:
    return Extracted(ctypes.string_at(0).decode())


@reader(".greedy", looks="text")
def greedy(data: bytes) -> Extracted:
    return Extracted(str(len(bytearray(64_000_000_000))))


@reader(".noisy", looks="text")
def noisy(data: bytes) -> Extracted:
    print('{"text": "not an answer"}', flush=True)
    raise RuntimeError("bad\nthings")
