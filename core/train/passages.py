"""Retrieval-aware training: the passages each example is learned with, as the rungs with retrieval will show them.

An adapter that was trained on bare questions meets passages for the first time when rag+lora is measured. Here it sees
what the index finds for the same question, passages that mislead included, and for some examples those alone
(RAFT, Zhang et al. 2024). A reference answer tells which passage to show; it is never part of one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from core.data.example import Example
from core.documents.citations import cite
from core.documents.retrieval import Hit, search
from core.errors import UserError
from core.models.prompt import Passage, last_question
from core.train.recipe import Passages

# Examples looked up at once: enough to embed in full batches, few enough to report progress.
BATCH = 64
# How far a list is looked through for the source, and for passages to take the place of those left out.
DEPTH = 20
# A passage that shares so much with the context comes from it; cut at a border, a context has two such passages.
LEAST_SHARED = 0.3
# Characters in a row that two unrelated texts do not share.
SHINGLE = 24


def passages_for(
    examples: Sequence[Example],
    index_id: int,
    wanted: Passages,
    seed: int,
    progress: Callable[[float, float, str], None] = lambda done, total, message: None,
) -> list[list[Passage]]:
    """What to show with each example, in the order of retrieval: up to `wanted.count` passages, fewer in a small index.

    An example's own passage is one that shares text with its `context`, or without one that has its whole answer. When
    retrieval finds it too late to be shown, it replaces the last one shown, and stands at a random place. In a share
    `wanted.without_source` of the examples every such passage is left out, and the next ones move up. Where none is
    known the passages stay as found. One seed always gives the same. Raises UserError when the index is gone or empty.
    """
    shown: list[list[Passage]] = []
    for first in range(0, len(examples), BATCH):
        progress(first, len(examples), "Looking up passages")
        batch = examples[first : first + BATCH]
        questions = [last_question(example.messages) for example in batch]
        # Whoever knows the answer finds its passage more surely: the context last, since only its words may count.
        told = [f"{q} {e.reference} {e.context or ''}" for q, e in zip(questions, batch, strict=True)]
        found = search(index_id, questions, wanted.count + DEPTH)
        sources = search(index_id, told, DEPTH)
        for position, row in enumerate(zip(batch, found, sources, strict=True), start=first):
            hits = _choose(*row, wanted, random.Random(f"{seed} {position}"))
            shown.append([hit.passage for hit in hits])
    if examples and not any(shown):
        raise UserError("The index holds no passages yet.", "Build it on the Data page, then start the training again.")
    return shown


def _choose(
    example: Example, found: Sequence[Hit], sources: Sequence[Hit], wanted: Passages, chance: random.Random
) -> list[Hit]:
    if chance.random() < wanted.without_source:
        return [hit for hit in found if not _holds(example, hit)][: wanted.count]
    first = list(found[: wanted.count])
    own = [hit for hit in [*first, *sources] if _holds(example, hit)]
    # A long context has several passages: one of them that has the answer, if there is any.
    source = next((hit for hit in own if _answers(hit, example.reference)), own[0] if own else None)
    if source is not None and source not in first:
        first = first[: wanted.count - 1]
        first.insert(chance.randint(0, len(first)), source)
    return first


def _holds(example: Example, hit: Hit) -> bool:
    """Whether this passage is the example's own."""
    if not example.context:
        return _answers(hit, example.reference)
    one, other = _shingles(hit.text), _shingles(example.context)
    return len(one & other) >= LEAST_SHARED * min(len(one), len(other))


def _answers(hit: Hit, reference: str) -> bool:
    """Whether all that the answer states is in the passage or its title; where it is JSON, all of its values."""
    shares = [citation.share for citation in cite(reference, [{"text": f"{hit.title}\n{hit.text}"}])]
    return sum(shares) > 0.99


def _shingles(text: str) -> set[str]:
    folded = " ".join(text.casefold().split())
    return {folded[i : i + SHINGLE] for i in range(max(1, len(folded) - SHINGLE + 1))}
