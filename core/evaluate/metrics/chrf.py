"""chrF: runs of characters shared with a reference, for translations and languages rich in endings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from core.evaluate.metrics.registry import metric


@metric("chrf", title="chrF", kind="continuous", family="language")
def chrf(prediction: str, reference: str) -> float:
    """F-score of the runs of 1 to 6 characters shared with the reference, recall counting twice; 0 to 1.

    Needs no words, so it suits every script and forgives a wrong ending. Two empty texts agree fully.
    Source: Popović 2015, as sacreBLEU reckons it.
    """
    if not prediction.strip() or not reference.strip():
        return float(prediction.strip() == reference.strip())
    return float(min(1.0, _scorer().sentence_score(prediction, [reference]).score / 100))


def corpus_chrf(outputs: Sequence[str], references: Sequence[str]) -> float:
    """chrF of all answers together, 0 to 1: the figure that papers state."""
    return float(_scorer().corpus_score(list(outputs), [list(references)]).score / 100)


@lru_cache(maxsize=1)
def _scorer() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()
