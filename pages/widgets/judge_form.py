"""The plan of a judge model that compares answers pair by pair: who judges, by what, and how much of it."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from core.evaluate.judge.prompts import BETTER
from core.evaluate.plan import JudgePlan
from core.models.catalogue import BUNDLED_MODEL
from pages.widgets.services import remote_models

PAIRS: dict[Literal["best", "all"], str] = {"best": "The best rung against each other one", "all": "All pairs"}
MOST_EXAMPLES = 5_000


def judge_models() -> list[str]:
    """Ids to choose a judge from: what services have listed, and the bundled one last."""
    return [*remote_models(), BUNDLED_MODEL]


def judge_form(key: str, chosen: JudgePlan | None = None) -> JudgePlan | None:
    """Draws the form, filled with `chosen`; None while no judge is wanted. `key` begins the keys of its widgets."""
    if not st.toggle("Let a judge model compare the answers", value=chosen is not None, key=f"{key}_on"):
        return None
    plan = chosen or JudgePlan(model=judge_models()[0])
    st.caption(
        "It sees two answers in both orders; one wins only if both orders agree. Secondary evidence: it stands beside "
        "the verdict and never changes it."
    )
    model = st.selectbox(
        "Judge model",
        list(dict.fromkeys([plan.model, *judge_models()])),
        key=f"{key}_model",
        accept_new_options=True,
        help="A larger model than those compared, of another family. Type any id, such as remote/NAME.",
    )
    if model == BUNDLED_MODEL:
        st.warning("The bundled model is far too small to judge: use it only to try this out.", icon=":material/gavel:")
    left, right = st.columns(2)
    pairs = left.radio(
        "Pairs", list(PAIRS), index=list(PAIRS).index(plan.pairs), format_func=PAIRS.get, key=f"{key}_pairs"
    )
    examples = right.number_input(
        "Test examples, at most",
        1,
        MOST_EXAMPLES,
        min(plan.examples, MOST_EXAMPLES),
        key=f"{key}_examples",
        help="Drawn by the seed. Each takes two questions to the judge for every pair of rungs.",
    )
    rubric = st.text_area("What makes an answer better", plan.rubric or BETTER, key=f"{key}_rubric", height=120)
    own = rubric.strip() if rubric and rubric.strip() != BETTER.strip() else ""
    return JudgePlan(model=(model or plan.model).strip() or plan.model, rubric=own, pairs=pairs, examples=int(examples))
