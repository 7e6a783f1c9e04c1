"""A new comparison: what to measure, what the test can show, what it will take, and the start."""

from __future__ import annotations

from typing import Any, Literal

import streamlit as st

from core.decide.answers import to_link
from core.decide.engine import rung_of
from core.errors import UserError
from core.evaluate.experiment import Plan, create_experiment
from core.evaluate.metrics import metric_named, metrics
from core.evaluate.rungs import Rung, rungs_named
from core.evaluate.statistics import DELTA
from core.forecast import comparison_seconds, detectable_in_words, training_seconds
from core.jobs import queue
from core.jobs.background import in_background
from core.ladder import Climb, check, climb, default_rungs, submit_comparison, submit_index
from core.store.lists import adapters, indexes
from core.store.tables import Adapter, Dataset, Experiment
from core.train.recipe import Recipe
from pages.widgets.choose import go_to_view
from pages.widgets.errors import guard, plain
from pages.widgets.facts import metric_of
from pages.widgets.forms import base_model, choose_dataset
from pages.widgets.ladder import RUNG_MEANING, measurable
from pages.widgets.wizard import answers_in_compare, forget_in_compare
from pages.widgets.words import duration

# Stand for an adapter that is still to be trained, and for no documents; ids begin at 1.
NEW = NONE = 0
PLAN: dict[str, Any] = Plan.model_json_schema()["properties"]


def new_comparison() -> None:
    st.caption("Every rung answers the same test questions; the answers are scored and compared pair by pair.")
    advised = _advised()
    left, right = st.columns([3, 2], gap="large")
    with left:
        dataset = choose_dataset("compare")
        if dataset is None:
            return
        index_id = _index()
        rungs = _rungs(index_id is not None)
        tuned = any(rung.adapter for rung in _known(rungs))
        adapter = _adapter(dataset) if tuned else None
        model = adapter.base_model if adapter is not None else base_model("compare_model")
        method = _method(advised) if tuned and adapter is None else "lora"
        suggested, why = metric_of(dataset.id, dataset.hash)
        names = [metric.name for metric in metrics()]
        metric = st.selectbox(
            "Metric",
            names,
            names.index(suggested),
            format_func=lambda n: metric_named(n).title,
            key=f"compare_metric_{dataset.id}",
        )
        st.caption(plain(f"{metric_named(metric).explanation} Suggested: {metric_named(suggested).title}. {why}"))
        with st.expander("More settings", icon=":material/tune:"):
            target, delta, plan = _more(rungs)
        name = st.text_input("Name", placeholder=dataset.name, max_chars=120, key="compare_name")
    wanted = Climb(
        name=name or dataset.name,
        dataset_id=dataset.id,
        rungs=tuple(rungs),
        index_id=index_id,
        metric=metric,
        target=target,
        delta=delta,
        model=model,
        recipe=Recipe(model=model, method=method),
        plan=plan,
    )
    with right:
        _before_start(dataset, wanted, adapter)


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
        words += " A managed fine-tune cannot be measured here yet; an adapter of your own stands for it."
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


def _index() -> int | None:
    listed = {s.index.id: s for s in indexes()}
    chosen = st.selectbox(
        "Documents",
        [NONE, *listed],
        1 if listed else 0,
        key="compare_index",
        persist_state="session",
        format_func=lambda i: (
            "None" if i not in listed else f"{listed[i].index.name} ({listed[i].documents} documents, number {i})"
        ),
        help="Rungs with retrieval look things up here. Add documents on the Data page.",
    )
    return chosen or None


def _rungs(with_documents: bool) -> list[str]:
    address = st.query_params.get("rungs", "")
    if address and st.session_state.get("compare_rungs_address") != address:
        st.session_state["compare_rungs"] = [rung for rung in address.split(",") if rung in measurable()]
        st.session_state["compare_rungs_address"] = address
    if "compare_rungs" not in st.session_state:
        st.session_state["compare_rungs"] = list(default_rungs(with_documents))
    chosen = st.pills(
        "Rungs",
        measurable(),
        selection_mode="multi",
        key="compare_rungs",
        persist_state="session",
        help="  \n".join(f"**{plain(rung)}**: {RUNG_MEANING[rung]}" for rung in measurable()),
    )
    return [rung for rung in measurable() if rung in chosen]


def _known(rungs: list[str]) -> list[Rung]:
    return rungs_named(rungs) if rungs else []


def _adapter(dataset: Dataset) -> Adapter | None:
    """An adapter trained on this dataset, or None for one that is still to be trained."""
    listed = {adapter.id: adapter for adapter in adapters(dataset.id)}
    address = st.query_params.get("adapter", "")
    preset = list(listed).index(int(address)) + 1 if address.isdigit() and int(address) in listed else 0
    chosen = st.selectbox(
        "Adapter",
        [NEW, *listed],
        preset,
        key=f"compare_adapter_{dataset.id}_{address}",
        format_func=lambda i: (
            "Train a new one with the default recipe"
            if i not in listed
            else f"{listed[i].name} ({listed[i].method}, number {i})"
        ),
    )
    return listed.get(chosen)


