"""What the retrieval lab found: the verdict, every setting with its intervals, and the way to adopt one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from core.evaluate.lab import DECIDING, MEASURES, adopt
from core.evaluate.lab.rankings import present
from core.jobs.background import in_background
from core.ladder import submit_index
from core.store.tables import Index, Job
from pages.widgets.errors import guard, plain
from pages.widgets.look import accent, ink
from pages.widgets.tables import csv_button, table
from pages.widgets.words import ago, many, points, span

# What is neither proposed nor in use.
OTHER = "#8A8F98"
Measured = Mapping[str, Any]


def lab_result(index: Index, job: Job) -> None:
    report = job.result
    measured: list[Measured] = report["measured"]
    _verdict(report)
    groups = f" about {many(report['groups'], 'place')}" if report["groups"] < report["questions"] else ""
    st.caption(
        f"Measured {ago(job.finished_at)} on {many(report['questions'], 'question')}{groups}, among "
        f"{many(report['documents'], 'document')}; intervals are 95%. {DECIDING.capitalize()} decides."
    )
    for note in report["notes"]:
        st.caption(plain(note))
    name = st.segmented_control("Measure shown", list(MEASURES), default=DECIDING, required=True, key="lab_measure")
    _chart(measured, str(name), report["proposed"], job.id)
    rows = [_row(one) for one in measured]
    table(rows, "Every setting with its scores and intervals", column_config={"setting": {"width": "medium"}})
    with st.container(horizontal=True):
        csv_button(rows, f"retrieval-lab-{job.id}.csv", "Download the table (CSV)", f"lab_csv_{job.id}")
    _left_out(report)
    if measured[0]["setting"] != asdict(present(index)):
        st.caption(":material/info: The index has been set otherwise since; measure again to hold it against the rest.")
    _adopt(index, report, job.id)


def _verdict(report: Mapping[str, Any]) -> None:
    proposed, outcome = report["proposed"], report["outcome"]
    why = plain(report["why"][:1].upper() + report["why"][1:])
    if proposed is None:
        st.warning(why, title="Cannot tell yet", icon=":material/help:")
    elif proposed == 0:
        st.success(why, title="Keep the present setting", icon=":material/check:")
    else:
        title = "Another setting finds more" if outcome == "better" else "A cheaper setting is as good"
        st.info(why, title=title, icon=":material/trending_up:")


def _row(one: Measured) -> dict[str, Any]:
    difference = one["difference"]
    scores = {
        f"{name}, %": f"{100 * value['mean']:.1f} ({span((value['low'], value['high']))})"
        for name, value in one["scores"].items()
    }
    against = "the present one"
    if difference is not None:
        against = f"{points(difference['effect'])} ({span((difference['low'], difference['high']), signed=True)})"
    return {
        "setting": one["title"],
        **scores,
        f"{DECIDING} against the present": against,
        "outcome": "" if difference is None else difference["outcome"],
        "chunks": one["chunks"],
    }


def _chart(measured: list[Measured], name: str, proposed: int | None, key: int) -> None:
    """One line per setting, the present one on top: the score and its 95% interval."""
    scores = [one["scores"][name] for one in measured]
    means = [100 * score["mean"] for score in scores]
    titles = [one["title"] + (" (present)" if one["present"] else "") for one in measured]
    colours = [accent() if i == proposed else "#E69F00" if i == 0 else OTHER for i in range(len(measured))]
    spans = [f"{100 * score['low']:.1f} to {100 * score['high']:.1f}" for score in scores]
    figure = go.Figure(
        {
            "data": [
                {
                    "type": "scatter",
                    "x": means,
                    "y": titles,
                    "mode": "markers",
                    "marker": {"size": 11, "color": colours},
                    "error_x": {
                        "type": "data",
                        "symmetric": False,
                        "array": [100 * s["high"] - m for s, m in zip(scores, means, strict=True)],
                        "arrayminus": [m - 100 * s["low"] for s, m in zip(scores, means, strict=True)],
                        "color": OTHER,
                        "thickness": 1.5,
                    },
                    "customdata": spans,
                    "hovertemplate": f"%{{y}}<br>{name}: %{{x:.1f}} %<br>95%: %{{customdata}} %<extra></extra>",
                }
            ],
            "layout": {
                "title": {"text": f"{name} of each setting", "font": {"size": 15}},
                "font": ink(),
                "height": 110 + 30 * len(measured),
                "margin": {"l": 8, "r": 8, "t": 46, "b": 8},
                "showlegend": False,
                "xaxis": {"title": f"{name}, % (95% interval)"},
                "yaxis": {"autorange": "reversed", "automargin": True},
            },
        }
    )
    best = max(range(len(means)), key=means.__getitem__)
    st.plotly_chart(figure, key=f"lab_chart_{key}", alt=f"{name}: {titles[best]} is highest with {means[best]:.1f} %")


def _left_out(report: Mapping[str, Any]) -> None:
    count = sum(report["left_out"].values())
    if not count:
        return
    with st.expander(f"{count:,} of {many(report['given'], 'question')} could not be used", icon=":material/rule:"):
        table([{"questions": n, "why": why} for why, n in report["left_out"].items()], "Why questions were left out")
        for line in report.get("quoted", []):
            st.text(line)


def _adopt(index: Index, report: Mapping[str, Any], key: int) -> None:
    measured: list[Measured] = report["measured"]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            "Setting",
            range(len(measured)),
            report["proposed"] or 0,
            format_func=lambda i: measured[i]["title"] + (" (proposed)" if i == report["proposed"] else ""),
            key=f"lab_adopt_{key}",
            width=420,
        )
        setting = measured[chosen]["setting"]
        used = st.button(
            "Use this setting",
            type="primary",
            icon=":material/check:",
            key=f"lab_use_{key}",
            disabled=setting == asdict(present(index)),
        )
    anew = (setting["chunk_tokens"], setting["overlap_tokens"]) != (index.chunk_tokens, index.overlap_tokens)
    if setting == asdict(present(index)):
        st.caption("The index has this setting.")
    else:
        st.caption(
            "All documents are then cut and embedded anew, in the background."
            if anew
            else "It holds at once; nothing is embedded anew."
        )
    if used:
        with guard():
            rebuilt = adopt(index.id, setting)
            if rebuilt:
                submit_index(index.id, index.name, in_background)
            st.session_state["index_outcome"] = f"The index is now searched {measured[chosen]['title']}."
            st.rerun()
