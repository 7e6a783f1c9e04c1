"""One training run, watched: where it stands, what its curves say, its charts, its answers, and what it left."""

from __future__ import annotations

import csv
import io

import numpy as np
import streamlit as st

from core.jobs import queue
from core.store.tables import Job
from core.train.checkpoints import newest_checkpoint
from core.train.curves import Reading, read
from core.train.job import adapter_of_job
from pages.widgets import adapter_view, curves_view, preflight_view, samples_view
from pages.widgets.charts import recorded
from pages.widgets.errors import plain
from pages.widgets.log import log_fold
from pages.widgets.progress import badge, controls, live, progress_bar, trouble
from pages.widgets.trash import recently_deleted
from pages.widgets.words import clock

# From a step's end to its point on the chart: at most a quarter of a second until it is recorded, and this.
POLL_S = 0.7
# The reading looks at levels over many steps; more of them than this do not change it.
READ_POINTS = 5000
CALLOUTS = {
    "too_early": (st.info, ":material/hourglass_top:"),
    "improving": (st.info, ":material/trending_down:"),
    "flat": (st.info, ":material/trending_flat:"),
    "overfitting": (st.warning, ":material/trending_up:"),
    "diverged": (st.error, ":material/crisis_alert:"),
    "done": (st.success, ":material/flag:"),
}
# The worst state of any check decides what is said of all.
PREFLIGHT = {"fail": "failed", "running": "under way", "waiting": "under way", "warn": "passed with a warning"}


def watch(job: Job) -> None:
    """Everything about one run. What moves is drawn again as it moves; the charts stay, and grow."""
    curves_view.begin(job)
    live(lambda jobs: _now(jobs[0]), lambda: [queue.get(job.id)], every=POLL_S)
    if job.status == "done" or "adapter_id" in job.result:
        adapter_view.draw(adapter_of_job(job.id), job)
    curves_view.draw(job)
    live(lambda jobs: _beside(jobs[0]), lambda: [queue.get(job.id)])
    _measurements(job)
    recently_deleted("train")


def _now(job: Job) -> None:
    """What is going on, what can be done about it, and what the curves say."""
    with st.container(horizontal=True, vertical_alignment="center"):
        badge(job)
        st.caption(_recipe_in_words(job), width="content")
    progress_bar(job)
    trouble(job)
    _what_now(job)
    controls(job, "train")
    reading = _reading(job)
    if reading is not None:
        callout, icon = CALLOUTS[reading.state]
        callout(plain(reading.text), icon=icon)
    _figures(job)
    if not curves_view.grow(job):
        st.rerun()


def _recipe_in_words(job: Job) -> str:
    recipe = job.spec["recipe"]
    length = f"{recipe['max_steps']:,} steps" if recipe.get("max_steps") else f"{recipe['epochs']:g} epochs"
    parts = [recipe["method"], recipe["model"], length, f"learning rate {recipe['learning_rate']:g}"]
    if recipe["method"] != "full":
        parts.insert(3, f"rank {recipe['rank']}")
    if batch := job.notes.get("batch"):
        parts.append(f"batch {batch['batch_size']} × {batch['accumulation']} since the memory was not enough")
    return plain(" · ".join(parts))


def _what_now(job: Job) -> None:
    """For a run that ended early without an error: what that means for what it has learned."""
    if job.error or job.status not in queue.RESUMABLE:
        return
    if job.stop_then == "discard":
        text = "Its checkpoints were removed, as asked. The curves, the answers and the log stay until it is deleted."
    elif newest_checkpoint(queue.folder(job.id)) is None:
        text = "It was stopped before anything of it was saved, so it begins anew when it is started again."
    else:
        text = (
            f"Stopped at step {job.done:,.0f} of {job.total:,.0f}. Resume goes on from the last checkpoint to the same "
            "adapter as without the stop; or keep what it has learned so far."
        )
    st.info(text, icon=":material/pause_circle:")


def _reading(job: Job) -> Reading | None:
    """Read again only when there is something new."""
    found = recorded(job.id)
    if "loss" not in found.names:
        return None
    state = (found.last, job.status, job.total)
    kept: tuple[tuple[int, str, float], Reading] | None = st.session_state.get(f"reading_{job.id}")
    if kept is None or kept[0] != state:
        losses, evaluations = (np.column_stack(found.points(name)) for name in ("loss", "eval_loss"))
        every = -(-len(losses) // READ_POINTS)
        # A run that was ended early, to be kept, has had its last step as well.
        total = job.result.get("steps", job.total) if job.status == "done" else job.total
        # Counted from the end, since the last step must be among them.
        kept = state, read(losses[::-1][::every][::-1].tolist(), evaluations.tolist(), int(total))
        st.session_state[f"reading_{job.id}"] = kept
    return kept[1]


def _figures(job: Job) -> None:
    """The numbers that people look for first; once there is an adapter, it tells its own."""
    if job.status == "done" or "adapter_id" in job.result:
        return
    found = recorded(job.id)
    steps, losses = found.points("loss")
    if not len(steps):
        return
    best = curves_view.best_evaluation(found)
    with st.grid(5, min_column_width=130):
        st.metric("Step", f"{steps[-1]:,}" + (f" of {job.total:,.0f}" if job.total else ""))
        st.metric("Training loss", f"{losses[-1]:.3g}", help="Of the last step, in nats per answer token.")
        st.metric(
            "Evaluation loss",
            "none yet" if best is None else f"{best[1]:.3g}",
            help="The lowest so far, in nats per answer token of the validation examples."
            + ("" if best is None else f" Measured at step {best[0]:,}."),
        )
        for name, label, form in (("tokens_per_s", "Speed", "{:,.0f} tokens/s"), ("memory_gb", "Memory", "{:.2f} GB")):
            values = found.points(name)[1]
            st.metric(label, form.format(np.median(values[-20:])) if len(values) else "unknown")


def _beside(job: Job) -> None:
    """What changes now and then: answers, events, the checks before the start, the log."""
    samples_view.draw(job)
    if events := job.notes.get("events"):
        st.subheader("What happened", anchor=False)
        for event in events:
            st.caption(f":material/flag: {clock(event['time'])} · {plain(event['text'])}")
    if checks := job.notes.get("preflight"):
        states = {check["state"] for check in checks}
        said = next((words for state, words in PREFLIGHT.items() if state in states), "passed")
        with st.expander(f"Pre-flight: {said}", icon=":material/checklist:", expanded=said == "under way"):
            preflight_view.draw(job.notes)
    log_fold(job, "train")


def _measurements(job: Job) -> None:
    if recorded(job.id).names:
        st.download_button(
            "Measurements (CSV)",
            lambda: measurements_csv(job.id),
            f"training-{job.id}.csv",
            "text/csv",
            key=f"metrics_csv_{job.id}",
            icon=":material/download:",
            on_click="ignore",
        )


def measurements_csv(job_id: int) -> bytes:
    """Every row as it was recorded, those of abandoned attempts too, for a spreadsheet."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(["step", "name", "value", "time"])
    writer.writerows((step, name, value, clock(at)) for _, step, name, value, at in queue.metrics(job_id))
    return out.getvalue().encode("utf-8-sig")
