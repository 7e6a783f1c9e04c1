"""A new run: the recipe on the left; what it will take, the pre-flight check and the start on the right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from core.errors import UserError
from core.forecast.lengths import Counted, counted
from core.forecast.training import forecast, passage_tokens, suggestion
from core.jobs import queue
from core.jobs.background import in_background, job_device
from core.ladder import submit_index, submit_training
from core.models.access import ModelFacts, describe, inspect
from core.store.lists import indexes
from core.store.tables import Dataset, Job
from core.train.estimate import refuse
from core.train.recipe import Recipe
from pages.widgets import estimate_view, preflight_view
from pages.widgets.choose import go_to_view
from pages.widgets.errors import guard, plain, show_error
from pages.widgets.forms import base_model, choose_dataset
from pages.widgets.progress import badge, live, progress_bar, stop_button, trouble
from pages.widgets.queue_line import line, show_line
from pages.widgets.recipe_form import expert_fields, method_field, passage_fields, usual_fields
from pages.widgets.recipe_io import download, fill_pending, upload
from pages.widgets.recipe_state import (
    KEY,
    back_to_suggested,
    changed,
    chosen_method,
    for_method,
    on_screen,
    passages_chosen,
    settle,
)

VIEW, RUNS, NEW = "train_view", "Runs", "New run"
# Seconds that these jobs are expected to take with the bundled model, for the time left of whatever waits behind them.
PREFLIGHT_S, FORGETTING_S = 40.0, 60.0
CHECK_POLL_S = 1.0


@dataclass(frozen=True)
class Facts:
    """`known` is None where nothing can be told of a model; `refused` says why it cannot be trained here."""

    known: ModelFacts | None
    refused: UserError | None = None


def new_run() -> None:
    """The whole view."""
    fill_pending()
    st.caption("An adapter learns from your training examples; the base model stays as it is.")
    left, right = st.columns([3, 2], gap="large")
    with left:
        tools = st.container(horizontal=True)
        dataset = choose_dataset("train")
        if dataset is None:
            return
        _counts(dataset)
        model = base_model(f"{KEY}model")
        facts = _facts(model)
        passages, chosen_index = passages_chosen()
        more = passage_tokens(Recipe(passages=passages), chosen_index)
        suggested, reasons = _suggested(model, facts, dataset, more)
        settle(suggested)
        method_field(reasons.get("method", ""))
        st.text_input("Name", placeholder=dataset.name, max_chars=120, key=f"{KEY}name", persist_state="session")
        st.markdown("##### What most people turn")
        usual_fields(reasons)
        expert_fields(reasons, _counted(facts, dataset, more))
        index_id = passage_fields()
        with guard():
            recipe = on_screen(model)
            _tools(tools, recipe, suggested, dataset, index_id)
            with right:
                _before_start(dataset, recipe, facts, index_id, st.session_state[f"{KEY}name"].strip() or dataset.name)


def _facts(model: str) -> Facts:
    """What is known of the model, and why it cannot be trained here, if so."""
    try:
        with st.spinner("Looking the model up", show_time=True):
            return Facts(inspect(model))
    except UserError as error:
        show_error(error)
        try:
            return Facts(describe(model), error)
        except UserError:
            return Facts(None, error)


def _counted(facts: Facts, dataset: Dataset, more: int) -> Counted | None:
    """Tokens of the training examples with `more` for passages; counted already by the suggestion."""
    return None if facts.known is None else counted(dataset.id, facts.known, more)


def _suggested(model: str, facts: Facts, dataset: Dataset, more: int) -> tuple[Recipe, dict[str, str]]:
    """What an expert would start from, with reasons; for the method that was chosen, if one was.

    The first time, a tokenizer has to be opened for it.
    """
    if facts.known is None:
        return Recipe(model=model), {}
    with st.spinner("Counting the tokens of your examples", show_time=True):
        recipe, reasons = suggestion(model, dataset.id, more)
    return for_method(recipe, reasons, chosen_method())


def _counts(dataset: Dataset) -> None:
    counts = dataset.notes["counts"]
    st.caption(
        " · ".join(
            f"{counts[split]:,} {title}"
            for split, title in (
                ("train", "training examples"),
                ("validation", "for validation"),
                ("test", "kept for the test"),
            )
        )
    )


def _tools(place: Any, recipe: Recipe, suggested: Recipe, dataset: Dataset, index_id: int | None) -> None:
    """What concerns the form as a whole, above it: files, and the way back to what was suggested."""
    own = changed(suggested)
    with place:
        upload(recipe)
        download(recipe, dataset, index_id)
        st.button(
            "Back to the suggested values",
            icon=":material/restart_alt:",
            disabled=not own,
            on_click=back_to_suggested,
            key=f"{KEY}suggested",
            help=plain(f"Changed: {', '.join(own)}.") if own else "Every field has its suggested value.",
        )


def _before_start(dataset: Dataset, recipe: Recipe, facts: Facts, index_id: int | None, name: str) -> None:
    """What it will take; why it cannot start, if so; the check and the start; what runs on the device already."""
    found = None if facts.known is None else forecast(recipe, dataset.id, index_id)
    refused = _refusal(dataset, recipe, facts)
    st.subheader("Before you start")
    estimate_view.figures(found, recipe, dataset.notes["counts"]["train"])
    if refused is not None:
        show_error(refused)
    if found is not None:
        estimate_view.advice(found, refused is not None)
    if not dataset.notes["counts"]["validation"]:
        st.warning("No validation examples: over-fitting will not be seen, and the last checkpoint is the one kept.")
    spec = {"dataset_id": dataset.id, "recipe": recipe.model_dump(), "name": name, "index_id": index_id}
    device = job_device()
    busy = any(job.status == "running" for job in line(device))
    checked = _last_check(spec)
    _start(spec, busy=busy, refused=refused is not None or facts.refused is not None, checked=checked)
    show_line(device)
    if checked is not None:
        _check_result(checked)
    if found is not None:
        estimate_view.memory(found)
        estimate_view.elsewhere(found)


def _refusal(dataset: Dataset, recipe: Recipe, facts: Facts) -> UserError | None:
    """Why the run cannot begin as it is; what is wrong with the model itself is said beside the model."""
    if facts.known is None:
        return None
    try:
        refuse(recipe, facts.known, dataset.notes["counts"]["train"])
    except UserError as error:
        return error
    return None


def _start(spec: dict[str, Any], *, busy: bool, refused: bool, checked: Job | None) -> None:
    forget = st.checkbox(
        "Check afterwards what it forgot",
        True,
        key=f"{KEY}forgetting",
        persist_state="session",
        help="A short job behind the training: forty general questions, to the base model and to the adapter.",
    )
    with st.container(horizontal=True):
        if st.button(
            "Queue another" if busy else "Start training",
            type="primary",
            icon=":material/playlist_add:" if busy else ":material/play_arrow:",
            disabled=refused,
            key="start_training",
            help="The run begins with the same checks. " + ("It starts when its turn has come." if busy else ""),
        ):
            with guard():
                _submit(spec, forget, watch=not busy)
        if st.button(
            "Pre-flight check",
            icon=":material/checklist:",
            disabled=refused or (checked is not None and checked.status in queue.ACTIVE),
            key=f"{KEY}preflight",
            help="One real step, one evaluation and one save in a job of its own, in well under a minute for small "
            "models: measures the memory and corrects the time.",
        ):
            with guard():
                in_background("preflight", spec, f"Pre-flight: {spec['name']}", _indexing(spec), PREFLIGHT_S)
                st.rerun()


def _submit(spec: dict[str, Any], forget: bool, *, watch: bool) -> None:
    """Queue the run as it stands on screen. A run that starts at once is watched; else the form stays for the next."""
    recipe = Recipe.model_validate(spec["recipe"])
    after = _indexing(spec)
    job_id = submit_training(spec["dataset_id"], recipe, spec["name"], in_background, spec["index_id"], after=after)
    if forget:
        in_background("forgetting", {"train_job_id": job_id}, f"What it forgot: {spec['name']}", [job_id], FORGETTING_S)
    if watch:
        go_to_view(VIEW, RUNS)
        st.query_params["run"] = str(job_id)
    st.rerun()


def _indexing(spec: dict[str, Any]) -> list[int]:
    """The job that makes the recipe's documents searchable, begun if need be; none when they are."""
    unready = next((s for s in indexes() if s.index.id == spec["index_id"] and not s.ready), None)
    if unready is None:
        return []
    filling = [job for job in queue.jobs("index") if job.spec.get("index_id") == unready.index.id]
    under_way = [job.id for job in filling if job.status in queue.ACTIVE]
    return under_way or [submit_index(unready.index.id, unready.index.name, in_background)]


def _last_check(spec: dict[str, Any]) -> Job | None:
    """The newest pre-flight check of just this: another name changes nothing."""
    return next(
        (job for job in queue.jobs("preflight", limit=30) if job.spec | {"name": ""} == spec | {"name": ""}), None
    )


def _check_result(job: Job) -> None:
    with st.container(border=True):
        live(lambda jobs: _check(jobs[0]), lambda: [queue.get(job.id)], every=CHECK_POLL_S)


def _check(job: Job) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**Pre-flight check**", width="content")
        badge(job)
        if job.status in queue.ACTIVE:
            stop_button(job, KEY)
    if job.status in queue.ACTIVE:
        progress_bar(job)
    preflight_view.draw(job.notes)
    trouble(job)
