"""The server as one ASGI app: routes in the shape of the OpenAI API, behind a door."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from core.api import chat, completions, embeddings, errors, files, fine_tuning, model_routes
from core.api.doors import Door
from core.api.loopback import is_loopback
from core.api.models import Models
from core.api.stats import Stats


class Health(BaseModel):
    """The server lives; which models it has is told to those who may use it."""

    status: str


def create_app(models: Models, *, stats: Stats | None = None, host: str = "127.0.0.1") -> FastAPI:
    """The app that answers with these models. Where `host`, its address, is not loopback, it asks for keys.

    Starts nothing by itself, and does not close `models`.
    """
    app = FastAPI(
        title="Lowest Rung",
        description="The OpenAI API over the models and the training of this machine.",
        # The usual pages of documentation load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        responses=errors.RESPONSES,
    )
    app.state.models = models
    app.state.stats = stats or Stats()
    # A vLLM server that answers instead, once one runs.
    app.state.vllm = None
    errors.install(app)
    app.add_middleware(Door, host=host)
    app.get("/health", response_model=Health)(_health)
    for routes in (chat, completions, embeddings, files, fine_tuning, model_routes):
        app.include_router(routes.router)
    if is_loopback(host):
        _make_keys_optional(app)
    return app


def _make_keys_optional(app: FastAPI) -> None:
    """Say in the app's description that its routes answer without a key too, which holds until one is made."""
    for operations in app.openapi()["paths"].values():
        for operation in operations.values():
            if "security" in operation:
                operation["security"].append({})


def _health() -> dict[str, Any]:
    return {"status": "ok"}
