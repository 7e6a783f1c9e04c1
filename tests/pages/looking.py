"""How the tests look at a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from streamlit.testing.v1 import AppTest

APP = Path(__file__).resolve().parents[2] / "app.py"
PAGES = ("home", "decide", "data", "train", "compare", "serve", "jobs")
Open = Callable[..., AppTest]


def texts(app: AppTest) -> str:
    """Everything the page says, for a look whether something is said."""
    kinds = (
        "title",
        "header",
        "subheader",
        "markdown",
        "caption",
        "text",
        "info",
        "warning",
        "error",
        "success",
    )
    said = [str(getattr(e, "value", "")) for kind in kinds for e in getattr(app, kind)]
    said += [
        str(e.proto.title)
        for kind in ("info", "warning", "error", "success")
        for e in getattr(app, kind)
        if e.proto.title
    ]
    return "\n".join(said)
