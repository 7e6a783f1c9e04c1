"""The Examples half of the Data page: import, choose, and look at a data set from every side."""

from __future__ import annotations

import streamlit as st

from core.data.dataset import datasets
from core.jobs import queue
from core.store.tables import Dataset
from pages.widgets.choose import choose
from pages.widgets.dataset_summary import overview
from pages.widgets.errors import guard, plain
from pages.widgets.example_view import opened_example
from pages.widgets.export_view import export_view
from pages.widgets.import_form import import_form
from pages.widgets.import_jobs import import_jobs
from pages.widgets.profile_view import profile_view
from pages.widgets.rows_view import rows_view
from pages.widgets.splits_view import splits_view

VIEWS = ("Overview", "Profile", "Splits and leaks", "Rows", "Export")
OUTCOMES = {
    "dataset": ("Imported", "{} is below, with its splits."),
    "copy": ("Copied", "{} is below. Nothing rests on it, so its rows can be edited."),
    "job": ("The import has begun", "It goes on in the background; the page can be used meanwhile."),
}


def examples_tab() -> None:
    listed = datasets()
    # Another key is another expander, closed again after an import.
    key = f"import_{bool(listed)}_{st.session_state.get('imports', 0)}"
    with st.expander("Import examples", icon=":material/upload:", expanded=not listed, key=key):
        import_form()
    _open_what_arrived()
    _say_outcome(listed)
    with guard():
        import_jobs()
    if not listed:
        st.info(
            "Import a file above, or start the demo project, which brings three data sets of its own.",
            title="No examples yet",
        )
        if st.button("Start the demo on Home", icon=":material/home:"):
            st.switch_page("pages/home.py")
        return
    dataset_id = choose("dataset", "Dataset", {d.id: f"{d.name} (number {d.id})" for d in listed})
    dataset = next(d for d in listed if d.id == dataset_id)
    with guard():
        opened_example(dataset)
    with guard():
        _view(dataset)


def _view(dataset: Dataset) -> None:
    """One side of the data set; only that one is worked out."""
    view = st.segmented_control(
        "What to look at",
        VIEWS,
        default="Overview",
        required=True,
        key="view",
        bind="query-params",
        label_visibility="collapsed",
    )
    if view == "Profile":
        profile_view(dataset)
    elif view == "Splits and leaks":
        splits_view(dataset)
    elif view == "Rows":
        rows_view(dataset)
    elif view == "Export":
        export_view(dataset)
    else:
        overview(dataset)


def _open_what_arrived() -> None:
    """The data set of an import that was started here, once its job is done."""
    watched = st.session_state.get("import_watched")
    job = next((job for job in queue.jobs("import") if job.id == watched), None)
    if job is None or job.status in queue.ACTIVE:
        return
    del st.session_state["import_watched"]
    if "dataset_id" in job.result:
        st.query_params["dataset"] = str(job.result["dataset_id"])
        st.session_state["import_outcome"] = ("dataset", job.result["dataset_id"])


def _say_outcome(listed: list[Dataset]) -> None:
    """Once, what an import or a copy gave."""
    outcome = st.session_state.pop("import_outcome", None)
    if outcome is None:
        return
    kind, number = outcome
    title, text = OUTCOMES[kind]
    name = next((plain(dataset.name, 80) for dataset in listed if dataset.id == number), "It")
    st.success(text.format(name), title=title, icon=":material/check:")
