"""The one error a person is meant to read: what happened, and what to do about it."""

from __future__ import annotations


class UserError(Exception):
    """A problem the reader can act on; screens and the command line show it without a traceback.

    `what` says what happened and where ("train.jsonl, line 17: ..."); `remedy` says what to do next.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what} {remedy}".strip())
        self.what = what
        self.remedy = remedy
