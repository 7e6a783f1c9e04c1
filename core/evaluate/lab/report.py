"""The lab's run: every setting on the same questions, held against the present one, and what may be concluded."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, update

from core.documents.index import change_settings
from core.documents.storing import get_index
from core.errors import UserError
from core.evaluate.lab.measures import DECIDING, MEASURES, score
from core.evaluate.lab.rankings import (
    OnProgress,
    Setting,
    as_it_is,
    cut_anew,
    sampled_documents,
    vectors_of,
)
from core.evaluate.lab.relevance import Questions
from core.evaluate.statistics import ALPHA, Comparison, Interval, compare, examples_to_settle, intervals, judge
from core.store.database import session
from core.store.tables import Document, Index

if TYPE_CHECKING:
    import numpy as np

# So many questions tell five points apart; more only take longer. Which ones is drawn by the seed.
MAX_QUESTIONS = 500
# Two points of recall: less is not worth embedding everything anew, or a slower search.
DELTA = 0.02


@dataclass(frozen=True)
class Measured:
    """One setting: each measure as {"mean", "low", "high"} (95%), and the deciding one against the present setting.

    `difference` is None for the present setting itself; else `effect`, `low`, `high`, `p` (Holm over all settings),
    `outcome` and `more`.
    """

    setting: Setting
    title: str
    present: bool
    chunks: int
    scores: dict[str, dict[str, float]]
    difference: dict[str, Any] | None = None


@dataclass(frozen=True)
class LabReport:
    """What was measured on which questions, and the verdict: `better`, `equivalent` or `cannot tell yet`.

    `proposed` is the position in `measured` of the setting to have, the present one where that is as good; None where
    nobody can tell. `more` is about how many further questions would probably tell.
    """

    index_id: int
    questions: int
    groups: int
    given: int
    left_out: dict[str, int]
    documents: int
    documents_in_all: int
    seed: int
    measure: str
    delta: float
    measured: list[Measured]
    outcome: str
    proposed: int | None
    why: str
    more: int | None = None
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def run_lab(
    index_id: int,
    questions: Questions,
    settings: Sequence[Setting],
    on_progress: OnProgress = lambda done, total, message: None,
    *,
    seed: int = 0,
) -> LabReport:
    """Measure every setting; the first is the present one. What `on_progress` raises stops it, leaving nothing behind.

    Settings with the index's own chunks are measured in the index itself. With other chunk sizes among them, documents
    of more than 2 million characters in all are sampled, and every setting is measured within that sample. Raises
    UserError when no question can be used or the index is not built.
    """
    with session(read_only=True) as db:
        index = get_index(db, index_id)
        waiting = db.scalar(select(func.count()).where(Document.index_id == index_id, Document.chunk_count == 0))
    if waiting:
        raise UserError(f"{waiting} documents of this index are not indexed yet.", "Build the index first.")
    if not questions.usable:
        raise UserError("None of the questions can be measured.", _listed(questions) or "Add questions.")
    asked = questions.usable
    if len(asked) > MAX_QUESTIONS:
        kept = sorted(random.Random(seed).sample(range(len(asked)), MAX_QUESTIONS))
        asked = [asked[i] for i in kept]
    sizes = list(dict.fromkeys((one.chunk_tokens, one.overlap_tokens) for one in settings))
    own = (index.chunk_tokens, index.overlap_tokens)
    documents, in_all = sampled_documents(index_id, asked, seed)
    whole = len(documents) == in_all or sizes == [own]
    vectors = None if sizes == [own] else vectors_of(index, asked)
    scores: list[dict[str, np.ndarray]] = [{} for _ in settings]
    chunks: dict[tuple[int, int], int] = {}
    for size in sizes:
        on_progress(0, 0, f"Searching chunks of {size[0]} tokens")
        if vectors is None or (size == own and whole):
            made = as_it_is(index_id, asked)
        else:
            made = cut_anew(index, documents, asked, vectors, size, on_progress)
        chunks[size] = len(made.places)
        for number, setting in enumerate(settings):
            if (setting.chunk_tokens, setting.overlap_tokens) == size:
                on_progress(0, 0, f"Measuring {setting.title}")
                scores[number] = score(asked, made.rank(setting, asked), made.places)
    groups = [one.group for one in asked]
    compared = _against_the_first([one[DECIDING] for one in scores], groups, seed)
    measured = []
    for number, setting in enumerate(settings):
        shown = intervals(scores[number], groups, seed=seed)
        means = {
            name: {"mean": float(scores[number][name].mean()), "low": shown[name].low, "high": shown[name].high}
            for name in MEASURES
        }
        size = (setting.chunk_tokens, setting.overlap_tokens)
        difference = _difference(compared[number - 1]) if number else None
        measured.append(Measured(setting, setting.title, number == 0, chunks[size], means, difference))
    outcome, proposed, why, more = _verdict(measured)
    notes = []
    if not whole:
        notes.append(
            f"Measured among {len(documents)} of {in_all} documents: those with an answer, and others by chance. In "
            "all of them every setting finds less; which of them finds more should stay the same."
        )
    return LabReport(
        index_id,
        len(asked),
        len(set(groups)),
        questions.given,
        questions.left_out,
        in_all if whole else len(documents),
        in_all,
        seed,
        DECIDING,
        DELTA,
        measured,
        outcome,
        proposed,
        why,
        more,
        notes,
    )


def adopt(index_id: int, setting: Setting | Mapping[str, Any]) -> bool:
    """Give the index this setting; True if its documents now wait to be cut and embedded anew."""
    chosen = setting if isinstance(setting, Setting) else Setting(**setting)
    with session(read_only=True) as db:
        index = get_index(db, index_id)
        own = (index.chunk_tokens, index.overlap_tokens)
    anew = own != (chosen.chunk_tokens, chosen.overlap_tokens)
    if anew:
        change_settings(index_id, chunk_tokens=chosen.chunk_tokens, overlap_tokens=chosen.overlap_tokens)
    values = {"mode": chosen.mode, "dense_weight": chosen.dense_weight, "reranker": chosen.reranker}
    with session() as db:
        db.execute(update(Index).where(Index.id == index_id).values(values))
    return anew


def _against_the_first(scores: Sequence[np.ndarray], groups: Sequence[str], seed: int) -> list[Comparison]:
    """Every other setting relative to the first; p and outcome by Holm over these comparisons."""
    import numpy as np
    from statsmodels.stats.multitest import multipletests

    first = scores[0]
    # Recall is 0 or 1 where each question has one target, and then McNemar's test is the sharper one.
    binary = all(bool(np.isin(one, (0.0, 1.0)).all()) for one in scores)
    kind = "binary" if binary else "continuous"
    found = [compare(first, one, groups, kind, seed, DELTA, ("present", "other")) for one in scores[1:]]
    if not found:
        return []
    adjusted = multipletests([one.p for one in found], method="holm")[1]
    judged = []
    for one, p in zip(found, adjusted, strict=True):
        outcome = judge(one.effect, one.interval, one.interval_90, float(p), DELTA)
        more = None
        if outcome == "cannot tell yet":
            level = ALPHA * (one.p / float(p))
            more = examples_to_settle(
                one.effect, _spread(one.interval, len(first)), len(first), DELTA, alpha=level, clusters=len(set(groups))
            )
        judged.append(replace(one, p_adjusted=float(p), outcome=outcome, more=more))
    return judged


def _spread(interval: Interval, n: int) -> float:
    """About the standard deviation that one question contributes, from the 95% interval of the mean."""
    return (interval.high - interval.low) / 2 / 1.96 * math.sqrt(n)


def _difference(one: Comparison) -> dict[str, Any]:
    return {
        "effect": one.effect,
        "low": one.interval.low,
        "high": one.interval.high,
        "p": one.p_adjusted,
        "outcome": one.outcome,
        "more": one.more,
    }


def _verdict(measured: Sequence[Measured]) -> tuple[str, int | None, str, int | None]:
    """(outcome, proposed position, why, more questions): see docs/method.md, "Which setting finds more"."""
    others = [(i, one, one.difference) for i, one in enumerate(measured) if one.difference is not None]

    def mean(i: int) -> float:
        return measured[i].scores[DECIDING]["mean"]

    def anew(i: int) -> bool:
        """Whether having it means embedding everything again."""
        return measured[i].setting.chunk_tokens != measured[0].setting.chunk_tokens

    better = [i for i, _, difference in others if difference["outcome"] == "better"]
    if better:
        best = min(better, key=lambda i: (-mean(i), anew(i), measured[i].setting.cost))
        d = measured[best].difference or {}
        why = (
            f"{measured[best].title} finds more than the present setting beyond doubt: {DECIDING} {mean(best):.3f} "
            f"against {mean(0):.3f} ({d['low'] * 100:+.1f} to {d['high'] * 100:+.1f} points)."
        )
        return "better", best, why, None
    now = measured[0].setting.cost
    cheaper = [i for i, one, d in others if d["outcome"] == "equivalent" and one.setting.cost < now]
    if cheaper:
        least = min(cheaper, key=lambda i: (anew(i), measured[i].setting.cost, -mean(i)))
        why = f"{measured[least].title} is cheaper and as good: {DECIDING} differs by less than {DELTA:.0%}."
        return "equivalent", least, why, None
    open_ = [i for i, _, d in others if d["outcome"] == "cannot tell yet"]
    if not open_:
        worse = all(d["outcome"] == "worse" for _, _, d in others)
        if worse:
            return "better", 0, "The present setting finds more than every other one tried.", None
        return "equivalent", 0, "No other setting that was tried finds more.", None
    leading = max(open_, key=mean)
    more = (measured[leading].difference or {})["more"]
    lead = (
        f"{measured[leading].title} leads, {DECIDING} {mean(leading):.3f} against {mean(0):.3f}, which may be chance."
        if mean(leading) > mean(0)
        else f"By {DECIDING} no other setting that was tried scores higher, but some may be as good or better."
    )
    first = max(open_, key=lambda i: measured[i].scores["MRR"]["mean"])
    ranks, now_ranks = (measured[i].scores["MRR"]["mean"] for i in (first, 0))
    if mean(leading) <= mean(0) and ranks > now_ranks + DELTA:
        lead += (
            f" {measured[first].title} ranks what it finds higher, MRR {ranks:.3f} against {now_ranks:.3f}, "
            "which matters when few passages are shown to the model; it decides nothing here."
        )
    return "cannot tell yet", None, f"{lead} About {more:,} more questions would tell.", more


def _listed(questions: Questions) -> str:
    reasons = "; ".join(f"{count} times {reason}" for reason, count in questions.left_out.items())
    return f"Of {questions.given}: {reasons}." if reasons else ""
