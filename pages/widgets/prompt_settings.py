"""How the rungs are asked: worked examples, the words around a question, the search, and how answers are written."""

from __future__ import annotations

from typing import Any

import streamlit as st
from sqlalchemy import select

from core.errors import UserError
from core.evaluate.plan import Plan
from core.evaluate.questions import preview
from core.models.prompt import last_question
from core.store.database import session
from core.store.tables import Dataset, Example, Index
from pages.widgets.compare_state import KEY, SAME
from pages.widgets.errors import guard, plain
from pages.widgets.turns import heading, show_text
from pages.widgets.words import many

PLAN: dict[str, Any] = Plan.model_json_schema()["properties"]
CHOICES = {"random": "At random", "similar": "Most similar", "chosen": "By hand"}
# So many training examples are offered at a time; a search narrows them.
OFFERED = 100
SHORT = 90
PREVIEW_HEIGHT = 420
MODES = {SAME: "As the index is set", "hybrid": "Meaning and words", "dense": "Meaning", "sparse": "Words"}


def shot_fields(dataset: Dataset) -> None:
    """How many worked examples stand in a prompt, and which."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        way = st.segmented_control(
            "Worked examples",
            list(CHOICES),
            format_func=CHOICES.__getitem__,
            key=f"{KEY}shot_choice",
            required=True,
            persist_state="session",
            help=PLAN["shot_choice"]["description"],
        )
        if way != "chosen":
            _number("shots", "How many", 1, 64)
    if way == "chosen":
        _by_hand(dataset)
    elif way == "similar":
        st.caption("Those whose questions mean the most similar, never of the question's own group: the nearest last.")


def _by_hand(dataset: Dataset) -> None:
    """A picker of training examples; what is chosen stays listed whatever is searched for."""
    key = f"{KEY}shot_ids"
    looked = st.text_input("Find training examples", key=f"{KEY}shot_search", persist_state="session")
    mine = Example.dataset_id == dataset.id, Example.split == "train"
    query = select(Example).where(*mine).order_by(Example.position).limit(OFFERED)
    if looked and looked.strip():
        query = query.where(Example.folded.contains(looked.strip().casefold(), autoescape=True))
    with session(read_only=True) as db:
        kept = list(db.scalars(select(Example).where(*mine, Example.id.in_(st.session_state[key]))))
        found = list(db.scalars(query))
    titles = {row.id: _short(row) for row in [*kept, *found]}
    st.session_state[key] = [row_id for row_id in st.session_state[key] if row_id in titles]
    st.multiselect(
        "Worked examples",
        list(titles),
        format_func=lambda row_id: titles.get(row_id, str(row_id)),
        key=key,
        persist_state="session",
        max_selections=64,
        placeholder=f"Choose among {many(len(titles), 'training example')}",
        help="Shown in the order in which they are chosen. The search looks through question and answer.",
    )


def _short(row: Example) -> str:
    question, answer = " ".join(last_question(row.messages).split()), " ".join(row.reference.split())
    cut = question if len(question) <= SHORT else f"{question[: SHORT - 1]}…"
    return f"{cut} → {answer[: SHORT // 2]}"


def template_fields() -> None:
    """The words around a question."""
    st.text_area(
        "Instructions",
        key=f"{KEY}system",
        persist_state="session",
        height=80,
        placeholder="Empty: each example's own system turn",
        help="A system turn for all questions, in place of the examples' own.",
    )
    st.text_area(
        "Question",
        key=f"{KEY}question",
        persist_state="session",
        height=80,
        help="What the last turn says; {question} is where the question goes. An adapter knows the form it was trained "
        "on: other words around the question make it worse.",
    )
    st.text_area(
        "Question with passages",
        key=f"{KEY}quoting",
        persist_state="session",
        height=80,
        placeholder="Empty: “Passages that may help:”, the passages, then the question",
        help="The last turn where passages were found; {passages} and {question} are where they go.",
    )


def retrieval_fields(index: Index | None) -> None:
    """Passages in a prompt and how they are searched."""
    with st.grid(2, min_column_width=180):
        _number("passages", "Passages per question", 1, 50)
        mode = st.selectbox(
            "Search by", list(MODES), format_func=MODES.__getitem__, key=f"{KEY}mode", persist_state="session"
        )
        usual = None if index is None else round(100 * index.dense_weight)
        st.number_input(
            "Share of meaning, %",
            0,
            100,
            None,
            5,
            key=f"{KEY}dense_weight",
            persist_state="session",
            placeholder="As the index is set" + ("" if usual is None else f": {usual}"),
            disabled=mode in ("dense", "sparse"),
            help="How much the list by meaning counts beside the list by words.",
        )
        st.text_input(
            "Reranker",
            key=f"{KEY}reranker",
            persist_state="session",
            placeholder=(index.reranker if index else "") or "None",
            help="A cross-encoder that orders the passages anew: a Hugging Face id or a local folder.",
        )
        _least_score()


def _least_score() -> None:
    st.number_input(
        "Least score of a passage",
        None,
        None,
        None,
        0.05,
        key=f"{KEY}min_score",
        persist_state="session",
        placeholder="None",
        help="Passages found with less are left out. Cosine similarity by meaning, 0 to 1 when both lists are fused, "
        "BM25 by words, or what the reranker says.",
    )


def answer_fields() -> None:
    """How answers are written."""
    with st.grid(2, min_column_width=180):
        st.number_input(
            "Temperature",
            0.0,
            2.0,
            step=0.1,
            key=f"{KEY}temperature",
            persist_state="session",
            help=PLAN["temperature"]["description"] + " Measured again, it says the same again.",
        )
        drawn = st.session_state[f"{KEY}temperature"] > 0
        st.number_input(
            "Top-p",
            0.01,
            1.0,
            step=0.05,
            key=f"{KEY}top_p",
            persist_state="session",
            disabled=not drawn,
            help=PLAN["top_p"]["description"] if drawn else "Matters with a temperature above 0.",
        )
        st.number_input(
            "Answers to each question",
            1,
            20,
            key=f"{KEY}samples",
            persist_state="session",
            disabled=not drawn,
            help=PLAN["samples"]["description"] if drawn else "With a temperature of 0 all would be the same.",
        )
        st.number_input(
            "Longest answer, tokens",
            1,
            32_768,
            None,
            key=f"{KEY}max_new_tokens",
            persist_state="session",
            placeholder="From the data",
            help="Half as long again as the longest reference, unless given. What is longer is cut, and counted.",
        )
        st.number_input(
            "Seed",
            0,
            None,
            None,
            key=f"{KEY}seed",
            persist_state="session",
            placeholder="The data set's",
            help=PLAN["seed"]["description"],
        )


def preview_of(plan: Plan, dataset: Dataset, index_id: int | None) -> None:
    """Exactly what a rung sends for one test example, when somebody wants to see it."""
    tests, names = dataset.notes["counts"]["test"], [rung.name for rung in plan.ladder]
    if not tests or not st.toggle("Show what is sent", key=f"{KEY}preview", persist_state="session"):
        return
    with st.container(border=True):
        with st.container(horizontal=True):
            fullest = max(plan.ladder, key=lambda rung: rung.shots + rung.retrieval).name
            if st.session_state.get(f"{KEY}preview_rung") not in names:
                st.session_state[f"{KEY}preview_rung"] = fullest
            chosen = st.selectbox("Rung", names, key=f"{KEY}preview_rung")
            number = st.number_input("Test example", 1, tests, key=f"{KEY}preview_number", persist_state="session")
        rung = next(rung for rung in plan.ladder if rung.name == chosen)
        with guard(), st.spinner("Looking up what stands in this prompt"):
            chat, hits = preview(
                plan,
                rung,
                dataset.id,
                _test_example(dataset.id, int(number)),
                index_id if rung.retrieval else None,
                dataset.seed if plan.seed is None else plan.seed,
            )
            with st.container(height=PREVIEW_HEIGHT, border=False):
                for turn in chat:
                    st.caption(heading(turn["role"]))
                    show_text(turn["content"])
            if rung.retrieval and not hits:
                st.caption("Nothing was found for it, so no passage is shown.")
        st.caption(plain("The model's own chat template puts its marks around these turns."))


def _test_example(dataset_id: int, number: int) -> int:
    mine = Example.dataset_id == dataset_id, Example.split == "test"
    with session(read_only=True) as db:
        found = db.scalar(select(Example.id).where(*mine).order_by(Example.position).offset(number - 1).limit(1))
    if found is None:
        raise UserError(f"There is no test example {number}.", "Choose another number.")
    return found


def _number(name: str, label: str, least: int, most: int) -> None:
    st.number_input(label, least, most, key=KEY + name, persist_state="session", help=PLAN[name]["description"])
