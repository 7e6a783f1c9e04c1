"""The server as a job: it has a place of its own in the queue, so trainings run beside it.

It ends when the job is asked to stop. Whoever wants to know how it does reads the job: `url` and `models` among its
notes, and every few seconds what it answered as metrics.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.api import keys
from core.api.loopback import is_loopback
from core.errors import UserError
from core.jobs import queue
from core.jobs.context import LOG, JobContext
from core.settings import get_settings
from core.store.tables import Job

if TYPE_CHECKING:
    from fastapi import FastAPI
    from uvicorn import Server

    from core.api.models import Models
    from core.api.stats import Stats
    from core.api.vllm import Vllm

# Of the queue; one server at a time runs there.
DEVICE = "server"
HOST, PORT = "127.0.0.1", 8000
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
REPORT_S = 5.0
LOOK_S = 0.2
# Streams that are still being written when the server is stopped have so long to end.
LAST_WORDS_S = 3
# Longer than clients keep a connection for their next request, so that it is they who close it.
KEEP_ALIVE_S = 75
# Connections with and without a request; a computer usually allows a process 1024 open files.
MOST_CONNECTIONS = 900
# A client that does not come to the point within so long is let go.
HEADERS_S = 30.0
# Requests that wait for a model being opened each hold a thread; the others must find one all the same.
THREADS = 200


@dataclass(frozen=True)
class ServerInfo:
    """A running server; `url` is empty until it answers, else as clients on this computer write it, with `/v1`."""

    job: Job
    url: str


def start(host: str = HOST, port: int = PORT, model: str = "") -> int:
    """Start the server in the background, with `model` opened at once if one is named; the job's id.

    Raises UserError when it runs already, or would be open to others without a key.
    """
    return queue.submit("serve", spec_of(host, port, model), title=title_of(host, port), device=DEVICE)


def stop(job_id: int) -> None:
    """Stop it; it can be resumed on the Jobs page."""
    queue.request_stop(job_id)


def running() -> ServerInfo | None:
    """The server that runs, or is about to, wherever it was started from."""
    queue.reconcile()
    job = next((job for job in queue.jobs("serve") if job.status in queue.ACTIVE), None)
    if job is None:
        return None
    # A resumed job still has the notes of the attempt before.
    answers = job.started_at is not None and job.notes.get("since", 0.0) >= job.started_at
    return ServerInfo(job, job.notes["url"] if answers else "")


def spec_of(host: str, port: int, model: str) -> dict[str, Any]:
    """What the job is given. Raises UserError when it could not start anyway."""
    found = running()
    if found is not None:
        where = f" at {found.url}" if found.url else ""
        raise UserError(f"The server runs already{where} (job {found.job.id}).", "Stop it first, on the Serve page.")
    _refuse_open_door(host)
    if Path(model).is_dir() and model:
        # The job works in another folder.
        model = str(Path(model).resolve())
    more_bases(model)
    return {"host": host, "port": port, "model": model}


def more_bases(model: str) -> list[str]:
    """The base that naming this model adds to those offered anyway. Raises UserError when it can be none."""
    from core.api.errors import ApiError
    from core.api.names import find

    if not model:
        return []
    try:
        find(model)
        return []
    except ApiError as error:
        if Path(model).is_dir() or HUB_ID.fullmatch(model):
            return [model]
        raise UserError(
            f"There is no model {model} on this machine.",
            "Name a model's folder, its id on the hub, or an adapter as the Serve page shows it.",
        ) from error


def title_of(host: str, port: int) -> str:
    return f"Server at {host}, port {port}"


def run(context: JobContext) -> dict[str, Any]:
    """Spec: `host`, `port` (0 for any free one) and `model`, which may be empty."""
    from core.api.app import create_app
    from core.api.models import Models
    from core.api.stats import Stats

    host, model = context.spec["host"], context.spec["model"]
    # Keys may have been forgotten since it was queued.
    _refuse_open_door(host)
    with closing(bind(host, context.spec["port"])) as listening:
        models, stats = Models(more_bases(model)), Stats()
        try:
            app = create_app(models, stats=stats, host=host)
            with _vllm(context, models, stats) as app.state.vllm:
                asyncio.run(_serve(context, app, listening, models, stats))
        finally:
            models.close()
    context.check_stop()
    return {}


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises UserError when the port is taken, or the address is not this machine's."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OverflowError as error:
        raise UserError(f"{port} is no port.", "Ports go from 1 to 65535.") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            what, remedy = f"Port {port} is in use by another program.", "Stop that one, or choose another port."
        elif error.errno == errno.EACCES:
            what, remedy = f"Port {port} may not be used by everyone.", "Choose one above 1023."
        else:
            what, remedy = f"The server cannot listen at {host}: {error.strerror or error}.", "Check the address."
        raise UserError(what, remedy) from error


def make_server(app: FastAPI) -> Server:
    """uvicorn as we want it: no access to its own signals, no words about itself, no connection for nothing."""
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Prompt(H11Protocol):
        """Lets a connection go on which no request comes."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.loop.call_later(HEADERS_S, self._let_go)

        def _let_go(self) -> None:
            # The cycle of its first request; the class says that there is always one.
            begun: object = self.cycle
            if begun is None:
                self.transport.close()

    class Quiet(uvicorn.Server):
        """Leaves signals to the job, which is asked to stop by them and then ends the server itself."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return Quiet(
        uvicorn.Config(
            app,
            # Written in Python and as quick as is needed here; of the choices, the one that bounds its headers.
            http=Prompt,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=LAST_WORDS_S,
        )
    )


@contextmanager
def _vllm(context: JobContext, models: Models, stats: Stats) -> Iterator[Vllm | None]:
    """A vLLM server where there shall be one, with the named model or that of the newest adapter; else the named model.

    Raises UserError when it cannot start, unless it was our own idea to use it.
    """
    from core.api import vllm

    model = context.spec["model"]
    if not vllm.wanted():
        if model:
            context.progress(0, 0, f"Opening {model}")
            models.engine_for(model)
        yield None
        return
    offered = models.offered()
    newest = next((found.base for found in offered if found.adapter), offered[0].base)
    context.progress(0, 0, "Starting vLLM")
    server = vllm.Vllm(models.named(model).base if model else newest, offered, context.folder / LOG, stats)
    try:
        try:
            server.ready(context.stop_requested)
        except UserError as error:
            if get_settings().serve_with == "vllm":
                raise
            context.log(f"{error.what} Answers are written by transformers.")
            server.close()
        yield server if server.alive else None
    finally:
        server.close()


async def _serve(context: JobContext, app: FastAPI, listening: socket.socket, models: Models, stats: Stats) -> None:
    import anyio.to_thread

    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    server = make_server(app)
    serving = asyncio.create_task(server.serve([listening]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    if serving.done():
        await serving  # raises what went wrong
    url = _url(context.spec["host"], listening.getsockname()[1])
    context.note(url=url, since=time.time(), began=context.notes.get("began", time.time()))
    context.progress(0, 0, f"Serving at {url}")
    context.log(f"Serving at {url}.")
    report = asyncio.create_task(_report(context, models, stats))
    try:
        while not context.stop_requested() and not serving.done():
            await asyncio.sleep(LOOK_S)
    finally:
        report.cancel()
        server.should_exit = True
        await serving


async def _report(context: JobContext, models: Models, stats: Stats) -> None:
    """What the server does, every few seconds; of hours without a question, the beginning and the end."""
    before: dict[str, float] = {}
    while True:
        figures = await asyncio.to_thread(_figures, models, stats)
        if figures != before:
            context.metric(int(time.time() - context.notes["began"]), **figures)
        before = figures
        listed = await asyncio.to_thread(lambda: [found.name for found in models.offered()])
        if listed != context.notes.get("models"):
            context.note(models=listed)
        await asyncio.sleep(REPORT_S)


def _figures(models: Models, stats: Stats) -> dict[str, float]:
    running, waiting = models.running_and_waiting()
    return stats.last_minute() | {"running": float(running), "waiting": float(waiting)}


def _url(host: str, port: int) -> str:
    """As a client on this computer writes it: an address for all interfaces is none to call."""
    called = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (read here, not bound)
    return f"http://[{called}]:{port}/v1" if ":" in called else f"http://{called}:{port}/v1"


def _refuse_open_door(host: str) -> None:
    if not is_loopback(host) and not keys.needed():
        raise UserError(
            f"At {host} others could use the server, and no API key has been made.",
            "Make one with `python -m core keys create NAME` or on the Serve page, or listen on 127.0.0.1.",
        )
