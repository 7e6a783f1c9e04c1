"""A new comparison: what is asked of whom, what the test can show, what it will take, and the start."""

from __future__ import annotations

import streamlit as st

from core.decide.answers import to_link
from core.decide.engine import rung_of
from core.errors import UserError
from core.evaluate.plan import JudgePlan
from core.evaluate.rungs import Rung
from core.jobs import queue
from core.jobs.background import in_background
from core.ladder import Climb, climb
from core.store.lists import indexes
from core.store.tables import Dataset, Experiment, Index
from core.train.recipe import Recipe
from pages.widgets.before_start import before_start
from pages.widgets.choose import go_to_view
from pages.widgets.compare_state import (
    EARLIER,
    KEY,
    NONE,
    earlier_on,
    extra_rungs,
    fill_again,
    filled,
    plan_on_screen,
    settle,
)
from pages.widgets.errors import guard, plain
from pages.widgets.forms import choose_dataset
from pages.widgets.judge_form import judge_form
from pages.widgets.metrics_picker import metrics_picker
from pages.widgets.parts import VERDICT, go_to
from pages.widgets.prompt_settings import answer_fields, preview_of, retrieval_fields, shot_fields, template_fields
from pages.widgets.rung_builder import (
    adapter_field,
    method_field,
    model_field,
    other_models,
    second_adapter_field,
    usual_rungs,
)
from pages.widgets.wizard import answers_in_compare, forget_in_compare
from pages.widgets.words import percent


def new_comparison() -> None:
    """The whole view: choices on the left, what they mean on the right."""
    fill_again()
    settle()
    st.caption("Every rung answers the same test questions; the answers are scored and compared pair by pair.")
    advised = _advised()
    left, right = st.columns([3, 2], gap="large")
    with left:
        dataset = choose_dataset("compare")
        if dataset is None:
            return
        index = _index()
        usual = usual_rungs(index is not None)
        adapter, model, recipe = None, "", None
        tuned = any(rung.adapter and rung.adapter_id is None for rung in [*usual, *extra_rungs()])
        if tuned:
            adapter = adapter_field(dataset)
        if adapter is None:
            model = model_field("Base model", f"{KEY}model")
            recipe = Recipe(model=model, method=method_field(advised)) if tuned else None
        else:
            model = adapter.base_model
            st.caption(plain(f"Trained on {model}, so that is the base model."))
        number, chosen, judged = filled()
        metrics = metrics_picker(f"{KEY}metric_{number}_", dataset.id, chosen)
        rungs = [*usual, *other_models()]
        _asking(dataset, index, rungs, model)
        judge = _judge(number, judged)
        _goal()
        name = st.text_input("Name", placeholder=dataset.name, max_chars=120, key=f"{KEY}name", persist_state="session")
        wanted: Climb | UserError
        try:
            wanted = Climb(
                name=name.strip() or dataset.name,
                dataset_id=dataset.id,
                plan=plan_on_screen(rungs, judge, dict(answers_in_compare())),
                index_id=index.id if index else None,
                metrics=tuple(metrics),
                adapter_id=adapter.id if adapter else None,
                target=_share("target"),
                delta=_share("delta") or 0.0,
                model=model,
                recipe=recipe,
                rerun_of=earlier_on(dataset.id),
            )
        except UserError as error:
            wanted = error
    with right:
        before_start(dataset, wanted, _start_and_watch)


def _advised() -> str:
    """The rung that the wizard advised, if it led here, with what that means for this form; else an empty text."""
    answers = answers_in_compare()
    if not answers:
        return ""
    rung = rung_of(answers)
    words = (
        "The rungs that this advice has to beat are chosen below. Its verdict will appear beside the advice on Decide."
    )
    if "managed" in rung:
        words += (
            " Add a fine-tune that you have bought under other models; until then an adapter of your own stands for it."
        )
    with st.container(border=True):
        st.markdown(f":material/alt_route: **From Decide: try {plain(rung)} first.** {words}")
        with st.container(horizontal=True, vertical_alignment="center"):
            st.page_link(
                "pages/decide.py",
                label="Back to the advice",
                icon=":material/arrow_back:",
                query_params=to_link(answers),
            )
            if st.button("Compare without it", key="compare_forget"):
                forget_in_compare()
                st.rerun()
    return rung


