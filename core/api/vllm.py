"""Handing generation over to a vLLM server of our own, on machines that have one: started with the job, ended with it.

vLLM serves one base model with its LoRA adapters. What it cannot serve (other bases, DoRA, whole tuned models, an
adapter it refuses) is answered by transformers as without it, and so is everything once vLLM has ended.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from core.api import limits
from core.api.doors import caller_of
from core.api.errors import ApiError
from core.api.names import Offered
from core.api.stats import Stats
from core.errors import UserError
from core.jobs.context import Stopped
from core.models.loading import model_source
from core.models.package import vllm_rank
from core.settings import get_settings

PROGRAM = "vllm"
# Large weights come from a slow disk, and the kernels are compiled at the first start.
READY_S = 1800.0
LOOK_S = 0.5
END_S = 10.0
# Adapters of which one step can mix; each takes memory of the GPU.
MOST_AT_ONCE = 4
# Later trainings may have a larger rank than those of today.
LEAST_RANK = 64
PR_SET_PDEATHSIG = 1
# Of an error of vLLM's, which may quote the whole request.
LONGEST_SAID = 2000


def wanted() -> bool:
    """Whether vLLM shall answer, by the setting `serve_with`. Raises UserError when it shall and is not installed."""
    found, how = shutil.which(PROGRAM) is not None, get_settings().serve_with
    if how == "vllm" and not found:
        raise UserError(
            "vLLM shall write the server's answers (LOWEST_RUNG_SERVE_WITH), and is not installed.",
            "Install it (`pip install vllm`), or set LOWEST_RUNG_SERVE_WITH to transformers.",
        )
    from core.models.loading import compute_device

    return how == "vllm" or (how == "auto" and found and compute_device().startswith("cuda"))


def suits(found: Offered) -> bool:
    """Whether it is a base, or an adapter of the kind that vLLM puts on one."""
    if found.folder is None:
        return True
    with suppress(OSError, ValueError):
        config = json.loads((found.folder / "adapter_config.json").read_text(encoding="utf-8"))
        return config.get("peft_type") == "LORA" and not config.get("use_dora")
    return False


class Vllm:
    """A running vLLM server with one base model. `ready` waits for it; `close` ends it."""

    def __init__(self, base: str, offered: Sequence[Offered], log: Path, stats: Stats) -> None:
        """Start it, with the adapters of `base` among those offered; it prints into `log`. Raises UserError."""
        self.base = base
        self._stats = stats
        self._log = log
        self._port = _free_port()
        self._key = secrets.token_urlsafe(32)
        self._adding = asyncio.Lock()
        modules = [found for found in offered if found.adapter and found.base == base and suits(found)]
        self._loaded = {found.name for found in modules}
        names = [found.name for found in offered if found.base == base and found.folder is None]
        ranks = [int(found.adapter.recipe.get("rank", 0)) for found in modules if found.adapter]
        command = [
            *(PROGRAM, "serve", model_source(base), "--host", "127.0.0.1", "--port", str(self._port)),
            *("--served-model-name", *(names or [base])),
            *("--enable-lora", "--max-loras", str(MOST_AT_ONCE)),
            *("--max-lora-rank", str(vllm_rank(max([LEAST_RANK, *ranks])))),
        ]
        if modules:
            command += ["--lora-modules", *(f"{found.name}={found.folder}" for found in modules)]
        # Only we may ask it, and only to us does it listen.
        environment = os.environ | {"VLLM_API_KEY": self._key, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
        program = shutil.which(PROGRAM)
        assert program is not None
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [program, *command[1:]],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        self._url = f"http://127.0.0.1:{self._port}"
        self._http: httpx2.AsyncClient | None = None

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ready(self, stop_requested: Callable[[], bool]) -> None:
        """Wait until it answers. Raises UserError when it ends before, and Stopped when the job shall stop."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if stop_requested():
                raise Stopped
            if not self.alive:
                raise UserError(
                    f"vLLM ended while it was starting (exit code {self._process.returncode}).",
                    "The job's log says why. Set LOWEST_RUNG_SERVE_WITH to transformers to do without it.",
                )
            with suppress(httpx2.HTTPError):
                if httpx2.get(f"{self._url}/health", headers=self._headers, timeout=5).status_code == 200:
                    return
            time.sleep(LOOK_S)
        raise UserError(f"vLLM did not answer within {READY_S / 60:.0f} minutes.", "The job's log says more.")

    async def has(self, found: Offered) -> bool:
        """Whether it answers for this model; an adapter that came since it started is put on first."""
        if not self.alive or found.base != self.base or not suits(found):
            return False
        if found.folder is None or found.name in self._loaded:
            return True
        async with self._adding:
            if found.name not in self._loaded:
                body = {"lora_name": found.name, "lora_path": str(found.folder)}
                try:
                    answer = await self._client().post("/v1/load_lora_adapter", json=body)
                except httpx2.HTTPError:
                    return False  # it is ending
                if answer.status_code != 200:
                    return False
                self._loaded.add(found.name)
        return True

    async def post(self, path: str, body: dict[str, Any]) -> httpx2.Response:
        """Its answer, of which the body has not been read yet. Raises ApiError when it cannot be reached."""
        client = self._client()
        try:
            return await client.send(client.build_request("POST", path, json=body), stream=True)
        except httpx2.HTTPError as error:
            raise ApiError(503, "vLLM could not be reached. Please try again.", type="server_error") from error

    def answered(self, usage: dict[str, Any], first_token_s: float | None, seconds: float) -> None:
        self._stats.answered(
            usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0, first_token_s, seconds
        )

    def close(self) -> None:
        """End it, and what it is writing."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}"}

    def _client(self) -> httpx2.AsyncClient:
        if self._http is None:
            bounds = httpx2.Limits(max_connections=None)
            self._http = httpx2.AsyncClient(base_url=self._url, headers=self._headers, timeout=None, limits=bounds)
        return self._http


async def forwarded(request: Request, name: str) -> Response | None:
    """vLLM's answer to this request; None where transformers answers. Raises ApiError."""
    vllm: Vllm | None = request.app.state.vllm
    if vllm is None:
        return None
    found = await run_in_threadpool(request.app.state.models.named, name)
    if not await vllm.has(found):
        return None
    caller = caller_of(request)
    # It alone knows how many tokens the prompt has.
    limits.take_tokens(caller, 1)
    body = json.loads(await request.body()) | {"model": found.name}
    began = time.monotonic()
    answer = await vllm.post(request.url.path, body)
    if answer.status_code != 200:
        raise _refused(answer.status_code, await answer.aread())
    if body.get("stream"):

        async def passed_on() -> AsyncIterator[bytes]:
            first: float | None = None
            usage = {"prompt_tokens": 0, "completion_tokens": 0}
            try:
                async for line in answer.aiter_lines():
                    if line.startswith("data: {"):
                        first = first or time.monotonic() - began
                        _count(json.loads(line[len("data: ") :]), usage)
                    yield line.encode() + b"\n"
            finally:
                # Closed early, it tells vLLM that nobody waits any more.
                await answer.aclose()
                vllm.answered(usage, first, time.monotonic() - began)
                limits.spend_tokens(caller, sum(usage.values()))

        return StreamingResponse(passed_on(), media_type="text/event-stream")
    whole = await answer.aread()
    usage = json.loads(whole).get("usage") or {}
    # When its first token came is not told of an answer that is sent whole.
    vllm.answered(usage, None, time.monotonic() - began)
    limits.spend_tokens(caller, usage.get("total_tokens") or 0)
    return Response(whole, media_type="application/json")


def _count(chunk: dict[str, Any], usage: dict[str, int]) -> None:
    """vLLM sends a chunk for each token, and the exact numbers at the end where the client asks for them."""
    if chunk.get("usage"):
        usage |= {name: chunk["usage"][name] for name in ("prompt_tokens", "completion_tokens")}
    elif chunk.get("choices"):
        usage["completion_tokens"] += 1


def _refused(status: int, body: bytes) -> ApiError:
    """vLLM's refusal as ours: its code is the status once more."""
    with suppress(ValueError, AttributeError, TypeError):
        found = json.loads(body)
        error = found.get("error", found)
        kind = "server_error" if status >= 500 else "invalid_request_error"
        return ApiError(status, str(error["message"])[:LONGEST_SAID], type=kind, param=error.get("param"))
    return ApiError(502, "vLLM failed in a form of its own. The server's log says more.", type="server_error")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _die_with_parent() -> None:
    """Ask Linux to end this process with its parent: a job that is killed must not leave a full GPU behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
