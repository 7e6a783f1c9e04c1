"""Train: a recipe with good defaults, what it will take, the run as it learns, and runs beside each other.

Also trainings that a provider does, and their way back to this machine.
"""

from __future__ import annotations

import streamlit as st

from core.jobs import queue
from pages.widgets import managed_parts, run, runs_compare
from pages.widgets.choose import choose, go_to_view, view
from pages.widgets.managed_view import at_provider
from pages.widgets.new_run import NEW, RUNS, VIEW, new_run
from pages.widgets.progress import first_active
from pages.widgets.recipe_io import RUN_PARAM

COMPARE, PROVIDER = "Compare runs", "At a provider"

st.title("Train")
runs = queue.jobs("train", limit=500)
if st.query_params.get("new") or st.query_params.get(RUN_PARAM):
    go_to_view(VIEW, NEW)
    st.query_params.pop("new", None)
if managed_parts.wanted():
    go_to_view(VIEW, PROVIDER)
part = view(VIEW, [RUNS, NEW, COMPARE, PROVIDER] if runs else [NEW, PROVIDER])

if part == NEW:
    new_run()
elif part == COMPARE:
    runs_compare.draw(runs)
elif part == PROVIDER:
    at_provider()
else:
    busy = first_active(runs)
    names = {job.id: f"{job.title} (job {job.id})" for job in runs}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        with st.container():
            chosen = choose("run", "Run", names, preferred=busy.id if busy else None)
        if st.button("Run again", icon=":material/replay:", key="run_again", help="Fills the form with its recipe."):
            st.query_params[RUN_PARAM] = str(chosen)
            st.rerun()
    if chosen is not None:
        run.watch(queue.get(chosen))
