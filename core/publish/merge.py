"""An adapter merged into its base: one model that needs neither, read back from disk and held to the live adapter.

Everything happens in fp32, in which base plus adapter and their sum differ by rounding alone; in 16 bits they part
after a few words. The file has twice the size for it, and loses nothing: whoever wants less memory converts it later.
"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.models.access import describe
from core.models.loading import LoadedModel, compute_device, load_model, load_tokenizer
from core.publish.card import merged_card
from core.publish.checking import Check, OnProgress, answers_of, compared, questions_for
from core.publish.exports import need_room
from core.settings import get_settings
from core.store.tables import Adapter
from core.train.card import model_card

# Beside the weights a model needs room for its activations and the cache of what it reads.
ROOM = 1.25
FP32_BYTES = 4.0


@dataclass(frozen=True)
class Merged:
    """The model in `folder`, how it answered, and the live adapter's answers it was held to."""

    folder: Path
    check: Check
    live: list[str]


def merge(adapter: Adapter, into: Path, count: int, progress: OnProgress) -> Merged:
    """Write the merged model to the folder `into`, in place of what is there, and check it on `count` questions.

    What was trained whole is copied. Raises UserError when files are gone, or the disk has no room.
    """
    source = get_settings().home / adapter.path
    whole = adapter.method == "full"
    needed = "config.json" if whole else "adapter_model.safetensors"
    if not (source / needed).is_file():
        raise UserError(f"The adapter {adapter.name} has lost its file {needed}.", "Train it again.")
    base = str(source) if whole else adapter.base_model
    size = FP32_BYTES * (describe(base).parameters or 0)
    need_room(size)
    questions = questions_for(adapter, count)
    total = 2 * len(questions.chats)
    device = exact_device(size)

    def told(message: str, before: int = 0) -> Callable[[int], None]:
        return lambda done: progress(before + done, total, message)

    progress(0, total, "Loading the base model")
    loaded = load_model(base, exact_on=device)
    network = loaded.model if whole else _with_adapter(loaded, source)
    live = answers_of(loaded, network, questions, told("Asking the live adapter"))
    progress(len(live), total, "Merging and saving")
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    _save(network if whole else _merged(network, adapter.name), base, into)
    # Only one copy of the weights at a time.
    del loaded, network
    gc.collect()
    progress(len(live), total, "Reading the merged model back")
    reloaded = load_model(str(into), exact_on=device)
    again = answers_of(reloaded, reloaded.model, questions, told("Asking the merged model", len(live)))
    check = compared(questions, live, again)
    (into / "README.md").write_text(merged_card(adapter, check.text), encoding="utf-8")
    (into / "adapter-card.md").write_text(model_card(adapter), encoding="utf-8")
    return Merged(into, check, live)


def exact_device(size: float) -> str:
    """Where weights of so many bytes are held in fp32: the device of this machine, or main memory beside a full GPU."""
    device = compute_device()
    if device == "cpu":
        return device
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return device if size * ROOM < free else "cpu"


def _with_adapter(loaded: LoadedModel, folder: Path) -> Any:
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(loaded.model, str(folder)).eval()
    except (ValueError, RuntimeError, KeyError) as error:
        raise UserError(
            f"The adapter does not go on {loaded.id}: {str(error).splitlines()[0]}", "Train it again."
        ) from error


def _merged(network: Any, name: str) -> Any:
    try:
        return network.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise UserError(f"The weights of {name} hold values that are not numbers.", "Train it again.") from error


def _save(model: Any, base: str, into: Path) -> None:
    model.save_pretrained(into)
    tokenizer = load_tokenizer(base)
    # Loaded for generation here; elsewhere whoever loads it decides on which side it pads.
    tokenizer.padding_side = "right"
    tokenizer.save_pretrained(into)
