"""Token F1: how much of the expected words the answer has, and how little else."""

from __future__ import annotations

from collections import Counter

from core.evaluate.metrics.registry import metric
from core.evaluate.normalize import normalize


@metric("token_f1", title="Token F1", kind="continuous", family="facts")
def token_f1(prediction: str, reference: str) -> float:
    """Harmonic mean of precision and recall over the words shared with the reference, after SQuAD normalisation.

    Two empty texts agree fully. Source: Rajpurkar et al. 2016.
    """
    given, expected = normalize(prediction).split(), normalize(reference).split()
    if not given or not expected:
        return float(given == expected)
    shared = sum((Counter(given) & Counter(expected)).values())
    return 2 * shared / (len(given) + len(expected))
