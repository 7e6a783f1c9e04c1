"""Bytes of a text file into text, whichever of the common encodings wrote them."""

from __future__ import annotations

import codecs
import re

from core.errors import UserError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Western first: of two that fit equally the earlier wins. Other single-byte ones are told from it too seldom.
_CANDIDATES = ["cp1252", "cp1251", "shift_jis", "gb18030", "big5", "euc_kr"]
# Enough to recognise a language by, little enough to stay fast.
_SAMPLE = 50_000
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def decode(data: bytes) -> tuple[str, str]:
    """(text, encoding), with line ends as "\\n" and without NUL, which PostgreSQL has not and no document needs.

    Raises UserError when the bytes are no text in any of them.
    """
    text, encoding = _decode(data)
    if not encoding.startswith("utf-8") and len(_CONTROL.findall(text[:_SAMPLE])) > 0.1 * len(text[:_SAMPLE]):
        raise _no_text()
    return text.replace("\x00", "").replace("\r\n", "\n").replace("\r", "\n"), encoding


def _decode(data: bytes) -> tuple[str, str]:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            try:
                return data.decode(encoding), encoding.removesuffix("-sig")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"byte {error.start} is not {encoding.removesuffix('-sig').upper()}, as its beginning announces.",
                    "Save the file as UTF-8.",
                ) from error
    if (wide := _wide(data)) is not None:
        return wide
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        pass
    shown = data.decode("utf-8", "replace")
    damaged = shown.count("\ufffd")
    # Beside so many whole ones they are UTF-8 that was cut or pasted badly, and not another encoding.
    if sum(character > "\x7f" for character in shown) > 5 * damaged:
        return shown, f"utf-8, {damaged} characters damaged"
    return _guessed(data)


def _wide(data: bytes) -> tuple[str, str] | None:
    """UTF-16 without a mark: Western text then has a NUL in every second byte, and no other text has any."""
    head = data[:4096]
    for offset, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        nuls, others = head[offset::2].count(0), head[1 - offset :: 2].count(0)
        if len(data) % 2 == 0 and nuls > 0.4 * len(head) / 2 and others == 0:
            try:
                return data.decode(encoding), encoding
            except UnicodeDecodeError:
                return None
    return None


def _guessed(data: bytes) -> tuple[str, str]:
    from charset_normalizer import from_bytes

    if data[:_SAMPLE].count(0) > 0:
        raise _no_text()
    best = from_bytes(data[:_SAMPLE], cp_isolation=_CANDIDATES).best()
    encoding = best.encoding if best else "cp1252"
    # In a Cyrillic text nearly every letter is a high byte; in "caf\xe9" the same bytes are Western.
    if encoding == "cp1251" and sum(byte > 127 for byte in data[:_SAMPLE]) < 0.3 * len(data[:_SAMPLE]):
        encoding = "cp1252"
    try:
        return data.decode(encoding), encoding
    except UnicodeDecodeError:
        # Latin-1 has a character for every byte; it shows what the others leave undefined as control characters.
        return data.decode("latin-1"), "latin-1"


def _no_text() -> UserError:
    return UserError("its bytes are no text.", "Save it as UTF-8 text, or export it in one of the kinds that are read.")
