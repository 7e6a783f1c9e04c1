"""One thin script per page: read input, call core, draw."""

from __future__ import annotations

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

# Until `st.navigation` has been called once in a process, Streamlit takes any folder of this name for its old kind of
# multipage app: a link that opens another page than Home first would run that page's script without app.py around
# it, with a menu of file names. This package is the first thing any of them imports, so the mistake ends here.
if PagesManager.uses_pages_directory:
    PagesManager.uses_pages_directory = False
    st.rerun()
