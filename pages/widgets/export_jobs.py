"""Exports and pushes of an adapter that are under way, and what became of the last ones."""

from __future__ import annotations

import streamlit as st

from core.jobs import queue
from core.store.tables import Adapter, Job
from pages.widgets.errors import guard, plain
from pages.widgets.progress import active, badge, controls, live, progress_bar, trouble

# Older ones are on the Jobs page.
LOOKED_AT = 20


def export_jobs(adapter: Adapter) -> None:
    """Nothing if there is none; what ended well is in the list of exports, except pushes."""
    if _worth_showing(adapter):
        live(_draw, lambda: _worth_showing(adapter))


def _worth_showing(adapter: Adapter) -> list[Job]:
    return [
        job
        for job in queue.jobs("export", limit=LOOKED_AT)
        if job.spec.get("adapter_id") == adapter.id and (job.status != "done" or job.spec["what"] == "hub")
    ]


def _draw(jobs: list[Job]) -> None:
    for job in jobs:
        _one(job)


def _one(job: Job) -> None:
    with st.container(border=True, key=f"export_job_{job.id}"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{plain(job.title, 90)}**", width="content")
            badge(job)
        if job.status == "done":
            _pushed(job)
            return
        if active([job]):
            progress_bar(job)
        trouble(job)
        controls(job, "export")


def _pushed(job: Job) -> None:
    st.markdown(plain(job.result["text"]))
    with st.container(horizontal=True):
        st.link_button("Open it on the hub", job.result["url"], icon=":material/open_in_new:")
        if st.button("Dismiss", icon=":material/close:", key=f"export_dismiss_{job.id}"):
            with guard():
                queue.delete(job.id)
                st.rerun()
