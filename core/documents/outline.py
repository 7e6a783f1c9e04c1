"""The headings of a Markdown text, as the Markdown parser sees them: none in code, and underlined ones too."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True)
class Outline:
    """`headings`: (character where its line begins, level from 1, its words), in order. `soft_breaks`: the characters
    that end a line within a paragraph, and so mean no more than a space."""

    headings: list[tuple[int, int, str]]
    soft_breaks: list[int]


def outline(text: str) -> Outline:
    """What the chunks of `text` need to know of its structure."""
    # The parser counts lines by these three, and so must we.
    ends = [match.end() for match in re.finditer(r"\r\n?|\n", text)]
    begins = [0, *ends]
    headings: list[tuple[int, int, str]] = []
    soft_breaks: list[int] = []
    quotes = 0
    tokens = _parser().parse(text)
    for position, token in enumerate(tokens):
        if token.type in ("blockquote_open", "blockquote_close"):
            quotes += token.nesting
        elif token.type == "heading_open" and token.level == 0 and token.map:
            words = _words(tokens[position + 1].content)
            headings.append((begins[token.map[0]], int(token.tag[1]), words))
        elif token.type == "paragraph_open" and not quotes and token.map:
            # A quotation's next line begins with its mark, which must stay at the beginning of a line.
            first, last = token.map
            soft_breaks += [end - 1 for end in ends[first : last - 1] if text[end - 1] == "\n"]
    return Outline(headings, soft_breaks)


def _words(content: str) -> str:
    """A heading without its marks: `[Caching](x) with *care*` is "Caching with care"."""
    if re.search(r"[\[*_`<&\\~]", content):
        children = _inline_parser().parseInline(content)[0].children or []
        content = "".join(" " if child.type == "softbreak" else child.content for child in children if _shows(child))
    return " ".join(content.split())


def _shows(token: Any) -> bool:
    return token.type in ("text", "code_inline", "image", "softbreak", "text_special")


@cache
def _parser() -> Any:
    from markdown_it import MarkdownIt

    # What stands inside a paragraph is not asked for, and takes three quarters of the time.
    return MarkdownIt("commonmark").enable("table").disable("inline")


@cache
def _inline_parser() -> Any:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark")
