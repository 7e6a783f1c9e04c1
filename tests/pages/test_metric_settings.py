"""The form for a metric's settings: any metric's, with what is wrong said below it."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from core.evaluate.metrics import metrics

CONFIGURABLE = [metric.name for metric in metrics() if metric.settings is not None]


def form(name: str, start: dict[str, object]) -> None:
    import streamlit as st

    from core.evaluate.metrics import metric_named
    from pages.widgets.metric_settings import settings_form

    st.session_state["given"] = settings_form(metric_named(name), "form_", start)


def opened(name: str, start: dict[str, Any] | None = None) -> AppTest:
    at = AppTest.from_function(form, args=(name, start or {}), default_timeout=20).run()
    assert not at.exception
    return at


@pytest.mark.parametrize("name", CONFIGURABLE)
def test_every_metric_has_a_form_that_starts_as_usual(name: str) -> None:
    at = opened(name)
    assert at.session_state["given"] == {} and not at.error
    drawn = [*at.text_input, *at.text_area, *at.number_input, *at.selectbox, *at.checkbox]
    assert drawn and all(widget.label and widget.help for widget in drawn)


def test_it_starts_as_suggested_and_gives_back_what_differs_from_the_usual() -> None:
    at = opened("accuracy", {"classes": ["fruit", "tool"]})
    assert at.text_area(key="form_classes").value == "fruit\ntool"
    assert at.session_state["given"] == {"classes": ["fruit", "tool"]}
    at.text_area(key="form_classes").set_value(" fruit \n\n vehicle").run()
    assert at.session_state["given"] == {"classes": ["fruit", "vehicle"]}


def test_limits_can_be_changed_and_taken_away() -> None:
    at = opened("length")
    at.number_input(key="form_max_words").set_value(None)
    at.number_input(key="form_max_characters").set_value(160).run()
    assert at.session_state["given"] == {"max_words": None, "max_characters": 160}
    at.number_input(key="form_min_characters").set_value(200).run()
    assert "at least 200 and at most 160 characters" in at.error[0].value


def test_an_unusable_schema_is_told_below_its_field() -> None:
    at = opened("json_schema")
    at.text_area(key="form_json_schema").set_value('{"type": }').run()
    assert not at.exception
    assert "JSON schema" in at.error[0].value and "line 1, column 10" in at.error[0].value
    at.text_area(key="form_json_schema").set_value('{"type": "object"}').run()
    assert not at.error and at.session_state["given"] == {"json_schema": '{"type": "object"}'}


def test_an_unusable_pattern_is_told_and_shown_as_plain_text() -> None:
    at = opened("regex", {"pattern": "(**bold**"})
    assert r"\*\*" not in at.session_state["given"]["pattern"]
    assert "no regular expression" in at.error[0].value and "**bold**" not in at.error[0].value
    at.text_input(key="form_pattern").set_value(r"^\d+$")
    at.selectbox(key="form_where").select("whole")
    at.checkbox(key="form_ignore_case").check().run()
    assert at.session_state["given"] == {"pattern": r"^\d+$", "where": "whole", "ignore_case": True}
    assert not at.error
