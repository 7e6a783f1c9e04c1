"""Every test example with each rung's answer beside the others: found by filter and search, opened by link and key."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

import numpy as np
import streamlit as st

from core.evaluate.browsing import Looking, Rows, Show, rows_of
from core.evaluate.plan import metrics_of
from core.evaluate.reading import Scores, read_example
from core.evaluate.scoring import ensure_scores
from core.store.tables import Experiment
from pages.widgets import opening
from pages.widgets.errors import guard
from pages.widgets.once import once
from pages.widgets.opening import PARAM
from pages.widgets.outputs_filter import ANSWERS, EVERY, LIST, Chosen, chosen_view
from pages.widgets.outputs_list import answers_list
from pages.widgets.outputs_row import draw_example
from pages.widgets.scores import scores_of
from pages.widgets.words import many

# Slower than progress bars: each look reads every score, and nobody reads answers faster.
FOLLOW_S = 6.0
_LAST = "outputs_last"


def side_by_side(experiment: Experiment, moving: bool) -> None:
    """Browse the answers there are. While answers still come in (`moving`), the list follows every few seconds."""

    def fragment() -> None:
        with guard():
            _browse(experiment, moving)

    st.fragment(fragment, run_every=FOLLOW_S if moving else None)()


def open_example(example_id: int, show: Show = "all", rung: str = "", against: str = "") -> None:
    """Have the next side by side show this example, among those that fit `show`; all other filters are taken back."""
    st.query_params[PARAM] = str(example_id)
    for key, value in {"layout": ANSWERS, "show": show, "find": "", "label": EVERY, "source": EVERY}.items():
        st.session_state[key] = value
    if rung:
        st.session_state["rung" if show in ("worse", "better") else "of"] = rung
    if against:
        st.session_state["against"] = against


def _browse(experiment: Experiment, moving: bool) -> None:
    scores = _scored(experiment, moving)
    answered = int(np.any([scores.answered[rung] for rung in scores.rungs], axis=0).sum()) if scores.n else 0
    if not answered:
        st.caption("Answers appear here as they come in." if moving else "No answers have been stored.")
        return
    chosen = chosen_view(experiment, scores)
    rows = rows_of(scores, chosen.looking)
    if chosen.layout == LIST:
        if rows.size:
            answers_list(scores, rows, chosen.looking)
        else:
            st.info("No example fits. Take back a filter or look for fewer letters.")
        return
    _one_by_one(experiment, scores, rows, chosen, answered)


def _scored(experiment: Experiment, moving: bool) -> Scores:
    """The scores; those of a comparison of before scores were stored are worked out now, once."""
    scores = scores_of(experiment.id, moving)
    deciding = scores.scored[metrics_of(experiment)[0].identity]
    # While its job runs, that one stores them.
    if moving or any(deciding[rung].any() for rung in scores.rungs):
        return scores
    with guard():
        once(("ensure_scores", experiment.id), lambda: ensure_scores(experiment.id))
    return scores_of(experiment.id)


def _one_by_one(experiment: Experiment, scores: Scores, rows: Rows, chosen: Chosen, answered: int) -> None:
    ids = [int(example) for example in scores.examples[rows]]
    place, example_id = _place(experiment.id, ids, chosen.looking)
    if example_id is None:
        st.info("No example fits. Take back a filter or look for fewer letters.")
        return
    fits = place < len(ids) and ids[place] == example_id
    st.session_state[_LAST] = (experiment.id, chosen.looking, example_id, place)
    st.query_params[PARAM] = str(example_id)
    _steps(ids, place, fits, answered)
    draw_example(experiment, read_example(experiment.id, example_id), scores, chosen)


def _place(experiment_id: int, ids: list[int], looking: Looking) -> tuple[int, int | None]:
    """(place among those that fit, example to show): the address's, else the first.

    One that was being read when it ceased to fit, as when its note goes, is shown on until somebody moves.
    """
    wanted = st.query_params.get(PARAM, "")
    asked = int(wanted) if wanted.isdigit() else None
    if asked in ids:
        return ids.index(asked), asked
    last = st.session_state.get(_LAST)
    if last is not None and last[:3] == (experiment_id, looking, asked):
        return min(last[3], len(ids)), asked
    return 0, ids[0] if ids else None


def _steps(ids: list[int], place: int, fits: bool, answered: int) -> None:
    """Back and on by button, key or number; and the link to what is shown."""
    following = place + 1 if fits else place
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Previous",
            key="outputs_previous",
            icon=":material/chevron_left:",
            shortcut="Left",
            disabled=place == 0,
            on_click=opening.open_example,
            args=(ids[place - 1] if place else 0,),
        )
        st.button(
            "Next",
            key="outputs_next",
            icon=":material/chevron_right:",
            shortcut="Right",
            disabled=following >= len(ids),
            on_click=opening.open_example,
            args=(ids[following] if following < len(ids) else 0,),
        )
        if fits and len(ids) > 1:
            st.session_state["outputs_number"] = place + 1
            st.number_input(
                "Go to example",
                1,
                len(ids),
                key="outputs_number",
                label_visibility="collapsed",
                width=130,
                on_change=lambda: opening.open_example(ids[st.session_state["outputs_number"] - 1]),
            )
        said = f"Example {place + 1:,} of {many(len(ids), 'example')}" if fits else "It does not fit any more"
        st.caption(f"{said}{'' if len(ids) == answered else f', {answered:,} in all'}", width="stretch")
        with st.popover("Link", icon=":material/link:", key="outputs_link"):
            st.caption("Opens this example under this filter.")
            st.code(_address(st.query_params.to_dict()), language=None, wrap_lines=True)


def _address(parameters: Mapping[str, str]) -> str:
    return f"{st.context.url or ''}?{urlencode(parameters)}"
