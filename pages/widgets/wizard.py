"""The wizard: one question at a time, its state in the address, so that a reload keeps it and a link shares it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from core.decide.answers import UNSURE, Answer, from_link, in_words, settled, to_link
from core.decide.engine import open_questions
from core.decide.rulebook import rulebook
from core.decide.schema import Question
from pages.widgets.errors import plain

# Parameters of the address beside the answers: the question that is being changed, the description, edited costs.
AT, TEXT, COSTS = "at", "text", "cost."
# A description as long as this still makes a link that every browser and chat takes; a longer one stays in the session.
LONGEST_IN_LINK = 1_500
_UNDO, _TEXT, _STATE, _IN_COMPARE = "decide_undo", "decide_text", "decide_state", "decide_in_compare"


def current_answers() -> dict[str, Answer]:
    """The answers in the address. What is not understood there is said once, and dropped.

    Whoever comes back from another page has an address without them; then the session's last ones are put there.
    """
    if not any(key in st.query_params for key in (*_ids(), TEXT)):
        st.query_params.update(st.session_state.get(_STATE, {}))
    st.session_state[_STATE] = dict(st.query_params.items())
    answers, problems = from_link(dict(st.query_params.items()))
    for problem in problems:
        st.warning(plain(problem), title="The link holds an answer that is not understood")
    return answers


def current_text() -> str:
    """The description that was read, from the address or, if it is long, from this session."""
    return str(st.query_params.get(TEXT, "") or st.session_state.get(_TEXT, ""))


def remember(answers: Mapping[str, Answer], text: str | None = None, at: str | None = None) -> None:
    """Put the state into the address; edited costs stay there. `text` None leaves the description as it is."""
    described = current_text() if text is None else text
    others = {key: value for key, value in st.query_params.items() if key.startswith(COSTS)}
    state = others | to_link(answers)
    if at is not None:
        state[AT] = at
    if described and len(described) <= LONGEST_IN_LINK:
        state[TEXT] = described
    st.session_state[_TEXT] = described
    st.session_state[_STATE] = state
    st.query_params.from_dict(state)


def _ids() -> list[str]:
    return [question.id for question in rulebook().questions]


def draw_wizard(answers: Mapping[str, Answer], read: Mapping[str, Answer]) -> None:
    """The question that is due, or the one being changed, with the way back. `read` was taken from a description."""
    left = open_questions(answers)
    changing = st.query_params.get(AT)
    known = {question.id: question for question in rulebook().questions}
    question = known[changing] if changing in known else left[0] if left else None
    with st.container(border=True):
        if question is None:
            st.progress(1.0, "All questions that matter are answered.")
            st.markdown("Nothing else that could be asked would change the rung.")
        else:
            _question(question, answers, left)
    _given(answers, read)


def _question(question: Question, answers: Mapping[str, Answer], left: list[Question]) -> None:
    done = list(answers)
    number = done.index(question.id) + 1 if question.id in answers else len(done) + 1
    more = len([other for other in left if other.id != question.id])
    to_go = f"at most {more} more" if more else "the last one"
    st.progress(len(done) / max(1, len(done) + len(left)), f"Question {number}, {to_go}")
    st.subheader(question.text)
    st.markdown(question.help)
    st.caption(f"For example: {question.example}")
    # A form of its own for each question: in one that stayed, the old answers would stand beside the new for a moment.
    with st.form(f"question_{question.id}", border=False):
        answer = _input(question, answers.get(question.id))
        with st.container(horizontal=True):
            go_on = st.form_submit_button("Next", type="primary", icon=":material/arrow_forward:")
            not_sure = st.form_submit_button("Not sure", icon=":material/help:")
            earlier = done[: number - 1]
            back = st.form_submit_button("Back", icon=":material/arrow_back:", disabled=not earlier)
    if back:
        remember(answers, at=earlier[-1])
        st.rerun()
    if not_sure or (go_on and answer is not None):
        remember({**answers, question.id: UNSURE if not_sure or answer is None else answer})
        st.rerun()
    if go_on:
        st.warning("Choose an answer, or press Not sure.")


def _input(question: Question, given: Answer | None) -> Answer | None:
    """The widget of a question; None while nothing is chosen."""
    values = question.values()
    preset = values.index(given) if given in values else None
    key = f"answer_{question.id}"
    words = _typical if question.kind == "number" else in_words
    chosen: Answer | None = st.radio(
        question.text,
        values,
        index=preset,
        format_func=lambda value: words(question.id, value),
        key=key,
        label_visibility="collapsed",
    )
    if question.kind != "number":
        return chosen
    exact = st.number_input(
        f"Or the exact figure, {question.unit}",
        0.0,
        float(question.most),
        float(given) if isinstance(given, (int, float)) and preset is None else None,
        key=f"exact_{question.id}",
        format="%.10g",
        placeholder="None",
    )
    # A figure that only stands there because it was given before does not outweigh a button that was pressed now.
    return chosen if exact is None or (chosen is not None and exact == given) else float(exact)


def _typical(key: str, value: Answer) -> str:
    """ "A few hundred (200 requests a day)"; the figure is left out where the words hold it already."""
    words = rulebook().question(key).typical[float(value)]
    return words if not value or f"{value:,.10g}" in words else f"{words} ({in_words(key, value)})"


def _given(answers: Mapping[str, Answer], read: Mapping[str, Answer]) -> None:
    """What was answered, each a button that opens it again, and a new start that can be undone."""
    if answers:
        some_read = any(read.get(key) == value for key, value in answers.items())
        st.markdown("**Your answers**, each can be changed:")
        if some_read:
            st.caption(":material/psychology: was read from your description. Is it right?")
        with st.container(horizontal=True, gap="xsmall"):
            for key, value in answers.items():
                question = rulebook().question(key)
                words = in_words(key, value)
                label = f"{question.short}: {words if len(words) <= 32 else words[:31] + '…'}"
                guessed = read.get(key) == value
                icon = ":material/psychology:" if guessed else ":material/edit:"
                hint = f"{words} (read from your description: is it right?)" if guessed else words
                if st.button(plain(label), key=f"change_{key}", icon=icon, help=plain(hint)):
                    remember(answers, at=key)
                    st.rerun()
    with st.container(horizontal=True):
        if (answers or current_text()) and st.button("Start over", icon=":material/restart_alt:", key="decide_restart"):
            st.session_state[_UNDO] = (dict(answers), current_text())
            remember({}, text="")
            st.rerun()
        if (
            not answers
            and _UNDO in st.session_state
            and st.button("Undo", icon=":material/undo:", key="decide_undo_it")
        ):
            kept, text = st.session_state.pop(_UNDO)
            remember(kept, text=text)
            st.rerun()


def compare_parameters(rungs: Sequence[str], answers: Mapping[str, Answer]) -> dict[str, str]:
    """The address of a new comparison that was led to by these answers; `answers_in_compare` reads them there."""
    given = {f"decide.{key}": value for key, value in to_link(settled(answers)).items()}
    return {"new": "1", "rungs": ",".join(rungs)} | given


def answers_in_compare() -> dict[str, Answer]:
    """The answers that led to a new comparison: from its address, and from then on for the session.

    Whoever has to bring data first comes back without the address.
    """
    given = {key.removeprefix("decide."): value for key, value in st.query_params.items() if key.startswith("decide.")}
    if given:
        st.session_state[_IN_COMPARE] = from_link(given)[0]
    kept: dict[str, Answer] = st.session_state.get(_IN_COMPARE, {})
    return kept


def forget_in_compare() -> None:
    """The comparison was started, or is to be without advice."""
    st.session_state.pop(_IN_COMPARE, None)
    for key in [key for key in st.query_params if key.startswith("decide.")]:
        del st.query_params[key]
