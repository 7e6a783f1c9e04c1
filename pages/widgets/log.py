"""The log of a job: its end, which is where it happens."""

from __future__ import annotations

import streamlit as st

from core.jobs import queue
from core.store.tables import Job

LINES = 60


def log_fold(job: Job, where: str) -> None:
    """The last lines, read only when unfolded; stays at the end while the log grows, unless someone scrolls up."""
    fold = st.expander("Log", icon=":material/article:", key=f"{where}_log_{job.id}", on_change="rerun")
    if fold.open:
        with fold, st.container(height=320, border=False, autoscroll=True, key=f"{where}_log_tail_{job.id}"):
            st.code(queue.log_tail(job.id, LINES) or "Nothing yet.", language=None, wrap_lines=True)
