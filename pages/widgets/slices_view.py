"""The same comparison by kind of question: label, group or length; and which classes are taken for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from pages.widgets.ladder import label, looks
from pages.widgets.look import ink, interval_bars
from pages.widgets.tables import csv_button, table
from pages.widgets.words import percent, span

BY = {"label": "Label", "group": "Group", "length": "Length of the question"}
# More slices than this are a table's work.
MOST_DRAWN = 12
# More classes than this have no room for their counts in the squares.
MOST_COUNTS = 14
Slices = list[dict[str, Any]]
# From none of a class to all of it; Plotly writes black or white on them, whichever is legible.
SHADES = {"light": [[0.0, "#F2EFE9"], [1.0, "#0072B2"]], "dark": [[0.0, "#1F252A"], [1.0, "#56B4E9"]]}


def by_kind(report: Mapping[str, Any]) -> None:
    """The chart and the table of one way of slicing, then the confusion of classes where examples have labels."""
    found = report["slices"]
    if not found:
        st.info(
            "The test examples have no labels, no groups that repeat, and are too few to part by length.",
            title="Nothing to slice by",
            icon=":material/info:",
        )
    else:
        way = st.segmented_control(
            "Slice by",
            list(found),
            format_func=lambda name: BY[name],
            default=next(iter(found)),
            required=True,
            key="slice_by",
        )
        _slices(found[way or next(iter(found))], BY[way or next(iter(found))].lower(), report)
    if report.get("labels"):
        _confusion(report["labels"], report["verdict"]["rung"])


def _slices(rows: Slices, way: str, report: Mapping[str, Any]) -> None:
    rungs = [row["rung"] for row in report["rungs"]]
    st.plotly_chart(
        slices_figure(rows[:MOST_DRAWN], rungs, f"Score by {way}", report["metric_title"]),
        key="slices",
        config={"displayModeBar": False},
        alt=f"Score of {len(rungs)} rungs by {way}, {len(rows)} slices",
    )
    if len(rows) > MOST_DRAWN:
        st.caption(f"The {MOST_DRAWN} largest of {len(rows)} are drawn; the table has all.")
    listed = slice_rows(rows, rungs, way)
    table(listed, f"Score of every rung by {way}, in percent with 95% intervals")
    st.caption(
        "In percent, with 95% intervals. Slices are small: a difference here is a hint to look at the answers, "
        "not a finding; no correction is made for looking at many."
    )
    csv_button(listed, "slices.csv", "These slices (CSV)", "slices_csv")


def slice_rows(rows: Slices, rungs: Sequence[str], way: str) -> list[dict[str, Any]]:
    return [
        {way: row["slice"], "examples": row["n"]}
        | {
            rung: _with_interval(cell["score"], cell["interval"]) if (cell := row["rungs"][rung]) else "does not apply"
            for rung in rungs
        }
        for row in rows
    ]


def slices_figure(rows: Slices, rungs: Sequence[str], title: str, metric: str) -> go.Figure:
    """A band for each slice, in it a point with its interval for each rung, apart so that none hides another."""
    look = looks(rungs)
    figure = go.Figure()
    middle = (len(rungs) - 1) / 2
    for place, rung in enumerate(rungs):
        drawn = [(height, row["rungs"][rung], row) for height, row in enumerate(rows) if row["rungs"][rung]]
        figure.add_trace(
            go.Scatter(
                x=[100 * cell["score"] for _, cell, _ in drawn],
                y=[height + 0.7 * (place - middle) / max(1, len(rungs)) for height, _, _ in drawn],
                mode="markers",
                name=label(rung, 26),
                text=[
                    f"<b>{label(rung)}</b><br>{label(str(row['slice']))} ({row['n']} examples)<br>"
                    f"{percent(cell['score'])} ({span(cell['interval'])})"
                    for _, cell, row in drawn
                ],
                hovertemplate="%{text}<extra></extra>",
                marker={"color": look[rung].colour, "symbol": look[rung].symbol, "size": 10},
                error_x=interval_bars(
                    [cell["score"] for _, cell, _ in drawn],
                    [cell["interval"] for _, cell, _ in drawn],
                    look[rung].colour,
                    2,
                    3,
                ),
            )
        )
    figure.update_layout(
        title={"text": title, "font": {"size": 15}},
        height=150 + len(rows) * max(44, 15 * len(rungs)),
        margin={"l": 8, "r": 8, "t": 46, "b": 8},
        font=ink(),
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        dragmode=False,
    )
    figure.update_xaxes(title=f"{label(metric, 60)}, %", range=[-3, 103], fixedrange=True, zeroline=False)
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[f"{label(str(row['slice']), 30)}<br>n = {row['n']}" for row in rows],
        range=[len(rows) - 0.5, -0.5],
        automargin=True,
        fixedrange=True,
        showgrid=False,
        zeroline=False,
    )
    return figure


def _confusion(labels: Mapping[str, Any], preferred: str | None) -> None:
    """Accuracy and macro-F1 of each rung, and one rung's confusion matrix."""
    st.subheader("Classes", anchor=False)
    rungs = list(labels["rungs"])
    table(
        [
            {
                "rung": rung,
                "accuracy, %": _with_interval(found["accuracy"], found["accuracy_interval"]),
                "macro-F1, %": _with_interval(found["macro_f1"], found["macro_f1_interval"]),
            }
            for rung, found in labels["rungs"].items()
        ],
        "Accuracy and macro-F1 of each rung with 95% intervals",
    )
    st.caption("Macro-F1 counts every class alike, however rare. The intervals are 95% ones.")
    rung = st.selectbox(
        "Confusion of", rungs, index=rungs.index(preferred) if preferred in rungs else 0, key="confusion_of", width=320
    )
    found = labels["rungs"][rung]["confusion"]
    st.plotly_chart(
        confusion_figure(found, labels["classes"], rung),
        key="confusion",
        config={"displayModeBar": False},
        alt=f"Confusion matrix of {rung}: expected classes against answered ones",
    )


