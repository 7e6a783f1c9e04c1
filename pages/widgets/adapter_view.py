"""What a training left: its figures, where to go with it, and what it is worth beside its base."""

from __future__ import annotations

import streamlit as st

from core.models.package import adapter_zip
from core.settings import get_settings
from core.store.tables import Adapter, Job
from core.train import adapters
from core.train.card import model_card
from pages.widgets import beside, forgetting_view
from pages.widgets.errors import guard, plain
from pages.widgets.sources import size_in_words
from pages.widgets.trash import delete_button, undo_line
from pages.widgets.words import duration


def draw(adapter: Adapter | None, job: Job | None = None) -> None:
    """The adapter of a run that has ended; `job` is None where the run was deleted. Says so when there is none."""
    if adapter is None and job is not None:
        adapter = next((gone for gone in adapters.deleted() if gone.job_id == job.id), None)
    if adapter is None:
        st.caption("The adapter of this run was deleted.")
        return
    if adapter.deleted_at is not None:
        undo_line(adapter, "adapter")
        return
    with st.container(border=True):
        st.subheader(plain(adapter.name, 120), anchor=False)
        st.caption(plain(f"Adapter {adapter.id} · {adapter.method} on {adapter.base_model}"))
        _figures(adapter, job)
        _ways_on(adapter)
    talk, forgot = st.tabs(
        [":material/compare: Beside its base", ":material/psychology_alt: What it forgot"],
        key=f"adapter_tabs_{adapter.id}",
        on_change="rerun",
    )
    if talk.open:
        with talk:
            beside.draw(adapter)
    if forgot.open:
        with forgot:
            forgetting_view.draw(adapter)


def _figures(adapter: Adapter, job: Job | None) -> None:
    known = (job.result if job is not None else {}) | adapter.notes
    step, steps = known.get("step", known.get("best_step")), known.get("steps")
    with st.grid(6, min_column_width=130):
        st.metric(
            "Evaluation loss",
            "none" if adapter.eval_loss is None else f"{adapter.eval_loss:.3f}",
            help="Of the checkpoint that was kept: mean negative log-likelihood of an answer token on the validation "
            "examples, in nats. None when there were no validation examples.",
        )
        st.metric("Training loss", _number(known.get("train_loss"), ".3f"), help="At the last step, in nats per token.")
        st.metric(
            "Step kept",
            "unknown" if step is None else f"{step:,}" + (f" of {steps:,}" if steps else ""),
            help="The checkpoint with the lowest evaluation loss is kept.",
        )
        st.metric("Time", duration(known.get("seconds")))
        st.metric("Memory", _number(known.get("memory_gb"), ".2f", " GB"), help="The most that the training held.")
        st.metric("Size on disk", size_in_words(_bytes(adapter)))


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "unknown" if value is None else f"{value:{form}}{unit}"


def _bytes(adapter: Adapter) -> int:
    folder = get_settings().home / adapter.path
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _ways_on(adapter: Adapter) -> None:
    with st.container(horizontal=True):
        if st.button("Compare with it", type="primary", icon=":material/balance:", key="run_compare"):
            st.switch_page(
                "pages/compare.py",
                query_params={"new": "1", "dataset": str(adapter.dataset_id), "adapter": str(adapter.id)},
            )
        if st.button("Talk to it", icon=":material/forum:", key="run_serve"):
            st.switch_page("pages/serve.py", query_params={"adapter": str(adapter.id)})
        download_buttons(adapter)
        _rename(adapter)
        delete_button(adapter, "run")


def download_buttons(adapter: Adapter) -> None:
    """The weights as a zip, and the card that is also in it; both are made when the button is pressed."""
    st.download_button(
        "Adapter (zip)",
        lambda: adapter_zip(adapter, model_card(adapter)),
        f"adapter-{adapter.id}.zip",
        "application/zip",
        icon=":material/download:",
        on_click="ignore",
        key=f"download_adapter_{adapter.id}",
        help="Weights as safetensors, configuration and the model card.",
    )
    st.download_button(
        "Model card",
        lambda: model_card(adapter),
        f"adapter-{adapter.id}.md",
        "text/markdown",
        icon=":material/description:",
        on_click="ignore",
        key=f"download_card_{adapter.id}",
        help="Data, recipe, figures and licence, as Markdown.",
    )


def _rename(adapter: Adapter) -> None:
    with (
        st.popover("Rename", icon=":material/edit:", key=f"rename_ask_{adapter.id}"),
        st.form(f"rename_form_{adapter.id}", border=False),
    ):
        name = st.text_input("Name", adapter.name, max_chars=120, key=f"rename_{adapter.id}")
        if st.form_submit_button("Rename"):
            with guard():
                adapters.rename(adapter.id, name)
                st.rerun()
