"""Facts about stored things that do not change, worked out once."""

from __future__ import annotations

import streamlit as st

from core.data.dataset import examples_of
from core.evaluate.suggest import suggest_metric


@st.cache_data(max_entries=200, show_spinner=False)
def metric_of(dataset_id: int) -> tuple[str, str]:
    """(suggested metric, why) for a dataset; its examples never change, and ids are never used twice."""
    return suggest_metric(
        [example.reference for split in ("train", "test") for _, example in examples_of(dataset_id, split)]
    )
