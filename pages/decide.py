"""Decide: a few questions, the rung to try first, why, and the way to test it."""

from __future__ import annotations

import streamlit as st

from core.decide.engine import advise, rulebook
from core.store.lists import experiments
from pages.widgets.errors import plain
from pages.widgets.ladder import ALL_RUNGS, RUNG_MEANING, Mark, draw_ladder, ladder_figure, plain_ladder

st.title("Decide")
st.caption(
    "Four questions, and the rung to try first. It is advice from a rule of thumb: measure it before you trust it."
)

questions = rulebook().questions
form, picture = st.columns([1, 1], gap="large")
answers: dict[str, str] = {}
with form:
    for question in questions:
        answer = st.radio(
            question.text,
            list(question.answers),
            format_func=question.answers.__getitem__,
            index=None,
            key=f"decide_{question.id}",
            help=question.help,
            persist_state="session",
        )
        if answer is not None:
            answers[question.id] = answer

with picture:
    if len(answers) < len(questions):
        draw_ladder(ladder_figure(plain_ladder(), "The ladder"), "decide_ladder", "The ladder of six rungs")
        st.info(
            f"{len(questions) - len(answers)} of {len(questions)} questions left.",
            title="Answer to see your rung",
        )
        st.stop()
    advice = advise(answers)
    marks = [
        Mark(
            rung,
            chosen=rung == advice.rung,
            faded=rung not in advice.measure,
            note="try this first" if rung == advice.rung else "",
        )
        for rung in ALL_RUNGS
    ]
    draw_ladder(
        ladder_figure(marks, "Your ladder"),
        "decide_ladder",
        f"The ladder with {advice.rung} marked as the rung to try",
    )

st.header(f"Try {plain(advice.rung)} first")
st.markdown(RUNG_MEANING[advice.rung])
left, right = st.columns(2, gap="large")
with left:
    st.subheader("Why")
    for reason in advice.reasons:
        st.markdown(f"- {plain(reason)}")
with right:
    st.subheader("What would change this")
    st.markdown(plain(advice.flip))
    st.caption("To measure: " + plain(", ".join(advice.measure)))
if st.button("Test this on my data", type="primary", icon=":material/balance:", key="decide_test"):
    st.switch_page("pages/compare.py", query_params={"new": "1", "rungs": ",".join(advice.measure)})

measured = [e for e in experiments() if e.report and e.report["verdict"]["rung"]]
if measured:
    st.subheader("What your measurements said")
    for experiment in measured[:5]:
        rung = (experiment.report or {})["verdict"]["rung"]
        with st.container(horizontal=True, vertical_alignment="center"):
            if rung == advice.rung:
                st.badge(f"{plain(rung)}: as advised", icon=":material/check:", color="green")
            else:
                st.badge(f"{plain(rung)}: not as advised", icon=":material/swap_vert:", color="orange")
            st.page_link(
                "pages/compare.py",
                label=plain(experiment.name, 80),
                query_params={"experiment": str(experiment.id)},
            )
