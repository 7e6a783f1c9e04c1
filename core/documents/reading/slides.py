"""PowerPoint presentations: each slide is a page."""

from __future__ import annotations

import io
import re

from core.documents.reading.document import Extracted, reader
from core.documents.reading.markdown import first_heading


@reader(".pptx", looks="pptx")
def presentation(data: bytes) -> Extracted:
    """Titles as headings, then the slide's texts, tables, charts and notes; pictures by their description."""
    from markitdown import StreamInfo
    from markitdown.converters import PptxConverter

    found = PptxConverter().convert(io.BytesIO(data), StreamInfo(extension=".pptx")).markdown  # type: ignore[no-untyped-call]
    text = ""
    pages: list[int] = []
    # PowerPoint's line break within a paragraph is a vertical tab.
    rest = re.sub(r"!\[([^\]]*)\]\(\w*\.jpg\)", r"\1", found.replace("\x0b", "\n"))
    while rest:
        # Slides are counted as they come, so a slide that shows such a mark of its own is seldom taken for one.
        before, _, rest = rest.partition(f"<!-- Slide number: {len(pages) + 1} -->")
        if pages:
            text += before.strip() + "\n\n"
        pages.append(len(text))
    return Extracted(text.rstrip(), first_heading(text), tuple(pages[:-1]))
