"""Quality against cost and speed, and from which volume a rung pays off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from core.evaluate import frontier as reckoning
from core.evaluate.words import listed
from pages.widgets.break_even import about
from pages.widgets.errors import plain
from pages.widgets.ladder import NEUTRAL, label, looks
from pages.widgets.look import ink, interval_bars
from pages.widgets.tables import table
from pages.widgets.words import percent, span

COSTS: dict[reckoning.Cost, str] = {"usd_per_1000": "Cost", "latency_p50_s": "Time per answer"}
UNITS: dict[reckoning.Cost, str] = {
    "usd_per_1000": "US$ per 1,000 answers",
    "latency_p50_s": "seconds per answer (median)",
}
# A rented mid-range GPU, which an L4 or A10 is; on one's own machine it is power and wear.
USUAL_MACHINE_USD = 0.80
USUAL_REQUESTS = 100_000
USUAL_MONTHS = 12
# Below a cent a month nobody asks which is cheaper, and a logarithmic axis has no zero.
LEAST_USD = 0.01
POINTS = 121
Row = Mapping[str, Any]


def frontier(report: Mapping[str, Any], key: str) -> None:
    """What quality costs: the chart, the rungs that no other beats in both, and the bill over volume."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        machine = st.number_input(
            "Machine, US$ an hour",
            0.0,
            1000.0,
            USUAL_MACHINE_USD,
            0.1,
            key="machine_usd",
            width=190,
            help="What an hour of the machine costs that local rungs answer and train on. Put 0 if it is idle anyway.",
            persist_state="session",
        )
        requests = st.number_input(
            "Requests a month",
            1,
            1_000_000_000,
            USUAL_REQUESTS,
            10_000,
            key="requests_month",
            width=190,
            persist_state="session",
        )
        months = st.number_input(
            "Months in use",
            1,
            120,
            USUAL_MONTHS,
            key="months_used",
            width=150,
            help="The bill for setting a rung up is spread over them.",
            persist_state="session",
        )
        cost = st.segmented_control(
            "Quality against",
            list(COSTS),
            format_func=lambda name: COSTS[name],
            default="usd_per_1000",
            required=True,
            key="quality_against",
        )
    rows = reckoning.priced(report, machine)
    left, right = st.columns(2, gap="large")
    with left:
        _quality(rows, cost, report, key)
    with right:
        _bill(rows, requests, months, report["verdict"]["rung"], key)
    table(
        frontier_rows(rows, requests, months),
        "Score, cost, time and monthly bill of each rung",
        column_config={
            "score, %": st.column_config.NumberColumn(format="%.1f"),
            "US$ per 1,000": st.column_config.NumberColumn(format="$%.3f"),
            "set-up, US$": st.column_config.NumberColumn(format="$%.2f"),
            "US$ a month": st.column_config.NumberColumn(format="$%.2f"),
            "s per answer": st.column_config.NumberColumn(format="%.2f"),
        },
    )
    st.caption(
        "Local rungs cost the time of the machine, as measured here, working in batches; remote ones what their "
        "service bills: nothing where its price is not known. Set-up is machine time of the index and the training, "
        "without people's work."
    )


def frontier_rows(rows: Sequence[Row], requests: float, months: float) -> list[dict[str, Any]]:
    bills = reckoning.curves(rows, [requests], months)
    return [
        {
            "rung": row["rung"],
            "score, %": None if row["score"] is None else 100 * row["score"],
            "US$ per 1,000": row["usd_per_1000"],
            "set-up, US$": row["setup_usd"],
            "US$ a month": bills[row["rung"]][0] if row["rung"] in bills else None,
            "s per answer": row["latency_p50_s"],
        }
        for row in rows
    ]


def _quality(rows: Sequence[Row], cost: reckoning.Cost, report: Mapping[str, Any], key: str) -> None:
    known = [row for row in rows if row[cost] is not None and row["score"] is not None]
    if not known:
        st.info("No rung has answered, so there is no cost to hold against quality.")
        return
    best = reckoning.pareto(known, cost)
    st.plotly_chart(
        quality_figure(known, cost, best, report["metric_title"]),
        key=f"frontier_{key}_{cost}",
        config={"displayModeBar": False},
        alt=f"Score against {UNITS[cost]} of {len(known)} rungs; not beaten in both: {', '.join(sorted(best))}",
    )
    names = [row["rung"] for row in known if row["rung"] in best]
    beaten = [row["rung"] for row in known if row["rung"] not in best]
    word = "no dearer" if cost == "usd_per_1000" else "no slower"
    said = f"Worth considering: **{plain(listed(names))}**."
    if beaten:
        said += f" For {plain(listed(beaten))} there is a rung that is at least as good and {word}."
    st.markdown(said)
    st.caption("By the scores as measured; what is shown to be better is said pair by pair.")


