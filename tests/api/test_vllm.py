"""Generation handed over to a program named vllm: here a stand-in that is our own server on transformers."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from core.api import vllm
from core.api.errors import ApiError
from core.api.models import public_name
from core.api.vllm import Vllm
from core.errors import UserError
from core.jobs.run import run_foreground
from core.settings import REPOSITORY, get_settings
from core.store.database import session
from core.store.tables import Adapter
from tests.api.conftest import Served

HELLO: Any = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 12, "temperature": 0}


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in on the path; the file in which it says what it was given and asked."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "vllm"
    standin = REPOSITORY / "tests" / "api" / "standin_vllm.py"
    environment = f"LOWEST_RUNG_HOME={tmp_path}/standin PYTHONPATH={REPOSITORY}"
    program.write_text(f'#!/bin/sh\n{environment} exec {sys.executable} {standin} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setenv("STANDIN_RECORD", str(tmp_path / "record.jsonl"))
    return tmp_path / "record.jsonl"


def told(record: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in record.read_text().splitlines()]


def adapter(tiny_model: Path, name: str, **lora: Any) -> Adapter:
    """A LoRA adapter of random weights on the tiny model, so strong that its answers differ from the base's."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    config = LoraConfig(task_type="CAUSAL_LM", r=8, target_modules="all-linear", init_lora_weights=False, **lora)
    made = Adapter(name=name, base_model=str(tiny_model), method="lora", path=f"adapters/{name}", recipe={"rank": 8})
    network = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config)
    network.save_pretrained(get_settings().home / made.path)
    with session() as db:
        db.add(made)
    return made


def answer(client: openai.OpenAI, model: str) -> str:
    return client.chat.completions.create(model=model, **HELLO).choices[0].message.content or ""


@pytest.mark.integration
def test_answers_come_from_vllm_and_are_those_of_transformers(
    server: Served, client: openai.OpenAI, tiny_model: Path, record: Path, tmp_path: Path
) -> None:
    first, dora = adapter(tiny_model, "first"), adapter(tiny_model, "dora", use_dora=True)
    names = ["tiny", public_name(first)]
    before = [answer(client, name) for name in [*names, public_name(dora)]]
    assert before[0] != before[1]
    running = Vllm(str(tiny_model), server.models.offered(), tmp_path / "log.txt", server.app.state.stats)
    try:
        running.ready(lambda: False)
        server.app.state.vllm = running
        counted = server.app.state.stats.requests
        assert [answer(client, name) for name in names] == before[:2]
        assert server.app.state.stats.requests == counted + 2
        started = told(record)[0]["started"]
        assert started["model"] == str(tiny_model) and started["served_model_name"] == ["tiny"]
        assert started["lora_modules"] == [f"{names[1]}={get_settings().home / first.path}"]
        assert [line["body"]["model"] for line in told(record)[1:]] == names

        # Streamed through, and counted.
        chunks = list(client.chat.completions.create(model=names[1], stream=True, **HELLO))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == before[1]
        texts = client.completions.create(model="tiny", prompt="Hello", max_tokens=4, stream=True)
        assert next(iter(list(texts))).object == "text_completion"
        assert len(told(record)) == 5
        assert "first_token_ms_p50" in server.app.state.stats.last_minute()

        # What vLLM does not do is answered as before, and one that came since is put on.
        assert answer(client, public_name(dora)) == before[2]
        assert len(told(record)) == 5
        later = adapter(tiny_model, "later")
        assert answer(client, public_name(later)) == before[1]
        assert [line["path"] for line in told(record)[5:]] == ["/v1/load_lora_adapter", "/v1/chat/completions"]

        # Its refusals are ours.
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "word " * 600}])
        assert caught.value.code is None and "512" in caught.value.message
        with pytest.raises(openai.NotFoundError):
            answer(client, "gpt-9")

        # Once it has ended, transformers answers.
        process = psutil.Process(running._process.pid)
        process.kill()
        process.wait(10)
        assert [answer(client, name) for name in names] == before[:2]
    finally:
        running.close()
    assert not running.alive


@pytest.mark.integration
def test_a_vllm_that_does_not_start_is_said_so(tiny_model: Path, record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOWEST_RUNG_SERVE_WITH", "vllm")
    get_settings.cache_clear()
    refused = tiny_model.with_name("refused")
    if not refused.exists():
        refused.symlink_to(tiny_model)
    began = time.monotonic()
    job = run_foreground("serve", {"host": "127.0.0.1", "port": 0, "model": str(refused)}, device="server")
    assert job.status == "failed"
    assert "vLLM ended while it was starting" in job.error
    assert "SERVE_WITH" in job.remedy
    assert time.monotonic() - began < 300


def test_vllm_is_used_where_it_is_and_shall_be(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wanted(how: str, device: str) -> bool:
        monkeypatch.setenv("LOWEST_RUNG_SERVE_WITH", how)
        monkeypatch.setenv("LOWEST_RUNG_DEVICE", device)
        get_settings.cache_clear()
        return vllm.wanted()

    assert not wanted("auto", "cpu")
    assert wanted("auto", "cuda:0")
    assert wanted("vllm", "cpu")
    assert not wanted("transformers", "cuda:0")
    monkeypatch.setenv("PATH", "/nowhere")
    assert not wanted("auto", "cuda:0")
    with pytest.raises(UserError, match="is not installed"):
        wanted("vllm", "cuda:0")


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (400, b'{"error": {"message": "Long.", "param": "prompt", "code": 400}}', "invalid_request_error", "Long."),
        (400, b'{"object": "error", "message": "Long.", "code": 400}', "invalid_request_error", "Long."),
        (500, b'{"error": {"message": "CUDA"}}', "server_error", "CUDA"),
        (500, b"<html>", "server_error", "vLLM failed"),
        (401, b'{"error": "Unauthorized"}', "server_error", "vLLM failed"),
    ],
)
def test_refusals_of_vllm_get_the_api_s_form(status: int, body: bytes, kind: str, said: str) -> None:
    error = vllm._refused(status, body)
    assert isinstance(error, ApiError)
    assert (error.type, error.code) == (kind, None)
    assert error.message.startswith(said)
