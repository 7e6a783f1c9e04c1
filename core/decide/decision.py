"""Everything that follows from some answers, or from a sentence, in one piece: for a page, a file or a terminal."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from core.decide.answers import Answer, settled
from core.decide.costs import Assumptions, Cost, assumptions_from, costs
from core.decide.diagnosis import Diagnosis
from core.decide.engine import Advice, advise
from core.decide.second_opinion import Opinion


@dataclass(frozen=True)
class Decision:
    """Answers and what they lead to.

    `diagnosis` is there when a sentence was read, `opinion` when a language model was asked.
    """

    answers: dict[str, Answer]
    advice: Advice
    costs: dict[str, Cost]
    assumptions: Assumptions
    today: dt.date
    diagnosis: Diagnosis | None = None
    opinion: Opinion | None = None

    def as_dict(self) -> dict[str, Any]:
        """What `python -m core decide --json` prints."""
        advice = self.advice
        told: dict[str, Any] = {
            "rung": advice.rung,
            "confidence": round(advice.confidence, 3),
            "confidence_word": advice.confidence_word,
            "reasons": [asdict(reason) for reason in advice.reasons],
            "conflicts": [asdict(conflict) for conflict in advice.conflicts],
            "flips": [asdict(flip) for flip in advice.flips],
            "next": list(advice.next),
            "costs": {rung: asdict(cost) for rung, cost in self.costs.items()},
            "answers": self.answers,
            "date": self.today.isoformat(),
        }
        if self.diagnosis is not None:
            told |= {
                "text": self.diagnosis.text,
                "diagnosis": self.diagnosis.diagnosis,
                "probabilities": {name: round(p, 4) for name, p in self.diagnosis.probabilities.items()},
                "words": [
                    {"words": self.diagnosis.text[word.start : word.end], "influence": round(word.influence, 4)}
                    for word in self.diagnosis.words
                ],
                "cases": [asdict(case) for case in self.diagnosis.cases],
                "notes": list(self.diagnosis.notes),
            }
        if self.opinion is not None:
            told["opinion"] = asdict(self.opinion)
        return told


def decide(
    answers: Mapping[str, Answer],
    *,
    diagnosis: Diagnosis | None = None,
    opinion: Opinion | None = None,
    assumptions: Assumptions | None = None,
    today: dt.date | None = None,
) -> Decision:
    """The decision for these answers; what a sentence says fills in what they do not name.

    An answer of "unsure" counts as well: it takes back what the sentence seemed to say.
    """
    date = today or dt.date.today()
    merged = settled({**(diagnosis.answers if diagnosis is not None else {}), **answers})
    chosen = assumptions or assumptions_from(merged)
    return Decision(
        answers=merged,
        advice=advise(merged, today=date, trust=_trust(answers, diagnosis, opinion)),
        costs=costs(chosen, date),
        assumptions=chosen,
        today=date,
        diagnosis=diagnosis,
        opinion=opinion,
    )


def _trust(answers: Mapping[str, Answer], diagnosis: Diagnosis | None, opinion: Opinion | None) -> float:
    """How sure the answers are: a person's fully, those read from a sentence as far as its diagnosis is."""
    if diagnosis is None or "gap" in settled(answers):
        return 1.0
    agreed = opinion is None or opinion.diagnosis == diagnosis.diagnosis
    return diagnosis.probability if agreed else diagnosis.probability / 2
