"""Which metrics an experiment is scored by: one decides, others stand beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from core.data.dataset import examples_of
from core.evaluate.metrics import metric_named, metrics
from core.evaluate.metrics.own import own_problems
from core.evaluate.metrics.registry import Metric
from core.evaluate.plan import MetricChoice
from core.evaluate.suggest import Suggestion, suggest
from core.store.database import session
from core.store.tables import Dataset
from pages.widgets.errors import guard, plain, show_error
from pages.widgets.metric_settings import settings_form

# Enough to tell classes from free text; reading a million answers for it would take minutes.
LOOKED_AT = 1_000


def metrics_picker(key: str, dataset_id: int, chosen: Sequence[MetricChoice] | None = None) -> list[MetricChoice]:
    """The metrics, the deciding one first; all keys begin with `key`. It starts from `chosen`, else as suggested.

    A metric that cannot be scored by yet, as a setting is missing, says so itself.
    """
    suggested = _suggested(dataset_id, _content(dataset_id))
    start = {choice.name: choice.settings for choice in chosen or ()} or {s.name: s.settings for s in suggested}
    listed = _listed(suggested)
    key = f"{key}{dataset_id}_"
    first = next(iter(start))
    deciding = st.selectbox(
        "Metric",
        list(listed),
        list(listed).index(first) if first in listed else 0,
        format_func=lambda name: listed[name].title,
        key=f"{key}deciding",
        persist_state="session",
    )
    st.caption(plain(f"{listed[deciding].explanation} {_why(deciding, suggested)}".strip()))
    others = [name for name in listed if name != deciding]
    with st.expander("More metrics, and their settings", icon=":material/rule:"):
        beside = st.multiselect(
            "Measured beside it",
            others,
            [name for name in start if name in others],
            format_func=lambda name: listed[name].title,
            key=f"{key}beside_{deciding}",
            persist_state="session",
            placeholder="None",
            help="They are shown beside the verdict and decide nothing. More can be added afterwards, without asking "
            "the models again.",
        )
        for problem in own_problems():
            show_error(problem)
        reasons = [f"{listed[s.name].title}: {s.why}" for s in suggested if s.name in beside]
        if reasons:
            st.caption(plain("Suggested by the data. " + " ".join(reasons)))
        for name in beside:
            if listed[name].cost == "paid":
                st.caption(plain(f"{listed[name].title} asks a model for every answer, which takes time or money."))
        return [_choice(listed[name], f"{key}{name}_", start) for name in (deciding, *beside)]


def _choice(metric: Metric, key: str, start: Mapping[str, dict[str, Any]]) -> MetricChoice:
    """The metric with its settings as they stand; a form of its own where it has any."""
    if metric.settings is None:
        return MetricChoice(name=metric.name)
    st.markdown(f"**{plain(metric.title)}**")
    st.caption(plain(metric.explanation))
    settings: dict[str, Any] = {}
    with guard():
        settings = settings_form(metric, key, start.get(metric.name, {}))
    return MetricChoice(name=metric.name, settings=settings)


def _listed(suggested: Sequence[Suggestion]) -> dict[str, Metric]:
    """All metrics by name: those suggested first, then family by family."""
    known = {metric.name: metric for metric in sorted(metrics(), key=lambda metric: (metric.family, metric.title))}
    first = {s.name: metric_named(s.name) for s in suggested}
    return first | {name: metric for name, metric in known.items() if name not in first}


def _why(deciding: str, suggested: Sequence[Suggestion]) -> str:
    best = suggested[0]
    return f"Suggested{'' if deciding == best.name else f': {metric_named(best.name).title}'}. {best.why}"


def _content(dataset_id: int) -> str:
    """The hash of a dataset, which edits change."""
    with session(read_only=True) as db:
        found = db.get(Dataset, dataset_id)
    return found.hash if found else ""


@st.cache_data(max_entries=200, show_spinner=False)
def _suggested(dataset_id: int, content: str) -> list[Suggestion]:
    """What suits a dataset, from its first examples. `content` makes it look again after an edit."""
    splits = (examples_of(dataset_id, split, LOOKED_AT) for split in ("train", "test"))
    return suggest([example for examples in splits for _, example in examples])
