"""The headings of a Markdown text, as the Markdown parser sees them: none in code, and underlined ones too."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

PORTION = 500_000
# What a heading and its own line may run into; a block of code or a table begins a line of its own.
_READ_ON = ("paragraph_open", "heading_open", "bullet_list_open", "ordered_list_open")


@dataclass(frozen=True)
class Outline:
    """`headings`: (character where its line begins, level from 1, its words), in order.

    `soft_breaks`: the characters that end a line within a paragraph, and so mean no more than a space. `heads`: where
    a heading's line begins and where what is under it does, if that is a paragraph, a list or another heading.
    """

    headings: list[tuple[int, int, str]]
    soft_breaks: list[int]
    heads: list[tuple[int, int]]


def outline(text: str) -> Outline:
    """What the chunks of `text` need to know of its structure.

    The parser takes up to 250 times the memory of its text, so a long one is parsed in portions; a block of code that
    goes on across their border may then be taken for text.
    """
    whole = Outline([], [], [])
    first = 0
    while first < len(text):
        near, far = first + PORTION, first + 2 * PORTION
        last = (text.find("\n\n", near, far) + 1) or (text.find("\n", near, far) + 1) or far
        part = _outline(text[first:last])
        whole.headings.extend((first + at, level, words) for at, level, words in part.headings)
        whole.soft_breaks.extend(first + at for at in part.soft_breaks)
        whole.heads.extend((first + begin, first + end) for begin, end in part.heads)
        first = last
    return whole


def _outline(text: str) -> Outline:
    # The parser counts lines by these three, and so must we.
    ends = [match.end() for match in re.finditer(r"\r\n?|\n", text)]
    begins = [0, *ends]
    headings: list[tuple[int, int, str]] = []
    soft_breaks: list[int] = []
    heads: list[tuple[int, int]] = []
    quotes = 0
    tokens = _parser().parse(text)
    for position, token in enumerate(tokens):
        if token.type in ("blockquote_open", "blockquote_close"):
            quotes += token.nesting
        elif token.type == "heading_open" and token.level == 0 and token.map:
            words = _words(tokens[position + 1].content)
            headings.append((begins[token.map[0]], int(token.tag[1]), words))
            follows = tokens[position + 3] if position + 3 < len(tokens) else None
            if token.markup[0] == "#" and follows and follows.type in _READ_ON and follows.map:
                heads.append((begins[token.map[0]], begins[follows.map[0]]))
        elif token.type == "paragraph_open" and not quotes and token.map:
            # A quotation's next line begins with its mark, which must stay at the beginning of a line.
            first, last = token.map
            soft_breaks += [end - 1 for end in ends[first : last - 1] if text[end - 1] == "\n"]
    return Outline(headings, soft_breaks, heads)


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
