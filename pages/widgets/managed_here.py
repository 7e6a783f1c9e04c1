"""This machine as a provider: its own server, started if need be, and saved among the services."""

from __future__ import annotations

import time

import streamlit as st

from core.api import keys, serve_job
from core.errors import UserError
from core.jobs import queue
from core.managed.providers import this_machine

# A process starts in a few seconds; on a busy machine it may take several times as long.
STARTS_WITHIN_S = 90.0
LOOK_S = 0.3


def our_server() -> str:
    """The name of the service that our own server is. Starts it if it does not run. Raises UserError.

    It gets the key that the pages have, which works however many others are made or revoked.
    """
    found = serve_job.running()
    if found is None:
        serve_job.start(port=int(st.session_state.get("serve_port", serve_job.PORT)))
    return this_machine(found.url if found and found.url else _once_it_answers(), keys.page_key())


def _once_it_answers() -> str:
    with st.spinner("Starting the server on this machine", show_time=True):
        until = time.monotonic() + STARTS_WITHIN_S
        while time.monotonic() < until:
            queue.dispatch()
            found = serve_job.running()
            if found is None:
                ended = queue.jobs("serve", limit=1)[0]
                raise UserError(ended.error or "The server was stopped.", ended.remedy or "Start it on Serve.")
            if found.url:
                return found.url
            time.sleep(LOOK_S)
    raise UserError(
        f"The server has not answered within {STARTS_WITHIN_S:.0f} seconds.", "Look at its job on Jobs, and try again."
    )
