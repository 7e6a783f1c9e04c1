"""A training at a provider: the service, the model, the data and the few things that a provider lets one choose."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import streamlit as st
from pydantic import ValidationError

from core.errors import UserError
from core.managed.calendar import openai_notice
from core.managed.plan import TuneSettings
from core.managed.providers import THIS_MACHINE, BaseModelOffer, base_models, kind_of, on_this_machine
from core.models.services import Service, services
from pages.widgets import managed_parts
from pages.widgets.errors import guard, plain, show_error
from pages.widgets.forms import choose_dataset
from pages.widgets.managed_before import before_start, show_notices
from pages.widgets.managed_here import our_server
from pages.widgets.managed_services import choose_provider, services_button
from pages.widgets.money import usd

KEY = "managed_"
PENDING = f"{KEY}pending"
# Seconds for which what a service lists is taken to be true.
FRESH_S = 120
ABOUT: dict[str, Any] = TuneSettings.model_json_schema()["properties"]
LABELS = {
    "epochs": "Epochs",
    "batch_size": "Batch size, examples",
    "learning_rate_multiplier": "Learning rate, times the usual",
    "suffix": "Suffix of the model's name",
    "seed": "Seed",
    "price_training": "Price of training, US$ per million tokens",
}


@dataclass(frozen=True)
class Filled:
    """What the form is filled with when it is next drawn."""

    service: str = ""
    model: str = ""
    dataset: int | None = None
    settings: TuneSettings | None = None


def new_training() -> None:
    """The whole view: choices on the left; what they cost, what is wrong and the start on the right."""
    _fill()
    st.caption(
        "A provider trains a model of its own on your training examples and keeps the weights. Your test examples stay "
        "here: Compare asks them."
    )
    left, right = st.columns([3, 2], gap="large")
    with left:
        service = _service()
        if service is None:
            return
        dataset = choose_dataset("managed")
        if dataset is None:
            return
        model = _base_model(service)
        settings = _settings(service, model)
    with right, guard():
        if not model:
            st.info("Then its cost and the check of your data appear here.", title="Choose the base model")
        elif settings is not None:
            before_start(service, model, dataset, settings)


def fill(
    service: str = "", model: str = "", dataset: int | None = None, settings: dict[str, Any] | None = None
) -> None:
    """Fill the form when it is next drawn; what is left out stays as it is."""
    st.session_state[PENDING] = Filled(
        service, model, dataset, TuneSettings.model_validate(settings) if settings is not None else None
    )


def _fill() -> None:
    wanted: Filled | None = st.session_state.pop(PENDING, None)
    if wanted is None:
        return
    state = st.session_state
    if wanted.service:
        state[f"{KEY}service"] = wanted.service
    if wanted.model:
        state[f"{KEY}model"] = wanted.model
    if wanted.dataset is not None:
        state[f"{KEY}dataset"] = wanted.dataset
    if wanted.settings is not None:
        for name, value in wanted.settings.model_dump().items():
            state[f"{KEY}{name}"] = value


def _service() -> Service | None:
    """The provider; with none there is a way to get one."""
    saved = services()
    if not saved:
        st.info(
            "OpenAI, Azure, any other address that speaks OpenAI's fine-tuning API, or the server of this machine, "
            "which does the same without a bill.",
            title="No provider yet",
        )
        show_notices([openai_notice(managed_parts.today())])
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = choose_provider(saved, f"{KEY}service")
        services_button(KEY)
        if all(service.name != THIS_MACHINE for service in saved) and st.button(
            "Use this machine",
            icon=":material/computer:",
            key=f"{KEY}use_here",
            help="Starts the server of this machine and takes it for the provider: the same API, and no bill.",
        ):
            with guard():
                fill(service=our_server())
                st.rerun()
    return chosen


def _base_model(service: Service) -> str:
    """A model that the provider tunes, or one typed; empty while none is chosen."""
    offers = {offer.id: offer for offer in _offers(service)}
    key = f"{KEY}model"
    held = st.session_state.get(key)
    listed = [*offers, *([held] if held and held not in offers else [])]
    chosen = st.selectbox(
        "Base model",
        listed,
        None,
        key=key,
        accept_new_options=True,
        persist_state="session",
        placeholder="Choose or type a model",
        help="What is trained on. Providers do not say which of their models can be tuned; theirs are listed here "
        "where they are known.",
    )
    offer = offers.get(str(chosen))
    if offer is not None:
        st.caption(plain(_in_words(offer)))
    return str(chosen or "").strip()


def _in_words(offer: BaseModelOffer) -> str:
    parts = []
    if offer.training_usd is None:
        parts.append("price of training unknown")
    elif offer.training_usd:
        parts.append(f"{usd(offer.training_usd)} per million training tokens")
    else:
        parts.append("no bill")
    if offer.shuts_down:
        parts.append(f"switched off on {offer.shuts_down}, with every fine-tune of it")
    return " · ".join(parts)


def _offers(service: Service) -> list[BaseModelOffer]:
    """What can be tuned there; asked for over the network only when a person wants it, or on this machine."""
    asked = f"{KEY}listed_{service.name}"
    if kind_of(service) != "openai" and not on_this_machine(service) and not st.session_state.get(asked):
        if not st.button("List its models", icon=":material/wifi_tethering:", key=f"{KEY}list"):
            return []
        st.session_state[asked] = True
    try:
        with st.spinner(f"Asking {plain(service.name)}"):
            return _listed(service.name, service.url, managed_parts.today())
    except UserError as error:
        show_error(error)
        if service.name == THIS_MACHINE and st.button(
            "Start the server", icon=":material/play_arrow:", key=f"{KEY}start_here"
        ):
            with guard():
                fill(service=our_server())
                st.rerun()
        return []


@st.cache_data(ttl=FRESH_S, max_entries=20, show_spinner=False)
def _listed(name: str, url: str, today: dt.date) -> list[BaseModelOffer]:
    """`url` for a service that was changed."""
    return base_models(name, today)


def _settings(service: Service, model: str) -> TuneSettings | None:
    """The settings as they stand; None when they cannot be used, which is said."""
    for name, value in TuneSettings().model_dump().items():
        st.session_state.setdefault(f"{KEY}{name}", value)
    st.markdown("##### What can be chosen")
    with st.grid(2, min_column_width=200):
        epochs = _number("epochs", 1, 50, 1, "%d")
        batch = _number("batch_size", 1, 1024, 1, "%d")
        rate = _number("learning_rate_multiplier", 0.01, 100.0, 0.1, "%.2f")
        seed = _number("seed", 0, 2**31 - 1, 1, "%d")
        suffix = st.text_input(
            LABELS["suffix"],
            key=f"{KEY}suffix",
            max_chars=64,
            persist_state="session",
            placeholder="None",
            help=ABOUT["suffix"]["description"],
        )
        price = None
        # Even what answers on this machine may pass the work on to somebody who charges for it.
        if service.name != THIS_MACHINE:
            price = _number("price_training", 0.0, 10_000.0, 0.5, "%.2f", "As printed, if it is known here")
    validation = st.checkbox(
        "Send the validation examples too",
        key=f"{KEY}validation",
        persist_state="session",
        help=ABOUT["validation"]["description"],
    )
    try:
        return TuneSettings(
            epochs=epochs,
            batch_size=batch,
            learning_rate_multiplier=rate,
            suffix=suffix.strip(),
            seed=seed,
            validation=validation,
            price_training=price,
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0])
        why = "use letters, digits and dashes only" if field == "suffix" else str(first["msg"])
        show_error(UserError(f"{LABELS.get(field, field)}: {why}.", "Change it in the form."))
        return None


def _number(name: str, least: float, most: float, step: float, format: str, empty: str = "Provider chooses") -> Any:
    """A number, or None for what is left to the provider."""
    return st.number_input(
        LABELS[name],
        least,
        most,
        None,
        step=step,
        format=format,
        key=f"{KEY}{name}",
        persist_state="session",
        placeholder=empty,
        help=ABOUT[name]["description"],
    )
