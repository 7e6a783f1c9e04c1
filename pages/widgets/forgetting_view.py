"""What a training cost in general knowledge: the same small set of questions to the base model and to the adapter."""

from __future__ import annotations

from typing import Any

import streamlit as st

from core.jobs import queue
from core.jobs.background import job_device
from core.store.tables import Adapter, Job
from pages.widgets.errors import guard, plain
from pages.widgets.log import log_fold
from pages.widgets.progress import active, badge, controls, live, progress_bar, trouble
from pages.widgets.tables import csv_button, table

WHAT = (
    "A few dozen short general questions, the same for every adapter, are put to the base model and to the adapter. "
    "Nothing of your data is among them."
)
LIMITS = (
    "It shows whether much was lost, and is too small to find a small loss. An adapter that answers in a form of its "
    "own, such as JSON, counts as wrong here even where it still knows the answer: read the answers below."
)

SURPRISE = (
    "How unlikely the model finds the right answers, in nats per token: lower is better. It moves before answers do."
)
# Pixels; questions and answers break their lines.
WIDTHS = {"change": 90, "question": 260, "base model": 260, "right": 80, "with the adapter": 260, "still right": 80}


def draw(adapter: Adapter) -> None:
    """The result if there is one, the check at work if it runs, and the button that starts it."""
    jobs = _checks(adapter)
    busy = [job for job in jobs if active([job])]
    if busy:
        live(lambda current: _watch(current[0]), lambda: [queue.get(busy[0].id)])
        return
    found = adapter.notes.get("forgetting")
    if found is None:
        st.caption(WHAT)
        if jobs and jobs[0].status != "done":
            _watch(jobs[0])
    else:
        _result(found, adapter)
    label = "Check what it forgot" if found is None else "Check again"
    kind: Any = "primary" if found is None else "secondary"
    if st.button(label, type=kind, icon=":material/psychology_alt:", key=f"forgetting_{adapter.id}"):
        with guard():
            spec = {"adapter_id": adapter.id}
            queue.submit("forgetting", spec, title=f"Forgetting check: {adapter.name}", device=job_device())
            st.rerun()


def _checks(adapter: Adapter) -> list[Job]:
    """The jobs that check this adapter, newest first; one queued with its training names the training instead."""
    return [
        job
        for job in queue.jobs("forgetting")
        if job.spec.get("adapter_id") == adapter.id
        or (adapter.job_id is not None and job.spec.get("train_job_id") == adapter.job_id)
    ]


def _watch(job: Job) -> None:
    with st.container(border=True):
        badge(job)
        progress_bar(job)
        trouble(job)
        controls(job, "forgetting")
        if not active([job]):
            log_fold(job, "forgetting")


def _result(found: dict[str, Any], adapter: Adapter) -> None:
    before, after = found["before"], found["after"]
    st.markdown(plain(found["text"]))
    with st.grid(4, min_column_width=150):
        st.metric("Right before", f"{before['right']} of {before['of']}", help="The base model as it is.")
        gained = after["right"] - before["right"]
        st.metric("Right after", f"{after['right']} of {after['of']}", gained or None, help="With the adapter.")
        st.metric("Surprise before", f"{before['nll']:.3f} nats", help=SURPRISE)
        change = f"{after['nll'] - before['nll']:+.3f}"
        st.metric("Surprise after", f"{after['nll']:.3f} nats", change, delta_color="inverse", help=SURPRISE)
    st.caption(LIMITS)
    rows = rows_of(found["questions"])
    changed = sum(row["change"] not in ("", "other words") for row in rows)
    st.caption(f"{changed} of {len(rows)} questions changed sides; they stand first.")
    widths = {name: st.column_config.TextColumn(width=pixels) for name, pixels in WIDTHS.items()}
    alt = "General questions with the answers of the base model and of the adapter"
    table(rows, alt, row_height=64, height=420, column_config=widths)
    csv_button(rows, f"forgetting-{adapter.id}.csv", "All answers (CSV)", f"forgetting_csv_{adapter.id}")


def rows_of(questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per question: first those that were lost, then those gained, then those put in other words."""
    kinds = {(True, False): "lost", (False, True): "gained"}
    order = ("lost", "gained", "other words", "")
    rows = []
    for question in questions:
        same = question["before"] == question["after"]
        change = kinds.get((question["right_before"], question["right_after"]), "" if same else "other words")
        rows.append(
            {
                "change": change,
                "question": question["prompt"],
                "base model": question["before"],
                "right": _mark(question["right_before"]),
                "with the adapter": question["after"],
                "still right": _mark(question["right_after"]),
            }
        )
    return sorted(rows, key=lambda row: order.index(row["change"]))


def _mark(right: bool) -> str:
    return "✓ right" if right else "✗ wrong"
