"""What is known of a model before its weights are opened: licence, permission, shape, size. No weights are read.

A model that cannot be trained here is refused with the way forward, before anything is started or downloaded.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from core.errors import UserError
from core.models.catalogue import BUNDLED_MODEL, CatalogueEntry, catalogue
from core.models.estimate import Shape
from core.models.open import is_remote
from core.models.shapes import read_config, shape_of

Where = Literal["bundled", "folder", "cache", "hub"]

# A page waits for the hub this long, and does not ask again for as long as REMEMBERED_S after it failed.
HUB_TIMEOUT_S = 5.0
REMEMBERED_S = 30.0

DTYPE_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
# Without a longest sequence in its config a model is taken to read so many tokens, as when it is loaded.
DEFAULT_CONTEXT = 2048
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
WEIGHTS = ".safetensors"


@dataclass(frozen=True)
class ModelFacts:
    """`shape` is None for a model that is built unlike those we can reckon with; `context` is its longest sequence.

    `weight_bytes` is the size of the weights' files, None where unknown; `dtype_bytes` what one parameter takes there.
    """

    id: str
    license: str
    gated: bool
    shape: Shape | None
    context: int
    weight_bytes: int | None
    dtype_bytes: float
    where: Where

    @property
    def parameters(self) -> float | None:
        """How many parameters it has, from its shape, else from the size of its files."""
        if self.shape is not None:
            return self.shape.parameters
        return None if self.weight_bytes is None else self.weight_bytes / self.dtype_bytes


def describe(model_id: str) -> ModelFacts:
    """What is known without asking whether we may have it: models of the catalogue need no network here."""
    entry = _entry(model_id)
    return _listed(entry) if entry else inspect(model_id)


def inspect(model_id: str) -> ModelFacts:
    """What is known of a model that can be trained here. Raises UserError for one that cannot be had or opened."""
    if model_id == BUNDLED_MODEL:
        return describe(model_id)
    if is_remote(model_id):
        raise UserError(
            f"{model_id} is answered by a service, which keeps its weights.", "Choose a model that can be downloaded."
        )
    path = Path(model_id).expanduser()
    if path.exists() or path.is_absolute() or model_id.startswith((".", "~")) or path.suffix == ".gguf":
        return _folder(path, model_id)
    return _remembered(model_id)


def _entry(model_id: str) -> CatalogueEntry | None:
    return next((entry for entry in catalogue() if entry.id == model_id), None)


def _listed(entry: CatalogueEntry) -> ModelFacts:
    bundled = entry.id == BUNDLED_MODEL
    # The bundled one is kept in the 32 bits that a CPU computes in.
    dtype = 4.0 if bundled else 2.0
    where: Where = "bundled" if bundled else "hub"
    size = int(entry.parameters * 1e9 * dtype)
    return ModelFacts(entry.id, entry.license, entry.gated, entry.shape, entry.context, size, dtype, where)


def _folder(folder: Path, model_id: str, where: Where = "folder") -> ModelFacts:
    if folder.suffix == ".gguf" or (folder.is_dir() and not _raw_config(folder) and any(folder.glob("*.gguf"))):
        raise _gguf(model_id)
    if not folder.is_dir():
        what = "is a file, not a model's folder" if folder.is_file() else "does not exist"
        raise UserError(f"{model_id} {what}.", "Give the folder that save_pretrained wrote, or a model's hub id.")
    if (folder / "adapter_config.json").is_file():
        raise UserError(
            f"The folder {model_id} holds an adapter, not a model.",
            "Give the folder or id of its base model; an adapter is trained on a whole one.",
        )
    raw = _raw_config(folder)
    if not raw:
        raise UserError(
            f"The folder {model_id} is not a model: it has no config.json that can be read.",
            "It needs config.json, a tokenizer and .safetensors weights, as save_pretrained writes them.",
        )
    config = _config(folder, raw, model_id)
    _check_files([file.name for file in folder.iterdir()], model_id)
    size, parameters = _measured(sorted(folder.glob(f"*{WEIGHTS}")), model_id)
    _check_shards(folder, model_id)
    return ModelFacts(
        id=model_id,
        license=_license(folder / "README.md"),
        gated=False,
        shape=shape_of(config),
        context=_context(config),
        weight_bytes=size,
        dtype_bytes=size / parameters,
        where=where,
    )


def _raw_config(folder: Path) -> dict[str, Any]:
    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return raw if isinstance(raw, dict) else {}


def _config(folder: Path, raw: dict[str, Any], model_id: str) -> Any:
    """The config as transformers reads it. Raises UserError for what transformers could not train."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    family = raw.get("model_type")
    if family not in CONFIG_MAPPING_NAMES:
        if "auto_map" in raw:
            raise UserError(
                f"{model_id} needs code of its own to run.",
                "Choose a model whose architecture transformers knows; code from a hub is never run.",
            )
        raise UserError(
            f'{model_id} is of a kind that transformers does not know ("{str(family)[:60]}").',
            "Update transformers, or choose another model.",
        )
    classes = [str(name) for name in raw.get("architectures") or []]
    if classes and not any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in classes):
        raise UserError(
            f"{model_id} does not write text: it is a {classes[0]}.", "Choose an instruct or chat model that does."
        )
    if "quantization_config" in raw:
        kind = str(raw["quantization_config"].get("quant_method", "packed"))[:40]
        raise UserError(
            f"The weights of {model_id} are quantised already ({kind}).",
            "Choose the original weights; the method qlora packs them into four bits itself.",
        )
    try:
        return read_config(folder)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"The config.json of {model_id} cannot be used: {str(error).splitlines()[0]}", "Copy the model again."
        ) from error


