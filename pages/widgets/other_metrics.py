"""Scoring the answers that are there with other metrics: nothing is asked again."""

from __future__ import annotations

import streamlit as st

from core.evaluate.experiment import change_metrics
from core.evaluate.plan import metrics_of
from core.jobs.background import in_background
from core.ladder import submit_comparison
from core.store.tables import Experiment
from pages.widgets.errors import guard
from pages.widgets.metrics_picker import metrics_picker
from pages.widgets.parts import VERDICT, go_to


def change_metrics_button(experiment: Experiment) -> None:
    if st.button(
        "Change metrics",
        icon=":material/straighten:",
        key="change_metrics",
        help="Scores the same answers anew. No model is asked again.",
    ):
        _dialog(experiment)


@st.dialog("Change metrics", width="large", icon=":material/straighten:")
def _dialog(experiment: Experiment) -> None:
    with guard():
        st.caption(
            "The answers stay as they are; only what is new is scored. The first metric decides: choosing it after "
            "having looked at the results makes the verdict worth less."
        )
        chosen = metrics_picker(f"metrics_{experiment.id}", experiment.dataset_id, metrics_of(experiment))
        if st.button("Score anew", type="primary", icon=":material/calculate:", key="score_anew", disabled=not chosen):
            submit_comparison(change_metrics(experiment.id, chosen), in_background)
            go_to(VERDICT)
            st.rerun()
