"""Lowest Rung on screen: a table of pages and one call."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from core.decide.rulebook import rulebook
from pages.widgets.errors import guard

ASSETS = Path(__file__).parent / "assets"

st.set_page_config("Lowest Rung", page_icon=str(ASSETS / "logo-icon.svg"), layout="wide")
st.logo(str(ASSETS / "logo.svg"), icon_image=str(ASSETS / "logo-icon.svg"), size="large")

page = st.navigation(
    {
        "": [
            st.Page(
                "pages/home.py",
                title="Home",
                icon=":material/home:",
                default=True,
                help="What this is, and the demo project.",
            ),
        ],
        "Choose": [
            st.Page(
                "pages/decide.py",
                title="Decide",
                icon=":material/alt_route:",
                help="A few questions, and the rung to try first.",
            ),
            st.Page(
                "pages/compare.py",
                title="Compare",
                icon=":material/balance:",
                help="Measure the rungs on your own examples and read the verdict.",
            ),
        ],
        "Build": [
            st.Page(
                "pages/data.py",
                title="Data",
                icon=":material/database:",
                help="Bring examples and documents.",
            ),
            st.Page(
                "pages/train.py",
                title="Train",
                icon=":material/model_training:",
                help="Train an adapter and watch it learn.",
            ),
            st.Page(
                "pages/serve.py",
                title="Serve",
                icon=":material/forum:",
                help="Serve models in the form of OpenAI's API, talk to them, and take them with you.",
            ),
        ],
        "Watch": [
            st.Page(
                "pages/jobs.py",
                title="Jobs",
                icon=":material/checklist:",
                help="What runs, what waits, what failed and why.",
            ),
        ],
    }
)
with guard():
    rulebook()  # a slip in the wizard's files is said now, and not to the person whom it would lead astray
    page.run()
