"""Jobs: what runs, what waits, what failed and why."""

from __future__ import annotations

import streamlit as st

from core.errors import UserError
from core.jobs import queue
from core.store.lists import adapter
from core.store.tables import Job
from pages.widgets.errors import plain
from pages.widgets.managed_parts import address
from pages.widgets.progress import badge, controls, in_turn, live, progress_bar, trouble, turn_buttons
from pages.widgets.words import ago, clock, duration

PER_PAGE = 15
KINDS = {
    "import": "Import",
    "index": "Index",
    "preflight": "Pre-flight",
    "validate": "File check",
    "train": "Train",
    "forgetting": "Forgetting check",
    "compare": "Compare",
    "lab": "Retrieval lab",
    "managed": "Managed fine-tune",
    "serve": "Server",
    "export": "Export",
}

st.title("Jobs")
st.caption("Work goes on when this page is closed. One job runs per device; the others wait their turn.")

shown = st.pills(
    "Show",
    ["Waiting and running", "Done", "Stopped or failed"],
    selection_mode="multi",
    key="jobs_shown",
    persist_state="session",
    label_visibility="collapsed",
)


def wanted(job: Job) -> bool:
    group = (
        "Waiting and running" if job.status in queue.ACTIVE else "Done" if job.status == "done" else "Stopped or failed"
    )
    return not shown or group in shown


def draw(jobs: list[Job]) -> None:
    if not jobs:
        st.info(
            "Building an index, training and comparing are jobs, and will be listed here.",
            title="No jobs yet",
        )
        if st.button("Start the demo on Home", icon=":material/home:", type="primary"):
            st.switch_page("pages/home.py")
        return
    moving = [job for job in jobs if job.status in queue.ACTIVE]
    if moving:
        known = [left for left in map(queue.time_left, moving) if left is not None]
        running = sum(job.status == "running" for job in moving)
        work = f" About {duration(sum(known))} of work left in all." if known else ""
        st.markdown(f"**{running} running, {len(moving) - running} waiting.**{work}")
    else:
        st.markdown("Nothing is running.")
    # What moves stands first, in the order of its turn; what has ended follows, newest first.
    moving.sort(key=in_turn)
    listed = [job for job in (*moving, *(job for job in jobs if job not in moving)) if wanted(job)]
    if not listed:
        st.caption("No job fits this choice.")
        return
    pages = -(-len(listed) // PER_PAGE)
    page = st.pagination(pages, key="jobs_page") if pages > 1 else 1
    for job in listed[(page - 1) * PER_PAGE : page * PER_PAGE]:
        line = [other for other in moving if other.status == "queued" and other.device == job.device]
        with st.container(border=True, key=f"job_{job.id}"):
            draw_job(job, line)


def draw_job(job: Job, line: list[Job]) -> None:
    """One job; `line` are those that wait for its device, in the order of their turn."""
    with st.container(horizontal=True, vertical_alignment="center"):
        badge(job)
        st.markdown(f"**{plain(job.title, 90)}**", width="content")
        st.caption(
            f"Job {job.id} · {KINDS.get(job.kind, job.kind)} · {place(job)} · submitted {ago(job.created_at)}",
            width="content",
        )
    progress_bar(job)
    trouble(job)
    with st.container(horizontal=True, vertical_alignment="center"):
        controls(job, "jobs")
        turn_buttons(job, line, "jobs")
        link(job)
    details = st.expander("Details and log", icon=":material/article:", key=f"details_{job.id}", on_change="rerun")
    if details.open:
        with details:
            moments = {"Submitted": job.created_at, "Started": job.started_at, "Ended": job.finished_at}
            st.text("\n".join(f"{what} {clock(moment)}" for what, moment in moments.items() if moment))
            if job.after:
                st.text("Begins after job " + ", ".join(map(str, job.after)))
            st.json(job.spec, expanded=1)
            st.code(queue.log_tail(job.id, 60) or "The log is empty.", language=None, wrap_lines=True, height=300)


def place(job: Job) -> str:
    """Where the work is done."""
    return plain(f"at {job.spec['service']}" if job.kind == "managed" else job.device)


def link(job: Job) -> None:
    """To the page that shows what the job works on."""
    if job.kind in ("train", "preflight", "forgetting"):
        run = run_of(job)
        if run is not None:
            st.page_link(
                "pages/train.py",
                label="Watch on Train" if job.status in queue.ACTIVE else "Open on Train",
                icon=":material/model_training:",
                # The form shows a check again once it is filled with its recipe.
                query_params={"recipe_of" if job.kind == "preflight" else "run": str(run)},
            )
    elif job.kind == "managed":
        st.page_link(
            "pages/train.py",
            label="Watch on Train" if job.status in queue.ACTIVE else "Open on Train",
            icon=":material/model_training:",
            query_params=address(job.id),
        )
    elif job.kind in ("serve", "export"):
        st.page_link("pages/serve.py", label="Open on Serve", icon=":material/forum:")
    elif job.kind == "compare" and job.spec.get("experiment_id"):
        st.page_link(
            "pages/compare.py",
            label="Open on Compare",
            icon=":material/balance:",
            query_params={"experiment": str(job.spec["experiment_id"])},
        )
    elif job.kind == "import":
        dataset = {"dataset": str(job.result["dataset_id"])} if "dataset_id" in job.result else {}
        st.page_link("pages/data.py", label="Open on Data", icon=":material/database:", query_params=dataset)
    elif job.kind == "index":
        st.page_link(
            "pages/data.py",
            label="Open on Data",
            icon=":material/database:",
            query_params={"tab": "Documents"},
        )


def run_of(job: Job) -> int | None:
    """The job to show on Train: itself, or the run behind the adapter that it looks at, if that is still there."""
    if job.kind != "forgetting":
        return job.id
    if "train_job_id" in job.spec:
        return int(job.spec["train_job_id"])
    try:
        return adapter(job.spec["adapter_id"]).job_id
    except UserError:
        return None


live(draw, lambda: queue.jobs(limit=500))
