"""From tokens to text as it is written: whole characters only, ended by stop texts, without blanks around it."""

from __future__ import annotations

from typing import Any

from core.models.live_answer import Token

# How a decoder writes bytes that are no character, or not yet.
BROKEN = "\N{REPLACEMENT CHARACTER}"


class Speech:
    """The text of one answer. What may yet turn out to be a stop text, or blanks at the end, is held back."""

    def __init__(self, tokenizer: Any, stop: tuple[str, ...], strip: bool) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(text for text in stop if text)
        self._strip = strip
        self._ids: list[int] = []
        # Tokens up to `_read` are in the text; decoding starts at `_from`, a little before, since some tokens are
        # written differently at the beginning.
        self._from = self._read = 0
        self._text = ""
        self._told = 0
        self._begun = False
        self._pending: list[tuple[int, Token]] = []
        self.stopped = False

    def add(self, token: int, details: Token | None = None) -> None:
        """Take the next token; afterwards `stopped` says whether a stop text has come up."""
        if details:
            self._pending.append((len(self._text), details))
        self._ids.append(token)
        new = self._unread()
        if new and not new.endswith(BROKEN):
            self._from, self._read = self._read, len(self._ids)
            self._append(new)

    def tell(self, *, end: bool = False) -> tuple[str, tuple[Token, ...]]:
        """What can be told since the last time: text, and the tokens it came from; at the `end`, all that is left."""
        if end and not self.stopped:
            self._append(self._unread())
        upto = len(self._text) - (0 if end else self._held())
        if self._strip:
            upto = len(self._text[:upto].rstrip())
            if not self._begun:
                self._told = len(self._text) - len(self._text.lstrip())
                self._begun = self._told < len(self._text)
        text = self._text[self._told : upto]
        self._told = max(self._told, upto)
        tokens = [token for start, token in self._pending if start < upto]
        self._pending = self._pending[len(tokens) :]
        return text, tuple(tokens)

    def _unread(self) -> str:
        known = self._decoded(self._ids[self._from : self._read])
        return self._decoded(self._ids[self._from :])[len(known) :]

    def _decoded(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def _append(self, new: str) -> None:
        before = len(self._text)
        self._text += new
        found = [self._text.find(text, max(0, before - len(text) + 1), len(self._text)) for text in self._stop]
        places = [place for place in found if place >= 0]
        if places:
            self._text = self._text[: min(places)]
            self.stopped = True

    def _held(self) -> int:
        """How much of the end of the text is the beginning of a stop text."""
        longest = max((len(text) - 1 for text in self._stop), default=0)
        for size in range(min(longest, len(self._text)), 0, -1):
            if self._text.endswith(tuple(text[:size] for text in self._stop if len(text) > size)):
                return size
        return 0
