"""A Hugging Face hub on loopback: the part of its API by which files are pushed. It keeps what it receives."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket
import threading
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

TOKEN = "hf_of_the_test"
# These come before the commit, others within it.
LARGE = (".safetensors", ".gguf")


@dataclass
class Hub:
    """`files` by repository and path; `private` by repository; `refuse_with` is answered to everything if set."""

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    refuse_with: int = 0
    upload_takes_s: float = 0.0


def started() -> tuple[Hub, uvicorn.Server]:
    """A hub that answers at its `url`, until `should_exit` of the server is set."""
    hub = Hub()
    port = socket.create_server(("127.0.0.1", 0))
    hub.url = f"http://127.0.0.1:{port.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(app_of(hub), log_level="error"))
    threading.Thread(target=server.run, kwargs={"sockets": [port]}, daemon=True).start()
    return hub, server


def app_of(hub: Hub) -> FastAPI:
    app = FastAPI()

    @app.middleware("http")
    async def door(request: Request, call_next: Any) -> Any:
        if hub.refuse_with:
            return JSONResponse({"error": "as the test wants it"}, hub.refuse_with)
        if not request.url.path.startswith("/lfs/") and request.headers.get("authorization") != f"Bearer {TOKEN}":
            return JSONResponse({"error": "Invalid username or password."}, 401)
        return await call_next(request)

    @app.post("/api/repos/create")
    async def create(request: Request) -> Any:
        wanted = await request.json()
        repo = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
        if repo in hub.files:
            return JSONResponse({"error": "You already created this model repo", "url": f"{hub.url}/{repo}"}, 409)
        hub.files[repo], hub.private[repo] = {}, wanted.get("visibility") == "private"
        return {"url": f"{hub.url}/{repo}", "id": repo}

    @app.get("/api/models/{owner}/{name}")
    async def info(owner: str, name: str) -> Any:
        repo = f"{owner}/{name}"
        siblings = [{"rfilename": path} for path in hub.files[repo]]
        return {"_id": "1", "id": repo, "private": hub.private[repo], "sha": "0" * 40, "siblings": siblings}

    @app.post("/api/models/{owner}/{name}/preupload/{revision}")
    async def preupload(request: Request) -> Any:
        sent = await request.json()
        modes = {file["path"]: "lfs" if file["path"].endswith(LARGE) else "regular" for file in sent["files"]}
        return {"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]}

    @app.post("/api/validate-yaml")
    async def validate_card() -> Any:
        return {"errors": [], "warnings": []}

    @app.post("/{owner}/{name}.git/info/lfs/objects/batch")
    async def batch(request: Request) -> Any:
        sent = await request.json()
        objects = [{**one, "actions": {"upload": {"href": f"{hub.url}/lfs/{one['oid']}"}}} for one in sent["objects"]]
        return {"transfer": "basic", "objects": objects}

    @app.put("/lfs/{oid}")
    async def put(oid: str, request: Request) -> Any:
        await asyncio.sleep(hub.upload_takes_s)
        content = await request.body()
        if hashlib.sha256(content).hexdigest() != oid:
            return JSONResponse({"error": "other content"}, 400)
        hub.stored[oid] = content
        return {}

    @app.post("/api/models/{owner}/{name}/commit/{revision}")
    async def commit(owner: str, name: str, request: Request) -> Any:
        repo = f"{owner}/{name}"
        for line in (await request.body()).splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                hub.files[repo][value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                hub.files[repo][value["path"]] = hub.stored[value["oid"]]
        return {"commitUrl": f"{hub.url}/{repo}/commit/{'1' * 40}", "commitOid": "1" * 40}

    return app
