"""Work that is done once and remembered across redraws, visible in its progress while it is done."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar

import streamlit as st

Result = TypeVar("Result")
# Reports and profiles are a few hundred kilobytes at most.
REMEMBERED = 40


@st.cache_resource(show_spinner=False)
def _shelf() -> OrderedDict[Hashable, object]:
    return OrderedDict()


def once(key: Hashable, work: Callable[[], Result]) -> Result:
    """What `work` returned when `key` was first asked for. Unlike a cached function, `work` may draw its progress."""
    shelf = _shelf()
    if key in shelf:
        return shelf[key]  # type: ignore[return-value]
    result = work()
    shelf[key] = result
    while len(shelf) > REMEMBERED:
        shelf.popitem(last=False)
    return result


def known(key: Hashable) -> bool:
    """Whether `once` would answer at once."""
    return key in _shelf()
