"""A real server on loopback for every test that asks for one, with the tiny model as its base."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest
from fastapi import FastAPI

from core.api import serve_job
from core.api.app import create_app
from core.api.models import Models

BASE = "tiny"


@dataclass(frozen=True)
class Served:
    """`url` as the openai package takes it, with `/v1`; `root` without. The tiny model answers to `model`."""

    root: str
    app: FastAPI
    models: Models
    model: str = BASE

    @property
    def url(self) -> str:
        return f"{self.root}/v1"


@pytest.fixture
def server(tiny_model: Path) -> Iterator[Served]:
    """The real app under the real uvicorn, in a thread of this process."""
    models = Models([str(tiny_model)])
    app = create_app(models)
    listening = serve_job.bind("127.0.0.1", 0)
    uvicorn = serve_job.make_server(app)
    thread = threading.Thread(target=lambda: asyncio.run(uvicorn.serve([listening])), daemon=True)
    thread.start()
    yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", app, models)
    uvicorn.should_exit = True
    thread.join(20)
    models.close()
    assert not thread.is_alive()


@pytest.fixture
def client(server: Served) -> Iterator[openai.OpenAI]:
    """The official client. It tries once, so that every error is seen."""
    with openai.OpenAI(base_url=server.url, api_key="not-needed", max_retries=0) as made:
        yield made
