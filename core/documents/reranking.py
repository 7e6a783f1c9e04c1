"""A cross-encoder, where one is at hand: it reads question and passage together, and orders what was found anew."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from core.errors import UserError
from core.models.loading import compute_device

_LOADING = threading.Lock()


def rerank(model: str, question: str, passages: Sequence[str]) -> list[float]:
    """How well each passage answers the question, by the cross-encoder's own measure; higher is better.

    Raises UserError when there is no such model.
    """
    if not passages:
        return []
    with _LOADING:
        encoder = _load(model)
    scores = encoder.predict([(question, passage) for passage in passages], show_progress_bar=False)
    return [float(score) for score in scores]


@lru_cache(maxsize=1)
def _load(model: str) -> Any:
    from sentence_transformers import CrossEncoder

    try:
        encoder = CrossEncoder(
            model, device=compute_device(), trust_remote_code=False, model_kwargs={"use_safetensors": True}
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"The reranker {model} could not be opened.",
            "Check the spelling and the network, give a local folder, or search without a reranker.",
        ) from error
    if encoder.num_labels != 1:
        raise UserError(
            f"The reranker {model} gives {encoder.num_labels} values for a passage instead of one.",
            "Choose a cross-encoder made for ranking.",
        )
    return encoder
