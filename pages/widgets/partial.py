"""Scores of a comparison that is still running, over the answers there are so far."""

from __future__ import annotations

import streamlit as st

from core.evaluate.browsing import values_of
from core.evaluate.metrics import metric_named
from core.evaluate.plan import metrics_of
from core.evaluate.statistics import interval
from core.store.tables import Experiment
from pages.widgets.ladder import Mark, draw_ladder, ladder_figure
from pages.widgets.scores import scores_of

# With fewer answers an interval says nothing that the count does not.
ENOUGH = 5


def partial_marks(experiment: Experiment) -> list[Mark]:
    """One mark per rung of the experiment: its score over the examples it has answered, and how many those are."""
    import numpy as np

    scores = scores_of(experiment.id, moving=True)
    deciding = metrics_of(experiment)[0]
    # Means of several samples are no longer right or wrong.
    kind = metric_named(deciding.name).kind if experiment.spec.get("samples", 1) == 1 else "continuous"
    groups = np.array(scores.groups, dtype=object)
    marks = []
    for rung, values in values_of(scores, deciding.identity).items():
        known = ~np.isnan(values)
        note = f"· {int(scores.answered[rung].sum()):,} of {scores.n:,}"
        if not known.any():
            marks.append(Mark(rung, note=note, faded=True))
            continue
        found = _interval(values[known].tolist(), groups[known].tolist(), kind)
        marks.append(Mark(rung, float(values[known].mean()), found, note))
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
    """The ladder with the scores so far. Rungs may be at different examples, so counts differ meanwhile."""
    marks = partial_marks(experiment)
    done = [mark for mark in marks if mark.score is not None]
    if not done:
        st.caption("Scores appear here with the first answers.")
        return
    title = metrics_of(experiment)[0].title
    draw_ladder(
        ladder_figure(marks, "Scores so far", f"{title}, 95% interval", experiment.target),
        f"partial_{experiment.id}",
        "Scores so far: " + ", ".join(f"{mark.rung} {mark.score:.0%}" for mark in done),
    )
    st.caption("Preliminary: the verdict is reached when every rung has answered every question.")
