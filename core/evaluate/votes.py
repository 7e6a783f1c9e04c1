"""What people's blind votes add up to, and how far people agree with each other and with the judge model."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from core.evaluate.ballots import answered
from core.evaluate.judge.outcome import with_people
from core.evaluate.judge.pairwise import Pair
from core.evaluate.judge.preferences import WORTH, Agreement, Rate, cohen, fleiss, outcome, rate
from core.evaluate.plan import Plan
from core.evaluate.statistics import Interval
from core.store.database import session
from core.store.tables import Example, Experiment, Vote


@dataclass(frozen=True)
class PairRate:
    """How often people prefer b's answer to a's. `identical`: the share of examples where both say the same."""

    a: str
    b: str
    votes: int
    wins_a: int
    wins_b: int
    ties: int
    identical: float
    rate: Rate
    outcome: str


@dataclass(frozen=True)
class VoteResults:
    """`between`: agreement among the voters; `judge`: of their majority with the judge model."""

    pairs: list[PairRate] = field(default_factory=list)
    rungs: dict[str, Rate] = field(default_factory=dict)
    voters: dict[str, int] = field(default_factory=dict)
    between: Agreement | None = None
    judge: Agreement | None = None


def voters(experiment_id: int) -> dict[str, int]:
    """How many votes each voter cast, by name."""
    with session(read_only=True) as db:
        rows = db.execute(
            sa.select(Vote.voter, sa.func.count())
            .where(Vote.experiment_id == experiment_id)
            .group_by(Vote.voter)
            .order_by(Vote.voter)
        )
        return dict(rows.all())


def results(experiment_id: int) -> VoteResults:
    """Who is preferred and how sure that is; empty before the first vote."""
    with session(read_only=True) as db:
        experiment = db.get_one(Experiment, experiment_id)
        cast_votes = db.execute(
            sa.select(Vote.rung_a, Vote.rung_b, Vote.example_id, Vote.voter, Vote.choice, Example.group)
            .join(Example, Example.id == Vote.example_id)
            .where(Vote.experiment_id == experiment_id)
            .order_by(Example.position, Vote.voter)
        ).all()
        ladder = [rung.name for rung in Plan.model_validate(experiment.spec).ladder]
        by_item: dict[Pair, dict[int, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
        groups: dict[int, str] = {}
        for a, b, example, voter, choice, group in cast_votes:
            by_item[a, b][example][voter] = choice
            groups[example] = group
        if not by_item:
            return VoteResults()
        state = answered(db, experiment_id, by_item)
        pairs = [
            _pair_rate(pair, by_item[pair], groups, state[pair].identical, experiment.seed)
            for pair in sorted(by_item, key=lambda pair: (ladder.index(pair[0]), ladder.index(pair[1])))
        ]
    return VoteResults(
        pairs=pairs,
        rungs=_rung_rates(ladder, by_item, groups, experiment.seed),
        voters=voters(experiment_id),
        between=_between(by_item, groups, experiment.seed),
        judge=with_people(experiment_id),
    )


def rows(experiment_id: int) -> Iterator[dict[str, Any]]:
    """Every vote as a row to take away, in the order cast; positions count from 1."""
    with session(read_only=True) as db:
        found = db.execute(
            sa.select(Vote, Example.position)
            .join(Example, Example.id == Vote.example_id)
            .where(Vote.experiment_id == experiment_id)
            .order_by(Vote.id)
        ).all()
    for vote, position in found:
        yield {
            "example": position + 1,
            "voter": vote.voter,
            "shown left": vote.rung_b if vote.swapped else vote.rung_a,
            "shown right": vote.rung_a if vote.swapped else vote.rung_b,
            "preferred": {"a": vote.rung_a, "b": vote.rung_b}.get(vote.choice, "tie"),
            "time": dt.datetime.fromtimestamp(vote.created_at, dt.UTC).isoformat(timespec="seconds"),
        }


def _pair_rate(
    pair: Pair, items: Mapping[int, Mapping[str, str]], groups: Mapping[int, str], identical: float, seed: int
) -> PairRate:
    values = [_mean(choices.values()) for choices in items.values()]
    voted = rate(values, [groups[example] for example in items], seed)

    def among_all(share: float) -> float:
        return identical / 2 + (1 - identical) * share

    whole = Rate(
        among_all(voted.rate), Interval(among_all(voted.interval.low), among_all(voted.interval.high)), voted.n
    )
    counts = Counter(choice for choices in items.values() for choice in choices.values())
    return PairRate(*pair, counts.total(), counts["a"], counts["b"], counts["tie"], identical, whole, outcome(whole))


def _rung_rates(
    ladder: Sequence[str],
    by_item: Mapping[Pair, Mapping[int, Mapping[str, str]]],
    groups: Mapping[int, str],
    seed: int,
) -> dict[str, Rate]:
    """How often each rung is preferred over whatever it stood against, where the answers differed."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (a, b), items in by_item.items():
        for example, choices in items.items():
            worth = _mean(choices.values())
            found[a][example].append(1 - worth)
            found[b][example].append(worth)
    return {
        rung: rate([sum(v) / len(v) for v in found[rung].values()], [groups[e] for e in found[rung]], seed)
        for rung in ladder
        if rung in found
    }


def _between(
    by_item: Mapping[Pair, Mapping[int, Mapping[str, str]]], groups: Mapping[int, str], seed: int
) -> Agreement | None:
    items = [(choices, groups[example]) for found in by_item.values() for example, choices in found.items()]
    names = sorted({name for choices, _ in items for name in choices})
    if len(names) == 2:
        shared = [(choices[names[0]], choices[names[1]], group) for choices, group in items if len(choices) == 2]
        first, second, of = ([item[i] for item in shared] for i in range(3))
        return cohen(first, second, of, seed)
    return fleiss([list(choices.values()) for choices, _ in items], [group for _, group in items], seed)


def _mean(choices: Collection[str]) -> float:
    return sum(WORTH[choice] for choice in choices) / len(choices)
