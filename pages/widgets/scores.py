"""An experiment's scores, read once and remembered until an answer or a score comes or goes."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass

import streamlit as st

from core.evaluate.browsing import state
from core.evaluate.reading import Scores, read_scores

# Some ten megabytes each for 25,000 answers; nobody looks at more comparisons at a time.
REMEMBERED = 4
# While answers come in, reading them all takes at most this share of the time.
READING_SHARE = 0.1


@dataclass(frozen=True)
class _Read:
    scores: Scores
    state: tuple[int, int, int]
    at: float
    seconds: float


@st.cache_resource(show_spinner=False)
def _shelf() -> OrderedDict[int, _Read]:
    return OrderedDict()


def scores_of(experiment_id: int, moving: bool = False) -> Scores:
    """As they are now; while answers still come in (`moving`), maybe as they were some seconds ago."""
    shelf, now = _shelf(), time.monotonic()
    known = shelf.get(experiment_id)
    if known is not None and moving and now - known.at < known.seconds / READING_SHARE:
        return known.scores
    seen = state(experiment_id)
    if known is None or known.state != seen:
        scores = read_scores(experiment_id)
        known = _Read(scores, seen, time.monotonic(), time.monotonic() - now)
        shelf[experiment_id] = known
        while len(shelf) > REMEMBERED:
            shelf.popitem(last=False)
    return known.scores
