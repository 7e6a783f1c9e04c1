"""Compare: the rungs on the same questions, the verdict, and every answer side by side."""

from __future__ import annotations

import streamlit as st

from core.evaluate.experiment import delete_experiment
from core.jobs import queue
from core.store.lists import experiments
from core.store.tables import Experiment
from pages.widgets.blind_vote import blind_vote
from pages.widgets.changes_view import get_ready, over_time
from pages.widgets.choose import choose, go_to_view, view
from pages.widgets.compare_form import new_comparison
from pages.widgets.errors import guard, plain
from pages.widgets.other_metrics import change_metrics_button
from pages.widgets.outputs import side_by_side
from pages.widgets.parts import BLIND_VOTE, OVER_TIME, SIDE_BY_SIDE, TAKE_AWAY, VERDICT, shown_part
from pages.widgets.progress import confirmed, first_active
from pages.widgets.result import report_of, result, version_of
from pages.widgets.running_view import being_measured, running
from pages.widgets.takeaway_view import take_away

NEW, RESULTS = "New comparison", "Results"


def show(experiment: Experiment) -> None:
    busy = being_measured(experiment)
    part = shown_part()
    with guard():
        if part == SIDE_BY_SIDE:
            side_by_side(experiment, busy)
        elif part == VERDICT and experiment.report is None:
            running(experiment)
        elif experiment.report is None:
            st.info(
                "This is here as soon as every rung has answered every question; *Verdict* shows how far they are.",
                icon=":material/hourglass_top:",
            )
        elif part == VERDICT:
            result(experiment)
        elif part == BLIND_VOTE:
            blind_vote(experiment)
        elif part == OVER_TIME:
            over_time(experiment, listed, version_of(report_of(experiment)))
        elif part == TAKE_AWAY:
            take_away(experiment, report_of(experiment))
    if part != BLIND_VOTE:
        actions(experiment, busy)


def actions(experiment: Experiment, busy: bool) -> None:
    st.divider()
    st.caption(plain(f"Number {experiment.id} · model {experiment.model} · seed {experiment.seed}"))
    with st.container(horizontal=True):
        if not busy:
            change_metrics_button(experiment)
        if confirmed(
            "Delete this comparison",
            "Its answers, scores, votes and verdict go. Data and adapter stay.",
            f"experiment_{experiment.id}",
        ):
            with guard():
                if busy:
                    st.warning("It is still being measured: stop its job first.")
                else:
                    delete_experiment(experiment.id)
                    st.rerun()


st.title("Compare")
listed = experiments()
if st.query_params.get("new") or st.query_params.get("again"):
    go_to_view("compare_view", NEW)
    st.query_params.pop("new", None)
shown = view("compare_view", [RESULTS, NEW] if listed else [NEW])
if shown == NEW:
    new_comparison()
else:
    moving = first_active([job for job in queue.jobs("compare") if job.spec.get("experiment_id")])
    chosen = choose(
        "experiment",
        "Experiment",
        {experiment.id: f"{experiment.name} (number {experiment.id})" for experiment in listed},
        preferred=moving.spec["experiment_id"] if moving else None,
    )
    if chosen is not None:
        get_ready()
        show(next(experiment for experiment in listed if experiment.id == chosen))
