"""Word documents."""

from __future__ import annotations

import io
import re

from core.documents.reading.document import Extracted, reader
from core.documents.reading.markdown import first_heading


@reader(".docx", looks="docx")
def word_document(data: bytes) -> Extracted:
    """Headings, lists and tables as Markdown, without pictures."""
    from markitdown import StreamInfo
    from markitdown.converters import DocxConverter

    found = DocxConverter().convert(io.BytesIO(data), StreamInfo(extension=".docx")).markdown  # type: ignore[no-untyped-call]
    text = re.sub(r"!\[([^\]]*)\]\(data:[^)]*\)", r"\1", found)
    return Extracted(text, first_heading(text))
