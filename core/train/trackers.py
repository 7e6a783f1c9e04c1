"""Experiment trackers: every measurement of a run goes to them as well, through transformers' own integrations.

All of them stay on this machine unless their own environment variables say otherwise: W&B goes online with
WANDB_API_KEY, MLflow to the server of MLFLOW_TRACKING_URI, Trackio to the Space of TRACKIO_SPACE_ID. Keys stay in the
environment, and none is stored.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.train.recipe import Tracker

PROJECT = "lowest-rung"


def check(names: Sequence[Tracker]) -> None:
    """Raises UserError for a tracker whose package is not installed."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise UserError(
            f"Not installed, but asked to report to: {', '.join(missing)}.",
            f"Run pip install {' '.join(missing)}, or report to others.",
        )


def arguments(names: Sequence[Tracker], run_name: str, home: Path) -> dict[str, Any]:
    """Arguments for transformers' trainer; sets this process's environment, from which the integrations read the rest.

    What is written lies under `home`/trackers, one folder per tracker; a variable that is set already is respected.
    An attempt that resumes a run adds to what the first one wrote to TensorBoard and Trackio; elsewhere it is a run of
    its own with the same name. Raises UserError for a tracker that is not installed.
    """
    if not names:
        return {"report_to": "none"}
    check(names)
    for name in names:
        folder = home / "trackers" / name
        folder.mkdir(parents=True, exist_ok=True)
        for variable, value in _environment(name, folder, run_name).items():
            os.environ[variable] = os.environ.get(variable) or value
    # No page is put on a hub after the run.
    return {"report_to": list(names), "run_name": run_name, "project": PROJECT, "trackio_static_space_id": False}


def _environment(name: Tracker, folder: Path, run_name: str) -> dict[str, str]:
    """Where the tracker writes; that it calls nobody, and reports neither usage nor crashes to its makers."""
    if name == "tensorboard":
        return {"TENSORBOARD_LOGGING_DIR": str(folder / run_name)}
    if name == "mlflow":
        return {
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
            "MLFLOW_EXPERIMENT_NAME": PROJECT,
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
    if name == "trackio":
        return {"TRACKIO_DIR": str(folder)}
    return {
        "WANDB_MODE": "online" if os.environ.get("WANDB_API_KEY") else "offline",
        "WANDB_DIR": str(folder),
        "WANDB_CACHE_DIR": str(folder / "cache"),
        "WANDB_PROJECT": PROJECT,
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_SILENT": "true",
    }
