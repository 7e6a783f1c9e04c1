"""Describe the problem in a sentence: what it reads like, the words and cases behind that, and a second opinion."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import streamlit as st

from core.decide.answers import Answer
from core.decide.diagnosis import Diagnosis, diagnose
from core.decide.second_opinion import Opinion, ask
from core.errors import UserError
from core.models.services import REMOTE
from core.settings import get_settings
from pages.widgets.errors import guard, plain, show_error
from pages.widgets.ladder import RUNG_COLOURS
from pages.widgets.look import ink
from pages.widgets.wizard import LONGEST_IN_LINK, current_text, remember

MEANING = {
    "prompt": "a better prompt first",
    "rag": "knowledge is missing: retrieve",
    "fine-tune": "behaviour: fine-tune",
    "both": "both: retrieve and fine-tune",
}
COLOUR = {
    "prompt": RUNG_COLOURS["prompt"],
    "rag": RUNG_COLOURS["rag"],
    "fine-tune": RUNG_COLOURS["lora"],
    "both": RUNG_COLOURS["rag+lora"],
}
_OPINION = "decide_opinion"


def describe(answers: Mapping[str, Answer]) -> Diagnosis | None:
    """The field for the description. What is read from it fills in answers; the person's own stay."""
    text = current_text()
    with st.form("describe", border=False):
        written = st.text_area(
            "What is wrong with the answers?",
            text,
            height=100,
            key=f"describe_{hash(text)}",
            placeholder="Our assistant keeps answering in English instead of Vietnamese, whatever the prompt says.",
            help="Two or three sentences are enough. They are read by the machine that runs this app and sent to no "
            "service. They stand in the address of this page, so that a link shares them: leave out what is secret.",
        )
        read = st.form_submit_button("Read it", icon=":material/psychology:")
    if read and text and not written.strip():
        remember(own_answers(answers, _read(text)), text="")
        st.rerun()
    if read and written.strip() and written.strip() != text:
        earlier = _read(text) if text else None
        found = _read(written)
        if found is None:
            return earlier
        own = own_answers(answers, earlier)
        remember({**found.answers, **own}, text=written.strip())
        st.rerun()
    if read and not written.strip():
        st.warning("Write a sentence first, or answer the questions below.")
    return _read(text) if text else None


def own_answers(answers: Mapping[str, Answer], diagnosis: Diagnosis | None) -> dict[str, Answer]:
    """The answers that a person gave: those that are not as the description filled them in."""
    filled = diagnosis.answers if diagnosis is not None else {}
    return {key: value for key, value in answers.items() if key not in filled or filled[key] != value}


def _read(text: str) -> Diagnosis | None:
    """The diagnosis of a text, remembered for the session; a sentence why there is none is shown."""
    kept: dict[str, Diagnosis] = st.session_state.setdefault("decide_read", {})
    if text not in kept:
        try:
            with st.spinner("Reading it. The first time takes about ten seconds, while the reader is loaded."):
                kept[text] = diagnose(text)
        except UserError as error:
            show_error(error)
            return None
    return kept[text]


def draw_diagnosis(diagnosis: Diagnosis) -> None:
    """What it reads like, how sure that is, and why."""
    with st.container(border=True):
        name = diagnosis.diagnosis
        sure = "more than 99%" if diagnosis.probability > 0.99 else f"{diagnosis.probability:.0%}"
        st.markdown(f"Reads like **{plain(MEANING[name])}** ({sure} sure).")
        for note in diagnosis.notes:
            st.warning(plain(note))
        told = ", ".join(f"{key} {value:.0%}" for key, value in diagnosis.probabilities.items())
        st.plotly_chart(
            _bars(diagnosis), key="diagnosis", config={"displayModeBar": False}, alt=f"Probabilities: {told}"
        )
        with st.expander("Why: words and similar cases", icon=":material/search:"):
            st.markdown(_highlighted(diagnosis))
            st.caption(
                "Green words speak for this diagnosis, red ones against it: without them it would be less or more sure."
            )
            for case in diagnosis.cases:
                with st.container(horizontal=True, vertical_alignment="center"):
                    st.badge(plain(MEANING[case.diagnosis]), color="gray")
                    st.caption(f"similarity {case.similarity:.2f}")
                st.text(case.text)
        if diagnosis.answers:
            st.caption("It has filled in the answers it found. Change any of them below; yours count.")
        else:
            st.caption("That is too unsure to fill in anything: please answer the questions.")
        if len(diagnosis.text) > LONGEST_IN_LINK:
            st.caption("So long a description fits into no link: it is kept for this visit only.")
        if get_settings().generation_url:
            _second_opinion(diagnosis)


def current_opinion(diagnosis: Diagnosis | None) -> Opinion | None:
    """What a language model said about this very description, if it was asked."""
    kept = st.session_state.get(_OPINION)
    return kept[1] if kept and diagnosis is not None and kept[0] == diagnosis.text else None


def _second_opinion(diagnosis: Diagnosis) -> None:
    opinion = current_opinion(diagnosis)
    if opinion is not None:
        agrees = "agrees" if opinion.diagnosis == diagnosis.diagnosis else "disagrees, so confidence is lower"
        st.markdown(
            f"**{plain(opinion.model)}** {agrees}: {plain(MEANING[opinion.diagnosis])}. {plain(opinion.reason)}"
        )
        return
    address = plain(get_settings().generation_url, 80)
    with st.popover("Ask a language model too", icon=":material/forum:"):
        st.markdown(f"The description is sent to {address}.")
        model = st.text_input("Model", key="opinion_model", placeholder="gpt-6-luna", persist_state="session")
        if st.button("Send and ask", key="opinion_ask", disabled=not model, type="primary"):
            with guard(), st.spinner(f"Asking {plain(model, 60)}"):
                st.session_state[_OPINION] = (diagnosis.text, ask(diagnosis.text, REMOTE + model.removeprefix(REMOTE)))
                st.rerun()


def _bars(diagnosis: Diagnosis) -> go.Figure:
    names = list(diagnosis.probabilities)[::-1]
    shares = [100 * diagnosis.probabilities[name] for name in names]
    figure = go.Figure(
        go.Bar(
            x=shares,
            y=names,
            orientation="h",
            marker={"color": [COLOUR[name] for name in names]},
            text=[f"{share:.0f} %" for share in shares],
            textposition="outside",
            cliponaxis=False,
            hovertext=[MEANING[name] for name in names],
            hovertemplate="%{hovertext}: %{x:.1f} %<extra></extra>",
        )
    )
    figure.update_layout(
        title={"text": "How probable each diagnosis is", "font": {"size": 14}},
        height=190,
        margin={"l": 8, "r": 40, "t": 36, "b": 8},
        font=ink(),
        showlegend=False,
        dragmode=False,
    )
    figure.update_xaxes(range=[0, 105], visible=False, fixedrange=True)
    figure.update_yaxes(fixedrange=True)
    return figure


def _highlighted(diagnosis: Diagnosis) -> str:
    """The description with its telling words marked; everything in it is shown letter by letter."""
    parts, at = [], 0
    for word in diagnosis.words:
        parts.append(plain(diagnosis.text[at : word.start]))
        colour = "green" if word.influence > 0 else "red"
        parts.append(f":{colour}-background[{plain(diagnosis.text[word.start : word.end])}]")
        at = word.end
    return "".join([*parts, plain(diagnosis.text[at:], 2_000)])
