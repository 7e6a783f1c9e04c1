"""Scores of a comparison that is still running, over the answers there are so far."""

from __future__ import annotations

import streamlit as st

from core.evaluate.metrics import metric_named
from core.evaluate.report import answers, score
from core.evaluate.statistics import interval
from core.store.tables import Experiment
from pages.widgets.ladder import Mark, draw_ladder, ladder_figure

# With fewer answers an interval says nothing that the count does not.
ENOUGH = 5


def partial_marks(experiment: Experiment) -> list[Mark]:
    """One mark per rung of the experiment: its score over the examples it has answered, and how many those are."""
    import numpy as np

    rows = answers(experiment.id)
    kind = metric_named(experiment.metric).kind
    marks = []
    for rung in experiment.spec["rungs"]:
        answered = [row for row in rows if rung in row.predictions]
        note = f"· {len(answered)} of {len(rows)}"
        if not answered:
            marks.append(Mark(rung, note=note, faded=True))
            continue
        scores = np.array([score(experiment.metric, row.predictions[rung], row.example.reference) for row in answered])
        marks.append(
            Mark(
                rung,
                float(scores.mean()),
                _interval(scores.tolist(), [r.example.group for r in answered], kind),
                note,
            )
        )
    return marks


@st.cache_data(max_entries=200, show_spinner=False)
def _interval(scores: list[float], groups: list[str], kind: str) -> tuple[float, float] | None:
    """A rung that is finished is not reckoned again at every look."""
    import numpy as np

    if len(scores) < ENOUGH:
        return None
    found = interval(np.array(scores), groups, kind)
    return found.low, found.high


def partial_ladder(experiment: Experiment) -> None:
    """The ladder with the scores so far. Rungs are asked one after the other, so counts differ meanwhile."""
    marks = partial_marks(experiment)
    done = [mark for mark in marks if mark.score is not None]
    if not done:
        st.caption("Scores appear here with the first answers.")
        return
    draw_ladder(
        ladder_figure(
            marks,
            "Scores so far",
            f"{metric_named(experiment.metric).title}, 95% interval",
            experiment.target,
        ),
        f"partial_{experiment.id}",
        "Scores so far: " + ", ".join(f"{mark.rung} {mark.score:.0%}" for mark in done),
    )
    st.caption("Preliminary: the verdict is reached when every rung has answered every question.")
