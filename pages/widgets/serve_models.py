"""The models of this machine: which of them is talked to, which the server offers, and what each is called there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from core.api import models
from core.api.models import Offered
from pages.widgets.errors import guard, plain

PER_PAGE = 10


def title_of(model: Offered) -> str:
    """How a person knows it; not yet made harmless."""
    if model.adapter is None:
        return f"{model.base} (base)"
    return f"{model.adapter.name} (adapter {model.adapter.id}, {model.adapter.method})"


def choose_model(listed: Sequence[Offered]) -> Offered:
    """Which one the page is about: an adapter by `?adapter=ID`, a base by `?model=NAME`, else the newest adapter.

    The choice is kept in the address and across pages. A name that is gone gives way to another, with a word about it.
    """
    by_name = {model.name: model for model in listed}
    address = {name: st.query_params[name] for name in ("adapter", "model") if name in st.query_params}
    state = st.session_state
    if "serve_chosen" not in state or (address and address != state.get("serve_address")):
        named = _named(address, by_name)
        if address and named is None:
            st.warning("There is no model with this number or name any more; another is shown.")
        state["serve_chosen"] = named or state.get("serve_kept")
    if state["serve_chosen"] not in by_name:
        newest = next((model for model in listed if model.adapter is not None), listed[0])
        state["serve_chosen"] = newest.name
    # Set anew in every run: the browser shows the first of the list where the run that set it was cut short by a click.
    state["serve_chosen"] = state["serve_chosen"]
    name = st.selectbox("Model", list(by_name), format_func=lambda n: title_of(by_name[n]), key="serve_chosen")
    chosen = by_name[name]
    fresh = {"adapter": str(chosen.adapter.id)} if chosen.adapter is not None else {"model": chosen.name}
    if address != fresh:
        st.query_params.from_dict({k: v for k, v in st.query_params.items() if k not in ("adapter", "model")} | fresh)
    state["serve_address"], state["serve_kept"] = fresh, name
    return chosen


def _named(address: Mapping[str, str], by_name: Mapping[str, Offered]) -> str | None:
    """The public name behind the address."""
    for name, model in by_name.items():
        if model.adapter is not None and address.get("adapter") == str(model.adapter.id):
            return name
    return address["model"] if address.get("model") in by_name else None


def offered_here(model: Offered) -> bool:
    """Whether the server offers it; says so, and offers to change that, when it does not."""
    if not model.withheld:
        return True
    st.info("The server does not offer this model to anybody now.", title="Switched off")
    if st.button("Offer it", type="primary", icon=":material/toggle_on:", key="serve_offer"):
        with guard():
            models.offer(model.name)
            st.rerun()
    return False


def draw(listed: Sequence[Offered]) -> None:
    """A switch for each model, and its public name to copy."""
    st.caption(
        "Programs name the model they want an answer from. A model that is switched off is not listed by the server, "
        "and asking for it is answered with 404."
    )
    pages = -(-len(listed) // PER_PAGE)
    page = st.pagination(pages, key="serve_models_page") if pages > 1 else 1
    for model in listed[(page - 1) * PER_PAGE : page * PER_PAGE]:
        switch, name = st.columns([1, 1], vertical_alignment="center")
        with switch:
            key = f"offer_{model.name}"
            # As it is now: another window, or the command line, may have changed it.
            st.session_state[key] = not model.withheld
            st.toggle(plain(title_of(model), 120), key=key, on_change=_switch, args=(model.name,))
        name.code(model.name, language=None, wrap_lines=True)


def _switch(name: str) -> None:
    with guard():
        (models.offer if st.session_state[f"offer_{name}"] else models.withhold)(name)
