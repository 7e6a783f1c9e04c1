"""What all charts share: legible text in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

# Streamlit's own grey for chart text is too pale on a light page (3.7:1); this one has 6.6:1 there. It is not so dark
# that it disappears if the appearance is switched, which charts learn of only when the page is drawn again.
LIGHT_INK = "#565C63"


def ink() -> dict[str, str]:
    """The `font` of a figure's layout."""
    return {"color": LIGHT_INK} if st.context.theme.type == "light" else {}


def interval_bars(
    values: Sequence[float], intervals: Sequence[Sequence[float]], colour: str, thickness: float = 2, width: float = 4
) -> dict[str, Any]:
    """A trace's `error_x` or `error_y`: from each value to the ends of its interval, shares drawn in percent."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [100 * (ends[1] - value) for value, ends in zip(values, intervals, strict=True)],
        "arrayminus": [100 * (value - ends[0]) for value, ends in zip(values, intervals, strict=True)],
        "color": colour,
        "thickness": thickness,
        "width": width,
    }


def accent() -> str:
    """The theme's own colour, for what is lit but is no rung."""
    return str(st.get_option(f"theme.{st.context.theme.type or 'light'}.primaryColor"))
