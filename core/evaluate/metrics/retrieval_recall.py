"""Retrieval recall: was what the answer needs among the passages at all?"""

from __future__ import annotations

import json
from typing import Literal

from pydantic import Field

from core.documents.citations import cite
from core.evaluate.metrics.registry import Answer, Scored, answer_metric
from core.evaluate.metrics.settings import MetricSettings
from core.evaluate.metrics.sources import expected_sources, same_source
from core.evaluate.normalize import normalize, parse_json

# Of a longer reference, half word for word is found; its other half is often phrasing.
LEAST_SHARE = 0.5
READ_CHARACTERS = 5_000


class RetrievalRecallSettings(MetricSettings):
    """What counts as found."""

    by: Literal["either", "answer", "source"] = Field(
        "either",
        title="Found means",
        description="A passage holds the reference answer, or comes from the source that the example names "
        "(in its reference, label or context), or either of them.",
    )
    field: str = Field(
        "source", title="Source field", description="Key of the reference that names the source, where it is JSON."
    )


@answer_metric(
    "retrieval_recall",
    title="Right passage retrieved",
    kind="binary",
    family="retrieval",
    needs=("passages",),
    settings=RetrievalRecallSettings,
)
def retrieval_recall(answer: Answer, settings: RetrievalRecallSettings) -> Scored:
    """1 if a retrieved passage holds the reference answer or comes from the source that the example names.

    It looks at the passages alone, never at the model's answer: where it is 0, no model could have known. Rungs
    without retrieval have no such value. `rank` in the notes is the first passage that does, from 1.
    """
    if not answer.retrieval:
        return Scored(None)
    sources = expected_sources(answer, settings.field) if settings.by != "answer" else []
    text = _answer_text(answer.reference, settings.field) if settings.by != "source" else ""
    for rank, passage in enumerate(answer.passages, 1):
        if any(same_source(name, passage) for name in sources) or _holds(str(passage.get("text", "")), text):
            return Scored(1.0, {"rank": rank})
    return Scored(0.0)


def _answer_text(reference: str, field: str) -> str:
    """The reference without its source: what a passage has to hold."""
    parsed = parse_json(reference[:READ_CHARACTERS])
    if isinstance(parsed, dict):
        rest = {key: value for key, value in parsed.items() if key != field}
        only = next(iter(rest.values())) if len(rest) == 1 else rest
        return only if isinstance(only, str) else json.dumps(only, ensure_ascii=False)
    return reference[:READ_CHARACTERS]


def _holds(passage: str, text: str) -> bool:
    words = normalize(text)
    if words and f" {words} " in f" {normalize(passage)} ":
        return True
    return bool(text.strip()) and sum(found.share for found in cite(text, [{"text": passage}])) >= LEAST_SHARE
