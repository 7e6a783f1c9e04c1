"""Deleting an adapter, and having it back."""

from __future__ import annotations

import streamlit as st

from core.store.lists import experiments
from core.store.tables import Adapter
from core.train import adapters
from pages.widgets.errors import guard, plain
from pages.widgets.progress import confirmed
from pages.widgets.words import ago, many

KEPT_DAYS = round(adapters.KEPT_S / 86_400)


def delete_button(adapter: Adapter, where: str) -> None:
    """Deletes once it has been said what rests on the adapter."""
    with st.popover("Delete the adapter", icon=":material/delete:", key=f"{where}_delete_ask_{adapter.id}"):
        for line in resting_on(adapter):
            st.markdown(line)
        st.caption(f"It can be brought back for {KEPT_DAYS} days.")
        if st.button("Delete", icon=":material/delete:", key=f"{where}_delete_{adapter.id}"):
            with guard():
                adapters.delete(adapter.id)
                st.rerun()


def resting_on(adapter: Adapter) -> list[str]:
    """What would miss the adapter, a line of Markdown each."""
    lines = []
    for experiment in experiments():
        named = adapter.id in (experiment.adapter_id, experiment.spec.get("rag_adapter_id"))
        awaited = experiment.train_job_id is not None and experiment.train_job_id == adapter.job_id
        if not named and not awaited:
            continue
        name = f"**{plain(experiment.name, 80)}** (comparison {experiment.id})"
        if experiment.report is None:
            lines.append(f":material/warning: {name} is not finished and cannot be finished without it.")
        else:
            lines.append(f":material/balance: {name} was measured with it; its results stay.")
    return lines


def undo_line(adapter: Adapter, where: str) -> None:
    """Says that the adapter was deleted, with the way back."""
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        st.markdown(
            f":material/delete: **{plain(adapter.name, 80)}** was deleted {ago(adapter.deleted_at)}.", width="content"
        )
        _restore(adapter, "Undo", f"{where}_undo_{adapter.id}")


def recently_deleted(where: str) -> None:
    """All that can still be brought back, behind a fold; nothing when there is none."""
    gone = adapters.deleted()
    if not gone:
        return
    with st.expander(f"Recently deleted: {many(len(gone), 'adapter')}", icon=":material/delete:", key=f"{where}_trash"):
        for adapter in gone:
            with st.container(horizontal=True, vertical_alignment="center"):
                name = plain(adapter.name, 80)
                st.markdown(f"**{name}** (adapter {adapter.id}), deleted {ago(adapter.deleted_at)}", width="content")
                _restore(adapter, "Restore", f"{where}_restore_{adapter.id}")
        st.caption(f"Their files are cleared away after {KEPT_DAYS} days.")
        if confirmed("Clear away now", "The files of these adapters go, and with them the way back.", f"{where}_clear"):
            with guard():
                adapters.clear_away(older_than_s=0)
                st.rerun()


def _restore(adapter: Adapter, label: str, key: str) -> None:
    if st.button(label, icon=":material/undo:", key=key):
        with guard():
            adapters.restore(adapter.id)
            st.rerun()
