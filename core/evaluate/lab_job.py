"""The job that runs the retrieval lab; its result is the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from core.data.files import File
from core.documents.storing import get_index
from core.errors import UserError
from core.evaluate.lab import Asked, asked_in_file, default_settings, questions_from_dataset, resolve, run_lab
from core.evaluate.lab.rankings import WEIGHTS
from core.jobs.background import in_background
from core.jobs.context import JobContext
from core.store.database import session

# Reading, searching and measuring the index as it is, and embedding the documents for each further size.
BASE_S, SIZE_S = 30.0, 60.0


def submit_lab(
    index_id: int,
    *,
    file: File | None = None,
    dataset_id: int | None = None,
    splits: Sequence[str] = ("train", "validation"),
    sizes: Sequence[int] = (),
    weights: Sequence[float] = WEIGHTS,
    reranker: str = "",
    seed: int = 0,
) -> int:
    """Queue a lab with the questions of a file or of a dataset; the job's id.

    Raises UserError when the file cannot be read, or when neither or both are given.
    """
    if (file is None) == (dataset_id is None):
        raise UserError("The lab needs questions.", "Upload a file of questions, or choose a dataset.")
    with session(read_only=True) as db:
        name = get_index(db, index_id).name
    spec: dict[str, Any] = {
        "index_id": index_id,
        "dataset_id": dataset_id,
        "splits": list(splits),
        # At most 1,000 questions: small enough to be kept with the job, so that it can be run again.
        "asked": None if file is None else [asdict(one) for one in asked_in_file(file)],
        "sizes": list(sizes),
        "weights": list(weights),
        "reranker": reranker,
        "seed": seed,
    }
    return in_background("lab", spec, f"Retrieval lab: {name}", (), BASE_S + SIZE_S * len(sizes))


def run(context: JobContext) -> dict[str, Any]:
    """Spec: see `submit_lab`. Resumed after a stop or a kill it begins again: it takes minutes and stores nothing."""
    spec = context.spec

    def on_progress(done: float, total: float, message: str) -> None:
        context.progress(done, total, message)
        context.check_stop()

    on_progress(0, 0, "Looking for the answers in the documents")
    if spec["asked"] is None:
        questions = questions_from_dataset(spec["dataset_id"], spec["index_id"], spec["splits"], spec["seed"])
    else:
        questions = resolve(spec["index_id"], [Asked(**_tuples(one)) for one in spec["asked"]])
    with session(read_only=True) as db:
        index = get_index(db, spec["index_id"])
    settings = default_settings(index, sizes=spec["sizes"], weights=spec["weights"], reranker=spec["reranker"])
    report = run_lab(index.id, questions, settings, on_progress, seed=spec["seed"])
    return report.as_dict() | {"quoted": questions.quoted}


def _tuples(kept: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in kept.items()}
