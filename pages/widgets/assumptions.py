"""What the costs assume: every field can be edited, and the edited ones live in the address as `cost.FIELD`.

A link therefore shares them and a reload keeps them; a field that is not there is as the answers say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st
from pydantic import ValidationError

from core.decide.answers import Answer
from core.decide.assumptions import ASKED, PRICES, SERVING, TRAINING, Assumptions, assumptions_from, open_models
from core.decide.prices import EmbeddingPrice, GpuPrice, ModelPrice, TunedPrice, prices
from core.errors import UserError
from pages.widgets.errors import plain

Price = ModelPrice | TunedPrice | EmbeddingPrice | GpuPrice
PREFIX = "cost."
FIELDS: dict[str, dict[str, Any]] = Assumptions.model_json_schema()["properties"]
# The fields that name an entry of a list: what there is to choose.
LISTED: dict[str, Callable[[], list[str]]] = {
    "api_model": lambda: [model.id for model in prices().models],
    "managed_model": lambda: [service.id for service in prices().tuned],
    "embedding_model": lambda: [model.id for model in prices().embedding],
    "base_model": lambda: list(open_models()),
    "train_gpu": lambda: [gpu.id for gpu in prices().gpus],
    "serve_gpu": lambda: [gpu.id for gpu in prices().gpus],
}


def edited_assumptions(answers: Mapping[str, Answer]) -> Assumptions:
    """What the answers imply, with what the address changes. What is not understood there is left out."""
    return Assumptions.model_validate({**assumptions_from(answers).model_dump(), **_address()[0]})


def changed_assumptions(answers: Mapping[str, Answer]) -> dict[str, tuple[Any, Any]]:
    """Field -> (as the answers say, as edited), of those that differ."""
    before, after = assumptions_from(answers), edited_assumptions(answers)
    return {
        field: (getattr(before, field), getattr(after, field))
        for field in FIELDS
        if getattr(before, field) != getattr(after, field)
    }


def draw_assumptions(answers: Mapping[str, Answer]) -> None:
    """What was changed, each with its way back, and a fold with every field."""
    with st.container():  # always there, so that the fold below stays where it is, and open
        _changed(answers)
    with st.expander("Assumptions: all that these figures depend on", icon=":material/tune:"):
        st.caption("Every figure follows from these and the price table. The question marks say why a value is usual.")
        now, before = edited_assumptions(answers), assumptions_from(answers)
        for group in (ASKED, TRAINING, PRICES, SERVING):
            st.markdown(f"**{group}**")
            named = [field for field, schema in FIELDS.items() if schema["group"] == group]
            switches = [field for field in named if isinstance(getattr(now, field), bool)]
            choices = [field for field in named if field in LISTED]
            numbers = [field for field in named if field not in (*switches, *choices)]
            for fields, columns, width in ((switches, 1, 280), (choices, 2, 280), (numbers, 4, 150)):
                if fields:
                    with st.grid(columns, min_column_width=width, vertical_alignment="bottom"):
                        for field in fields:
                            _field(field, getattr(now, field), getattr(before, field))


def _changed(answers: Mapping[str, Answer]) -> None:
    problems = _address()[1]
    if problems:
        listed = ", ".join(problems)
        st.warning(plain(f"The address holds assumptions that cannot be meant and were ignored: {listed}."))
    changed = changed_assumptions(answers)
    if changed:
        st.markdown("**Assumptions you changed**, each can be set back:")
        with st.container(horizontal=True, gap="xsmall"):
            for field, (before, after) in changed.items():
                st.button(
                    plain(f"{FIELDS[field]['title']}: {value_in_words(field, after)}", 60),
                    key=f"reset_{field}",
                    icon=":material/undo:",
                    help=plain(f"Back to {value_in_words(field, before)}"),
                    on_click=_remember,
                    args=(field, None),
                )
            if len(changed) > 1:
                st.button("Reset all", key="reset_costs", icon=":material/restart_alt:", on_click=_forget)


def value_in_words(field: str, value: Any) -> str:
    """A value as a person would say it: "1,000 a day", "Yes", "Llama 3.1 8B Instruct"."""
    if field in LISTED:
        return open_models()[value].title if field == "base_model" else str(value)
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return f"{value:,.10g} {FIELDS[field]['unit']}".strip()


def option(field: str, name: str) -> str:
    """An entry of a list with what it costs, for a select box."""
    if field == "base_model":
        entry = open_models()[name]
        return f"{entry.title}: {entry.parameters:g} billion parameters"
    if field.endswith("_gpu"):
        gpu = prices().gpu(name)
        return f"{gpu.title}, {gpu.memory_gb:g} GB: {price_in_words(gpu)}"
    entries: dict[str, Callable[[str], ModelPrice | TunedPrice | EmbeddingPrice]] = {
        "api_model": prices().model,
        "managed_model": prices().tuned_model,
        "embedding_model": prices().embedder,
    }
    found = entries[field](name)
    return f"{name}, {found.provider}: {price_in_words(found)}"


def price_in_words(entry: Price) -> str:
    """What an entry of the price table costs, with its unit."""
    if isinstance(entry, GpuPrice):
        return f"{_usd(entry.usd_per_hour)} an hour"
    parts = [f"training {_usd(entry.training)}"] if isinstance(entry, TunedPrice) else []
    parts += [] if entry.input is None else [f"input {_usd(entry.input)}"]
    if isinstance(entry, (ModelPrice, TunedPrice)):
        parts += [] if entry.cached_input is None else [f"cached {_usd(entry.cached_input)}"]
        parts += [] if entry.output is None else [f"output {_usd(entry.output)}"]
    by_the_hour = isinstance(entry, TunedPrice) and entry.token_price is None
    return f"{', '.join(parts)} per million tokens{', served on a GPU by the hour' if by_the_hour else ''}"


def _usd(value: float) -> str:
    """A price as it is printed, with cents at least: "$0.50", "$0.5904"."""
    return f"${value:.2f}" if round(value, 2) == value else f"${value:g}"


def _field(field: str, now: Any, before: Any) -> None:
    """One field. Its value is the address's, so it is put into the session before it is drawn."""
    schema = FIELDS[field]
    unit = f", {schema['unit']}" if schema["unit"] else ""
    label = f"{schema['title']}{unit}" + (" :orange-badge[changed]" if now != before else "")
    key = f"edit_{field}"
    st.session_state[key] = now
    shared: dict[str, Any] = {"key": key, "help": schema["description"], "on_change": _edited, "args": (field, before)}
    if field in LISTED:
        st.selectbox(label, LISTED[field](), format_func=lambda name: option(field, name), **shared)
    elif isinstance(now, bool):
        st.toggle(label, **shared)
    else:
        kind = type(now)
        st.number_input(
            label,
            kind(schema["minimum"]),
            kind(schema["maximum"]),
            step=_step(kind(schema["default"])),
            format="%d" if kind is int else "%.10g",
            **shared,
        )


