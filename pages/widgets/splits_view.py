"""How a data set was split and why, and whether anything of one part is also in another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from core.data.dataset import SPLITS, stream_examples
from core.data.leaks import LeakReport, leaks
from core.evaluate.metrics import metric_named
from core.forecast import detectable_in_words
from core.store.tables import Dataset
from pages.widgets.errors import plain
from pages.widgets.facts import metric_of
from pages.widgets.once import known, once
from pages.widgets.opening import opening_table
from pages.widgets.tables import csv_button, table
from pages.widgets.words import many, percent

KINDS = {
    "exact": "The same prompt, letter by letter",
    "normalised": "The same but for case, punctuation and white space",
    "near": "Nearly the same words",
}
# So many are compared while one waits without asking; more take longer than a moment.
COMPARED_AT_ONCE = 5_000


def splits_view(dataset: Dataset) -> None:
    _decided(dataset)
    _leaks(dataset)


def _decided(dataset: Dataset) -> None:
    """What the import decided, as it is stored with the data set."""
    notes, counts = dataset.notes, dataset.notes["counts"]
    total = max(1, sum(counts.values()))
    groups = notes.get("groups", {})
    table(
        [
            {
                "part": split,
                "examples": counts[split],
                "share": percent(counts[split] / total),
                **({"groups": groups[split]} if split in groups else {}),
            }
            for split in SPLITS
        ],
        "Examples and groups of each part",
        width="content",
        column_config={
            "examples": st.column_config.NumberColumn(format="localized"),
            "groups": st.column_config.NumberColumn(
                format="localized", help="Independent sources, counted at the import; a group is never split."
            ),
        },
    )
    st.markdown(f"**How it was split:** {plain(notes['split'])}.")
    metric, _ = metric_of(dataset.id, dataset.hash)
    st.markdown(detectable_in_words(counts["test"], metric_named(metric).kind))
    duplicates: Mapping[str, Any] = notes.get("duplicates") or {}
    if duplicates:
        near = duplicates.get("alike")
        words = [f"{many(duplicates['exact'], 'exact copy').replace('copys', 'copies')} of other examples"]
        if near is not None:
            words.append(f"{many(near, 'example')} whose prompt nearly repeats another, kept together")
        sampled = "" if duplicates.get("compared_all", True) else " (by a sample: there are too many to compare all)"
        st.markdown(f"**Found at the import:** {' and '.join(words)}{sampled}.")
    else:
        st.caption("Duplicates were not counted when this data set was imported.")


def _leaks(dataset: Dataset) -> None:
    """Examples of one part that another also has, compared when asked, or at once where that is quick."""
    st.markdown("#### Leaks")
    st.markdown(
        "A test question that also stands in the training examples is answered from memory, so its score proves "
        "nothing. Here both parts are compared with each other."
    )
    parts = [split for split in ("validation", "test") if dataset.notes["counts"][split]]
    if not parts or not dataset.notes["counts"]["train"]:
        st.caption("There are no two parts to compare.")
        return
    against = st.segmented_control(
        "Training examples against",
        parts,
        default=parts[-1],
        required=True,
        key="leaks_against",
        persist_state="session",
    )
    against = against or parts[-1]
    key = ("leaks", dataset.id, dataset.hash, against)
    large = sum(dataset.notes["counts"].values()) > COMPARED_AT_ONCE
    if large and not known(key) and not st.button("Compare them now", icon=":material/compare:", key="leaks_now"):
        return
    with st.spinner("Comparing every prompt with every other"):
        ids, report = once(key, lambda: compare_parts(dataset.id, against))
    _show(report, ids, against)


def compare_parts(dataset_id: int, against: str) -> tuple[tuple[list[int], list[int]], LeakReport]:
    """((row ids of the training examples, of the others), what they share)."""
    ids: tuple[list[int], list[int]] = ([], [])

    def examples(split: str, seen: list[int]) -> Any:
        for row_id, example in stream_examples(dataset_id, split):
            seen.append(row_id)
            yield example

    return ids, leaks(examples("train", ids[0]), examples(against, ids[1]))


def _show(report: LeakReport, ids: tuple[list[int], list[int]], against: str) -> None:
    if not report.compared:
        st.caption("There are too many prompts to look for near duplicates among all of them; a sample was compared.")
    if not report.leaks:
        st.success(f"No {against} prompt is also a training prompt, or nearly one.", title="No leak found")
        return
    with st.grid(3, min_column_width=130):
        for kind, meaning in KINDS.items():
            st.metric(kind.capitalize(), f"{report.counts.get(kind, 0):,}", border=True, help=meaning)
    listed = "" if len(report.leaks) == report.total else f" The first {len(report.leaks)} are listed."
    st.warning(
        "Remove the training twin, or move both to one part by giving them the same group before you import." + listed,
        title=f"{many(report.total, f'{against} example')} may be answered from memory",
    )

    rows = [
        {
            "likeness": leak.kind,
            "shared": percent(leak.similarity),
            "training prompt": leak.train_text,
            f"{against} prompt": leak.test_text,
        }
        for leak in report.leaks
    ]
    opening_table(
        rows,
        [ids[1][leak.test_position] for leak in report.leaks],
        f"Pairs of training and {against} examples that are alike",
        "leak_open",
        {
            "shared": st.column_config.TextColumn(help="Word sequences that both have, of all that either has."),
            "training prompt": st.column_config.TextColumn(width="large"),
            f"{against} prompt": st.column_config.TextColumn(width="large"),
        },
    )
    csv_button(rows, "leaks.csv", "Download these pairs (CSV)", "leaks_csv")
