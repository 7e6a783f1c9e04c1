"""Web pages."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from core.documents.reading.document import Extracted, reader
from core.documents.reading.encodings import decode

# What a page shows besides what it says.
_FURNITURE = (
    "script, style, noscript, template, nav, [role=navigation], body > footer, [role=contentinfo], svg, iframe, "
    "object, canvas, dialog, button, input, select, textarea, [hidden], [aria-hidden=true]"
)


@reader(".html", ".htm", ".xhtml", looks="text")
def web_page(data: bytes) -> Extracted:
    """What the page's main part says, as Markdown. Nothing it refers to is fetched."""
    text, encoding = decode(data)
    declared = re.search(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?([\w-]+)", data[:4096], flags=re.IGNORECASE)
    # UTF-8 and UTF-16 are recognised for certain; of the others the page knows more than can be guessed.
    if declared and not encoding.startswith("utf"):
        with suppress(LookupError, UnicodeDecodeError):
            text = data.decode(declared[1].decode("ascii"))
    return page_of(text)


def page_of(html: str) -> Extracted:
    """An HTML text as Markdown, without navigation, scripts, forms and pictures."""
    from bs4 import BeautifulSoup
    from markitdown.converters import HtmlConverter

    soup = BeautifulSoup(html, "html.parser")
    title = soup.title.get_text() if soup.title else ""
    described = soup.select_one('meta[name="description"][content]')
    meta = {"description": str(described["content"])} if described else {}
    for element in soup.select(_FURNITURE):
        element.decompose()
    for picture in soup.find_all("img"):
        picture.replace_with(str(picture.get("alt") or ""))
    main: Any = soup.find("main") or soup.find("article")
    shown = main if main and main.get_text(strip=True) else soup.body or soup
    if soup.head:
        soup.head.decompose()
    text = HtmlConverter().convert_string(str(shown)).markdown
    heading = shown.find("h1")
    words = heading.get_text() if heading else ""
    return Extracted(re.sub(r"\n{3,}", "\n\n", text), words or title, meta=meta)
