"""One example whole: what was asked, what was expected, and what each rung said, with everything known about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from core.data.rows import annotate
from core.evaluate.browsing import SAME
from core.evaluate.questions import sent
from core.evaluate.reading import Asked, Scores
from core.store.tables import Example, Experiment, Prediction, Score
from pages.widgets.diff import word_diff
from pages.widgets.errors import guard, plain
from pages.widgets.outputs_filter import NOTHING, REFERENCE, Chosen
from pages.widgets.passages import draw_citations
from pages.widgets.turns import heading, show_text, show_tools, text_of
from pages.widgets.words import duration

# A longer answer is cut until somebody asks for all of it.
SHOWN_CHARACTERS = 4_000
# From here on an answer is scrolled within its card, so that the others stay beside it.
LONG_CHARACTERS, LONG_PIXELS = 1_500, 420
# Beyond this a browser tab gets slow; the download has the rest.
MOST_CHARACTERS = 200_000
NOTE_CHARACTERS = 2_000
REASON_CHARACTERS = 2_000
# What scoring says of answers that no metric saw; told in words elsewhere on the card.
SAID_ELSEWHERE = {"failed", "no_reference", "reused"}


def draw_example(experiment: Experiment, asked: Asked, scores: Scores, chosen: Chosen) -> None:
    example = asked.example
    question, expected = st.columns([3, 2], gap="medium")
    with question.container(border=True, height="stretch"):
        for turn in example.messages:
            st.caption(heading(turn["role"]))
            show_text(text_of(turn))
        show_tools(example.tools)
        if example.context:
            with st.expander("The passage it rests on", icon=":material/article:"):
                show_text(example.context)
    with expected.container(border=True, height="stretch"):
        _expected(example)
        _note(example)
    other = asked.predictions.get(chosen.beside, [])
    compared = None if chosen.beside == NOTHING else example.reference if chosen.beside == REFERENCE else None
    if other:
        compared = other[0].output
    if compared:
        st.caption(
            f"Against {plain(chosen.beside)}: :red-background[red] stands only in the answer, "
            ":green-background[~~green~~] is missing from it."
        )
    with st.grid(3, min_column_width=260, border=True) as grid:
        for rung in scores.rungs:
            with grid.cell():
                given = asked.predictions.get(rung, [])
                _card(experiment, rung, given, asked.scores, chosen, None if rung == chosen.beside else compared)


def _expected(example: Example) -> None:
    with st.container(horizontal=True):
        st.caption(":material/flag: Reference", width="content")
        if example.label:
            st.badge(plain(example.label, 80), color="blue", help="Its label.")
    if example.reference.strip():
        show_text(example.reference)
    else:
        st.caption("It has no reference: metrics that need one give every rung 0.")


def _note(example: Example) -> None:
    """Kept as soon as one leaves the field. It belongs to the example, so the Data page shows it as well."""
    key, before = f"outputs_note_{example.id}", f"outputs_note_before_{example.id}"
    st.session_state.setdefault(key, example.note)

    def keep() -> None:
        with guard():
            st.session_state[before] = example.note
            annotate(example.id, st.session_state[key].strip())

    def undo() -> None:
        with guard():
            st.session_state[key] = st.session_state.pop(before)
            annotate(example.id, st.session_state[key])

    st.text_area(
        "Note",
        key=key,
        height=68,
        max_chars=NOTE_CHARACTERS,
        placeholder="What you want to remember about this example",
        help="Saved when you leave the field. Nothing learns from it.",
        on_change=keep,
    )
    if before in st.session_state:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(":material/check: Saved", width="stretch")
            st.button("Undo", icon=":material/undo:", key=f"{key}_undo", type="tertiary", on_click=undo)


def _card(
    experiment: Experiment,
    rung: str,
    given: Sequence[Prediction],
    scores: Mapping[int, Mapping[str, Score]],
    chosen: Chosen,
    compared: str | None,
) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain(rung)}**", width="content")
        deciding = chosen.looking.metric
        values = [scores[p.id][deciding].value for p in given if deciding in scores[p.id]]
        if values:
            _badge(values, chosen.titles[deciding])
        elif given:
            st.badge("not scored yet", color="gray")
    if not given:
        st.caption("Not answered yet.")
        return
    prediction = _sample(rung, given)
    if prediction.error is not None:
        st.error(f"{plain(prediction.error, 1000)}  \nIt counts as 0.", title="No answer")
    else:
        _answer(prediction, compared)
    listed = {
        chosen.titles[metric]: score for metric, score in scores[prediction.id].items() if metric in chosen.titles
    }
    _figures(prediction, listed)
    if prediction.retrieved:
        draw_citations(prediction.output[:SHOWN_CHARACTERS], prediction.retrieved, f"cited_{prediction.id}")
    _reasons(listed, prediction.id)
    fold = st.expander(
        "As it was sent",
        icon=":material/outgoing_mail:",
        type="compact",
        key=f"sent_{prediction.id}",
        on_change="rerun",
    )
    if fold.open:
        with fold, guard():
            for turn in sent(prediction):
                st.caption(heading(turn["role"]))
                show_text(text_of(turn))


def _badge(values: Sequence[float | None], title: str) -> None:
    known = [value for value in values if value is not None]
    if not known:
        st.badge("does not apply", color="gray", help=f"{title} says nothing about this rung.")
        return
    value = sum(known) / len(known)
    colour = "green" if value >= 1 - SAME else "red" if value == 0 else "orange"
    over = f", mean of {len(known)} answers" if len(known) > 1 else ""
    st.badge(f"{100 * value:.0f} %", color=colour, help=f"{title}{over}.")  # type: ignore[arg-type]


def _sample(rung: str, given: Sequence[Prediction]) -> Prediction:
    if len(given) == 1:
        return given[0]
    number = st.segmented_control(
        "Answer",
        range(len(given)),
        default=0,
        required=True,
        format_func=lambda i: str(i + 1),
        key=f"sample_{rung}",
        help="The same question was asked several times.",
    )
    return given[min(int(number or 0), len(given) - 1)]


def _answer(prediction: Prediction, compared: str | None) -> None:
    text = prediction.output
    if not text.strip():
        st.caption("The answer is empty." if not text else "The answer is nothing but white space.")
        return
    whole = False
    if len(text) > SHOWN_CHARACTERS:
        with st.container(horizontal=True, vertical_alignment="center"):
            whole = st.toggle(f"All {len(text):,} characters", key=f"whole_{prediction.id}")
            st.download_button(
                "Download",
                lambda: text,
                f"answer-{prediction.id}.txt",
                "text/plain",
                icon=":material/download:",
                type="tertiary",
                on_click="ignore",
                key=f"answer_{prediction.id}",
            )
    shown = text[: MOST_CHARACTERS if whole else SHOWN_CHARACTERS]
    with st.container(height=LONG_PIXELS if len(text) > LONG_CHARACTERS else "content"):
        if whole or compared is None:
            st.text(shown)
        else:
            st.markdown(word_diff(compared[:SHOWN_CHARACTERS], shown))
    if len(shown) < len(text):
        st.caption(f"… and {len(text) - len(shown):,} more characters.")


def _figures(prediction: Prediction, scores: Mapping[str, Score]) -> None:
    parts = [
        f"{prediction.input_tokens:,} tokens in, {prediction.output_tokens:,} out",
        f"{prediction.latency_s:.2f} s" if prediction.latency_s < 60 else duration(prediction.latency_s),
    ]
    if prediction.cost_usd:
        parts.append(f"{prediction.cost_usd:.5f} USD")
    if prediction.reused:
        parts.append("taken over from an earlier comparison")
    if prediction.finish_reason == "length":
        parts.append(":orange[cut at the longest allowed answer]")
    values = [f"{plain(title)} {_share(score.value)}" for title, score in scores.items()]
    st.caption("  \n".join(" · ".join(line) for line in (values if len(values) > 1 else [], parts) if line))


def _share(value: float | None) -> str:
    return "does not apply" if value is None else f"{100 * value:.0f} %"


def _reasons(scores: Mapping[str, Score], prediction_id: int) -> None:
    """Behind a fold, what a metric says of why it gave less than everything, and what a judge said in any case."""
    reasons = {
        title: [
            f"{name.replace('_', ' ')}: {_worded(value)}"[:REASON_CHARACTERS]
            for name, value in score.notes.items()
            if name not in SAID_ELSEWHERE and (score.value != 1 or name == "reason")
        ]
        for title, score in scores.items()
    }
    if not any(reasons.values()):
        return
    with st.expander("Why these scores", icon=":material/help:", type="compact", key=f"why_{prediction_id}"):
        for title, lines in reasons.items():
            if lines:
                st.caption(plain(title))
                st.text("\n".join(lines))


def _worded(value: object) -> str:
    """Plain data as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_worded(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_worded, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)
