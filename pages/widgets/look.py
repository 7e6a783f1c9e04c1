"""What all charts share: legible text in light and dark."""

from __future__ import annotations

import streamlit as st

# Streamlit's own grey for chart text is too pale on a light page (3.7:1); this one has 6.6:1 there. It is not so dark
# that it disappears if the appearance is switched, which charts learn of only when the page is drawn again.
LIGHT_INK = "#565C63"


def ink() -> dict[str, str]:
    """The `font` of a figure's layout."""
    return {"color": LIGHT_INK} if st.context.theme.type == "light" else {}


def accent() -> str:
    """The theme's own colour, for what is lit but is no rung."""
    return str(st.get_option(f"theme.{st.context.theme.type or 'light'}.primaryColor"))
