"""One training at a provider, followed: where it stands, what the provider says, its curves, and what came of it."""

from __future__ import annotations

from typing import Any

import streamlit as st

from core.jobs import queue
from core.managed.plan import TuneSettings
from core.managed.providers import THIS_MACHINE
from core.managed.runs import ManagedRun, can_cancel, models, name_deployment, run_of
from core.store.tables import Job
from pages.widgets import curves_view, managed_form
from pages.widgets.choose import go_to_view
from pages.widgets.errors import guard, plain
from pages.widgets.log import log_fold
from pages.widgets.managed_ask import ask
from pages.widgets.managed_before import show_notices
from pages.widgets.managed_local import same_here
from pages.widgets.managed_parts import NEW, VIEW, in_compare
from pages.widgets.money import usd
from pages.widgets.progress import badge, controls, live, progress_bar, trouble
from pages.widgets.run import POLL_S
from pages.widgets.words import clock

LEVELS = {"info": ":material/info:", "warn": ":material/warning:", "error": ":material/error:"}
SAID_AT_ONCE = 8


def watch(job: Job) -> None:
    """Everything about one training. What moves is drawn again as it moves; the charts stay, and grow."""
    curves_view.begin(job)
    live(lambda jobs: _now(jobs[0]), lambda: [queue.get(job.id)], every=POLL_S)
    run = run_of(job.id)
    if run.fine_tuned_model is not None:
        _model(run)
    curves_view.draw(job)
    live(lambda jobs: _said(run_of(jobs[0].id)), lambda: [queue.get(job.id)])
    log_fold(job, "managed")
    _again(job)


def _now(job: Job) -> None:
    run = run_of(job.id)
    with st.container(horizontal=True, vertical_alignment="center"):
        badge(job)
        there = f"there: {run.status.replace('_', ' ')}" if run.remote_job_id else "not created there yet"
        words = [f"{run.model} at {run.service}", *([run.remote_job_id] if run.remote_job_id else []), there]
        st.caption(plain(" · ".join(words)), width="content")
    progress_bar(job)
    trouble(job)
    if not run.following and can_cancel(run) and job.status == "stopped":
        st.info(
            "It goes on at the provider, and is paid for there. Follow it again to see how far it is.",
            icon=":material/visibility_off:",
        )
    controls(job, "managed")
    _figures(run)
    if not curves_view.grow(job):
        st.rerun()


def _figures(run: ManagedRun) -> None:
    notes, chosen = run.job.notes, run.job.spec["settings"]
    steps, total = notes.get("steps"), notes.get("total_steps")
    charged = run.cost_usd is not None
    price = run.cost_usd if charged else run.confirmed_usd
    with st.grid(4, min_column_width=130):
        st.metric("Step", f"{steps:,}" + (f" of {total:,}" if total else "") if steps else "none yet")
        st.metric("Epochs", "provider's choice" if chosen["epochs"] is None else str(chosen["epochs"]))
        st.metric("Tokens trained on", f"{run.trained_tokens:,}" if run.trained_tokens else "not told yet")
        st.metric(
            "Charged" if charged else "Confirmed",
            "unknown" if price is None else usd(price),
            help="The tokens that the provider says it trained on, at the price that was confirmed; its bill counts."
            if charged
            else "About what it was started for; the provider's bill counts.",
        )


def _model(run: ManagedRun) -> None:
    """What came out: its name, and what can be done with it."""
    with st.container(border=True):
        st.markdown("**The model**")
        st.code(run.fine_tuned_model, language=None, wrap_lines=True)
        _until(run)
        if run.deploy_first:
            _deployment(run)
        if run.rung_model is None:
            return
        if st.button(
            "Use it in Compare", type="primary", icon=":material/balance:", key=f"managed_compare_{run.job_id}"
        ):
            st.switch_page("pages/compare.py", query_params=in_compare(run.rung_model, run.dataset_id))
        fold = st.expander("Ask it", icon=":material/forum:", key=f"managed_ask_{run.job_id}", on_change="rerun")
        if fold.open:
            with fold, guard():
                ask(run.rung_model, run.dataset_id)


def _until(run: ManagedRun) -> None:
    """Until when the provider answers with it, where that is known."""
    known = next((model for model in models() if model.job_id == run.job_id), None)
    if known is not None:
        show_notices(known.notices)
    else:
        st.warning(
            "The service was removed here, so its model cannot be asked. Add it again under the same name.",
            icon=":material/cloud_off:",
        )


def _deployment(run: ManagedRun) -> None:
    """Azure answers only for what was deployed, by the name of the deployment."""
    st.info(
        "Deploy it in Azure's portal before it is asked; a deployment is charged by the hour. Then give its name here.",
        icon=":material/rocket_launch:",
    )
    with (
        st.form(f"managed_deployed_{run.job_id}", border=False),
        st.container(horizontal=True, vertical_alignment="bottom"),
    ):
        name = st.text_input("Name of the deployment", key=f"managed_deployment_{run.job_id}", max_chars=64)
        if st.form_submit_button("Save", icon=":material/save:"):
            with guard():
                name_deployment(run.job_id, name)
                st.rerun()


def _said(run: ManagedRun) -> None:
    """What the provider says, newest first."""
    if not run.events:
        return
    st.subheader("What the provider says", anchor=False)
    for event in run.events[:SAID_AT_ONCE]:
        _event(event)
    if len(run.events) > SAID_AT_ONCE:
        with st.expander(f"{len(run.events) - SAID_AT_ONCE} earlier", key=f"managed_said_{run.job_id}"):
            for event in run.events[SAID_AT_ONCE:]:
                _event(event)


def _event(event: dict[str, Any]) -> None:
    when = f"{clock(event['time'])} · " if event["time"] else ""
    st.caption(f"{LEVELS[event['level']]} {plain(when + event['message'])}")


def _again(job: Job) -> None:
    """The same once more: at another provider, with other settings, or here."""
    spec = job.spec
    if job.status in queue.ACTIVE or spec.get("dataset_id") is None:
        return
    if st.button("Change and train again", icon=":material/replay:", key=f"managed_again_{job.id}"):
        managed_form.fill(spec["service"], spec["model"], spec["dataset_id"], spec["settings"])
        go_to_view(VIEW, NEW)
        st.rerun()
    if spec["service"] != THIS_MACHINE:
        same_here(spec["dataset_id"], spec["name"], TuneSettings.model_validate(spec["settings"]), f"managed_{job.id}")