def _index() -> Index | None:
    listed = {s.index.id: s for s in indexes()}
    key = f"{KEY}index"
    if st.session_state.get(key) not in (NONE, *listed):
        st.session_state[key] = next(iter(listed), NONE)
    chosen = st.selectbox(
        "Documents",
        [NONE, *listed],
        key=key,
        persist_state="session",
        format_func=lambda i: (
            "None" if i not in listed else f"{listed[i].index.name} ({listed[i].documents} documents, number {i})"
        ),
        help="Rungs with retrieval look things up here. Add documents on the Data page.",
    )
    return listed[chosen].index if chosen in listed else None


def _asking(dataset: Dataset, index: Index | None, rungs: list[Rung], model: str) -> None:
    """How the rungs are asked; only what these rungs use."""
    with st.expander("Prompt and worked examples", icon=":material/chat:"):
        if any(rung.shots for rung in rungs):
            shot_fields(dataset)
        template_fields()
        with guard():
            preview_of(plan_on_screen(rungs, None, {}), dataset, index.id if index else None)
    with st.expander("Search, and how answers are written", icon=":material/tune:"):
        if any(rung.retrieval for rung in rungs):
            retrieval_fields(index)
            if any(rung.retrieval and rung.adapter for rung in rungs):
                second_adapter_field(dataset, model)
        answer_fields()


def _judge(number: int, chosen: JudgePlan | None) -> JudgePlan | None:
    """`number` of the experiment that the form was filled with: its judge's fields begin anew."""
    with st.expander("A judge model, pair by pair", icon=":material/gavel:", expanded=chosen is not None):
        return judge_form(f"{KEY}judge_{number}_", chosen)


def _goal() -> None:
    with st.expander("Target and margin", icon=":material/flag:"):
        _target()
        minimums: dict[str, float] = st.session_state[f"{KEY}minimums"]
        if minimums:
            listed = ", ".join(f"{rung} {percent(share)}" for rung, share in minimums.items())
            st.caption(plain(f"Least scores, as in the experiment that this was filled from: {listed}."))
            st.button("Leave them out", key=f"{KEY}no_minimums", on_click=minimums.clear)


def _target() -> None:
    with st.grid(2, min_column_width=180):
        st.number_input(
            "Target score, %",
            1.0,
            100.0,
            None,
            1.0,
            key=f"{KEY}target",
            placeholder="None",
            persist_state="session",
            help="The score that is good enough. The verdict is then the lowest rung shown to reach it.",
        )
        st.number_input(
            "Margin, points",
            0.5,
            50.0,
            step=0.5,
            key=f"{KEY}delta",
            persist_state="session",
            help="A gain smaller than this is not worth a costlier rung.",
        )


def _share(name: str) -> float | None:
    percent = st.session_state[KEY + name]
    return None if percent is None else percent / 100


def _start_and_watch(wanted: Climb) -> None:
    experiment = _start(wanted)
    forget_in_compare()
    st.session_state.pop(EARLIER, None)
    go_to_view("compare_view", "Results")
    # Wherever the last one was left: the progress of the new one stands under its verdict.
    go_to(VERDICT)
    st.query_params["experiment"] = str(experiment.id)
    st.rerun()


def _start(wanted: Climb) -> Experiment:
    """Queue it, behind the job that fills its index, if one is at that."""
    filling = next(
        (
            job.id
            for job in queue.jobs("index")
            if job.spec.get("index_id") == wanted.index_id and job.status in queue.ACTIVE
        ),
        None,
    )
    return climb(wanted, in_background, index_job=filling)
