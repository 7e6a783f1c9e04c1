"""Over time: the same comparison run again, and what changed since, rung by rung and example by example."""

from __future__ import annotations

import gc
import importlib
import threading
import time
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st
from sqlalchemy import select

from core.evaluate import changes
from core.evaluate.changes import Changes, RungChange
from core.evaluate.experiment import rerun
from core.jobs.background import in_background
from core.ladder import submit_comparison
from core.models.prompt import last_question
from core.store.database import session
from core.store.tables import Example, Experiment
from pages.widgets.errors import guard
from pages.widgets.ladder import label, looks
from pages.widgets.look import ink, interval_bars
from pages.widgets.outputs import open_example
from pages.widgets.parts import SIDE_BY_SIDE, VERDICT, go_to
from pages.widgets.tables import p_value, table
from pages.widgets.words import many, percent, points, span

KEPT = "Ask only what has changed"
FRESH = "Ask everything afresh"
# Nobody reads more at a sitting.
MOST_LISTED = 200
SHOWN_CHARACTERS = 300
# By then the page that is being opened is drawn.
SETTLED_S = 1.5


def over_time(experiment: Experiment, everything: Sequence[Experiment], version: str) -> None:
    """`everything`: all experiments, among them the earlier and later runs of this one."""
    _run_again(experiment)
    runs = family(experiment.id, everything)
    measured = [run for run in runs if run.report is not None]
    if len(runs) < 2:
        st.info(
            "Run it again after a model, an adapter or the documents have changed. What changed in the answers is "
            "shown here, example by example.",
            title="It has been run once",
            icon=":material/history:",
        )
        return
    st.subheader("Runs", anchor=False)
    _history(measured, experiment.metric)
    _list(runs, experiment.id)
    others = [run for run in measured if run.id != experiment.id]
    if experiment.report is None or not others:
        return
    st.subheader("What changed", anchor=False)
    before = [run.id for run in others if run.id < experiment.id]
    names = {run.id: _name(run) for run in others}
    earlier = st.selectbox(
        "Compared with",
        list(names),
        index=list(names).index(before[-1]) if before else 0,
        format_func=lambda number: names.get(number, str(number)),
        key="changes_since",
        width=420,
    )
    other = next(run for run in others if run.id == earlier)
    _changes(_between(earlier, experiment.id, experiment.metric, version + _stamp(other)))


@st.cache_resource(show_spinner=False)
def get_ready() -> None:
    """Do once, while the reader still looks at something else, what would hold up an answer of the page later."""
    coming = threading.Timer(SETTLED_S, _settle)
    coming.daemon = True
    coming.start()


def _settle() -> None:
    # Holding two runs against each other needs SciPy, which takes most of a second to import.
    importlib.import_module("scipy.stats")
    # Some 400,000 objects of libraries are here for good; a search for garbage among them stops everything for 0.2 s.
    gc.collect()
    gc.freeze()


def family(experiment_id: int, everything: Sequence[Experiment]) -> list[Experiment]:
    """All runs of one experiment, oldest first: what it repeats, what repeats it, and so on."""
    by_id = {experiment.id: experiment for experiment in everything}

    def root(number: int) -> int:
        while (above := by_id[number].rerun_of) is not None and above in by_id:
            number = above
        return number

    mine = root(experiment_id)
    return sorted((e for e in everything if root(e.id) == mine), key=lambda e: e.id)


def _run_again(experiment: Experiment) -> None:
    with st.container(border=True):
        st.markdown("**Run again** on the same data with the same rungs and metrics.")
        with st.container(horizontal=True, vertical_alignment="bottom"):
            how = st.radio(
                "What is asked",
                [KEPT, FRESH],
                captions=[
                    "Answers whose model, prompt and settings are the same are taken over.",
                    "Shows how much of a difference is chance, where answers are drawn at random.",
                ],
                key="rerun_how",
                horizontal=True,
            )
        with st.container(horizontal=True):
            if st.button("Run again", type="primary", icon=":material/replay:", key="rerun"):
                with guard():
                    again = rerun(experiment.id, fresh=how == FRESH)
                    submit_comparison(again, in_background)
                    st.query_params["experiment"] = str(again.id)
                    go_to(VERDICT)
                    st.rerun()
            if st.button(
                "Run again with changes",
                icon=":material/tune:",
                key="rerun_changed",
                help="Opens the form, filled in with this comparison's choices.",
            ):
                st.query_params["again"] = str(experiment.id)
                st.rerun()


def _history(runs: Sequence[Experiment], metric: str) -> None:
    """Each rung's score over the runs that were decided by the same metric."""
    same = [run for run in runs if run.metric == metric]
    if len(same) < 2:
        return
    st.plotly_chart(
        history_figure(same),
        key="history",
        config={"displayModeBar": False},
        alt=f"Score of each rung over {len(same)} runs",
    )