def _check_files(names: list[str], model_id: str) -> None:
    """Raise UserError for a model without safetensors weights or without a tokenizer."""
    if not any(name.endswith(WEIGHTS) for name in names):
        if any(name.endswith(PICKLES) for name in names):
            raise UserError(
                f"{model_id} has no safetensors weights, only pickled ones, which can run code and are not opened.",
                "Choose a repository with .safetensors weights, or convert them where you trust them.",
            )
        if any(name.endswith(".gguf") for name in names):
            raise _gguf(model_id)
        raise UserError(f"{model_id} has no weights.", "Copy or choose a model with .safetensors files.")
    if not any(name.startswith(("tokenizer", "vocab", "tekken")) for name in names):
        raise UserError(f"{model_id} has no tokenizer.", "Copy tokenizer.json and tokenizer_config.json beside it.")


def _gguf(model_id: str) -> UserError:
    return UserError(
        f"{model_id} is a GGUF file: packed for answering, not for training.",
        "Give the model it was made from, as a hub id or a folder with .safetensors weights.",
    )


def _measured(files: list[Path], model_id: str) -> tuple[int, int]:
    """(bytes, parameters) by the headers of weights' files. Raises UserError for one that ends early."""
    from huggingface_hub import parse_local_safetensors_file_metadata
    from huggingface_hub.errors import SafetensorsParsingError

    size = parameters = 0
    for file in files:
        damaged = UserError(
            f"The weights of {model_id} are cut short or damaged ({file.name}).", "Download or copy them again."
        )
        try:
            tensors = parse_local_safetensors_file_metadata(file).tensors.values()
        except (SafetensorsParsingError, ValueError, KeyError) as error:
            raise damaged from error
        end = max((tensor.data_offsets[1] for tensor in tensors), default=0)
        with file.open("rb") as opened:
            header = int.from_bytes(opened.read(8), "little")
        if file.stat().st_size < 8 + header + end:
            raise damaged
        size += end
        parameters += sum(tensor.parameter_count for tensor in tensors)
    return size, max(1, parameters)


def _check_shards(folder: Path, model_id: str) -> None:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return
    listed = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    missing = sorted(name for name in listed if not (folder / name).is_file())
    if missing:
        raise UserError(
            f"{model_id} lacks {len(missing)} of {len(listed)} files of weights, such as {missing[0]}.",
            "Download or copy them as well.",
        )


def _license(readme: Path) -> str:
    """What the model card's head says."""
    from huggingface_hub import ModelCard

    if not readme.is_file():
        return ""
    try:
        return _license_of(ModelCard.load(readme, ignore_metadata_errors=True).data)
    except (OSError, ValueError):
        return ""


