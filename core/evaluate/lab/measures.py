"""How good a ranking is: recall, reciprocal rank and nDCG of each question, by ir-measures over pytrec_eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from core.evaluate.lab.relevance import Question, Span

if TYPE_CHECKING:
    import numpy as np

# Name in reports -> name in ir-measures.
MEASURES = {
    "recall@1": "R@1",
    "recall@3": "R@3",
    "recall@5": "R@5",
    "recall@10": "R@10",
    "MRR": "RR",
    "nDCG@10": "nDCG@10",
}
# One measure decides, named beforehand: whether what is needed is among the few passages a model is given.
DECIDING = "recall@5"
# A chunk has found a place when they share half of the shorter: so a cut through a long place still has a finder, and
# neither small nor large chunks are favoured.
SHARED = 0.5


class Place(NamedTuple):
    """Where a chunk lies: characters `start` to `end` of a document."""

    document_id: int
    start: int
    end: int


def finds(chunk: Place, span: Span) -> bool:
    """Whether reading the chunk is reading the place."""
    if chunk.document_id != span.document_id:
        return False
    if span.end is None:
        return True
    shared = min(chunk.end, span.end) - max(chunk.start, span.start)
    return shared > 0 and shared >= SHARED * min(chunk.end - chunk.start, span.end - span.start)


def score(
    questions: Sequence[Question], rankings: Sequence[Sequence[int]], places: Mapping[int, Place]
) -> dict[str, np.ndarray]:
    """Each measure for each question, (questions,) in [0, 1], of chunk ids ranked best first.

    A target counts where a chunk first finds it. A further chunk that finds it again takes up a place in the ranking
    and brings nothing.
    """
    import ir_measures
    import numpy as np

    wanted = {str(n): {f"target {t}": 1 for t in range(len(one.targets))} for n, one in enumerate(questions)}
    run = {str(n): _run(one, ranking, places) for n, (one, ranking) in enumerate(zip(questions, rankings, strict=True))}
    by_measure = {str(ir_measures.parse_measure(short)): name for name, short in MEASURES.items()}
    found = {name: np.zeros(len(questions)) for name in MEASURES}
    measures: list[Any] = [ir_measures.parse_measure(short) for short in MEASURES.values()]
    for one in ir_measures.iter_calc(measures, wanted, run):
        found[by_measure[str(one.measure)]][int(one.query_id)] = one.value
    return found


def _run(question: Question, ranking: Sequence[int], places: Mapping[int, Place]) -> dict[str, float]:
    """The ranking as a run: the targets where they are first found, all else under names that nothing asks for."""
    order: list[str] = []
    waiting = dict(enumerate(question.targets))
    for chunk_id in ranking:
        found = [t for t, spans in waiting.items() if any(finds(places[chunk_id], span) for span in spans)]
        order += [f"target {t}" for t in found] or [f"chunk {chunk_id}"]
        for target in found:
            del waiting[target]
    return {name: -float(rank) for rank, name in enumerate(order)}
