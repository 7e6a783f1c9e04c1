"""Train: a recipe with good defaults, what it will take, and the run as it learns."""

from __future__ import annotations

import streamlit as st

from core.errors import UserError
from core.forecast import training_seconds
from core.jobs import queue
from core.jobs.background import in_background, job_device
from core.ladder import submit_training
from core.store.tables import Dataset, Job
from core.train.recipe import MIN_EXAMPLES, Recipe
from pages.widgets.choose import choose, go_to_view, view
from pages.widgets.errors import guard, plain, show_error
from pages.widgets.forms import base_model, choose_dataset, recipe_fields
from pages.widgets.progress import badge, controls, first_active, live, log_fold, progress_bar, trouble
from pages.widgets.run import charts, finished
from pages.widgets.words import duration

st.title("Train")
runs = queue.jobs("train", limit=500)
if st.query_params.get("new"):
    go_to_view("train_view", "New run")
    del st.query_params["new"]
part = view("train_view", ["Runs", "New run"] if runs else ["New run"])


def new_run() -> None:
    st.caption("A small adapter learns from your training examples; the base model stays as it is.")
    left, right = st.columns([3, 2], gap="large")
    with left:
        dataset = choose_dataset("train")
        if dataset is None:
            return
        model = base_model("train_model")
        recipe = recipe_fields(model, "train")
        name = st.text_input("Name", placeholder=dataset.name, max_chars=120, key="train_name")
    with right:
        before_start(dataset, recipe, name or dataset.name)


def before_start(dataset: Dataset, recipe: Recipe, name: str) -> None:
    counts = dataset.notes["counts"]
    with st.container(border=True):
        st.subheader("Before you start")
        with st.grid(2, min_column_width=130):
            st.metric("Training examples", f"{counts['train']:,}")
            st.metric("Validation examples", f"{counts['validation']:,}")
            st.metric("Optimiser steps", f"{recipe.steps(counts['train']):,}")
            st.metric("Rough time", duration(training_seconds(dataset.id, recipe)))
        st.caption(
            f"On {plain(job_device())}. The time is judged by the last training on this machine, or by a laptop's two "
            "cores and the bundled model when there was none; a larger model takes longer in proportion."
        )
        too_few = counts["train"] < MIN_EXAMPLES
        if too_few:
            show_error(
                UserError(
                    f"{counts['train']} training examples are too few to learn from.",
                    f"Collect at least {MIN_EXAMPLES}.",
                )
            )
        if not counts["validation"]:
            st.warning("No validation examples: over-fitting will not be seen in the chart.")
        if st.button(
            "Start training",
            type="primary",
            icon=":material/play_arrow:",
            disabled=too_few,
            key="start_training",
        ):
            with guard():
                job_id = submit_training(dataset.id, recipe, name, in_background)
                go_to_view("train_view", "Runs")
                st.query_params["run"] = str(job_id)
                st.rerun()


def watch() -> None:
    busy = first_active(runs)
    names = {job.id: f"{job.title} (job {job.id}, {job.status})" for job in runs}
    job_id = choose("run", "Run", names, preferred=busy.id if busy else None)
    if job_id is None:
        return
    smoothing = st.slider(
        "Smoothing of the training loss",
        0.0,
        0.95,
        0.6,
        0.05,
        key="train_smoothing",
        persist_state="session",
        help="0 shows every step as measured. Records and exports are never smoothed.",
    )
    live(lambda jobs: draw(jobs[0], smoothing), lambda: [queue.get(job_id)])
    job = queue.get(job_id)
    finished(job)
    log_fold(job, "train")


def draw(job: Job, smoothing: float) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        badge(job)
        recipe = job.spec["recipe"]
        st.caption(
            plain(
                f"{recipe['method']} · {recipe['model']} · {recipe['epochs']:g} epochs · rank {recipe['rank']} · "
                f"learning rate {recipe['learning_rate']:g}"
            ),
            width="content",
        )
    progress_bar(job)
    trouble(job)
    controls(job, "train")
    charts(job, smoothing)


if part == "New run":
    new_run()
else:
    watch()
