"""The verdict on one screen: which rung, how sure, the figures beneath, and how each was reached one click away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from pages.widgets.errors import plain
from pages.widgets.ladder import Mark, draw_ladder, label, ladder_figure, meaning
from pages.widgets.words import duration, many, percent, points, span

OUTCOMES = {
    "better": (
        "green",
        ":material/trending_up:",
        "Shown to be better than what is below it, or to reach the target; nothing above is shown to be worth more.",
    ),
    "equivalent": (
        "blue",
        ":material/drag_handle:",
        "Shown to differ from the best, or from the target, by less than the margin.",
    ),
    "cannot tell yet": (
        "orange",
        ":material/help:",
        "These examples are too few to tell. The rung named is the one to use meanwhile.",
    ),
    "below target": ("red", ":material/trending_down:", "No rung is shown to reach the target."),
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
# From here on pictures of the ladder no longer fit beside the verdict.
MANY_RUNGS = 8


def verdict(report: Mapping[str, Any], key: str) -> None:
    """The card with the verdict, and the ladder with every rung's score."""
    left, right = st.columns([5, 6], gap="large")
    with left:
        _card(report)
        _minimums(report)
        warnings(report)
    with right:
        _ladder(report, key)


def warnings(report: Mapping[str, Any]) -> None:
    """What takes from the verdict's worth, all in one place."""
    if report["warnings"]:
        sign = "- " if len(report["warnings"]) > 1 else ""
        st.warning("\n".join(f"{sign}{plain(text)}" for text in report["warnings"]), icon=":material/warning:")


def _card(report: Mapping[str, Any]) -> None:
    told = report["verdict"]
    rung = told["rung"]
    row = next((row for row in report["rungs"] if row["rung"] == rung), None)
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            colour, icon, what = OUTCOMES[told["outcome"]]
            st.caption("Verdict", width="content")
            more = f": about {told['more']:,} more examples" if told["more"] else ""
            st.badge(f"{told['outcome']}{more}", color=colour, icon=icon, help=what)  # type: ignore[arg-type]
        # "Cannot tell yet" must not look like a winner.
        meanwhile = "Meanwhile: " if told["outcome"] == "cannot tell yet" else ""
        st.header(f"{meanwhile}{plain(rung)}" if rung else "No rung yet", anchor=False)
        if rung:
            st.caption(plain(meaning(rung)))
        st.markdown(plain(told["reason"]))
        if row is not None:
            _figures(report, row)
        with st.container(horizontal=True, vertical_alignment="center"):
            with st.popover("How this is reached", icon=":material/menu_book:", type="tertiary"):
                st.markdown(METHOD)
            st.caption(_terms(report))


def _figures(report: Mapping[str, Any], row: Mapping[str, Any]) -> None:
    """The numbers under the words: the rung's own, and how far ahead of the next best it is."""
    with st.grid(2, min_column_width=150):
        _number(
            "Score",
            percent(row["score"]),
            f"95 %: {span(row['interval'])}",
            f"{plain(report['metric_title'])} on {report['n']} test examples, with its 95% interval.",
        )
        rival = _rival(report, row["rung"])
        if rival is not None:
            name, effect, ends = rival
            _number(
                f"Against {plain(label(name, 20))}",
                points(effect),
                f"95 %: {span(ends, signed=True)}",
                "The best of the other rungs, on the same examples.",
            )
        lost = row["failed"] + row["empty"]
        _number(
            "Answered",
            f"{row['of'] - lost} of {row['of']}",
            f"{lost} failed or empty" if lost else "none failed",
            "Failed and empty answers score 0 and stay in the denominator.",
        )
        if row["latency_p50_s"] is not None:
            bill = row["usd_per_1000"]
            _number(
                "Typical answer",
                duration(row["latency_p50_s"]) if row["latency_p50_s"] >= 10 else f"{row['latency_p50_s']:.2f} s",
                f"${bill:,.2f} per 1,000" if bill else "no bill per answer",
                "Half of the answers took longer. A local rung was timed on this machine, working in batches.",
            )


def _number(title: str, value: str, below: str, explanation: str) -> None:
    st.metric(title, value, below, delta_color="off", delta_arrow="off", help=explanation)


def _rival(report: Mapping[str, Any], rung: str) -> tuple[str, float, tuple[float, float]] | None:
    """The best other rung, and how much better than it `rung` is."""
    others = [row for row in report["rungs"] if row["rung"] != rung and row["score"] is not None]
    if not others:
        return None
    best = max(others, key=lambda row: row["score"])["rung"]
    pair = next(pair for pair in report["comparisons"] if {pair["a"], pair["b"]} == {rung, best})
    low, high = pair["interval"]
    if pair["b"] == rung:
        return best, pair["effect"], (low, high)
    return best, -pair["effect"], (-high, -low)


def _terms(report: Mapping[str, Any]) -> str:
    target = "no target" if report["target"] is None else f"target {percent(report['target'])}"
    margin = points(report["delta"]).removeprefix("+")
    return f"{many(report['n'], 'example')} in {many(report['groups'], 'group')} · margin {margin} · {target}"


def _minimums(report: Mapping[str, Any]) -> None:
    missed = [asked for asked in report["minimums"] if not asked["reached"]]
    if missed:
        st.error(
            "  \n".join(
                f"{plain(asked['rung'])}: {percent(asked['score']) if asked['score'] is not None else 'no score'}, "
                f"asked for {percent(asked['asked'])}"
                for asked in missed
            ),
            title="A minimum was missed",
            icon=":material/flag:",
        )
    elif report["minimums"]:
        st.success("Every minimum that was asked for is reached.", icon=":material/flag:")


def _ladder(report: Mapping[str, Any], key: str) -> None:
    chosen = report["verdict"]["rung"]
    settled = report["verdict"]["outcome"] != "cannot tell yet"
    marks = [
        Mark(row["rung"], row["score"], row["interval"], chosen=row["rung"] == chosen and settled)
        if row["score"] is not None
        else Mark(row["rung"], note="· the metric does not apply", faded=True)
        for row in report["rungs"]
    ]
    title = label(report["metric_title"], 60)
    draw_ladder(
        ladder_figure(
            marks,
            "Score of each rung",
            f"{title}, with 95% interval",
            report["target"],
            compact=len(marks) > MANY_RUNGS,
        ),
        f"result_{key}",
        f"{title} of each rung: " + ", ".join(f"{m.rung} {m.score:.0%}" for m in marks if m.score is not None),
    )
