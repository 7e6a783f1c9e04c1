"""The encoding of a text, from its first bytes."""

from __future__ import annotations

import codecs
import re

from core.data.files.model import ENCODINGS

# Runs of bytes beyond ASCII: one accented letter among plain ones in Western text, whole words in other scripts.
_HIGH = re.compile(rb"[\x80-\xff]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
# Real text has none or, damaged, very few; a tenth of a per cent of binary data would already be rare.
_MOST_CONTROLS = 0.01


def find_encoding(head: bytes) -> str:
    """A key of ENCODINGS, or "" if these bytes are no text.

    UTF-8 wins where it can: a few bytes that break it are for the reader to report. What is left has no mark of its
    own, so it is a guess that people are shown and may change; Windows-1252 is what most programs write that call it
    Latin-1.
    """
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16-le" if head.startswith(codecs.BOM_UTF16_LE) else "utf-16-be"
    if wide := _wide(head):
        return wide
    if len(_CONTROL.findall(head)) > max(1, _MOST_CONTROLS * len(head)):
        return ""
    text = head.decode("utf-8", "surrogateescape")
    broken = sum("\udc80" <= character <= "\udcff" for character in text)
    if not broken or broken <= sum(character > "\x7f" for character in text) - broken:
        return "utf-8"
    runs = _HIGH.findall(head)
    if sum(len(run) == 1 for run in runs) > len(runs) / 2 and _is(head, "cp1252"):
        return "cp1252"
    return _guessed(head)


def decode_head(head: bytes, encoding: str) -> str:
    """The first bytes as text, as well as that goes, without a byte order mark."""
    return head.decode(encoding, "replace").removeprefix("\ufeff")


def _wide(head: bytes) -> str:
    """UTF-16 without a mark: every other byte of its ASCII characters is 0, and hardly any of the others is."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    least = max(2, len(head) / 2 / 10)
    if odd > least and even < odd / 20:
        return "utf-16-le"
    return "utf-16-be" if even > least and odd < even / 20 else ""


def _is(head: bytes, encoding: str) -> bool:
    try:
        head.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _guessed(head: bytes) -> str:
    from charset_normalizer import from_bytes

    others = {codecs.lookup(key).name: key for key in ENCODINGS if not key.startswith(("utf", "latin", "cp1252"))}
    # Its usual threshold takes kana between ASCII for noise; with few candidates the best one is good enough.
    best = from_bytes(head, cp_isolation=list(others), threshold=0.5).best()
    return others[codecs.lookup(best.encoding).name] if best else "latin-1"
