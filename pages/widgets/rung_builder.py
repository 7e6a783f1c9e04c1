"""Which rungs are compared: a preset, switches one by one, other models, and the adapters that tuned rungs use."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

import streamlit as st
from pydantic import ValidationError

from core.evaluate.rungs import CUBE, PRESETS, Rung, RungChoice, names_of, rungs_named
from core.ladder import default_rungs
from core.managed import runs as managed
from core.models.open import is_remote
from core.store.lists import adapters
from core.store.tables import Adapter, Dataset
from core.train.recipe import Recipe
from pages.widgets.compare_state import (
    ADAPTER,
    KEY,
    MODEL,
    NEW,
    NO_ADAPTER,
    OWN_ADAPTER,
    RETRIEVAL,
    ROWS,
    SHOTS,
    SHOWN,
    TUNED,
    add_row,
    extra_rungs,
    remove_row,
    row_key,
)
from pages.widgets.errors import plain
from pages.widgets.forms import MODELS
from pages.widgets.ladder import meaning
from pages.widgets.managed_services import services_button
from pages.widgets.services import remote_models

RUNGS, PRESET = f"{KEY}rungs", f"{KEY}preset"
ALL = names_of(CUBE)
# The last address of a bought model that was followed in this visit.
BOUGHT = f"{KEY}bought"


def usual_rungs(with_documents: bool) -> list[Rung]:
    """The rungs of the comparison's own model: a preset, then each by itself. `?rungs=base,prompt` preselects."""
    state, address = st.session_state, st.query_params.get("rungs", "")
    if address and state.get(f"{RUNGS}_address") != address:
        state[RUNGS] = [name for name in address.split(",") if name in ALL]
        state[f"{RUNGS}_address"] = address
    if RUNGS not in state:
        state[RUNGS] = names_of([choice.rung for choice in default_rungs(with_documents)])
    state[PRESET] = next((p for p in PRESETS if set(_preset(p, with_documents)) == set(state[RUNGS])), None)
    st.segmented_control(
        "Rungs", list(PRESETS), key=PRESET, on_change=_choose_preset, args=(with_documents,), help=_meanings()
    )
    chosen = st.pills(
        "Rungs, one by one",
        ALL,
        selection_mode="multi",
        key=RUNGS,
        persist_state="session",
        label_visibility="collapsed",
        wrap=True,
    )
    return rungs_named(chosen) if chosen else []


def other_models() -> list[Rung]:
    """Rungs on other models or with adapters of their own, each a row; and the services where models are."""
    _from_address()
    rows: list[int] = st.session_state[ROWS]
    # Open where an address has put something into it.
    with st.expander("Rungs on other models", icon=":material/hub:", expanded=BOUGHT in st.session_state):
        st.caption(
            "Beside the rungs above: another local model, any service that speaks the OpenAI API, a fine-tune bought "
            "there, or another adapter. All answer the same questions."
        )
        for row in rows:
            _row(row)
        with st.container(horizontal=True):
            st.button("Add a rung", icon=":material/add:", key=f"{KEY}add_row", on_click=add_row)
            services_button(KEY)
    return extra_rungs()


def _from_address() -> None:
    """`?bought=managed@remote:SERVICE/MODEL` puts a fine-tune bought there beside the ladder, once."""
    address = st.query_params.get("bought", "")
    if not address or st.session_state.get(BOUGHT) == address:
        return
    st.session_state[BOUGHT] = address
    with suppress(ValidationError):
        rung = RungChoice.model_validate(address).rung
        if is_remote(rung.model) and rung not in extra_rungs():
            add_row(rung)


def model_field(label: str, key: str, own: str | None = None) -> str:
    """A model of the catalogue, of a service, or anything typed; empty while none is chosen.

    `own` offers the comparison's own model too, also as an empty text, and chooses nothing beforehand.
    """
    bought = [model.id for model in managed.models()]
    listed = [*([] if own is None else [""]), *MODELS, *bought]
    listed += [model for model in remote_models() if model not in bought]
    held = st.session_state.get(key)
    if held is not None and held not in listed:
        listed.append(held)

    def title(model: str) -> str:
        if not model:
            return f"The same model ({own})"
        if model in bought:
            return f"{model} (fine-tuned there)"
        return MODELS[model].title if model in MODELS else model

    chosen = st.selectbox(
        label,
        listed,
        0 if own is None else None,
        format_func=title,
        key=key,
        accept_new_options=True,
        placeholder="Choose or type a model",
        persist_state="session",
        help="Choose one, or type a Hugging Face id, a local folder, or remote:SERVICE/MODEL. Only the bundled one "
        "works without a download or a service.",
    )
    entry = MODELS.get(str(chosen))
    if entry is not None:
        gate = " · its publisher asks for an accepted licence and a token" if entry.gated else ""
        st.caption(
            f"{entry.parameters:g} billion parameters · {entry.license} · {entry.size_gb:g} GB at 16 bits · "
            f"{entry.context:,} tokens of context{gate}"
        )
    elif chosen and is_remote(str(chosen)):
        st.caption(":material/cloud: Asked over the network: your test questions, and passages, leave this computer.")
    return str(chosen or "")


