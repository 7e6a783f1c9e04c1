"""Imports of large files: how far they are, and what came of those that stored nothing."""

from __future__ import annotations

import streamlit as st

from core.data.dataset import ImportRefused
from core.data.example import Problem
from core.jobs import queue
from core.store.tables import Job
from pages.widgets.errors import guard, plain
from pages.widgets.import_form import show_refusal
from pages.widgets.progress import live, progress_bar, stop_button, trouble

# Older ones are on the Jobs page.
LOOKED_AT = 20


def _worth_showing() -> list[Job]:
    """Imports that go on, and those that ended without a data set, newest first."""
    return [
        job
        for job in queue.jobs("import", limit=LOOKED_AT)
        if job.status in queue.ACTIVE or "dataset_id" not in job.result
    ]


def import_jobs() -> None:
    """Nothing if there is none; while one runs, the page can be used."""
    if _worth_showing():
        live(_draw, _worth_showing)


def _draw(jobs: list[Job]) -> None:
    for job in jobs:
        with st.container(border=True, key=f"import_job_{job.id}"):
            st.markdown(f"**{plain(job.title, 90)}**")
            if job.status in queue.ACTIVE:
                progress_bar(job)
                st.caption("It goes on when this page is closed. The data set appears below when it is complete.")
                stop_button(job, "import")
            else:
                _ended(job)


def _ended(job: Job) -> None:
    if "refused" in job.result:
        problems = [Problem(**problem) for problem in job.result["problems"]]
        errors = sum(report["error_count"] for report in job.result["reports"])
        show_refusal(ImportRefused(problems, errors), f"refused_{job.id}")
    elif job.status == "stopped":
        st.info("Nothing was stored. To import the file after all, give it again.", title="Stopped")
    else:
        trouble(job)
        st.caption("Nothing was stored.")
    if st.button("Dismiss", icon=":material/close:", key=f"import_dismiss_{job.id}"):
        with guard():
            queue.delete(job.id)
            st.rerun()
