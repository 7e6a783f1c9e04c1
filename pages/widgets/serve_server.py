"""The server on screen: whether it runs, where, since when; starting and stopping it; and the way to talk to it."""

from __future__ import annotations

import streamlit as st

from core.api import keys, serve_job
from core.api.loopback import is_loopback
from core.errors import UserError
from core.jobs import queue
from core.store.tables import Job
from pages.widgets import serve_speed
from pages.widgets.errors import guard, plain
from pages.widgets.log import log_fold
from pages.widgets.progress import badge, trouble
from pages.widgets.serve_stream import Access
from pages.widgets.words import ago, clock

# While it starts or stops, somebody waits for it; otherwise a change comes from a terminal, and can wait.
HASTY_S, CALM_S = 1.0, 5.0


def access() -> Access:
    """Where the page asks, and its own key. Raises UserError when no server runs."""
    _, url = state()
    if not url:
        raise UserError("The server is not running.", "Start it at the top of Serve.")
    return Access(url, keys.page_key())


def address() -> str:
    """The base URL for clients: that of the running server, else that of the one which would be started."""
    _, url = state()
    return url or f"http://127.0.0.1:{st.session_state.get('serve_port', serve_job.PORT)}/v1"


def draw() -> None:
    """The panel at the top of Serve, kept true also when the server is started or ended elsewhere."""
    job, url = state()
    moving = job is not None and job.status in queue.ACTIVE and (not url or job.stop_requested_at is not None)
    drawn = _seen(job, url)

    def fragment() -> None:
        with guard():
            queue.dispatch()
            job, url = state()
            if _seen(job, url) != drawn:
                # What stands below depends on it as well.
                st.rerun()
            with st.container(border=True, key="serve_panel"):
                _panel(job, url)

    st.fragment(fragment, run_every=HASTY_S if moving else CALM_S)()


def ready(where: str) -> bool:
    """Whether the server answers; until it does, says what is missing and offers to start it."""
    job, url = state()
    if url:
        return True
    if job is not None and job.status in queue.ACTIVE:
        st.fragment(lambda: _wait(job.id), run_every=HASTY_S)()
        return False
    st.info("Its answers come from the server on this machine, which other programs can use too.", title="Not running")
    if st.button("Start the server", icon=":material/play_arrow:", key=f"start_{where}"):
        with guard():
            serve_job.start(port=int(st.session_state.get("serve_port", serve_job.PORT)))
            st.rerun()
    if job is not None and job.status == "failed":
        trouble(job)
    return False


def _wait(job_id: int) -> None:
    """Until the server answers, or has ended."""
    queue.dispatch()
    _, url = state()
    if url or queue.get(job_id).status not in queue.ACTIVE:
        st.rerun()
    st.caption(":shimmer[The server is starting]")


def state() -> tuple[Job | None, str]:
    """The server that runs or waits, else the one that ended last; and its base URL, empty unless it answers."""
    server = serve_job.running()
    if server is not None:
        return server.job, server.url
    ended = max(queue.jobs("serve"), key=lambda job: job.finished_at or 0.0, default=None)
    return ended, ""


def _seen(job: Job | None, url: str) -> tuple[object, ...]:
    return (None if job is None else (job.id, job.status, job.stop_requested_at is None), url)


def _panel(job: Job | None, url: str) -> None:
    if job is not None and url:
        _running(job, url)
    elif job is not None and job.status in queue.ACTIVE:
        with st.container(horizontal=True, vertical_alignment="center"):
            badge(job)
            words = (
                "The server is stopping" if job.stop_requested_at else plain(job.message or "The server is starting")
            )
            st.markdown(f":shimmer[{words}]", width="stretch")
            _stop(job)
    else:
        _stopped(job)


def _running(job: Job, url: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        badge(job)
        st.code(url, language=None, width=340)
        st.caption(f"since {clock(job.started_at)} · job {job.id}", width="stretch")
        _stop(job)
    if job.stop_requested_at is None:
        st.markdown(serve_speed.in_words(job))
    doors = "A key is needed." if keys.needed() else "No key is needed on this machine until one is made."
    host = str(job.spec.get("host", serve_job.HOST))
    if not is_loopback(host):
        doors += f" It listens at {plain(host)}, so other machines can reach it too."
    st.caption(f"It speaks OpenAI's API: set your program's base URL to this address. {doors}")


def _stop(job: Job) -> None:
    stopping = job.stop_requested_at is not None
    if st.button(
        "Stopping" if stopping else "Stop the server",
        icon=":material/stop:",
        key="serve_stop",
        disabled=stopping,
        help="Answers that are being written are ended.",
    ):
        with guard():
            serve_job.stop(job.id)
            st.rerun()


def _stopped(job: Job | None) -> None:
    """It does not run: why, and how to start it."""
    if job is not None and job.status == "interrupted":
        st.warning(
            "It was killed, or the machine restarted. Nothing is lost: start it again.",
            title=f"The server ended unexpectedly {ago(job.finished_at)}",
            icon=":material/power_off:",
        )
    elif job is not None and job.status == "failed":
        trouble(job)
    first = job is None or job.status == "stopped"
    said = f"Stopped {ago(job.finished_at)}." if job is not None and first else "The server is not running."
    with st.container(horizontal=True, vertical_alignment="bottom"):
        port = st.number_input(
            "Port", 1024, 65535, serve_job.PORT, key="serve_port", persist_state="session", width=140
        )
        if st.button(
            "Start the server" if first else "Start it again",
            type="primary",
            icon=":material/play_arrow:",
            key="serve_start",
        ):
            with guard():
                serve_job.start(port=int(port))
                st.rerun()
        st.caption(
            f"{said} It answers as OpenAI's API does, for programs on this machine and for the conversation below.",
            width="stretch",
        )
    if job is not None and job.status in ("failed", "interrupted"):
        log_fold(job, "serve")
