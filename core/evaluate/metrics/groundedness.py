"""Groundedness: how much of the answer stands in what the model was shown."""

from __future__ import annotations

from core.documents.citations import cite
from core.evaluate.metrics.registry import Answer, Scored, answer_metric
from core.evaluate.normalize import normalize

# Looking for each sentence in each passage takes time by the product of their lengths.
READ_CHARACTERS = 5_000
READ_CONTEXT = 20_000


@answer_metric(
    "groundedness", title="Groundedness", kind="continuous", family="retrieval", needs=("passages", "context")
)
def groundedness(answer: Answer) -> Scored:
    """Share of the answer that stands in the retrieved passages or the example's context, word for word or nearly.

    Counted in characters of the sentences that are cited when the answer is read side by side; a statement whose
    numbers differ is not supported. A true paraphrase counts as unsupported, so the value is a lower bound. Does not
    apply where there are neither passages nor context; where a search found none, and to an empty answer, it is 0.
    Of an answer the first 5,000 characters are read, of a context the first 20,000.
    """
    passages = [str(passage.get("text", "")) for passage in answer.passages]
    shown = [text[:READ_CONTEXT] for text in (*passages, answer.context or "") if text.strip()]
    if not shown:
        return Scored(0.0, {"nothing_found": True}) if answer.retrieval else Scored(None)
    text = answer.output[:READ_CHARACTERS]
    cited = cite(text, [{"text": passage} for passage in shown])
    if cited:
        return Scored(min(1.0, sum(citation.share for citation in cited)), {"cited": len(cited)})
    # Too short to be looked for as a statement, such as "yes" or "May".
    words = normalize(text)
    short = 0 < len(words) < 4 and any(f" {words} " in f" {normalize(passage)} " for passage in shown)
    return Scored(float(short), {"cited": 0})
