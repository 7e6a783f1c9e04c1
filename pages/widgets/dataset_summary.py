"""A data set at a glance: its size, what it can show, what the import noted, and where to go with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from core.data.dataset import MIN_TEST_EXAMPLES, SPLITS, delete_dataset
from core.data.example import Problem
from core.data.files import FileKind
from core.data.layouts import LAYOUTS
from core.data.rows import REMOVED, Filter, page
from core.evaluate.metrics import metric_named
from core.forecast import detectable_in_words
from core.store.tables import Dataset
from core.train.recipe import MIN_EXAMPLES
from pages.widgets.errors import guard, plain
from pages.widgets.facts import metric_of
from pages.widgets.problems import problem_table
from pages.widgets.progress import confirmed
from pages.widgets.words import ago, many

MEANT_FOR = {
    "train": "Learnt from.",
    "validation": "Watched during training, never learnt from.",
    "test": "Only for testing what was learnt.",
}


def overview(dataset: Dataset) -> None:
    _figures(dataset)
    _too_little(dataset)
    with st.container(horizontal=True):
        if st.button("Compare rungs on it", type="primary", icon=":material/balance:", key="dataset_compare"):
            st.switch_page("pages/compare.py", query_params={"new": "1", "dataset": str(dataset.id)})
        if st.button("Train on it", icon=":material/model_training:", key="dataset_train"):
            st.switch_page("pages/train.py", query_params={"new": "1", "dataset": str(dataset.id)})
        if confirmed(
            "Delete",
            "The data set and its examples go. Adapters trained on it stay.",
            f"dataset_delete_{dataset.id}",
        ):
            with guard():
                with st.spinner("Deleting"):
                    delete_dataset(dataset.id)
                st.rerun()
    _origin(dataset)
    _warnings(dataset)


def _figures(dataset: Dataset) -> None:
    counts = dataset.notes["counts"]
    removed = page(dataset.id, Filter(REMOVED), 0, 1).count
    with st.grid(4 if removed else 3, min_column_width=130):
        for split in SPLITS:
            groups = dataset.notes.get("groups", {}).get(split)
            grouped = groups and groups < counts[split]
            told = f"{MEANT_FOR[split]} From {many(groups, 'group')} at the import." if grouped else MEANT_FOR[split]
            st.metric(f"{split.capitalize()} examples", f"{counts[split]:,}", border=True, help=told)
        if removed:
            st.metric("Removed", f"{removed:,}", border=True, help="Taken out by hand; they can be put back in Rows.")
    metric, why = metric_of(dataset.id, dataset.hash)
    st.markdown(
        f"Suggested metric: **{metric_named(metric).title}**. {why} "
        f"{detectable_in_words(counts['test'], metric_named(metric).kind)}"
    )


def _too_little(dataset: Dataset) -> None:
    counts = dataset.notes["counts"]
    if counts["train"] < MIN_EXAMPLES:
        st.warning(
            f"{counts['train']} training examples are too few to learn from; rungs with an adapter need at "
            f"least {MIN_EXAMPLES}.",
            title="Too few to train",
        )
    if counts["test"] < MIN_TEST_EXAMPLES:
        st.warning(
            f"{counts['test']} test examples tell little; collect at least {MIN_TEST_EXAMPLES}.",
            title="Few to test",
        )


def _origin(dataset: Dataset) -> None:
    """Where it came from and how it was read, as far as it was noted."""
    notes = dataset.notes
    parts = [f"From {dataset.source}, imported {ago(dataset.created_at)}"]
    if copy := notes.get("copy_of"):
        parts = [f"A copy of {copy['name']} (number {copy['id']}), made {ago(dataset.created_at)}"]
    readings = list(dict.fromkeys(map(_reading_in_words, notes.get("readings", ()))))
    st.text(". ".join([*parts, *readings, f"Split: {notes['split']}", f"Content hash {dataset.hash[:12]}"]) + ".")


def _reading_in_words(reading: Mapping[str, Any]) -> str:
    layout = LAYOUTS.get(reading["layout"])
    words = [FileKind(**reading["kind"]).title, layout.title if layout else reading["layout"]]
    if reading["mapping"]:
        words.append(", ".join(f"{field} from {column}" for field, column in reading["mapping"].items()))
    if reading["fixes"]:
        words.append("fixed: " + ", ".join(fix.replace("_", " ") for fix in reading["fixes"]))
    return f"Read as {' · '.join(words)}"


def _warnings(dataset: Dataset) -> None:
    warnings = [Problem(**warning) for warning in dataset.notes.get("warnings", [])]
    warnings = [warning for warning in warnings if warning.severity == "warning"]
    if not warnings:
        return
    counts = dataset.notes.get("warning_counts", {})
    total = max(len(warnings), sum(counts.values()))
    with st.expander(f"{many(total, 'warning')} from the import", icon=":material/warning:"):
        problem_table(warnings, f"warnings_{dataset.id}", "Warnings from the import", counts)
        if total > len(warnings):
            st.caption(plain(f"The first {len(warnings)} are kept."))
