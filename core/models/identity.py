"""What tells one answer from another: hashes of everything that determines it, so that none is asked for twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from core.models.catalogue import BUNDLED_MODEL, bundled_gguf
from core.models.generation import Sampling
from core.models.loading import compute_device
from core.models.open import endpoint_of, is_remote
from core.models.prompt import Message

# Small files are read whole. Of weights, which take a minute to read, the size and the time of change must do.
READ_BYTES = 50_000_000


def fingerprint(model_id: str) -> str | None:
    """The same for two models exactly if they answer alike here; None for one that is not on this machine yet.

    Weights, tokenizer and template count, the kind of device (which decides on the number format), and the libraries
    that compute. A remote model is known by its address and name alone: what it really is only its service knows.
    Raises UserError for the name of a service that is not there.
    """
    if is_remote(model_id):
        endpoint, model = endpoint_of(model_id)
        return _hash([endpoint.url, model])
    if model_id == BUNDLED_MODEL:
        files = _sizes([bundled_gguf()])
    elif Path(model_id).is_dir():
        files = _folder(Path(model_id))
    else:
        snapshot = _snapshot(model_id)
        if snapshot is None:
            return None
        # A snapshot is named after its commit, which no file of it can change under.
        files = [snapshot.name]
    libraries = [version(name) for name in ("torch", "transformers")]
    return _hash([files, compute_device().partition(":")[0], libraries])


def adapter_fingerprint(folder: Path) -> str:
    """Of the weights and the configuration in a trained adapter's folder. Raises OSError when one cannot be read."""
    return _hash([*_folder(folder), version("peft")])


def answer_key(model: str, adapter: str, chat: Sequence[Message], sampling: Sampling, seed: int) -> str:
    """SHA-256 of everything that determines an answer; `model` and `adapter` are fingerprints ("" without adapter).

    At temperature 0 there is nothing to draw, so the seed does not count.
    """
    drawn = [sampling.temperature, sampling.top_p, seed] if sampling.temperature > 0 else []
    return _hash([model, adapter, list(chat), sampling.max_new_tokens, drawn])


def seed_of(seed: int, sample: int, chat: Sequence[Message]) -> int:
    """The seed with which one answer is drawn: different for each sample and each question, the same next time.

    Questions that share a seed would share their luck, and no interval would be right. Of 31 bits, as services take it.
    """
    written = json.dumps([seed, sample, list(chat)], sort_keys=True).encode()
    return int.from_bytes(hashlib.sha256(written).digest()[:4], "big") >> 1


def _folder(folder: Path) -> list[Any]:
    found: list[Any] = []
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".safetensors", ".jinja", ".model", ".txt"):
            small = path.stat().st_size <= READ_BYTES
            found.append([path.name, hashlib.sha256(path.read_bytes()).hexdigest()] if small else _sizes([path]))
    return found


def _sizes(paths: Sequence[Path]) -> list[Any]:
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


def _snapshot(model_id: str) -> Path | None:
    """The folder of a downloaded model in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(model_id, "config.json")
    except HFValidationError:
        return None
    return Path(config).parent if isinstance(config, str) else None


def _hash(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