def quality_figure(rows: Sequence[Row], cost: reckoning.Cost, best: set[str], metric: str) -> go.Figure:
    look = looks(row["rung"] for row in rows)
    figure = go.Figure()
    line = sorted((row for row in rows if row["rung"] in best), key=lambda row: row[cost])
    figure.add_trace(
        go.Scatter(
            x=[row[cost] for row in line],
            y=[100 * row["score"] for row in line],
            mode="lines",
            line={"color": NEUTRAL, "dash": "dot", "shape": "hv"},
            hoverinfo="skip",
            showlegend=False,
        )
    )
    for row in rows:
        name, (low, high) = row["rung"], row["interval"]
        figure.add_trace(
            go.Scatter(
                x=[row[cost]],
                y=[100 * row["score"]],
                mode="markers",
                name=label(name, 26),
                text=[
                    f"<b>{label(name)}</b><br>{percent(row['score'])} ({span((low, high))})<br>"
                    f"{row[cost]:,.3f} {UNITS[cost]}"
                ],
                hovertemplate="%{text}<extra></extra>",
                marker={
                    "color": look[name].colour,
                    "symbol": look[name].symbol,
                    "size": 15,
                    "opacity": 1.0 if name in best else 0.5,
                    "line": {"color": "white", "width": 1.5},
                },
                error_y=interval_bars([row["score"]], [(low, high)], look[name].colour, 2, 5),
            )
        )
    _laid_out(figure, f"Quality against {COSTS[cost].lower()}")
    # From a little below 0, so that a marker of no cost is whole.
    widest = max(row[cost] for row in rows) or 1.0
    figure.update_xaxes(title=UNITS[cost], range=[-0.05 * widest, 1.1 * widest], fixedrange=True, zeroline=False)
    figure.update_yaxes(title=f"{label(metric, 40)}, %", range=[-3, 103], fixedrange=True, zeroline=False)
    return figure


def _bill(rows: Sequence[Row], requests: float, months: float, chosen: str | None, key: str) -> None:
    st.plotly_chart(
        bill_figure(rows, requests, months),
        key=f"bill_{key}",
        config={"displayModeBar": False},
        alt=f"US dollars a month of {len(rows)} rungs over requests a month",
    )
    # Against the rung of the verdict, which is what one would leave or take; else against the best score.
    named = next((row for row in rows if row["rung"] == chosen), None) or max(rows, key=lambda row: row["score"] or 0)
    if named["usd_per_1000"] is not None:
        others = [row for row in rows if row is not named and row["usd_per_1000"] is not None]
        st.markdown("\n".join(f"- {plain(pays_off(rows, named, other, months))}" for other in others))


def pays_off(rows: Sequence[Row], named: Row, other: Row, months: float) -> str:
    """From which volume the one rung costs less than the other, in words."""
    first, second = named["rung"], other["rung"]
    volume = reckoning.break_even(rows, first, second, months)
    if volume is not None and volume < 1:
        return f"{first} costs less than {second} at any volume."
    if volume is not None:
        return f"{first} costs less than {second} from about {about(volume)} requests a month."
    back = reckoning.break_even(rows, second, first, months)
    if back is None:
        return f"{first} and {second} cost the same."
    if back >= 1:
        return f"{first} costs less than {second} up to about {about(back)} requests a month."
    gain = ": what it buys is quality" if (named["score"] or 0) > (other["score"] or 0) else ""
    return f"{first} costs more than {second} at any volume{gain}."


def bill_figure(rows: Sequence[Row], requests: float, months: float) -> go.Figure:
    volumes = np.geomspace(min(100.0, requests / 2), max(1e7, 10 * requests), POINTS)
    bills = reckoning.curves(rows, volumes, months)
    look = looks(bills)
    figure = go.Figure()
    for name, usd in bills.items():
        figure.add_trace(
            go.Scatter(
                x=volumes,
                y=np.maximum(usd, LEAST_USD),
                mode="lines",
                name=label(name, 26),
                line={"color": look[name].colour, "dash": look[name].dash, "width": 2.5},
                hovertemplate=f"<b>{label(name)}</b><br>%{{x:,.3s}} requests a month<br>$%{{y:,.2f}}<extra></extra>",
            )
        )
    figure.add_vline(x=requests, line={"color": NEUTRAL, "dash": "dot", "width": 2})
    _laid_out(figure, "What a month costs as requests grow")
    figure.update_xaxes(type="log", title="requests a month (dotted: yours)", fixedrange=True, dtick=1)
    figure.update_yaxes(type="log", title="US dollars a month", fixedrange=True, tickprefix="$", dtick=1)
    return figure


def _laid_out(figure: go.Figure, title: str) -> None:
    figure.update_layout(
        title={"text": title, "font": {"size": 15}},
        height=420,
        margin={"l": 8, "r": 8, "t": 46, "b": 8},
        font=ink(),
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        hovermode="closest",
        dragmode=False,
    )