def history_figure(runs: Sequence[Experiment]) -> go.Figure:
    names = list(dict.fromkeys(row["rung"] for run in runs for row in (run.report or {})["rungs"]))
    look = looks(names)
    figure = go.Figure()
    for name in names:
        drawn = [
            (place, run, row)
            for place, run in enumerate(runs)
            for row in (run.report or {})["rungs"]
            if row["rung"] == name and row["score"] is not None
        ]
        figure.add_trace(
            go.Scatter(
                x=[place for place, _, _ in drawn],
                y=[100 * row["score"] for _, _, row in drawn],
                mode="lines+markers",
                name=label(name, 26),
                text=[
                    f"<b>{label(name)}</b><br>run {run.id}, {_day(run)}<br>"
                    f"{percent(row['score'])} ({span(row['interval'])})"
                    for _, run, row in drawn
                ],
                hovertemplate="%{text}<extra></extra>",
                line={"color": look[name].colour, "dash": look[name].dash, "width": 2.5},
                marker={"symbol": look[name].symbol, "size": 10},
                error_y=interval_bars(
                    [row["score"] for _, _, row in drawn],
                    [row["interval"] for _, _, row in drawn],
                    look[name].colour,
                    1.5,
                ),
            )
        )
    figure.update_layout(
        title={"text": "Scores over the runs, with 95% intervals", "font": {"size": 15}},
        height=340,
        margin={"l": 8, "r": 8, "t": 46, "b": 8},
        font=ink(),
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        dragmode=False,
    )
    figure.update_xaxes(
        tickvals=list(range(len(runs))),
        ticktext=[f"number {run.id}<br>{_day(run)}" for run in runs],
        range=[-0.3, len(runs) - 0.7],
        fixedrange=True,
        showgrid=False,
    )
    figure.update_yaxes(title="score, %", range=[-3, 103], fixedrange=True, zeroline=False)
    return figure


def _list(runs: Sequence[Experiment], current: int) -> None:
    rows = []
    for run in reversed(runs):
        report = run.report or {}
        verdict = report.get("verdict", {})
        rows.append(
            {
                "number": run.id,
                "run": _day(run, True) + (" (this one)" if run.id == current else ""),
                "verdict": f"{verdict.get('rung') or 'none'}: {verdict['outcome']}" if verdict else "not measured yet",
                **{row["rung"]: percent(row["score"]) for row in report.get("rungs", []) if row["score"] is not None},
            }
        )
    table(rows, "All runs of this comparison, newest first")


@st.cache_data(max_entries=30, show_spinner="Holding the two runs against each other")
def _between(earlier: int, later: int, metric: str, version: str) -> Changes:
    return changes.between(earlier, later, metric)


def _changes(found: Changes) -> None:
    if not found.rungs or not found.n:
        st.info("The two runs have no rung or no test example in common.", icon=":material/info:")
        return
    better, worse = (sum(change.outcome == outcome for change in found.rungs) for outcome in ("better", "worse"))
    moved = {change.rung: change for change in found.rungs if change.gained or change.lost or change.reworded}
    st.markdown(
        f"On {many(found.n, 'example')} that both asked: of {many(len(found.rungs), 'rung')}, **{better}** got better "
        f"and **{worse}** worse, as far as these examples can show; {len(found.rungs) - len(moved)} answered as before."
    )
    rows = change_rows(found)
    table(rows, "Per rung: examples gained and lost, difference with interval and outcome")
    st.caption(
        "Gained and lost: examples whose score rose or fell. Reworded: another answer with the same score. "
        "p is adjusted for all rungs looked at (Holm)."
    )
    if not moved:
        return
    rung = st.selectbox("Examples of", list(moved), key="changed_rung", width=320)
    _examples(rung, moved[rung])


def change_rows(found: Changes) -> list[dict[str, Any]]:
    return [
        {
            "rung": change.rung,
            "before, %": round(100 * change.before, 1),
            "now, %": round(100 * change.now, 1),
            "gained": len(change.gained),
            "lost": len(change.lost),
            "reworded": len(change.reworded),
            "same": change.same,
            "difference": points(change.effect),
            "95% interval": span((change.interval.low, change.interval.high), signed=True),
            "p adjusted": p_value(change.p_adjusted),
            "outcome": change.outcome,
        }
        for change in found.rungs
    ]


def _examples(rung: str, change: RungChange) -> None:
    """The examples behind the counts, each opened by a click among all its answers."""
    kinds = {"lost": change.lost, "gained": change.gained, "reworded": change.reworded}
    listed = [(number, kind) for kind, numbers in kinds.items() for number in numbers]
    shown = listed[:MOST_LISTED]
    texts = _texts([number for number, _ in shown])

    def clicked() -> None:
        open_example(shown[st.session_state["changed_open"]["row"]][0])
        go_to(SIDE_BY_SIDE)

    table(
        [
            {
                "": ":material/open_in_full: Open",
                "number": texts[number][0],
                "change": kind,
                "question": texts[number][1],
            }
            for number, kind in shown
        ],
        f"Examples whose answer by {rung} changed",
        height=min(400, 38 + 36 * len(shown)),
        column_config={
            "": st.column_config.ButtonColumn(
                type="tertiary", width=90, pinned=True, on_click=clicked, key="changed_open"
            ),
            "number": st.column_config.NumberColumn(width=80, format="localized", help="Its place in the test."),
            "change": st.column_config.TextColumn(width=100),
        },
    )
    if len(listed) > len(shown):
        st.caption(f"The first {len(shown)} of {len(listed):,}.")


def _texts(example_ids: Sequence[int]) -> dict[int, tuple[int, str]]:
    """By id: the place in the test from 1, and the question."""
    columns = select(Example.id, Example.position, Example.messages).where(Example.id.in_(example_ids))
    with session(read_only=True) as db:
        return {
            found.id: (found.position + 1, last_question(found.messages)[-SHOWN_CHARACTERS:])
            for found in db.execute(columns)
        }


def _stamp(experiment: Experiment) -> str:
    """Changes whenever the report does: what is reckoned from two runs is kept as long as both are the same."""
    return str((experiment.report or {}).get("verdict"))


def _name(experiment: Experiment) -> str:
    return f"number {experiment.id}, {_day(experiment, True)}"


def _day(experiment: Experiment, exact: bool = False) -> str:
    return time.strftime("%Y-%m-%d %H:%M" if exact else "%Y-%m-%d", time.localtime(experiment.created_at))
