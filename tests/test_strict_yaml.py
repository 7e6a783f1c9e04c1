"""YAML as it is written: whatever a name holds, it is read back."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from core.strict_yaml import dump_yaml


@pytest.mark.parametrize(
    "value", ["\x85", "a\u2028b", "\u2029", "\xa0", "ends with a blank\xa0", ":\xa0", "\n", "\ufeff", ""]
)
def test_unusual_blanks_survive(value: str) -> None:
    assert yaml.safe_load(dump_yaml({"name": value, "next": 1})) == {"name": value, "next": 1}
    assert yaml.safe_load(dump_yaml({"name": value})) == {"name": value}


@given(st.dictionaries(st.text(min_size=1, max_size=12), st.text(), min_size=1))
def test_any_text_survives(fields: dict[str, str]) -> None:
    assert yaml.safe_load(dump_yaml(fields)) == fields