def _method(advised: str) -> Literal["lora", "qlora"]:
    """How the new adapter is trained; as advised, where something was."""
    chosen: Literal["lora", "qlora"] = st.selectbox(
        "Training method",
        ["lora", "qlora"],
        1 if "qlora" in advised else 0,
        key=f"compare_method_{advised}",
        help=str(Recipe.model_json_schema()["properties"]["method"]["description"]),
    )
    return chosen


def _more(rungs: list[str]) -> tuple[float | None, float, Plan]:
    with st.grid(2, min_column_width=180):
        target = st.number_input(
            "Target score, %",
            1.0,
            100.0,
            None,
            1.0,
            key="compare_target",
            placeholder="None",
            persist_state="session",
            help="The score that is good enough. The verdict is then the lowest rung shown to reach it.",
        )
        delta = st.number_input(
            "Margin, points",
            0.5,
            50.0,
            100 * DELTA,
            0.5,
            key="compare_delta",
            persist_state="session",
            help="A gain smaller than this is not worth a costlier rung.",
        )
        shots = st.number_input(
            "Worked examples in a prompt",
            1,
            64,
            8,
            key="compare_shots",
            persist_state="session",
            help=PLAN["shots"]["description"],
        )
        passages = st.number_input(
            "Passages per question",
            1,
            50,
            2,
            key="compare_passages",
            persist_state="session",
            help=PLAN["passages"]["description"],
        )
    plan = Plan(rungs=rungs, shots=int(shots), passages=int(passages), answers=answers_in_compare())
    return (None if target is None else target / 100), delta / 100, plan


def _before_start(dataset: Dataset, wanted: Climb, adapter: Adapter | None) -> None:
    tests = dataset.notes["counts"]["test"]
    with st.container(border=True):
        st.subheader("Before you start")
        st.markdown(plain(detectable_in_words(tests, metric_named(wanted.metric or "exact_match").kind)))
        refused = _refusal(wanted, adapter)
        if refused is None:
            trains = adapter is None and any(rung.adapter for rung in _known(list(wanted.rungs)))
            seconds = comparison_seconds(tests, wanted.rungs)
            words = f"{tests * len(wanted.rungs):,} answers"
            if trains:
                seconds += training_seconds(dataset.id, wanted.recipe or Recipe(model=wanted.model))
                words += " and one training"
            st.metric(
                "Rough time",
                duration(seconds),
                help="For the bundled model; a larger one takes longer in proportion.",
            )
            st.caption(words)
        else:
            st.warning(plain(refused.remedy) or "Change the choice on the left.", title=plain(refused.what))
        if st.button(
            "Start comparing",
            type="primary",
            icon=":material/play_arrow:",
            disabled=refused is not None,
            key="start_comparing",
        ):
            with guard():
                experiment = _start(wanted, adapter)
                forget_in_compare()
                go_to_view("compare_view", "Results")
                st.query_params["experiment"] = str(experiment.id)
                st.rerun()


def _refusal(wanted: Climb, adapter: Adapter | None) -> UserError | None:
    """Why it cannot start as it is; an adapter that exists needs no training examples."""
    try:
        if adapter is None:
            check(wanted)
        else:
            rungs = rungs_named(wanted.rungs)
            if wanted.index_id is None and any(rung.retrieval for rung in rungs):
                raise UserError("Rungs with retrieval need documents.", "Choose documents, or leave these rungs out.")
    except UserError as error:
        return error
    return None


def _start(wanted: Climb, adapter: Adapter | None) -> Experiment:
    filling = next(
        (
            job.id
            for job in queue.jobs("index")
            if job.spec.get("index_id") == wanted.index_id and job.status in queue.ACTIVE
        ),
        None,
    )
    if adapter is None:
        return climb(wanted, in_background, index_job=filling)
    assert wanted.metric is not None and wanted.plan is not None
    experiment = create_experiment(
        wanted.name,
        wanted.dataset_id,
        metric=wanted.metric,
        plan=wanted.plan,
        model=wanted.model,
        index_id=wanted.index_id,
        adapter_id=adapter.id,
        target=wanted.target,
        delta=wanted.delta,
    )
    unready = next((s for s in indexes() if s.index.id == wanted.index_id and not s.ready), None)
    if filling is None and unready is not None:
        filling = submit_index(unready.index.id, unready.index.name, in_background)
    submit_comparison(experiment, in_background, [filling] if filling is not None else [])
    return experiment
