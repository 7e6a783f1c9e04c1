"""One training run: its charts, and what it left when it was done."""

from __future__ import annotations

import streamlit as st

from core.jobs import queue
from core.store.tables import Job
from core.train.job import adapter_of_job
from pages.widgets.charts import draw_training, recorded
from pages.widgets.errors import plain
from pages.widgets.tables import csv_button
from pages.widgets.words import clock, duration


def charts(job: Job, smoothing: float) -> None:
    if job.status == "queued" and not recorded(job.id).series:
        st.caption("The charts begin with the first step.")
        return
    draw_training(job.id, smoothing)


def finished(job: Job) -> None:
    """The adapter and where to go with it, and the measurements to take away."""
    found = recorded(job.id)
    if found.series:
        rows = [
            {"step": step, "name": name, "value": value, "time": clock(at)}
            for _, step, name, value, at in queue.metrics(job.id)
        ]
        csv_button(rows, f"training-{job.id}.csv", "Measurements (CSV)", f"metrics_csv_{job.id}")
    if job.status != "done":
        return
    adapter = adapter_of_job(job.id)
    if adapter is None:
        st.caption("The adapter of this run was deleted.")
        return
    with st.container(border=True):
        st.subheader("The adapter")
        with st.grid(4, min_column_width=150):
            st.metric(
                "Evaluation loss",
                "none" if adapter.eval_loss is None else f"{adapter.eval_loss:.3f}",
                help="Mean negative log-likelihood of an answer token on the validation examples, in nats.",
            )
            st.metric(
                "Training loss, last step",
                f"{job.result['train_loss']:.3f}",
                help="In nats per answer token.",
            )
            st.metric("Steps", f"{job.result['steps']:,}")
            st.metric("Time", duration(job.result["seconds"]))
        st.caption(plain(f"{adapter.name} · {adapter.method} on {adapter.base_model}"))
        with st.container(horizontal=True):
            if st.button("Compare with it", type="primary", icon=":material/balance:", key="run_compare"):
                st.switch_page(
                    "pages/compare.py",
                    query_params={"new": "1", "dataset": str(adapter.dataset_id), "adapter": str(adapter.id)},
                )
            if st.button("Talk to it", icon=":material/forum:", key="run_serve"):
                st.switch_page("pages/serve.py", query_params={"adapter": str(adapter.id)})
