"""E-books."""

from __future__ import annotations

import io
import re

from core.documents.reading.document import Extracted, reader

# What the converter writes above the text of what the book says about itself.
_SAYS = re.compile(r"\*\*(Title|Authors|Language|Publisher|Date|Description|Identifier):\*\* (.*)\n?")


@reader(".epub", looks="epub")
def book(data: bytes) -> Extracted:
    """The chapters in reading order as Markdown; what the book says about itself is metadata."""
    from markitdown import StreamInfo
    from markitdown.converters import EpubConverter

    text = EpubConverter().convert(io.BytesIO(data), StreamInfo(extension=".epub")).markdown  # type: ignore[no-untyped-call]
    meta: dict[str, str] = {}
    while says := _SAYS.match(text):
        meta[says[1].lower()] = says[2].strip()
        text = text[says.end() :]
    text = re.sub(r"!\[([^\]]*)\]\([^)]*\)", r"\1", text).strip()
    return Extracted(re.sub(r"\n{3,}", "\n\n", text), meta.pop("title", ""), meta=meta)
