"""The parts of "At a provider" on Train, and the ways to them."""

from __future__ import annotations

import datetime as dt

import streamlit as st

from core.evaluate.rungs import Rung
from pages.widgets.choose import go_to_view

VIEW, TRAININGS, NEW, BRING = "managed_view", "Trainings", "New training", "Bring one here"
# `?managed=JOB` is the training that is shown; `?at=` leads to a part, once.
RUN_PARAM, PART_PARAM = "managed", "at"
_PARTS = {"provider": TRAININGS, "new-at-provider": NEW, "bring": BRING}
_VISITED = "managed_visited"


def wanted() -> bool:
    """Whether the address leads to "At a provider"; its part is then shown next."""
    first = not st.session_state.get(_VISITED)
    st.session_state[_VISITED] = True
    part = _PARTS.get(st.query_params.get(PART_PARAM, ""))
    st.query_params.pop(PART_PARAM, None)
    if part is None and not (first and RUN_PARAM in st.query_params):
        return False
    go_to_view(VIEW, part or TRAININGS)
    return True


def today() -> dt.date:
    """The day for which everything that closes is judged."""
    return dt.date.today()


def address(job_id: int) -> dict[str, str]:
    """The parameters of a link to a training on Train."""
    return {PART_PARAM: "provider", RUN_PARAM: str(job_id)}


def in_compare(model: str, dataset_id: int, *, retrieval: bool = False) -> dict[str, str]:
    """The parameters of a new comparison with a bought model beside the ladder."""
    rung = Rung(retrieval=retrieval, model=model, tuned=True)
    return {"new": "1", "bought": rung.name, "dataset": str(dataset_id)}


def show_training(job_id: int) -> None:
    """Go to a training at the next drawing."""
    go_to_view(VIEW, TRAININGS)
    st.query_params[RUN_PARAM] = str(job_id)
