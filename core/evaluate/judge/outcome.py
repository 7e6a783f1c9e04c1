"""What a judge's comparisons add up to: who was preferred, how steady the judge is, and whether people agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from core.evaluate.judge.pairwise import UNASKED, Pair, identity_of
from core.evaluate.judge.preferences import WORTH, Agreement, cohen, majority, outcome, rate
from core.evaluate.plan import Plan
from core.store.database import session
from core.store.tables import Example, Experiment, Judgement, Vote

CAVEAT = (
    "A judge model is secondary evidence. It has a taste of its own: for what it reads first, for long answers, for "
    "its own style. Trust it as far as it agrees with people's blind votes."
)


@dataclass(frozen=True)
class _Both:
    """Choices on one example of one pair, in the pair's order and the other way round."""

    group: str
    straight: str | None = None
    turned: str | None = None
    asked: bool = True

    @property
    def whole(self) -> bool:
        return self.straight is not None and self.turned is not None

    @property
    def unreadable(self) -> bool:
        return "unreadable" in (self.straight, self.turned)

    @property
    def choice(self) -> str:
        """A win only where both orders say so; everything else is a tie."""
        return self.straight or "tie" if self.straight == self.turned and not self.unreadable else "tie"


def results(experiment_id: int) -> dict[str, Any] | None:
    """The judge's results as plain data, for a report; None where nothing was judged.

    A pair's `rate` is how often b is preferred to a, ties half: unreadable replies and preferences that turn with the
    order are ties, so the denominator is whole. `position`: how often the answer shown first won, among preferences.
    """
    judged, plan = _judged(experiment_id)
    if plan is None or plan.judge is None or not judged:
        return None
    with session(read_only=True) as db:
        seed = db.get_one(Experiment, experiment_id).seed
        cost = db.scalar(
            sa.select(sa.func.sum(Judgement.cost_usd)).where(
                Judgement.experiment_id == experiment_id, Judgement.judge == identity_of(plan.judge)
            )
        )
    ladder = [rung.name for rung in plan.ladder]
    rows = [
        _pair_row(pair, judged[pair], seed)
        for pair in sorted(judged, key=lambda pair: (ladder.index(pair[0]), ladder.index(pair[1])))
    ]
    asked = [both for found in judged.values() for both in found.values() if both.asked]
    agreement = with_people(experiment_id)
    return {
        "model": plan.judge.model,
        "judge": identity_of(plan.judge),
        "examples": len({example for found in judged.values() for example in found}),
        "pairs": rows,
        "position": _position(asked, seed),
        "unreadable_share": sum(both.unreadable for both in asked) / len(asked) if asked else 0.0,
        "asked": 2 * len(asked),
        "cost_usd": float(cost or 0.0),
        "agreement": _told(agreement) if agreement else None,
        "caveat": CAVEAT,
    }


def with_people(experiment_id: int) -> Agreement | None:
    """κ of the judge and the majority of the voters, over the examples and pairs both decided; None without any."""
    judged, _ = _judged(experiment_id, voted=True)
    votes: dict[tuple[Pair, int], list[str]] = defaultdict(list)
    with session(read_only=True) as db:
        for a, b, example, choice in db.execute(
            sa.select(Vote.rung_a, Vote.rung_b, Vote.example_id, Vote.choice).where(Vote.experiment_id == experiment_id)
        ):
            votes[(a, b), example].append(choice)
    shared = [
        (majority(choices), both.choice, both.group)
        for (pair, example), choices in votes.items()
        if (both := judged.get(pair, {}).get(example)) is not None and both.asked
    ]
    people, judge, groups = ([item[i] for item in shared] for i in range(3))
    return cohen(people, judge, groups)


def _judged(experiment_id: int, *, voted: bool = False) -> tuple[Mapping[Pair, dict[int, _Both]], Plan | None]:
    """By pair and example, what the experiment's judge chose in both orders; halves are left out.

    `voted`: only on examples that people voted on, which are few among many.
    """
    people = sa.select(Vote.example_id).where(Vote.experiment_id == experiment_id)
    with session(read_only=True) as db:
        plan = Plan.model_validate(db.get_one(Experiment, experiment_id).spec)
        if plan.judge is None:
            return {}, None
        rows = db.execute(
            sa.select(
                Judgement.rung_a,
                Judgement.rung_b,
                Judgement.example_id,
                Judgement.swapped,
                Judgement.choice,
                Judgement.reason,
                Example.group,
            )
            .join(Example, Example.id == Judgement.example_id)
            .where(Judgement.experiment_id == experiment_id, Judgement.judge == identity_of(plan.judge))
            .where(Judgement.example_id.in_(people) if voted else sa.true())
            .order_by(Example.position)
        ).all()
    halves: dict[tuple[Pair, int], dict[bool, str]] = defaultdict(dict)
    about: dict[tuple[Pair, int], tuple[str, bool]] = {}
    for a, b, example, swapped, choice, reason, group in rows:
        halves[(a, b), example][swapped] = choice
        about[(a, b), example] = group, not reason.startswith(UNASKED)
    found: dict[Pair, dict[int, _Both]] = defaultdict(dict)
    for (pair, example), choices in halves.items():
        group, asked = about[pair, example]
        both = _Both(group, choices.get(False), choices.get(True), asked)
        if both.whole:
            found[pair][example] = both
    return found, plan


def _told(agreement: Agreement) -> dict[str, Any]:
    ends = agreement.interval
    return {**vars(agreement), "interval": [ends.low, ends.high] if ends else None}


def _pair_row(pair: Pair, found: Mapping[int, _Both], seed: int) -> dict[str, Any]:
    both = list(found.values())
    choices = [one.choice for one in both]
    measured = rate([WORTH[choice] for choice in choices], [one.group for one in both], seed)
    return {
        "a": pair[0],
        "b": pair[1],
        "n": len(both),
        "wins_a": choices.count("a"),
        "wins_b": choices.count("b"),
        "ties": choices.count("tie"),
        "order_ties": sum(not one.unreadable and one.straight != one.turned for one in both),
        "unreadable": sum(one.unreadable for one in both),
        "rate": measured.rate,
        "interval": [measured.interval.low, measured.interval.high],
        "outcome": outcome(measured),
    }


def _position(asked: list[_Both], seed: int) -> dict[str, Any] | None:
    """How often the first answer shown was preferred, averaged within an example; None without any preference."""
    shares, groups = [], []
    for both in asked:
        first = [
            choice == shown for choice, shown in ((both.straight, "a"), (both.turned, "b")) if choice in ("a", "b")
        ]
        if first:
            shares.append(sum(first) / len(first))
            groups.append(both.group)
    if not shares:
        return None
    measured = rate(shares, groups, seed)
    return {
        "share": measured.rate,
        "interval": [measured.interval.low, measured.interval.high],
        "n": measured.n,
    }
