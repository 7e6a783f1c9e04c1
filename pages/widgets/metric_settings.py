"""A form for the settings of any metric, drawn from their titles, descriptions and types."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Literal, get_args, get_origin

import streamlit as st
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from core.evaluate.metrics.registry import Metric
from pages.widgets.errors import plain


def settings_form(metric: Metric, key: str, start: Mapping[str, Any] = {}) -> dict[str, Any]:
    """The settings that differ from the usual ones, beginning with `start`; all keys begin with `key`.

    Something unusable is said below its field and given back as it is: whoever stores it is refused with the reason.
    """
    if metric.settings is None:
        return {}
    fields = metric.settings.model_fields
    usual = {name: _usual(field) for name, field in fields.items()}
    given: dict[str, Any] = {}
    tall = [name for name, field in fields.items() if _tall(field)]
    # Even an empty grid takes space.
    with st.grid(2, min_column_width=180) if len(tall) < len(fields) else nullcontext():
        for name in [name for name in fields if name not in tall]:
            given[name] = _field(name, fields[name], f"{key}{name}", start.get(name, usual[name]))
    for name in tall:
        given[name] = _field(name, fields[name], f"{key}{name}", start.get(name, usual[name]))
    changed = {name: value for name, value in given.items() if value != usual[name]}
    try:
        metric.settings.model_validate(changed)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            name = str(problem["loc"][0]) if problem["loc"] else ""
            title = f"{fields[name].title}: " if name in fields else ""
            said = problem["msg"].removeprefix("Value error, ")
            st.error(plain(f"{title}{said}"), icon=":material/error:")
    return changed


def _field(name: str, field: FieldInfo, key: str, value: Any) -> Any:
    """One widget, by the type of its field."""
    label, help_text = plain(field.title or name), plain(field.description or "")
    kind, options = field.annotation, get_args(field.annotation)
    if kind is bool:
        return st.checkbox(label, bool(value), key=key, help=help_text, persist_state="session")
    if get_origin(kind) is Literal:
        chosen = options.index(value) if value in options else 0
        return st.selectbox(label, options, chosen, key=key, help=help_text, persist_state="session")
    if kind in (int, float) or int in options or float in options:
        number: Any = float if kind is float or float in options else int
        least, most = _bounds(field)
        # Only a field that begins empty can be emptied again, so the value it begins with comes another way.
        if key not in st.session_state and value is not None:
            st.session_state[key] = number(value)
        return st.number_input(
            label,
            min_value=None if least is None else number(least),
            max_value=None if most is None else number(most),
            value=None,
            key=key,
            help=help_text,
            placeholder="No limit",
            persist_state="session",
        )
    if get_origin(kind) in (tuple, list):
        text = st.text_area(
            f"{label} (one a line)",
            "\n".join(str(item) for item in value),
            key=key,
            help=help_text,
            persist_state="session",
        )
        return [line.strip() for line in text.splitlines() if line.strip()]
    draw = st.text_area if _tall(field) else st.text_input
    return draw(label, str(value), key=key, help=help_text, persist_state="session")


def _tall(field: FieldInfo) -> bool:
    """Whether it takes several lines: a list, or a text marked as long."""
    extra = field.json_schema_extra
    return get_origin(field.annotation) in (tuple, list) or (isinstance(extra, dict) and bool(extra.get("long")))


def _usual(field: FieldInfo) -> Any:
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is PydanticUndefined:
        return ""
    return list(default) if isinstance(default, tuple) else default


def _bounds(field: FieldInfo) -> tuple[Any, Any]:
    """The least and the most that a number may be; None where there is no bound."""
    least = next((rule.ge for rule in field.metadata if hasattr(rule, "ge")), None)
    most = next((rule.le for rule in field.metadata if hasattr(rule, "le")), None)
    return least, most
