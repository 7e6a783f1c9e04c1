"""Every test example with each rung's answer beside the others."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from core.evaluate.report import Answered, answers, score
from core.store.tables import Experiment, Prediction
from pages.widgets.diff import word_diff
from pages.widgets.errors import guard, plain
from pages.widgets.ladder import measurable
from pages.widgets.passages import draw_citations
from pages.widgets.words import many

# A score this far from 1 is a wrong answer, whatever the metric; rounding stays below it.
WRONG = 1 - 1e-9
# Slower than progress bars: each look reads every answer, and nobody reads answers faster.
FOLLOW_S = 6.0


@dataclass(frozen=True)
class Row:
    """An example with its answers and each rung's score; a rung that has not answered has none."""

    answered: Answered
    scores: dict[str, float]

    @property
    def disagree(self) -> bool:
        return len({round(value, 6) for value in self.scores.values()}) > 1


@st.cache_resource(max_entries=4, show_spinner=False)
def _rows_of_finished(experiment_id: int, metric: str) -> list[Row]:
    return _rows(experiment_id, metric)


def _rows(experiment_id: int, metric: str) -> list[Row]:
    return [
        Row(row, {rung: score(metric, p, row.example.reference) for rung, p in row.predictions.items()})
        for row in answers(experiment_id)
    ]


def side_by_side(experiment: Experiment, moving: bool) -> None:
    """Browse the answers there are. While answers still come in (`moving`), the list follows every few seconds."""

    def fragment() -> None:
        with guard():
            _browse(experiment)

    st.fragment(fragment, run_every=FOLLOW_S if moving else None)()


def _browse(experiment: Experiment) -> None:
    rows = (_rows if experiment.report is None else _rows_of_finished)(experiment.id, experiment.metric)
    rows = [row for row in rows if row.scores]
    if not rows:
        return
    st.subheader("Side by side")
    rungs = [rung for rung in measurable() if rung in experiment.spec["rungs"]]
    options = ["All", "Rungs disagree", *(f"Wrong for {rung}" for rung in rungs)]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox("Show", options, key="outputs_filter", persist_state="session", width=220)
        differences = st.toggle(
            "Differences from the reference",
            value=True,
            key="outputs_diff",
            persist_state="session",
            help="Red: not in the reference. Green, struck through: missing from the answer.",
        )
    kept = [row for row in rows if _fits(row, str(chosen))]
    if not kept:
        st.caption("No example fits this choice.")
        return
    number = st.pagination(len(kept), key="example", bind="query-params")
    st.caption(f"Example {number} of {many(len(kept), 'example')} shown, {len(rows)} in all.")
    _draw(kept[number - 1], rungs, differences)


def _fits(row: Row, chosen: str) -> bool:
    if chosen == "Rungs disagree":
        return row.disagree
    if chosen.startswith("Wrong for "):
        return row.scores.get(chosen.removeprefix("Wrong for "), 1.0) < WRONG
    return True


def _draw(row: Row, rungs: list[str], differences: bool) -> None:
    example = row.answered.example
    question, reference = st.columns([3, 2], gap="medium")
    with question.container(border=True, height="stretch"):
        for turn in example.messages:
            st.caption(plain(turn["role"]))
            st.text(turn["content"])
    with reference.container(border=True, height="stretch"):
        st.caption("Reference")
        st.text(example.reference)
    with st.grid(3, min_column_width=260, border=True) as grid:
        for rung in rungs:
            with grid.cell():
                _answer(
                    rung,
                    row.answered.predictions.get(rung),
                    row.scores.get(rung),
                    example.reference,
                    differences,
                )


def _answer(rung: str, prediction: Prediction | None, value: float | None, reference: str, differences: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain(rung)}**", width="content")
        if value is not None:
            colour = "green" if value >= WRONG else "red" if value == 0 else "orange"
            st.badge(f"{100 * value:.0f} %", color=colour, help="This example's score.")  # type: ignore[arg-type]
    if prediction is None:
        st.caption("Not answered yet.")
        return
    if prediction.error is not None:
        st.error(plain(prediction.error), title="No answer")
        return
    if differences:
        st.markdown(word_diff(reference, prediction.output) or "The answer is empty.")
    else:
        st.text(prediction.output or "The answer is empty.")
    st.caption(
        f"{prediction.input_tokens:,} tokens in, {prediction.output_tokens:,} out, {prediction.latency_s:.2f} s"
        + (" · cut at the longest allowed answer" if prediction.finish_reason == "length" else "")
    )
    if prediction.retrieved:
        draw_citations(prediction.output, prediction.retrieved, f"cited_{prediction.id}")
