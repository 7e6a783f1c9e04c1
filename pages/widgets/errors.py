"""Problems in words, and other people's text made harmless.

Uploaded and generated text is data. Where a widget would read it as Markdown (labels, alerts, progress bars),
`plain` takes every special meaning from it; elsewhere `st.text`, `st.code` and tables show it as it is.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from core.errors import UserError

log = logging.getLogger("lowest_rung")
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:&^=])")
# Addresses are turned into links after escapes are read, so only an invisible joint inside them helps.
_ADDRESS = re.compile(r"(?i)(?<=www)(?=\.)|(?<=https)(?=:)|(?<=http)(?=:)|(?<=ftp)(?=:)|(?=@)")


def plain(text: object, limit: int | None = None) -> str:
    """`text` for a place that reads Markdown, shown letter by letter; cut to `limit` characters."""
    shown = str(text)
    if limit is not None and len(shown) > limit:
        shown = shown[: limit - 1] + "…"
    return _SPECIAL.sub(r"\\\1", _ADDRESS.sub("\u2060", shown)).replace("\n", "  \n")


def show_error(error: UserError) -> None:
    """What happened, and what to do about it. A list of several things goes below the first line."""
    headline, _, details = error.what.partition("\n")
    body = "\n".join(part for part in (details, error.remedy) if part)
    st.error(plain(body) or "Nothing was changed.", title=plain(headline), icon=":material/error:")


@contextmanager
def guard() -> Iterator[None]:
    """Around anything that may fail: a message instead of a traceback. What is not a UserError goes to the log."""
    try:
        yield
    except UserError as error:
        show_error(error)
    except Exception:
        log.exception("A page failed")
        st.error(
            "Reload the page. If it happens again, the terminal that runs the app has the details; "
            "jobs go on regardless.",
            title="This part of the page ran into an unexpected problem",
            icon=":material/error:",
        )
