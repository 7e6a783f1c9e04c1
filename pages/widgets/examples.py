"""The Examples half of the Data page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import streamlit as st

from core.data.dataset import (
    MIN_TEST_EXAMPLES,
    SPLITS,
    File,
    ImportRefused,
    browse,
    create_dataset,
    datasets,
    delete_dataset,
)
from core.data.example import Problem
from core.evaluate.metrics import metric_named
from core.forecast import detectable_in_words
from core.store.tables import Dataset
from core.train.recipe import MIN_EXAMPLES
from pages.widgets.choose import choose
from pages.widgets.errors import guard
from pages.widgets.facts import metric_of
from pages.widgets.progress import confirmed
from pages.widgets.tables import csv_button, problem_rows, table
from pages.widgets.words import ago, many

PER_PAGE = 10
SAMPLE = (
    '{"messages": [{"role": "user", "content": "Where is my parcel?"}, {"role": "assistant", "content": "SHIPPING"}]}'
)


def examples_tab() -> None:
    listed = datasets()
    with st.expander("Import examples", icon=":material/upload:", expanded=not listed, key=f"import_{bool(listed)}"):
        _import_form()
    _say_outcome()
    if not listed:
        st.info(
            "Import a JSONL file above, or start the demo project, which brings three data sets of its own.",
            title="No examples yet",
        )
        if st.button("Start the demo on Home", icon=":material/home:"):
            st.switch_page("pages/home.py")
        return
    dataset_id = choose("dataset", "Dataset", {d.id: f"{d.name} (number {d.id})" for d in listed})
    dataset = next(d for d in listed if d.id == dataset_id)
    _summary(dataset)
    _browse(dataset.id)


def _import_form() -> None:
    st.markdown(
        "One JSON object on each line; the last turn is the answer you expect. "
        "Add `group` where examples come from the same source, so that it never straddles training and test."
    )
    st.code(SAMPLE, language="json", wrap_lines=True)
    with st.form("import_examples", border=False):
        train = st.file_uploader("Training examples (JSONL)", type=["jsonl", "json", "txt"], key="train_file")
        test = st.file_uploader(
            "Test examples (JSONL), optional",
            type=["jsonl", "json", "txt"],
            key="test_file",
            help="Without this file, a fifth of the groups is held back for testing.",
        )
        left, right = st.columns([3, 1])
        name = left.text_input("Name", placeholder="The file's name", max_chars=120, key="dataset_name")
        seed = right.number_input(
            "Seed of the split",
            0,
            2**31 - 1,
            0,
            key="dataset_seed",
            help="The same file and seed are split the same way.",
        )
        submitted = st.form_submit_button("Check and import", type="primary", icon=":material/fact_check:")
    if not submitted:
        return
    st.session_state.pop("import_outcome", None)
    if train is None:
        st.warning("Choose a file with training examples first.")
        return
    files = [File(PurePosixPath(f.name).name, f.getvalue()) if f else None for f in (train, test)]
    assert files[0] is not None
    with guard(), st.spinner("Checking every line"):
        try:
            dataset = create_dataset(name or PurePosixPath(train.name).stem, files[0], files[1], seed=int(seed))
        except ImportRefused as refused:
            st.session_state["import_outcome"] = refused.problems
        else:
            st.session_state["import_outcome"] = dataset.id
            st.query_params["dataset"] = str(dataset.id)
            st.rerun()


def _say_outcome() -> None:
    outcome = st.session_state.get("import_outcome")
    if isinstance(outcome, int):
        st.success("The data set is below, with its splits.", title="Imported", icon=":material/check:")
        st.session_state.pop("import_outcome")
    elif outcome:
        _refusal(outcome)


def _refusal(problems: Sequence[Problem]) -> None:
    errors = [problem for problem in problems if problem.severity == "error"]
    st.error(
        f"{many(len(errors), 'problem')} to mend. Correct the file and import it again.",
        title="Nothing was imported",
        icon=":material/error:",
    )
    rows = problem_rows(errors)
    table(
        rows,
        "Every line that is wrong, why, and what to do",
        row_height=58,
        height=min(500, 40 + 58 * len(rows)),
        column_config={name: st.column_config.TextColumn(width="medium") for name in ("what is wrong", "what to do")},
    )
    csv_button(rows, "problems.csv", "Download this list (CSV)", "problems_csv")


def _summary(dataset: Dataset) -> None:
    counts = dataset.notes["counts"]
    metric, why = metric_of(dataset.id)
    with st.grid(3, min_column_width=150):
        for split in SPLITS:
            st.metric(f"{split.capitalize()} examples", f"{counts[split]:,}", border=True)
    st.text(
        f"From {dataset.source}, imported {ago(dataset.created_at)}. Split: {dataset.notes['split']}. "
        f"Content hash {dataset.hash[:12]}."
    )
    st.markdown(
        f"Suggested metric: **{metric_named(metric).title}**. {why} "
        f"{detectable_in_words(counts['test'], metric_named(metric).kind)}"
    )
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
    warnings = dataset.notes.get("warnings", [])
    if warnings:
        with st.expander(f"{many(len(warnings), 'warning')} from the import", icon=":material/warning:"):
            table(problem_rows([Problem(**warning) for warning in warnings]), "Warnings from the import")
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
                delete_dataset(dataset.id)
                st.rerun()


def _browse(dataset_id: int) -> None:
    st.subheader("Browse")
    left, right = st.columns([1, 2], vertical_alignment="bottom")
    with left:
        split = st.segmented_control(
            "Split", SPLITS, default="train", required=True, key="browse_split", persist_state="session"
        )
    search = right.text_input(
        "Search",
        type="search",
        placeholder="In questions and answers",
        key="browse_search",
        persist_state="session",
    )
    split = split or "train"
    total = browse(dataset_id, split, search or "", 0, 1)[0]
    if not total:
        st.caption("No example fits.")
        return
    pages = -(-total // PER_PAGE)
    page = min(st.session_state.get("browse_page", 1), pages)
    count, rows = browse(dataset_id, split, search or "", (page - 1) * PER_PAGE, PER_PAGE)
    st.caption(f"{many(count, 'example')}. Click a cell to read it whole.")
    table(
        [
            {
                "number": row.position + 1,
                "question": "\n".join(f"{turn['role']}: {turn['content']}" for turn in row.messages),
                "expected answer": row.reference,
                "group": row.group,
            }
            for row in rows
        ],
        "Examples of the chosen split",
        row_height=64,
        height=38 + 64 * len(rows),
        column_config={
            "question": st.column_config.TextColumn(width="large"),
            "number": st.column_config.NumberColumn(width="small"),
        },
    )
    if pages > 1:
        st.pagination(pages, key="browse_page")