def _step(default: float) -> float:
    """Buttons move by about a tenth of the usual value, in round numbers."""
    if isinstance(default, int):
        return 1
    if 0 < default < 1:
        return 0.1
    return 10.0 ** max(0, math.floor(math.log10(default)) - 1) if default else 1.0


def _edited(field: str, before: Any) -> None:
    value = st.session_state[f"edit_{field}"]
    _remember(field, None if value == before else value)


def _remember(field: str, value: Any) -> None:
    """Put one field into the address, or take it out; what is not understood there goes too."""
    _write({name: found for name, found in {**_address()[0], field: value}.items() if found is not None})


def _forget() -> None:
    _write({})


def _write(edited: Mapping[str, Any]) -> None:
    """All of it at once, so that the browser's way back is one step."""
    others = {key: words for key, words in st.query_params.items() if not key.startswith(PREFIX)}
    st.query_params.from_dict(others | {f"{PREFIX}{field}": _to_words(value) for field, value in edited.items()})


def _address() -> tuple[dict[str, Any], list[str]]:
    """Fields that the address sets, and the parameters that cannot be meant."""
    values, problems = {}, []
    for key, words in st.query_params.items():
        if not key.startswith(PREFIX):
            continue
        field = key.removeprefix(PREFIX)
        try:
            values[field] = getattr(Assumptions.model_validate({field: words}), field)
        except (ValidationError, UserError):
            problems.append(f"{key[:40]} = {words[:40]}")
    return values, problems


def _to_words(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else f"{value:.10g}"
