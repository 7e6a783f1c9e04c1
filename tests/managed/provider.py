"""A real provider of fine-tuning on loopback: OpenAI's files, jobs and events as documented, and every way to fail.

It trains nothing: a job moves on each time it is asked for. `uploads` and `creations` count what was really done there,
whatever its client was told of it.
"""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import itertools
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

MODEL = "gpt-4.1-mini-2025-04-14"
MODELS = (MODEL, "gpt-4o-mini-2024-07-18", "open-model-1b")
# The clients of the tests wait for less.
SILENCE_S = 0.8


@dataclass
class Misbehaviour:
    """`how`: a status, "timeout", "drop", "malformed", "page" (of a proxy), "empty", or "hang" for ever.

    With "_after" the work is done first, and only its answer is lost.
    """

    how: int | str
    times: int
    code: str | None = None
    retry_after: str | None = None


@dataclass
class Provider:
    """`steps` are those of a training; a job is done after so many looks at it. `ends`: how it ends."""

    key: str = "sk-good"
    steps: int = 6
    looks: int = 4
    ends: str = "succeeded"
    error: dict[str, Any] | None = None
    keeps_metadata: bool = True
    lists_jobs: bool = True
    knows_pages: bool = True
    base64_results: bool = True
    says_little: bool = False
    epochs: int = 3
    file_looks: int = 0
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    seen: Counter[str] = field(default_factory=Counter)
    uploads: list[str] = field(default_factory=list)
    creations: list[dict[str, Any]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    shutdown_dates: dict[str, str] = field(default_factory=dict)
    hold: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._bad: dict[str, list[Misbehaviour]] = defaultdict(list)
        self._ids = itertools.count(1)
        self.lock = threading.RLock()
        self.hold.set()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.provider = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def misbehave(self, step: str, how: int | str, times: int = 1, **more: Any) -> None:
        """At the next `times` requests of this step: "upload", "create", "poll", "events", "cancel", "result" ..."""
        self._bad[step].append(Misbehaviour(how, times, **more))

    def next_misbehaviour(self, step: str) -> Misbehaviour | None:
        with self.lock:
            self.requests.append(step)
            for bad in self._bad[step]:
                if bad.times > 0:
                    bad.times -= 1
                    return bad
        return None

    def add_file(self, name: str, content: bytes, purpose: str = "fine-tune") -> dict[str, Any]:
        with self.lock:
            id = f"file-{next(self._ids):04}"
            self.contents[id] = content
            self.files[id] = {
                "id": id,
                "object": "file",
                "bytes": len(content),
                "created_at": int(time.time()),
                "filename": name,
                "purpose": purpose,
                "status": "processed" if not self.file_looks else "pending",
                "status_details": None,
            }
            return self.files[id]

    def add_job(self, asked: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            id = f"ftjob-{next(self._ids):04}"
            supervised = asked.get("method", {}).get("supervised", {}).get("hyperparameters")
            chosen = supervised or asked.get("hyperparameters") or {}
            self.jobs[id] = {
                "id": id,
                "object": "fine_tuning.job",
                "model": asked["model"],
                "created_at": int(time.time()),
                "finished_at": None,
                "fine_tuned_model": None,
                "organization_id": "org-1",
                "result_files": [],
                "status": "validating_files",
                "validation_file": asked.get("validation_file"),
                "training_file": asked["training_file"],
                "hyperparameters": {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
                | chosen,
                "trained_tokens": None,
                "error": None,
                "seed": asked.get("seed", 7),
                "suffix": asked.get("suffix"),
                "metadata": asked.get("metadata") if self.keeps_metadata else None,
            }
            self.say(id, "Created fine-tuning job")
            return self.jobs[id]

    def say(self, job_id: str, message: str, *, level: str = "info", data: dict[str, Any] | None = None) -> None:
        self.events[job_id].append(
            {
                "id": f"ftevent-{next(self._ids):05}",
                "object": "fine_tuning.job.event",
                "created_at": int(time.time()),
                "level": level,
                "message": message,
                "type": "metrics" if data else "message",
                "data": data or {},
            }
        )

    def move_on(self, job_id: str) -> dict[str, Any]:
        """What asking for a job does to it."""
        with self.lock:
            job = self.jobs[job_id]
            if job["status"] in ("succeeded", "failed", "cancelled") or not self.hold.is_set():
                return job
            self.seen[job_id] += 1
            seen = self.seen[job_id]
            if seen == 1:
                job["status"] = "queued"
            elif seen < self.looks:
                if job["status"] != "running":
                    self.say(job_id, "Fine-tuning job started")
                job["status"] = "running"
                if job["hyperparameters"]["n_epochs"] == "auto":
                    job["hyperparameters"] |= {"n_epochs": self.epochs, "batch_size": 1}
                first = (seen - 2) * self.steps // (self.looks - 2)
                for step in range(first, (seen - 1) * self.steps // (self.looks - 2)):
                    self.say(job_id, f"Step {step + 1}/{self.steps}", data=self.measured(step + 1))
            else:
                self._end(job)
            return job

    def measured(self, step: int) -> dict[str, Any]:
        values = {"step": step, "total_steps": self.steps, "train_loss": round(2 / step, 4)}
        values["train_mean_token_accuracy"] = round(1 - 0.5 / step, 4)
        return values | ({"full_valid_loss": round(2.5 / step, 4)} if step % 3 == 0 else {})

    def _end(self, job: dict[str, Any]) -> None:
        job["status"], job["finished_at"] = self.ends, int(time.time())
        if self.ends == "succeeded":
            suffix = job["suffix"] or ""
            job["fine_tuned_model"] = f"ft:{job['model']}:acme:{suffix}:{job['id'][-4:]}"
            job["trained_tokens"] = 12_345
            table = "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n" + "".join(
                f"{step},{2 / step:.4f},{1 - 0.5 / step:.4f},{f'{2.5 / step:.4f}' if step % 3 == 0 else ''},\n"
                for step in range(1, self.steps + 1)
            )
            content = base64.b64encode(table.encode()) if self.base64_results else table.encode()
            job["result_files"] = [self.add_file("step_metrics.csv", content, "fine-tune-results")["id"]]
            self.say(job["id"], "The job has successfully completed")
        elif self.ends == "failed":
            job["error"] = self.error or {"code": "server_error", "message": "Something broke.", "param": None}
            self.say(job["id"], "The job failed", level="error")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def provider(self) -> Provider:
        found: Provider = self.server.provider  # type: ignore[attr-defined]
        return found

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        path = parts.path
        for prefix in ("/openai/v1", "/openai", "/v1"):
            if path.startswith(prefix + "/"):
                path = path.removeprefix(prefix)
                break
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        step, work = self._route(self.command, [part for part in path.split("/") if part], body)
        bad = self.provider.next_misbehaviour(step)
        if bad is not None and self._misbehaved(bad, work):
            return
        given = self.headers.get("api-key") or (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if given != self.provider.key:
            self.refuse(401, f"Incorrect API key provided: {given}", code="invalid_api_key")
            return
        work()

    def _misbehaved(self, bad: Misbehaviour, work: Any) -> bool:
        how = bad.how
        if isinstance(how, str) and how.endswith("_after"):
            # Done, and nobody is told.
            self._mute = True
            work()
            how = how.removesuffix("_after")
        if isinstance(how, int):
            headers = {"Retry-After": bad.retry_after} if bad.retry_after else {}
            self.send(how, {"error": _error(f"Told to answer {how}.", bad.code)}, headers)
        elif how == "timeout":
            time.sleep(SILENCE_S)
            self.drop()
        elif how == "hang":
            time.sleep(60)
        elif how == "drop":
            self.drop()
        elif how == "malformed":
            self.send(200, b'{"id": "half')
        elif how == "page":
            self.send(200, b"<html>Sign in to the network</html>", {"Content-Type": "text/html"})
        elif how == "empty":
            self.send(200, {})
        else:
            raise AssertionError(how)
        return True

    def _route(self, command: str, path: list[str], body: bytes) -> tuple[str, Any]:
        provider = self.provider
        match command, path:
            case "POST", ["files"]:
                return "upload", lambda: self._upload(body)
            case "GET", ["files"]:
                return "list_files", lambda: self._list(list(provider.files.values()))
            case "GET", ["files", id]:
                return "file", lambda: self._file(id)
            case "GET", ["files", id, "content"]:
                return "result", lambda: self._content(id)
            case "POST", ["fine_tuning", "jobs"]:
                return "create", lambda: self._create(json.loads(body))
            case "GET", ["fine_tuning", "jobs"]:
                if not provider.lists_jobs:
                    return "list_jobs", lambda: self.refuse(404, "No such address.")
                return "list_jobs", lambda: self._list(list(provider.jobs.values()))
            case "GET", ["fine_tuning", "jobs", id]:
                return "poll", lambda: self._found(id, provider.jobs, provider.move_on)
            case "POST", ["fine_tuning", "jobs", id, "cancel"]:
                return "cancel", lambda: self._cancel(id)
            case "GET", ["fine_tuning", "jobs", id, "events"]:
                return "events", lambda: self._list(provider.events[id])
            case "GET", ["models"]:
                return "models", lambda: self._list([self._model(id) for id in (*MODELS, *provider_models(provider))])
            case "GET", ["models", id]:
                return "model", lambda: self.send(200, self._model(id))
            case "POST", ["chat", "completions"]:
                return "chat", lambda: self._chat(json.loads(body))
        return "unknown", lambda: self.refuse(404, f"Unknown request URL: {command} {self.path}")

    def _upload(self, body: bytes) -> None:
        header = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        message = email.message_from_bytes(header + body, policy=email.policy.HTTP)
        parts = {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}
        if parts["purpose"].get_content().strip() != "fine-tune":
            self.refuse(400, "Invalid purpose.", param="purpose")
            return
        content = parts["file"].get_payload(decode=True)
        name = parts["file"].get_filename()
        with self.provider.lock:
            self.provider.uploads.append(f"{name} {hashlib.sha256(content).hexdigest()}")
        self.send(200, self.provider.add_file(name, content))

    def _file(self, id: str) -> None:
        file = self.provider.files.get(id)
        if file is None:
            self.refuse(404, f"No such File object: {id}", param="id")
            return
        self.provider.seen[id] += 1
        if self.provider.seen[id] >= self.provider.file_looks and file["status"] == "pending":
            file["status"] = "processed"
        self.send(200, file)

    def _content(self, id: str) -> None:
        if id not in self.provider.contents:
            self.refuse(404, f"No such File object: {id}", param="id")
            return
        self.send(200, self.provider.contents[id], {"Content-Type": "application/octet-stream"})

    def _create(self, asked: dict[str, Any]) -> None:
        known = {"model", "training_file", "validation_file", "suffix", "seed", "metadata", "method", "hyperparameters"}
        if unknown := set(asked) - known:
            self.refuse(400, f"Unknown parameter: {min(unknown)}.", code="unknown_parameter", param=min(unknown))
        elif asked.get("model") not in MODELS:
            self.refuse(404, f"Model {asked.get('model')} is not available for fine-tuning.", code="model_not_found")
        elif asked.get("training_file") not in self.provider.files:
            self.refuse(400, "invalid training_file", param="training_file", code="invalid_value")
        elif self.provider.files[asked["training_file"]]["status"] != "processed":
            self.refuse(400, "The file is not processed yet.", param="training_file")
        else:
            with self.provider.lock:
                self.provider.creations.append(asked)
            self.send(200, self.provider.add_job(asked))

    def _cancel(self, id: str) -> None:
        job = self.provider.jobs.get(id)
        if job is None:
            self.refuse(404, f"Could not find fine tune: {id}")
        elif job["status"] in ("succeeded", "failed", "cancelled"):
            self.refuse(400, f"Job has already completed: {id}")
        else:
            job["status"], job["finished_at"] = "cancelled", int(time.time())
            self.provider.say(id, "The job was cancelled")
            self.send(200, job)

    def _chat(self, asked: dict[str, Any]) -> None:
        self.provider.asked.append(asked)
        answer = {"role": "assistant", "content": "fruit", "refusal": None}
        self.send(
            200,
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": asked["model"],
                "choices": [{"index": 0, "message": answer, "finish_reason": "stop", "logprobs": None}],
                "usage": {"prompt_tokens": 11, "completion_tokens": 1, "total_tokens": 12},
            },
        )

    def _model(self, id: str) -> dict[str, Any]:
        date = self.provider.shutdown_dates.get(id)
        return {"id": id, "object": "model", "created": 1, "owned_by": "system"} | (
            {"shutdown_date": date} if date else {}
        )

    def _found(self, id: str, things: dict[str, Any], act: Any) -> None:
        if id not in things:
            self.refuse(404, f"Could not find fine tune: {id}", code="fine_tune_not_found")
        else:
            self.send(200, act(id))

    def _list(self, entries: list[dict[str, Any]]) -> None:
        """Newest first, in pages."""
        entries = entries[::-1]
        limit = int(self.query.get("limit", 20))
        after = self.query.get("after")
        if after and self.provider.knows_pages:
            place = next((i for i, entry in enumerate(entries) if entry["id"] == after), len(entries))
            entries = entries[place + 1 :]
        more = {"has_more": len(entries) > limit} if self.provider.knows_pages else {}
        self.send(200, {"object": "list", "data": entries[:limit], **more})

    def refuse(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        self.send(status, {"error": _error(message, code, param)})

    def send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        if getattr(self, "_mute", False):
            self._mute = False
            return
        if self.provider.says_little and isinstance(body, dict):
            listed = body.get("data")
            body = body | {"data": [_little(entry) for entry in listed]} if isinstance(listed, list) else _little(body)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def drop(self) -> None:
        self.close_connection = True
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        """The tests' output is not the place for it."""


def _little(thing: dict[str, Any]) -> dict[str, Any]:
    """A thing as the laziest compatible provider has it."""
    return {name: thing[name] for name in ("id", "status", "filename", "bytes", "fine_tuned_model") if name in thing}


def provider_models(provider: Provider) -> list[str]:
    return [job["fine_tuned_model"] for job in provider.jobs.values() if job["fine_tuned_model"]]


def _error(message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    return {"message": message, "type": "invalid_request_error", "param": param, "code": code}


@contextmanager
def providing(**more: Any) -> Iterator[Provider]:
    provider = Provider(**more)
    thread = threading.Thread(target=provider.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        provider.server.shutdown()
        provider.server.server_close()
        thread.join()
