"""ROUGE-L: how much of a longer text is there, in its order."""

from __future__ import annotations

import re

from core.evaluate.metrics.registry import metric

# Thai, Lao, Burmese, Khmer, Japanese and Chinese are written without spaces: each character stands for itself.
_SPACELESS = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_SPACELESS}]|[^\W_{_SPACELESS}]+")


@metric("rouge_l", title="ROUGE-L", kind="continuous")
def rouge_l(prediction: str, reference: str) -> float:
    """F1 of the longest run of words that answer and reference share in the same order, gaps allowed.

    Lower case, no stemming. Equal to the rouge-score package on plain English, whose words it takes; that one drops
    every letter outside a to z, and takes minutes for a long answer. Two texts without any word agree fully.
    Source: Lin 2004.
    """
    from rapidfuzz.distance import LCSseq

    given, expected = _WORD.findall(prediction.lower()), _WORD.findall(reference.lower())
    if not given or not expected:
        return float(given == expected)
    return 2 * LCSseq.similarity(given, expected) / (len(given) + len(expected))
