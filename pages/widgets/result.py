"""A finished comparison: the verdict first, then the evidence."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from core.evaluate.experiment import small_test_warning
from core.evaluate.metrics import metric_named
from core.evaluate.report import predictions_jsonl
from core.store.tables import Experiment
from pages.widgets.errors import plain
from pages.widgets.ladder import RUNG_MEANING, Mark, draw_ladder, ladder_figure
from pages.widgets.tables import csv_button, pair_rows, score_rows, table
from pages.widgets.words import percent, points

OUTCOMES = {
    "better": ("green", ":material/trending_up:"),
    "equivalent": ("blue", ":material/drag_handle:"),
    "cannot tell yet": ("orange", ":material/help:"),
    "below target": ("red", ":material/trending_down:"),
}
METHOD = """
- Each metric gives every example a score from 0 to 1. A failed answer scores 0 and is counted.
- Scores come with Wilson intervals for right-or-wrong metrics and bootstrap intervals for the others, by group where
  examples share one.
- Two rungs are compared on the same examples: exact McNemar for right-or-wrong metrics, a paired permutation test for
  the others. All pairs of an experiment are corrected together (Holm).
- A rung is *better* only if both the test and the interval of the difference say so, *equivalent* if the difference is
  shown to be smaller than the margin, and otherwise it *cannot be told yet*.
- The verdict is the lowest rung that no higher one is shown to beat by more than may be nothing. With a target, it is
  the lowest rung shown to reach it.

`docs/method.md` has every rule with its source.
"""


def result(experiment: Experiment) -> None:
    report: dict[str, Any] = experiment.report or {}
    metric = metric_named(report["metric"])
    left, right = st.columns([5, 6], gap="large")
    with left:
        _verdict(report)
    with right:
        chosen = report["verdict"]["rung"]
        marks = [
            Mark(row["rung"], row["score"], row["interval"], chosen=row["rung"] == chosen) for row in report["rungs"]
        ]
        draw_ladder(
            ladder_figure(marks, "Score of each rung", f"{metric.title}, with 95% interval", report["target"]),
            f"result_{experiment.id}",
            f"{metric.title} of each rung: "
            + ", ".join(f"{m.rung} {m.score:.0%}" for m in marks if m.score is not None),
        )
    st.subheader("Scores")
    rows = score_rows(report)
    shares = {name: st.column_config.NumberColumn(format="%.1f") for name in rows[0] if name.endswith(", %")}
    counts = {name: st.column_config.NumberColumn(format="localized") for name in ("tokens in", "tokens out")}
    table(rows, "Score, cost and size of each rung", column_config=shares | counts)
    st.caption(
        "Time per answer is the median of this machine working in batches; set-up is the index and the training."
    )
    if report["comparisons"]:
        st.subheader("Pair by pair")
        table(pair_rows(report), "Every pair of rungs with effect, interval, p values and outcome")


def _verdict(report: dict[str, Any]) -> None:
    verdict = report["verdict"]
    rung, outcome = verdict["rung"], verdict["outcome"]
    with st.container(border=True):
        st.caption("Verdict")
        st.header(plain(rung) if rung else "No rung yet", anchor=False)
        colour, icon = OUTCOMES.get(outcome, ("gray", ":material/info:"))
        st.badge(plain(outcome), color=colour, icon=icon)  # type: ignore[arg-type]
        if rung:
            row = next(row for row in report["rungs"] if row["rung"] == rung)
            st.markdown(f"{RUNG_MEANING[rung]} **{percent(row['score'])}** on {report['n']} test examples.")
        st.markdown(plain(verdict["reason"]))
        if verdict.get("more"):
            st.markdown(f"About **{verdict['more']:,} more** test examples would settle it.")
        target = "no target" if report["target"] is None else f"target {percent(report['target'])}"
        st.caption(
            f"Margin {points(report['delta']).removeprefix('+')}, {target}, {report['n']} examples in "
            f"{report['groups']} groups."
        )
        warning = small_test_warning(report["n"])
        if warning:
            st.warning(plain(warning))
        with st.expander("How this verdict is reached", icon=":material/menu_book:"):
            st.markdown(METHOD)


def downloads(experiment: Experiment) -> None:
    report = experiment.report or {}
    st.download_button(
        "report.json",
        json.dumps(report, indent=2, ensure_ascii=False),
        "report.json",
        "application/json",
        icon=":material/download:",
        on_click="ignore",
        key="download_report",
    )
    st.download_button(
        "predictions.jsonl",
        lambda: predictions_jsonl(experiment.id),
        "predictions.jsonl",
        "application/jsonl",
        icon=":material/download:",
        on_click="ignore",
        key="download_predictions",
    )
    csv_button(score_rows(report), "scores.csv", "scores.csv", "download_scores")
    csv_button(pair_rows(report), "pairs.csv", "pairs.csv", "download_pairs")
