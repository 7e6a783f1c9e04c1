"""Semantic similarity: the same meaning in other words."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from core.evaluate.metrics.registry import Answer, batch_metric
from core.evaluate.metrics.settings import MetricSettings
from core.evaluate.normalize import storable
from core.models.catalogue import BUNDLED_EMBEDDER

# More than any encoder here reads of a text; cutting it into tokens first would take longer than reading them.
READ_CHARACTERS = 8_000
# Texts embedded at once: the rest waits, so that memory stays bounded.
BATCH = 512


class SimilaritySettings(MetricSettings):
    """Which model reads the texts."""

    embedder: str = Field(
        BUNDLED_EMBEDDER,
        title="Embedding model",
        description="The bundled one knows English. For other languages give the id or folder of a multilingual one.",
    )


@batch_metric(
    "similarity",
    title="Semantic similarity",
    kind="continuous",
    family="text",
    needs=("reference",),
    settings=SimilaritySettings,
)
def similarity(answers: Sequence[Answer], settings: SimilaritySettings) -> list[float]:
    """Cosine similarity of the meanings of answer and reference, as an embedding model reads them; 0 to 1.

    Below zero counts as 0. Only the first part of a long text is read (256 tokens with the bundled model). "Not" is
    a small difference to it: never let it decide alone about facts. Source: sentence-transformers.
    """
    import numpy as np

    from core.models.embedding import load_embedder

    texts = sorted({_read(text) for answer in answers for text in (answer.output, answer.reference)} - {""})
    if not texts:
        return [1.0] * len(answers)
    model = load_embedder(settings.embedder)
    vectors = np.concatenate([model.embed(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)])
    of = dict(zip(texts, vectors, strict=True))
    values = []
    for answer in answers:
        given, expected = _read(answer.output), _read(answer.reference)
        if given == expected:
            values.append(1.0)
        elif not given or not expected:
            values.append(0.0)
        else:
            values.append(float(np.clip(of[given] @ of[expected], 0, 1)))
    return values


def _read(text: str) -> str:
    return storable(text[:READ_CHARACTERS]).strip()
