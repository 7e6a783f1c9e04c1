"""Blind votes: people choose between two rungs' answers without knowing whose they are.

All voters, and a judge model too, meet the examples in the same order, so that the first votes of several are on the
same examples and their agreement can be told; which answer stands left is drawn anew for every voter. Answers that are
the same are nobody's choice: they are left out of the ballots and count as ties, in the share they have of all.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from core.errors import UserError
from core.evaluate.judge.pairwise import Pair, drawn
from core.evaluate.plan import Plan
from core.store.database import session
from core.store.tables import Example, Experiment, Prediction, Vote

Side = Literal["left", "right", "tie"]
MOST_NAME = 60


@dataclass(frozen=True)
class Ballot:
    """One choice to make. `left` and `right` are the answers as shown; `pair` says whose they are, for `cast` alone.

    `done` of `total` ballots of these pairs have this voter's vote; `same` more need none, as both answers are alike.
    """

    experiment_id: int
    example_id: int
    pair: Pair
    swapped: bool
    messages: list[dict[str, Any]]
    reference: str
    left: str
    right: str
    done: int
    total: int
    same: int


def pairs_of(experiment_id: int) -> list[Pair]:
    """All pairs of rungs in the ladder's order; first the one most worth a vote.

    That is the verdict's rung against the best of the others; before there is a verdict, the lowest against the
    highest rung.
    """
    with session(read_only=True) as db:
        experiment = db.get_one(Experiment, experiment_id)
    ladder = [rung.name for rung in Plan.model_validate(experiment.spec).ladder]
    pairs = list(itertools.combinations(ladder, 2))
    if not pairs:
        return []
    wanted = (ladder[0], ladder[-1])
    report = experiment.report or {}
    chosen = (report.get("verdict") or {}).get("rung")
    if chosen in ladder:
        # Among equals the lower rung, as everywhere; last the rungs that the deciding metric says nothing of.
        others = [
            (row["score"] is None, -(row["score"] or 0.0), ladder.index(row["rung"]))
            for row in report["rungs"]
            if row["rung"] != chosen
        ]
        both = sorted((ladder.index(chosen), min(others)[2]))
        wanted = (ladder[both[0]], ladder[both[1]])
    return [wanted, *(pair for pair in pairs if pair != wanted)]


def next_pair(
    experiment_id: int,
    voter: str,
    pairs: Sequence[Pair] | None = None,
    skipped: Collection[tuple[int, Pair]] = (),
) -> Ballot | None:
    """The first ballot this voter has not decided; those `skipped` come last. None when all are decided.

    `pairs`: the rungs to vote on, the first of `pairs_of` unless given. Raises UserError for an unusable name.
    """
    name = voter_name(voter)
    wanted = list(pairs if pairs is not None else pairs_of(experiment_id)[:1])
    with session(read_only=True) as db:
        experiment = db.get_one(Experiment, experiment_id)
        state = answered(db, experiment_id, wanted)
        voted = {
            (example, (a, b))
            for example, a, b in db.execute(
                sa.select(Vote.example_id, Vote.rung_a, Vote.rung_b).where(
                    Vote.experiment_id == experiment_id, Vote.voter == name
                )
            )
        }
        test = (Example.dataset_id == experiment.dataset_id) & (Example.split == "test")
        examples = drawn(db.scalars(sa.select(Example.id).where(test).order_by(Example.position)), experiment.seed)
        # Each round goes through all examples with the pairs in turn: nobody reads one question several times in a row.
        turns = [
            (example, wanted[(start + turn) % len(wanted)])
            for start in range(len(wanted))
            for turn, example in enumerate(examples)
        ]
        order = [(example, pair) for example, pair in turns if example in state[pair].different]
        left = [item for item in order if item not in voted]
        first = next((item for item in left if item not in skipped), left[0] if left else None)
        if first is None:
            return None
        example_id, pair = first
        example = db.get_one(Example, example_id)
        said = {rung: _shown(db, experiment_id, rung, example_id) for rung in pair}
    swapped = random.Random(f"{experiment.seed} {name} {example_id} {pair}").random() < 0.5
    shown = pair[::-1] if swapped else pair
    return Ballot(
        experiment_id=experiment_id,
        example_id=example_id,
        pair=pair,
        swapped=swapped,
        messages=example.messages,
        reference=example.reference,
        left=said[shown[0]],
        right=said[shown[1]],
        done=len(order) - len(left),
        total=len(order),
        same=sum(len(one.both) for one in state.values()) - len(order),
    )


def cast(ballot: Ballot, voter: str, side: Side) -> None:
    """Record a choice; a second one on the same ballot takes the first one's place. Raises UserError for the name."""
    name = voter_name(voter)
    choice = "tie" if side == "tie" else "b" if (side == "left") == ballot.swapped else "a"
    row = {
        "experiment_id": ballot.experiment_id,
        "example_id": ballot.example_id,
        "rung_a": ballot.pair[0],
        "rung_b": ballot.pair[1],
        "voter": name,
    }
    with session() as db:
        db.execute(sa.delete(Vote).filter_by(**row))
        db.add(Vote(**row, choice=choice, swapped=ballot.swapped))


def undo(experiment_id: int, voter: str) -> bool:
    """Take back this voter's last vote; False where there is none."""
    with session() as db:
        last = db.scalar(
            sa.select(Vote)
            .where(Vote.experiment_id == experiment_id, Vote.voter == voter_name(voter))
            .order_by(Vote.id.desc())
            .limit(1)
        )
        if last is not None:
            db.delete(last)
    return last is not None


def voter_name(text: str) -> str:
    """The name as it is stored: white space in order. Raises UserError for none, or one too long for a table."""
    name = " ".join(text.split())
    if not name or len(name) > MOST_NAME:
        raise UserError("A vote needs a name.", f"Give one of at most {MOST_NAME} characters; initials will do.")
    return name


@dataclass(frozen=True)
class Answered:
    """Ids of the examples that both rungs of a pair answered, and of those where they say different things."""

    both: set[int]
    different: set[int]

    @property
    def identical(self) -> float:
        """The share of examples where both say the same."""
        return 1 - len(self.different) / len(self.both) if self.both else 0.0


def answered(db: Session, experiment_id: int, pairs: Collection[Pair]) -> dict[Pair, Answered]:
    """Each pair's first answers held against each other; white space around them does not count."""
    said: dict[str, dict[int, str]] = {rung: {} for pair in pairs for rung in pair}
    for rung, example, output in db.execute(
        sa.select(Prediction.rung, Prediction.example_id, Prediction.output).where(
            Prediction.experiment_id == experiment_id, Prediction.sample == 0, Prediction.rung.in_(said)
        )
    ):
        said[rung][example] = output.strip()
    found = {}
    for a, b in pairs:
        both = said[a].keys() & said[b].keys()
        found[a, b] = Answered(both, {example for example in both if said[a][example] != said[b][example]})
    return found


def _shown(db: Session, experiment_id: int, rung: str, example_id: int) -> str:
    """An answer's text. One that failed is as empty as one that said nothing, so as not to give its rung away."""
    found: str | None = db.scalar(
        sa.select(Prediction.output).where(
            Prediction.experiment_id == experiment_id,
            Prediction.rung == rung,
            Prediction.example_id == example_id,
            Prediction.sample == 0,
        )
    )
    return found or ""
