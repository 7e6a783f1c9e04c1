"""Compose files are sound, listen on this machine alone, and hold neither keys nor folders of it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from core.models.catalogue import BUNDLED_MODEL
from core.publish.compose import DOCKERFILE, own_server, vllm_server

VLLM = [
    vllm_server(BUNDLED_MODEL, 16, "adapter", "lora"),
    vllm_server("/home/me/models/base", 200, "adapter", "rslora"),
    vllm_server(BUNDLED_MODEL, 16, "merged", "full"),
]


def service(text: str) -> dict[str, Any]:
    file = yaml.safe_load(text)
    assert file.keys() <= {"services", "volumes"}
    (only,) = file["services"].values()
    found: dict[str, Any] = only
    return found


@pytest.mark.parametrize("text", [own_server(), *VLLM])
def test_ports_are_on_loopback_and_health_is_checked(text: str) -> None:
    found = service(text)
    assert found["ports"] == ["127.0.0.1:8000:8000"]
    assert "/health" in found["healthcheck"]["test"][-1] and found["healthcheck"]["test"][0] == "CMD"
    assert "/home/me" not in text


def test_named_volumes_are_declared() -> None:
    for text in VLLM:
        names = {volume.partition(":")[0] for volume in service(text)["volumes"] if not volume.startswith((".", "$"))}
        assert names == set(yaml.safe_load(text).get("volumes", {}))


def test_vllm_is_told_the_adapter_and_takes_its_key_from_the_environment() -> None:
    found = service(VLLM[0])
    assert found["command"][0] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert "my-adapter=/adapter" in found["command"] and "./adapter:/adapter:ro" in found["volumes"]
    assert found["environment"]["VLLM_API_KEY"].startswith("${VLLM_API_KEY:?")
    local = service(VLLM[1])
    assert local["command"][0] == "/base" and local["command"][3] == "256"
    assert service(VLLM[2])["command"][0] == "/merged"


def test_health_check_of_our_server_is_python_that_runs() -> None:
    compile(service(own_server())["healthcheck"]["test"][-1], "healthcheck", "exec")
    assert DOCKERFILE.splitlines()[1] == "FROM python:3.11-slim" and "USER rung" in DOCKERFILE
