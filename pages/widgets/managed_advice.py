"""Beside advice that names a managed fine-tune: whether it can still be bought, what was bought, and the way out."""

from __future__ import annotations

import streamlit as st

from core.decide.costs import RUNGS
from core.decide.decision import Decision
from core.managed.calendar import openai_notice
from core.managed.runs import TunedModel, models
from pages.widgets.errors import plain
from pages.widgets.managed_before import show_notices
from pages.widgets.managed_parts import PART_PARAM, address, in_compare
from pages.widgets.words import many

# Newest models that are named with a link each.
NAMED = 3


def draw_managed(decision: Decision) -> None:
    """Nothing where the answer names no managed fine-tune."""
    advised = RUNGS[decision.advice.rung][1] == "managed"
    if not advised and not any(RUNGS[rung][1] == "managed" for rung in decision.advice.next):
        return
    with st.container(border=True):
        st.markdown("**The managed fine-tune, today**")
        if decision.answers.get("managed_access") == "other":
            st.markdown(
                "You have a provider other than OpenAI. Any that speaks the same API can be used on Train, where the "
                "price is shown before anything is sent."
            )
        else:
            show_notices([openai_notice(decision.today)])
        _bought()
        with st.container(horizontal=True):
            st.page_link(
                "pages/train.py",
                label="Train at a provider",
                icon=":material/cloud_upload:",
                query_params={PART_PARAM: "new-at-provider"},
                width="content",
            )
            st.page_link(
                "pages/train.py",
                label="Train the same on this machine",
                icon=":material/computer:",
                query_params={"new": "1"},
                width="content",
            )
            st.page_link(
                "pages/train.py",
                label="Bring a fine-tune that you have",
                icon=":material/download:",
                query_params={PART_PARAM: "bring"},
                width="content",
            )


def bought_in_compare(decision: Decision) -> dict[str, str]:
    """What a comparison begun from the advice is told besides: the newest bought model that still answers, if any."""
    retrieval, tuned = RUNGS[decision.advice.rung]
    newest = next((model for model in models() if tuned == "managed" and not _gone(model)), None)
    return {} if newest is None else in_compare(newest.id, newest.dataset_id, retrieval=bool(retrieval))


def _gone(model: TunedModel) -> str:
    """Why it cannot be asked any more; empty while it can."""
    return next((notice.what for notice in model.notices if notice.level == "error"), "")


def _bought() -> None:
    """The models that came of trainings at providers: they can answer now."""
    tuned = models()
    if not tuned:
        st.caption("You have none so far.")
        return
    st.markdown(f"You have {many(len(tuned), 'model')} that a provider has tuned:")
    for model in tuned[:NAMED]:
        gone = _gone(model)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.page_link(
                "pages/train.py",
                label=plain(model.id, 80),
                icon=":material/model_training:",
                query_params=address(model.job_id),
                width="content",
            )
            if gone:
                st.caption(plain(gone), width="content")
            else:
                st.page_link(
                    "pages/compare.py",
                    label="Compare it",
                    icon=":material/balance:",
                    query_params=in_compare(model.id, model.dataset_id),
                    width="content",
                )
