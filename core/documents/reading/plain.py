"""Plain text files."""

from __future__ import annotations

from core.documents.reading.document import Extracted, reader
from core.documents.reading.encodings import decode


@reader(".txt", looks="text", risky=False, markdown=False)
def plain_text(data: bytes) -> Extracted:
    """The text as it stands."""
    text, encoding = decode(data)
    return Extracted(text, meta={} if encoding == "utf-8" else {"encoding": encoding})
