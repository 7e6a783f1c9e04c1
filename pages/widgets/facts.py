"""Facts about stored things, worked out once for each state they are in."""

from __future__ import annotations

import streamlit as st

from core.data.dataset import examples_of
from core.evaluate.suggest import suggest_metric

# Enough to tell classes from free text; reading a million answers for it would take minutes.
LOOKED_AT = 2_000


@st.cache_data(max_entries=200, show_spinner=False)
def metric_of(dataset_id: int, content: str) -> tuple[str, str]:
    """(suggested metric, why) for a dataset, from its first answers. `content` is its hash, which edits change."""
    return suggest_metric(
        [example.reference for split in ("train", "test") for _, example in examples_of(dataset_id, split, LOOKED_AT)]
    )