def adapter_field(dataset: Dataset) -> Adapter | None:
    """The adapter of tuned rungs, or None for one that is still to be trained. `?adapter=ID` preselects it."""
    listed = _by_closeness(dataset)
    key, address = f"{KEY}adapter", st.query_params.get("adapter", "")
    if address.isdigit() and st.session_state.get(f"{key}_address") != address:
        st.session_state[key] = int(address)
        st.session_state[f"{key}_address"] = address
    if st.session_state.get(key, NEW) not in listed:
        st.session_state[key] = NEW
    chosen = st.selectbox(
        "Adapter",
        [NEW, *listed],
        key=key,
        persist_state="session",
        format_func=lambda i: _title(listed[i], dataset) if i in listed else "Train a new one with the default recipe",
    )
    return listed.get(chosen)


def second_adapter_field(dataset: Dataset, model: str) -> None:
    """Another adapter for rungs with retrieval: one that learnt with passages reads them better."""
    listed = {i: adapter for i, adapter in _by_closeness(dataset).items() if adapter.base_model == model}
    key = f"{KEY}rag_adapter"
    if not listed:
        st.session_state[key] = NEW
        return
    if st.session_state[key] not in listed:
        st.session_state[key] = NEW
    st.selectbox(
        "Adapter of rungs with retrieval",
        [NEW, *listed],
        key=key,
        persist_state="session",
        format_func=lambda i: _title(listed[i], dataset) if i in listed else "The same",
        help="One that was trained with passages in its prompts knows what to do with them.",
    )


def method_field(advised: str) -> Literal["lora", "qlora"]:
    """How the new adapter is trained; as advised, where something was."""
    chosen: Literal["lora", "qlora"] = st.selectbox(
        "Training method",
        ["lora", "qlora"],
        1 if "qlora" in advised else 0,
        key=f"{KEY}method_{advised}",
        help=str(Recipe.model_json_schema()["properties"]["method"]["description"]),
    )
    return chosen


def _row(row: int) -> None:
    with st.container(border=True):
        own = st.session_state.get(f"{KEY}model", "")
        model = model_field("Model", row_key(row, MODEL), own=own or "chosen below")
        remote = is_remote(model)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            st.pills(
                "In its prompt",
                [SHOTS, RETRIEVAL],
                selection_mode="multi",
                key=row_key(row, SHOWN),
                persist_state="session",
            )
            if remote:
                _known_as_bought(row, model)
                st.checkbox(
                    "A fine-tune",
                    key=row_key(row, TUNED),
                    persist_state="session",
                    help="This model is itself a fine-tune bought as a service: it counts as the rung managed.",
                )
            else:
                _row_adapter(row, model)
            st.button("Remove", icon=":material/close:", key=row_key(row, "remove"), on_click=remove_row, args=(row,))
        if remote:
            st.session_state[row_key(row, ADAPTER)] = NO_ADAPTER
        else:
            st.session_state[row_key(row, TUNED)] = False


def _known_as_bought(row: int, model: str) -> None:
    """A model that came of a training here is ticked as one when it is chosen; a person may untick it."""
    noted = row_key(row, "noted")
    if st.session_state.get(noted) != model:
        st.session_state[noted] = model
        if any(model == bought.id for bought in managed.models()):
            st.session_state[row_key(row, TUNED)] = True


def _row_adapter(row: int, model: str) -> None:
    """Adapters that were trained on the row's model; the comparison's own only with the comparison's model."""
    listed = {adapter.id: adapter for adapter in adapters() if not model or adapter.base_model == model}
    options = [NO_ADAPTER, *([] if model else [OWN_ADAPTER]), *listed]
    key = row_key(row, ADAPTER)
    if st.session_state.get(key) not in options:
        st.session_state[key] = NO_ADAPTER
    names = {NO_ADAPTER: "None", OWN_ADAPTER: "This comparison's"}
    st.selectbox(
        "Adapter",
        options,
        key=key,
        persist_state="session",
        format_func=lambda i: names.get(i) or f"{listed[i].name} (number {i})",
    )


def _preset(name: str, with_documents: bool) -> list[str]:
    """A preset's rungs; without documents those that look nothing up."""
    return [rung.name for rung in PRESETS[name] if with_documents or not rung.retrieval]


def _choose_preset(with_documents: bool) -> None:
    if chosen := st.session_state[PRESET]:
        st.session_state[RUNGS] = _preset(chosen, with_documents)


def _meanings() -> str:
    return "  \n".join(f"**{plain(name)}**: {meaning(name)}" for name in ALL)


def _by_closeness(dataset: Dataset) -> dict[int, Adapter]:
    """Adapters trained on this dataset first, then all others."""
    listed = sorted(adapters(), key=lambda adapter: adapter.dataset_id != dataset.id)
    return {adapter.id: adapter for adapter in listed}


def _title(adapter: Adapter, dataset: Dataset) -> str:
    other = "" if adapter.dataset_id == dataset.id else ", of other data"
    return f"{adapter.name} ({adapter.method}, number {adapter.id}{other})"
