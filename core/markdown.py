"""Text of people and models inside a Markdown file, shown letter by letter."""

from __future__ import annotations

import re

from markupsafe import Markup

# Characters that show nothing, or turn the direction of what follows them.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# What has a meaning anywhere in Markdown; an underscore only at the edge of a word.
_ANYWHERE = re.compile(r"[\\`*\[\]<>|~&$]|(?<![^\W_])_|_(?![^\W_])")
# What has a meaning at the beginning of a line: headings, quotations, lists, lines, attributes.
_AT_START = re.compile(r"^(?=[#+\-=:{])|^\d+(?=[.)](?:\s|$))")
# Addresses become links although escaped; only an invisible joint inside them helps.
_ADDRESS = re.compile(r"(?i)(?<=www)(?=\.)|(?<=https)(?=:)|(?<=http)(?=:)|(?<=ftp)(?=:)|(?=@)")


def flat(value: object) -> str:
    """A value on one line, of characters that can be seen and stored; a lone surrogate is none."""
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    return _UNSEEN.sub("", " ".join(text.split())).strip()


def for_markdown(value: object) -> object:
    """One line in which nothing is markup, unless it was marked as such: for `finalize` of a template's environment."""
    if isinstance(value, Markup):
        return value
    escaped = _ANYWHERE.sub(r"\\\g<0>", _ADDRESS.sub("\u2060", flat(value)))
    return _AT_START.sub(r"\g<0>\\", escaped)