def confusion_figure(found: Mapping[str, Any], classes: Sequence[str], rung: str) -> go.Figure:
    """Rows: the expected class; columns: what was answered. Shaded by the share of the row."""
    counts = found["counts"]
    columns = found["classes"]
    sums = [max(1, sum(line)) for line in counts]
    shares = [[100 * count / total for count in line] for line, total in zip(counts, sums, strict=True)]
    height, width = len(counts), len(columns)
    expected = list(columns)[:height] if height <= width else [*classes][:height]
    figure = go.Figure(
        go.Heatmap(
            z=shares,
            x=list(range(width)),
            y=list(range(height)),
            zmin=0,
            zmax=100,
            colorscale=SHADES[st.context.theme.type or "light"],
            showscale=False,
            text=counts,
            texttemplate="%{text}" if width <= MOST_COUNTS else "",
            customdata=[
                [f"expected {label(str(row))}<br>answered {label(str(column))}" for column in columns]
                for row in expected
            ],
            hovertemplate="%{customdata}<br>%{text} answers, %{z:.0f} % of the class<extra></extra>",
            xgap=2,
            ygap=2,
        )
    )
    figure.update_layout(
        title={
            "text": f"What {label(rung, 18)} takes for what",
            "font": {"size": 15},
        },
        height=170 + 30 * height,
        margin={"l": 8, "r": 8, "t": 46, "b": 8},
        font=ink(),
        dragmode=False,
    )
    figure.update_xaxes(
        title="answered",
        tickvals=list(range(width)),
        ticktext=[label(str(name), 18) for name in columns],
        fixedrange=True,
        showgrid=False,
        automargin=True,
    )
    figure.update_yaxes(
        title="expected",
        tickvals=list(range(height)),
        ticktext=[label(str(name), 30) for name in expected],
        range=[height - 0.5, -0.5],
        fixedrange=True,
        showgrid=False,
        automargin=True,
    )
    return figure


def _with_interval(value: float, interval: Sequence[float]) -> str:
    return f"{100 * value:.1f} ({span(interval)})"