def _license_of(card: Any) -> str:
    """Many licences have a name beside the short word "other"."""
    if card is None:
        return ""
    return str(card.get("license_name") or card.get("license") or "")


def _context(config: Any) -> int:
    # As when it is loaded: some families have no longest sequence.
    return int(getattr(config, "max_position_embeddings", None) or DEFAULT_CONTEXT)


_answers: dict[str, ModelFacts] = {}
_failures: dict[str, tuple[float, UserError]] = {}


def _remembered(model_id: str) -> ModelFacts:
    """The hub's answer, asked once per process; a refusal is asked again after a while, since a person may act."""
    if model_id in _answers:
        return _answers[model_id]
    failed_at, failure = _failures.get(model_id, (0.0, UserError("")))
    if time.monotonic() - failed_at < REMEMBERED_S and failure.what:
        raise failure
    try:
        _answers[model_id] = _cached(model_id) or _hub(model_id)
    except UserError as error:
        _failures[model_id] = time.monotonic(), error
        raise
    return _answers[model_id]


def _cached(model_id: str) -> ModelFacts | None:
    """The facts of a model that was downloaded before, weights included."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(model_id, "config.json")
    except HFValidationError as error:
        raise UserError(
            f'"{model_id[:100]}" is neither a folder nor the name of a model.',
            'Names on the hub look like "Qwen/Qwen2.5-7B-Instruct".',
        ) from error
    if not isinstance(config, str) or not any(Path(config).parent.glob(f"*{WEIGHTS}")):
        return None
    facts, entry = _folder(Path(config).parent, model_id, "cache"), _entry(model_id)
    return replace(facts, license=entry.license, gated=entry.gated) if entry else facts


def _hub(model_id: str) -> ModelFacts:
    """Ask the hub: a page of metadata and the config, a few kilobytes. Raises UserError."""
    from httpx2 import HTTPError
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        info = HfApi().model_info(model_id, files_metadata=True, timeout=HUB_TIMEOUT_S)
        names = [file.rfilename for file in info.siblings or []]
        _check_top(names, model_id)
        # A gated model tells everyone about itself, and gives its files only to those who may have them.
        config_file = hf_hub_download(model_id, "config.json", etag_timeout=HUB_TIMEOUT_S)
    except GatedRepoError as error:
        raise UserError(
            f"{model_id} is gated: the hub asks for permission.",
            f"Accept its licence at https://huggingface.co/{model_id}, then set HF_TOKEN to a token that may read it. "
            f"{_needing_none()}",
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"The hub has no model {model_id}, or it is private.",
            "Check the spelling; for a private one, set HF_TOKEN to a token that may read it.",
        ) from error
    except (OSError, HTTPError) as error:
        raise UserError(
            f"The hub could not be reached, so {model_id} cannot be opened: it is not on this computer.",
            "Check the network and HF_HUB_OFFLINE, give a model's folder, or use the bundled model "
            f"{BUNDLED_MODEL}, which needs no network.",
        ) from error
    folder = Path(config_file).parent
    config = _config(folder, _raw_config(folder), model_id)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    # Some repositories hold the same weights twice; those that transformers opens are named model*.
    own = [name for name in names if name.startswith("model") and name.endswith(WEIGHTS) and "/" not in name]
    size = sum(sizes[name] for name in own or [name for name in names if name.endswith(WEIGHTS)])
    return ModelFacts(
        id=model_id,
        license=_license_of(info.card_data),
        gated=bool(info.gated),
        shape=shape_of(config),
        context=_context(config),
        weight_bytes=size or None,
        dtype_bytes=DTYPE_BYTES.get(str(config.dtype).removeprefix("torch."), 2.0),
        where="hub",
    )


def _check_top(names: list[str], model_id: str) -> None:
    """Files in the repository's top folder are what transformers opens; the config is read by the caller."""
    top = [name for name in names if "/" not in name]
    if "config.json" not in top and any(name.endswith(".gguf") for name in top):
        raise _gguf(model_id)
    if "config.json" not in top:
        raise UserError(f"{model_id} is not a language model: it has no config.json.", "Choose another.")
    _check_files(top, model_id)


def _needing_none() -> str:
    free = [entry.id for entry in catalogue() if not entry.gated]
    return f"These need no permission: {', '.join(free)}."
