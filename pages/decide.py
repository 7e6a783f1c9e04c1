"""Decide: a sentence or a few answers, the rung to try first, why, what it costs, and the way to test it."""

from __future__ import annotations

import datetime as dt

import streamlit as st

from core.decide.decision import decide
from core.decide.engine import open_questions
from core.decide.record import as_html, as_markdown
from core.decide.rulebook import rulebook
from pages.widgets.advice import draw_advice, headline, measured_for
from pages.widgets.assumptions import edited_assumptions
from pages.widgets.choose import view
from pages.widgets.describe import current_opinion, describe, draw_diagnosis, own_answers
from pages.widgets.learn import draw_learn
from pages.widgets.managed_advice import bought_in_compare, draw_managed
from pages.widgets.money import draw_money
from pages.widgets.tree import draw_tree
from pages.widgets.wizard import compare_parameters, current_answers, draw_wizard

st.title("Decide")
st.caption(
    "Prompt, retrieve or fine-tune? Describe the problem or answer some questions, and get the rung to try first. "
    "It is advice by rules of thumb: measure it before you trust it."
)

answers = current_answers()
ask, picture = st.columns([1, 1], gap="large")
with ask:
    diagnosis = describe(answers)
    if diagnosis is not None:
        draw_diagnosis(diagnosis)
    draw_wizard(answers, diagnosis.answers if diagnosis is not None else {})

decision = decide(
    own_answers(answers, diagnosis),
    diagnosis=diagnosis,
    opinion=current_opinion(diagnosis),
    assumptions=edited_assumptions(answers),
    today=dt.date.today(),
)
begun = bool(answers) or diagnosis is not None
with picture:
    if begun:
        headline(decision, len(open_questions(answers)))
    draw_tree(decision.advice.path if begun else (), "decide_tree")

part = view("decide_view", ["The answer", "The money", "How it works"], "Part")
if part == "How it works":
    draw_learn()
elif not begun:
    st.info(
        "Describe the problem above, or answer the first question. The answer appears here and grows with each step.",
        title="No answers yet",
    )
elif part == "The money":
    draw_money(answers, decision.advice.rung, decision.today)
else:
    measured = measured_for(decision.answers)
    draw_managed(decision)
    draw_advice(decision, measured)
    st.subheader("Take it away")
    records = [found for _, found in measured]
    with st.container(horizontal=True):
        if st.button("Test this on my data", type="primary", icon=":material/balance:", key="decide_test"):
            text = rulebook().texts.rungs[decision.advice.rung]
            told = compare_parameters(text.measure, decision.answers) | bought_in_compare(decision)
            st.switch_page("pages/compare.py", query_params=told)
        st.download_button(
            "Decision record (Markdown)",
            lambda: as_markdown(decision, records),
            "decision.md",
            "text/markdown",
            icon=":material/download:",
            on_click="ignore",
        )
        st.download_button(
            "Decision record (HTML)",
            lambda: as_html(decision, records),
            "decision.html",
            "text/html",
            icon=":material/download:",
            on_click="ignore",
        )
