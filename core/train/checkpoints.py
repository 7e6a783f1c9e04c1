"""What a run saves on its way: whole checkpoints, the best of them, and the weights alone to keep."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

# The files that are the result: an adapter as PEFT saves it, or a whole model as transformers does. The rest of a
# checkpoint (optimiser, random states) serves to go on with the run.
RESULT = (
    "adapter_model.safetensors",
    "adapter_config.json",
    "model*.safetensors*",
    "config.json",
    "generation_config.json",
    "token*",
    "special_tokens_map.json",
    "chat_template*",
)


def newest_checkpoint(folder: Path) -> Path | None:
    """The latest checkpoint that was written to its end: the trainer's state file is the last to be written."""
    return next((path for path in _by_step(folder) if _state(path) is not None), None)


def best_checkpoint(folder: Path) -> Path | None:
    """The whole checkpoint with the lowest evaluation loss, else the newest; None when there is none."""
    newest = newest_checkpoint(folder)
    step = (_state(newest) or {}).get("best_global_step") if newest else None
    best = folder / f"checkpoint-{step}"
    return best if step and _state(best) is not None else newest


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def ending(checkpoint: Path) -> str:
    """How the run ended there: "all" with its last step, "early" by its evaluations, "" when there is more to learn."""
    state = _state(checkpoint) or {}
    stopping = state.get("stateful_callbacks", {}).get("EarlyStoppingCallback")
    if state.get("global_step", 0) >= state.get("max_steps", math.inf):
        return "all"
    if stopping is None:
        return ""
    waited = stopping["attributes"]["early_stopping_patience_counter"]
    return "early" if waited >= stopping["args"]["early_stopping_patience"] else ""


def eval_loss_of(checkpoint: Path) -> float | None:
    """The evaluation loss of these very weights, where it was measured."""
    history = (_state(checkpoint) or {}).get("log_history", [])
    found = [
        entry["eval_loss"] for entry in history if entry.get("step") == step_of(checkpoint) and "eval_loss" in entry
    ]
    return float(found[-1]) if found else None


def train_loss_of(checkpoint: Path) -> float | None:
    """The last training loss before it was saved."""
    found = [entry["loss"] for entry in (_state(checkpoint) or {}).get("log_history", []) if "loss" in entry]
    return float(found[-1]) if found else None


def copy_result(checkpoint: Path, into: Path) -> None:
    """The weights alone, as a folder that appears whole or not at all; replaces what was there."""
    scratch = into.with_name(into.name + ".copying")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for pattern in RESULT:
        for file in checkpoint.glob(pattern):
            shutil.copy2(file, scratch / file.name)
    shutil.rmtree(into, ignore_errors=True)
    scratch.replace(into)


def remove_checkpoints(folder: Path) -> None:
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint, ignore_errors=True)


def keep_weights(folder: Path) -> None:
    """Remove of each checkpoint what serves to go on with the run; the weights stay, to be asked."""
    for checkpoint in folder.glob("checkpoint-*"):
        kept = {file for pattern in RESULT for file in checkpoint.glob(pattern)}
        for file in set(checkpoint.iterdir()) - kept:
            if file.is_dir():
                shutil.rmtree(file, ignore_errors=True)
            else:
                file.unlink(missing_ok=True)


def _by_step(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True)


def _state(checkpoint: Path) -> dict[str, Any] | None:
    """The trainer's own record; None when the process was killed while writing the checkpoint."""
    try:
        found: dict[str, Any] = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found
