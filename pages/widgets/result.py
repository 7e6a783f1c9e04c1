"""A finished comparison: the verdict first, then the evidence, one view at a time."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import streamlit as st

from core.evaluate.report import build_report, store_report
from core.evaluate.scoring import ensure_scores
from core.store.tables import Experiment
from pages.widgets.effects_view import effects
from pages.widgets.frontier_view import frontier
from pages.widgets.judging_view import judging
from pages.widgets.pairs_view import pairs
from pages.widgets.parts import switch
from pages.widgets.scores_view import scores
from pages.widgets.slices_view import by_kind
from pages.widgets.verdict_view import verdict

EFFECTS, SCORES, PAIRS = "What each part bought", "All scores", "Pair by pair"
KINDS, COSTS, JUDGES = "By kind of question", "Cost and speed", "Judge and votes"
EVIDENCE = [EFFECTS, SCORES, PAIRS, KINDS, COSTS, JUDGES]


def result(experiment: Experiment) -> None:
    """The first screen, and below it the evidence that was asked for."""
    report = report_of(experiment)
    key = str(experiment.id)
    verdict(report, key)
    st.divider()
    shown = switch("evidence", EVIDENCE, "Evidence")
    if shown == EFFECTS:
        effects(report, key)
    elif shown == SCORES:
        scores(report)
    elif shown == PAIRS:
        pairs(report, key)
    elif shown == KINDS:
        by_kind(report)
    elif shown == COSTS:
        frontier(report, key)
    else:
        judging(experiment, report)


def report_of(experiment: Experiment) -> dict[str, Any]:
    """The stored report; one of before effects and slices were reckoned is built anew from the answers, once."""
    report = experiment.report or {}
    if "slices" not in report:
        with st.spinner("Reckoning what this older comparison does not have yet"):
            ensure_scores(experiment.id)
            report = build_report(experiment.id)
            store_report(experiment.id, report)
    return report


def version_of(report: dict[str, Any]) -> str:
    """Changes with the report: what is worked out beside it is kept as long as it is the same."""
    return hashlib.sha256(json.dumps(report, sort_keys=True).encode()).hexdigest()[:16]
