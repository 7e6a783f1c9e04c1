"""BLEU: runs of words shared with a reference, as translations are measured."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field

from core.evaluate.metrics.registry import Answer, answer_metric
from core.evaluate.metrics.settings import MetricSettings


class BleuSettings(MetricSettings):
    """How texts are cut into words."""

    tokenize: Literal["13a", "intl", "zh", "char"] = Field(
        "13a",
        title="Words",
        description="13a: as translation contests do, for languages with spaces; intl: the same with the punctuation "
        "of all scripts; zh: Chinese; char: characters, for other scripts without spaces.",
    )


@answer_metric("bleu", title="BLEU", kind="continuous", family="language", needs=("reference",), settings=BleuSettings)
def bleu(answer: Answer, settings: BleuSettings) -> float:
    """Share of runs of 1 to 4 words that also stand in the reference, with a penalty for being too short; 0 to 1.

    By sentence: runs longer than the answer are left out ("effective order"), others without a match are smoothed
    exponentially. The mean over answers is not corpus BLEU, which `corpus_bleu` gives. Source: sacreBLEU, Post 2018.
    """
    if not answer.output.strip() or not answer.reference.strip():
        return float(answer.output.strip() == answer.reference.strip())
    scored = _scorer(settings.tokenize).sentence_score(answer.output, [answer.reference])
    return float(min(1.0, scored.score / 100))


def corpus_bleu(outputs: Sequence[str], references: Sequence[str], tokenize: str = "13a") -> float:
    """BLEU of all answers together, 0 to 1: the figure that papers state."""
    import sacrebleu

    return float(sacrebleu.corpus_bleu(list(outputs), [list(references)], tokenize=tokenize).score / 100)


@lru_cache(maxsize=4)
def _scorer(tokenize: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True, tokenize=tokenize)
