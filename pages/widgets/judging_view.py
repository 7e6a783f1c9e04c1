"""What a judge model and people who voted blind say: secondary evidence, beside the metric that decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from core.store.tables import Experiment
from pages.widgets.blind_vote import vote_results
from pages.widgets.errors import plain
from pages.widgets.tables import table
from pages.widgets.words import many, percent, span


def judging(experiment: Experiment, report: Mapping[str, Any]) -> None:
    st.subheader("Judge model", anchor=False)
    found = report.get("judge")
    if found is None:
        st.info(
            "No judge model compared these answers. A new comparison can have one: see its judge settings.",
            icon=":material/gavel:",
        )
    else:
        _judge(found)
    st.subheader("Blind votes", anchor=False)
    vote_results(experiment)


def _judge(found: Mapping[str, Any]) -> None:
    st.markdown(
        f"**{plain(found['model'])}** was shown {many(found['examples'], 'example')} in both orders. An answer wins "
        "only if both orders agree; else it is a tie."
    )
    st.caption(plain(found["caveat"]))
    table(judge_rows(found), "How often the judge preferred each rung, pair by pair")
    with st.grid(3, min_column_width=200):
        position = found["position"]
        if position is not None:
            st.metric(
                "Preferred what stood first",
                percent(position["share"]),
                f"95 %: {span(position['interval'])}",
                delta_color="off",
                delta_arrow="off",
                help="Without a liking for a place it would be 50 %.",
            )
        st.metric(
            "Unreadable replies",
            percent(found["unreadable_share"]),
            f"of {found['asked']:,} asked",
            delta_color="off",
            delta_arrow="off",
        )
    st.caption("Whether people agree with it is told below, with their votes.")
    if found["cost_usd"]:
        st.caption(f"Judging cost ${found['cost_usd']:,.4f}.")


def judge_rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per pair, told as the higher rung against the lower."""
    return [
        {
            "rung": pair["b"],
            "against": pair["a"],
            "preferred, %": f"{100 * pair['rate']:.1f} ({span(pair['interval'])})",
            "wins": pair["wins_b"],
            "losses": pair["wins_a"],
            "ties": pair["ties"],
            "ties by order": pair["order_ties"],
            "unreadable": pair["unreadable"],
            "outcome": pair["outcome"],
        }
        for pair in found["pairs"]
    ]
