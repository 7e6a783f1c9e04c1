"""Serve: put models behind one address that speaks OpenAI's API, talk to them, and take an adapter with you."""

from __future__ import annotations

import streamlit as st

from core.api import keys, models
from core.api.models import Offered
from pages.widgets import serve_code, serve_keys, serve_models, serve_server, serve_speed
from pages.widgets.adapter_import import import_adapter
from pages.widgets.errors import guard, plain
from pages.widgets.ladder import RUNG_COLOURS
from pages.widgets.serve_stream import Side
from pages.widgets.take_away import all_exports, take_away
from pages.widgets.talk import choose_lookup, choose_sampling, choose_system, converse, system_turn
from pages.widgets.trash import recently_deleted

NOTHING, WITHOUT = "Nothing", "The same, without passages"


def about(chosen: Offered) -> None:
    """What the chosen model is, and where it comes from."""
    adapter = chosen.adapter
    if adapter is None:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        loss = "" if adapter.eval_loss is None else f" · evaluation loss {adapter.eval_loss:.3f} nats per answer token"
        st.caption(plain(f"{adapter.method} on {adapter.base_model}{loss}"), width="content")
        if adapter.job_id is not None:
            st.page_link(
                "pages/train.py",
                label="Its training",
                icon=":material/model_training:",
                query_params={"run": str(adapter.job_id)},
            )


def talk(chosen: Offered, listed: list[Offered]) -> None:
    """A conversation with the chosen model, and with another beside it, remembered for each such pair."""
    others = {model.name: model for model in listed if not model.withheld and model.name != chosen.name}
    with st.grid(3, min_column_width=220, vertical_alignment="bottom"):
        index_id, count = choose_lookup()
        beside = st.selectbox(
            "Side by side with",
            [NOTHING, *([WITHOUT] if index_id else []), *others],
            format_func=lambda name: serve_models.title_of(others[name]) if name in others else name,
            key=f"serve_beside_{chosen.name}",
            help="A second model is asked the same question, and both answers are written at the same time.",
        )
    with st.expander("Settings", icon=":material/tune:"):
        with st.grid(3, min_column_width=200):
            sampling = choose_sampling()
        opening = choose_system(chosen.adapter, f"serve_system_{chosen.name}")
    sides = [side_of(chosen, bool(index_id))]
    if beside == WITHOUT:
        sides.append(side_of(chosen, False, "without passages"))
    elif beside in others:
        sides.append(side_of(others[beside], bool(index_id)))
    if serve_server.ready("talk"):
        key = "_".join(["serve", *(side.id for side in sides)])
        converse(key, sides, opening, sampling, (index_id, count), chosen.adapter)


def side_of(model: Offered, looks_up: bool, note: str = "") -> Side:
    """Coloured as the rung that it is."""
    switches = [name for name, on in (("rag", looks_up), ("lora", model.adapter is not None)) if on]
    name = model.base if model.adapter is None else model.adapter.name
    return Side(f"{name}, {note}" if note else name, model.name, RUNG_COLOURS["+".join(switches) or "base"], looks_up)


def code(chosen: Offered) -> None:
    said = system_turn(chosen.adapter)
    opening = [{"role": "system", "content": said}] if said else []
    serve_code.draw(serve_server.address(), chosen.name, opening, keys.needed())


st.title("Serve")
serve_server.draw()
listed = models.offered()
if not listed:
    st.info("`make setup` installs the bundled one, which needs no network.", title="No model on this machine yet")
    st.stop()
if all(model.adapter is None for model in listed):
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("Base models only so far. An adapter can be served, talked to and taken away once it is trained.")
        if st.button("Train one", icon=":material/model_training:"):
            st.switch_page("pages/train.py")
chosen = serve_models.choose_model(listed)
about(chosen)
talking, coding, taking, listing, opening_doors, measuring = st.tabs(
    ["Talk", "Code", "Take it with you", "Models", "Keys", "Speed"], key="serve_tabs", on_change="rerun"
)
if talking.open:
    with talking, guard():
        if serve_models.offered_here(chosen):
            talk(chosen, listed)
if coding.open:
    with coding, guard():
        code(chosen)
if taking.open:
    with taking, guard():
        if chosen.adapter is not None:
            take_away(chosen.adapter)
        else:
            st.caption("A base model is had from where it was published. Choose an adapter to take that with you.")
if listing.open:
    with listing, guard():
        serve_models.draw(listed)
        with st.expander("Bring an adapter", icon=":material/upload:"):
            import_adapter()
if opening_doors.open:
    with opening_doors, guard():
        serve_keys.draw()
if measuring.open:
    with measuring, guard():
        serve_speed.draw(serve_server.state()[0])
with guard():
    all_exports()
recently_deleted("serve")
