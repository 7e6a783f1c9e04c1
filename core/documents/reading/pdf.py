"""PDF files, with their page numbers."""

from __future__ import annotations

import re
from typing import Any

from core.documents.reading.document import Extracted, reader
from core.errors import UserError

# Fewer characters on a page with a picture are a stamp or a page number on a scan, not its text.
SCANNED_CHARACTERS = 30
OCR = "Run text recognition (OCR) over it, for example with OCRmyPDF, and add the result."


@reader(".pdf", looks="pdf", markdown=False)
def pdf(data: bytes) -> Extracted:
    """The text of every page in reading order; words hyphenated at a line's end are whole again.

    pypdfium2 rather than pypdf: on the accident reports in the tests both keep the same order, at 14 times the speed.
    """
    import pypdfium2  # type: ignore[import-untyped]

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise UserError("it is encrypted and asks for a password.", "Save a copy without a password.") from error
        raise UserError("it is damaged: its pages cannot be found.", "Open it and print it to a new PDF.") from error
    texts: list[str] = []
    scanned: list[int] = []
    for number in range(len(document)):
        try:
            page = document[number]
            text = _text(page.get_textpage().get_text_range())
            if len(text) < SCANNED_CHARACTERS and _has_picture(page):
                scanned.append(number + 1)
        except pypdfium2.PdfiumError as error:
            raise UserError(f"page {number + 1} is damaged.", "Open it and print it to a new PDF.") from error
        texts.append(text)
    filled = sum(bool(text) for number, text in enumerate(texts, start=1) if number not in scanned)
    if scanned and not filled:
        pages = "its page is a picture" if len(scanned) == 1 else f"its {len(scanned)} pages are pictures"
        raise UserError(f"it is scanned: {pages} without text.", OCR)
    if not filled:
        raise UserError("none of its pages holds text.", "If it shows writing, that is drawn. " + OCR)
    says = document.get_metadata_dict(skip_empty=True)
    meta = {key: says[name] for key, name in (("author", "Author"), ("subject", "Subject")) if name in says}
    if scanned:
        which = f"{len(scanned)} of {len(texts)} pages are scanned ({_listed(scanned)})"
        meta["warning"] = f"{which}: pictures without text, so nothing on them is found. {OCR}"
    starts = [0]
    for text in texts[:-1]:
        starts.append(starts[-1] + (len(text) + 2 if text else 0))
    return Extracted("\n\n".join(filter(None, texts)), _title(says.get("Title", "")), tuple(starts), meta)


def _text(found: str) -> str:
    # PDFium marks a hyphen that only the line's end required, and closes the word around it.
    whole = re.sub(r"[\x02\ufffe\xad]\s*", "", found.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", ""))
    return whole.strip()


def _has_picture(page: Any) -> bool:
    from pypdfium2 import raw

    return any(True for _ in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE]))


def _title(written: str) -> str:
    """The title a PDF states, unless a program made it up from the name of a file."""
    made_up = re.search(r"\.\w{2,4}$|^untitled|^Microsoft \w+ - ", written.strip(), flags=re.IGNORECASE)
    return "" if made_up else written


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:20])) + (" and more" if len(numbers) > 20 else "")
