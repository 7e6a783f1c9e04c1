"""A fine-tune that was bought elsewhere: its data and settings come here, and its open twin is trained and compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from core.data.dataset import File, ImportRefused
from core.managed.migrate import Brought, RemoteTune, bring, existing, start_twin, twin_recipe
from core.managed.providers import THIS_MACHINE
from core.models.services import Service, services
from core.train.recipe import Recipe
from pages.widgets.errors import guard, plain
from pages.widgets.forms import base_model
from pages.widgets.import_form import show_refusal
from pages.widgets.managed_before import show_notices
from pages.widgets.managed_local import open_recipe
from pages.widgets.managed_services import choose_provider, services_button
from pages.widgets.once import once
from pages.widgets.words import many

KEY = "bring_"
LISTED, BROUGHT = f"{KEY}listed", f"{KEY}brought"


def bring_one() -> None:
    """The whole view, from the list of fine-tunes to the comparison."""
    st.caption(
        "A fine-tune at a provider cannot be taken away, but what it learned from can: its data and settings come "
        "here, an open model is trained on them, and both answer the same test questions."
    )
    service = _service()
    if service is None:
        return
    tune = _tune(service)
    if tune is not None:
        _facts(tune)
        _bring(service, tune)
    brought: Brought | None = st.session_state.get(BROUGHT)
    if brought is not None:
        _brought(brought)


def _service() -> Service | None:
    """Where it was bought."""
    saved = [service for service in services() if service.name != THIS_MACHINE]
    if not saved:
        st.info(
            "Add the provider where your fine-tunes are, with its key: it is asked for their list.",
            title="No provider yet",
        )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = choose_provider(saved, f"{KEY}service")
        services_button(KEY)
        if chosen is not None and st.button("List its fine-tunes", icon=":material/list:", key=f"{KEY}list"):
            st.session_state.pop(LISTED, None)
            with guard(), st.spinner(f"Asking {plain(chosen.name)}"):
                st.session_state[LISTED] = (chosen.name, existing(chosen.name))
    return chosen


def _tune(service: Service) -> RemoteTune | None:
    """One of those that the provider has listed."""
    name, found = st.session_state.get(LISTED, ("", []))
    if name != service.name:
        return None
    if not found:
        st.info("Only what was trained with this key's organisation is listed.", title="No fine-tunes there")
        return None
    # Those with a model first: only they can be compared.
    tunes = {tune.id: tune for tune in sorted(found, key=lambda tune: tune.fine_tuned_model is None)}
    chosen = st.selectbox(
        "Fine-tune", list(tunes), format_func=lambda id: _title(tunes[id]) if id in tunes else str(id), key=f"{KEY}tune"
    )
    return tunes.get(str(chosen))


def _title(tune: RemoteTune) -> str:
    when = f", {tune.created_at:%Y-%m-%d}" if tune.created_at else ""
    return f"{tune.fine_tuned_model or tune.id} ({tune.status}{when})"


def _facts(tune: RemoteTune) -> None:
    chosen = tune.hyperparameters
    st.caption(plain(f"{tune.id} · tuned on {tune.model} · seed {tune.seed}"))
    with st.grid(3, min_column_width=130):
        st.metric("Epochs", str(chosen.get("n_epochs", "not told")))
        st.metric("Batch size", str(chosen.get("batch_size", "not told")))
        st.metric("Learning rate, times the usual", str(chosen.get("learning_rate_multiplier", "not told")))
    if tune.fine_tuned_model is None:
        st.caption("It has made no model, so there is nothing to compare; its data can be brought all the same.")


def _bring(service: Service, tune: RemoteTune) -> None:
    """Download and import; line by line, should something be wrong with its file."""
    uploaded = st.file_uploader(
        "A test file of your own (optional)",
        ["jsonl"],
        key=f"{KEY}test",
        help="Examples that the fine-tune has not seen make the comparison fair. Without one, its validation file is "
        "taken; without that, a part of what it learned from.",
    )
    if not st.button("Bring its data here", type="primary", icon=":material/download:", key=f"{KEY}go"):
        return
    st.session_state.pop(BROUGHT, None)
    place = st.empty()

    def tell(done: float, total: float, message: str) -> None:
        place.progress(min(1.0, done / total) if total else 0.0, text=plain(message, 120))

    with guard(), st.spinner(f"Downloading from {plain(service.name)}"):
        test = File(uploaded.name, uploaded.getvalue()) if uploaded is not None else None
        try:
            st.session_state[BROUGHT] = bring(service.name, tune.id, test=test, on_progress=tell)
        except ImportRefused as refused:
            show_refusal(refused, f"{KEY}refused")
    place.empty()


def _brought(brought: Brought) -> None:
    """What came, and what can be done with it."""
    tune = brought.tune
    with st.container(border=True):
        st.markdown(f"**Here: {plain(tune.fine_tuned_model or tune.id)}**")
        st.markdown(
            f"{many(brought.train_examples, 'training example')}, {many(brought.test_examples, 'test example')}."
        )
        st.page_link(
            "pages/data.py",
            label="Look at them on Data",
            icon=":material/database:",
            query_params={"dataset": str(brought.dataset_id)},
            width="content",
        )
        show_notices(brought.notices)
        model = base_model(f"{KEY}open", "Open model")
        with guard():
            _twin(brought, model)


def _twin(brought: Brought, model: str) -> None:
    """The open twin: its recipe with reasons, its training, and the comparison of both."""
    tune = brought.tune
    name = tune.fine_tuned_model or tune.id
    wanted = (brought.dataset_id, tune.hyperparameters, model, tune.seed)
    with st.spinner("Working out the recipe", show_time=True):
        recipe, why = once(repr(("twin", wanted)), lambda: twin_recipe(*wanted))
    _recipe(recipe, why)
    cap = None
    if brought.rung_model is not None:
        cap = st.number_input(
            "Spending cap, US$",
            0.01,
            None,
            None,
            0.5,
            key=f"{KEY}cap",
            placeholder="None",
            help="The provider charges for the answers of its model; it is asked no further than this.",
        )
    with st.container(horizontal=True):
        if brought.rung_model is not None and st.button(
            "Train the open twin and compare both",
            type="primary",
            icon=":material/balance:",
            key=f"{KEY}both",
            help="Queues the training, and behind it a comparison of the open model, its twin and the bought one.",
        ):
            experiment = start_twin(
                brought.dataset_id, brought.rung_model, recipe, f"{name} and its open twin"[:120], spending_cap_usd=cap
            )
            st.switch_page("pages/compare.py", query_params={"experiment": str(experiment.id)})
        if st.button("Open it as a recipe", icon=":material/model_training:", key=f"{KEY}recipe"):
            open_recipe(brought.dataset_id, name, tune.hyperparameters, model, tune.seed)


def _recipe(recipe: Recipe, why: Mapping[str, str]) -> None:
    """The few settings that came from the provider, and the others in a line."""
    values: dict[str, Any] = recipe.model_dump()
    for field, reason in why.items():
        value = f"{values[field]:g}"
        if field == "batch_size" and recipe.accumulation > 1:
            value = f"{recipe.batch_size} × {recipe.accumulation}"
        st.markdown(f"**{plain(field.replace('_', ' ').capitalize())}** {plain(value)}. {plain(reason)}")
    if not why:
        st.caption("The provider chose everything itself, so the twin gets what suits this data and this machine.")
    st.caption(
        plain(f"{recipe.method}, rank {recipe.rank}, learning rate {recipe.learning_rate:g}, seed {recipe.seed}.")
    )
