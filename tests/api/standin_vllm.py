"""A program named vllm for the tests: takes the arguments of `vllm serve` that we give, and answers by transformers.

It has a home folder of its own. What it was given and asked is written to the file STANDIN_RECORD. It refuses whoever
has not its key, as vLLM does.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from core.api import serve_job
from core.api.app import create_app
from core.api.models import Models, Offered

RECORD = Path(os.environ["STANDIN_RECORD"])


def record(**what: Any) -> None:
    with RECORD.open("a", encoding="utf-8") as file:
        file.write(json.dumps(what) + "\n")


class Named(Models):
    """The base and the adapters under the names they were given."""

    def __init__(self, base: str, adapters: dict[str, Path]) -> None:
        super().__init__([base])
        self.base, self.adapters = base, adapters

    def named(self, name: str) -> Offered:
        return Offered(name, 0, "standin", self.base, folder=self.adapters.get(name))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("model")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--served-model-name", nargs="+", required=True)
    parser.add_argument("--enable-lora", action="store_true", required=True)
    parser.add_argument("--max-loras", type=int)
    parser.add_argument("--max-lora-rank", type=int, choices=[8, 16, 32, 64, 128, 256, 320, 512])
    parser.add_argument("--lora-modules", nargs="+", default=[])
    given = parser.parse_args()
    record(started=vars(given))
    if given.model.endswith("refused"):
        raise SystemExit("This architecture is not supported.")
    pairs = [module.partition("=") for module in given.lora_modules]
    models = Named(given.model, {name: Path(folder) for name, _, folder in pairs})
    app = create_app(models)
    prepare(app, models)
    asyncio.run(serve_job.make_server(app).serve([serve_job.bind(given.host, given.port)]))


def prepare(app: FastAPI, models: Named) -> None:
    @app.post("/v1/load_lora_adapter")
    async def load(request: Request) -> Response:
        body = await request.json()
        if body["lora_name"].endswith(":13"):
            return JSONResponse({"error": {"message": "No such rank.", "code": 400}}, 400)
        models.adapters[body["lora_name"]] = Path(body["lora_path"])
        return Response("Success")

    @app.middleware("http")
    async def check(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.url.path != "/health":
            given = request.headers.get("authorization", "")
            if not hmac.compare_digest(given, f"Bearer {os.environ['VLLM_API_KEY']}"):
                return JSONResponse({"error": "Unauthorized"}, 401)
            record(path=request.url.path, body=await request.json())
            assert os.environ["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
        return await go_on(request)


if __name__ == "__main__":
    main()
