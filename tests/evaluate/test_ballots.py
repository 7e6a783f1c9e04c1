"""A vote is blind, is counted once, and says how sure it is."""

from __future__ import annotations

import csv
import io

import pytest
import sqlalchemy as sa

from core.data.dataset import examples_of
from core.errors import UserError
from core.evaluate.ballots import Ballot, cast, next_pair, pairs_of, undo
from core.evaluate.experiment import create_experiment, delete_experiment
from core.evaluate.judge.pairwise import Pair
from core.evaluate.plan import Plan
from core.evaluate.votes import results, rows, voters
from core.export import safe_csv
from core.store.database import session
from core.store.tables import Experiment, Prediction, Vote
from tests.factories import sorting_dataset

PAIR = ("base", "prompt")


def answered(*columns: list[str], rungs: tuple[str, ...] = PAIR) -> Experiment:
    """An experiment with these answers, a column for each rung."""
    dataset = sorting_dataset(test=len(columns[0]))
    experiment = create_experiment(
        "votes",
        dataset.id,
        metrics=["exact_match"],
        plan=Plan(rungs=list(rungs)),  # type: ignore[arg-type]
    )
    ids = [example_id for example_id, _ in examples_of(dataset.id, "test")]
    with session() as db:
        for rung, texts in zip(rungs, columns, strict=True):
            db.add_all(
                Prediction(
                    experiment_id=experiment.id,
                    rung=rung,
                    example_id=example_id,
                    output=text,
                    error=None if text else "It failed.",
                    finish_reason="stop",
                )
                for example_id, text in zip(ids, texts, strict=True)
            )
    return experiment


def different(count: int) -> Experiment:
    return answered([f"bad {n}" for n in range(count)], [f"good {n}" for n in range(count)])


def vote(experiment: Experiment, voter: str, most: int = 10_000, word: str = "good") -> list[Ballot]:
    """Votes for the answer that holds `word`, until the ballots or `most` are used up; the ballots in their order."""
    seen: list[Ballot] = []
    while len(seen) < most and (ballot := next_pair(experiment.id, voter)) is not None:
        left, right = word in ballot.left, word in ballot.right
        cast(ballot, voter, "tie" if left == right else "left" if left else "right")
        seen.append(ballot)
    return seen


def test_every_pair_of_answers_comes_once_and_the_choice_is_told_of_the_rung() -> None:
    experiment = different(10)
    seen = vote(experiment, "Ada")
    assert len({ballot.example_id for ballot in seen}) == 10
    assert [ballot.done for ballot in seen] == list(range(10)) and {ballot.total for ballot in seen} == {10}
    assert {ballot.swapped for ballot in seen} == {True, False}, "sides are drawn"
    (pair,) = results(experiment.id).pairs
    assert (pair.a, pair.b, pair.wins_a, pair.wins_b, pair.ties) == ("base", "prompt", 0, 10, 0)
    assert pair.rate.rate == 1 and pair.rate.interval.low > 0.5 and pair.outcome == "better"


def test_voters_meet_the_same_order_with_sides_of_their_own() -> None:
    experiment = different(30)
    ada, bob = vote(experiment, "Ada"), vote(experiment, "Bob")
    assert [ballot.example_id for ballot in ada] == [ballot.example_id for ballot in bob]
    assert [ballot.swapped for ballot in ada] != [ballot.swapped for ballot in bob]
    assert results(experiment.id).voters == {"Ada": 30, "Bob": 30}


def test_same_answers_are_ties_that_nobody_votes_on() -> None:
    experiment = answered(["same"] * 6 + ["bad"] * 4, [" same"] * 6 + ["good"] * 4)
    seen = vote(experiment, "Ada", most=2)
    assert {(ballot.total, ballot.same) for ballot in seen} == {(4, 6)}
    (pair,) = results(experiment.id).pairs
    assert pair.identical == 0.6 and pair.rate.rate == pytest.approx(0.6 * 0.5 + 0.4)


def test_failed_answer_looks_like_an_empty_one() -> None:
    experiment = answered(["", ""], ["good", ""])
    ballot = next_pair(experiment.id, "Ada")
    assert ballot is not None and {ballot.left, ballot.right} == {"", "good"}
    assert (ballot.total, ballot.same) == (1, 1)


def test_skipped_comes_last_and_undone_comes_again() -> None:
    experiment = different(3)
    first = next_pair(experiment.id, "Ada")
    assert first is not None
    skipped: list[tuple[int, Pair]] = [(first.example_id, first.pair)]
    for _ in range(2):
        ballot = next_pair(experiment.id, "Ada", skipped=skipped)
        assert ballot is not None and ballot.example_id != first.example_id
        cast(ballot, "Ada", "tie")
    last = next_pair(experiment.id, "Ada", skipped=skipped)
    assert last is not None and last.example_id == first.example_id
    assert undo(experiment.id, "Ada") and voters(experiment.id) == {"Ada": 1}
    again = next_pair(experiment.id, "Ada", skipped=skipped)
    assert again is not None and again.example_id == ballot.example_id and again.swapped == ballot.swapped
    assert undo(experiment.id, "Ada") and not undo(experiment.id, "Ada") and not undo(experiment.id, "Bob")


def test_second_choice_on_one_ballot_takes_the_place_of_the_first() -> None:
    experiment = different(1)
    ballot = next_pair(experiment.id, " Ada  L ")
    assert ballot is not None
    cast(ballot, "Ada L", "left")
    cast(ballot, "Ada L", "tie")
    with session(read_only=True) as db:
        assert [vote.choice for vote in db.scalars(sa.select(Vote))] == ["tie"]


@pytest.mark.parametrize("name", ["", "  \n", "x" * 61])
def test_vote_needs_a_name(name: str) -> None:
    experiment = different(1)
    with pytest.raises(UserError, match="needs a name"):
        next_pair(experiment.id, name)


def test_voters_who_agree_are_told_from_voters_who_do_not() -> None:
    experiment = answered(["good" if n % 2 else "bad" for n in range(20)], [f"good {n % 3}" for n in range(20)])
    for name in ("Ada", "Bob"):
        vote(experiment, name, word="good 1")
    agreement = results(experiment.id).between
    assert agreement is not None and agreement.kappa == pytest.approx(1) and agreement.n == 20
    vote(experiment, "Eve", word="bad")
    three = results(experiment.id).between
    assert three is not None and three.kappa is not None and three.kappa < 0.5
    assert results(experiment.id).judge is None


def test_few_votes_cannot_tell() -> None:
    experiment = different(20)
    for number, ballot in enumerate(vote(experiment, "Ada", most=4)):
        cast(ballot, "Ada", "left" if ("good" in ballot.left) == (number < 3) else "right")
    (pair,) = results(experiment.id).pairs
    assert (pair.wins_a, pair.wins_b, pair.outcome) == (1, 3, "cannot tell yet")
    assert pair.rate.interval.low < 0.5 < pair.rate.interval.high


def test_several_pairs_are_mixed_and_each_rung_gets_its_share() -> None:
    experiment = answered(
        [f"bad {n}" for n in range(8)],
        [f"good {n}" for n in range(8)],
        [f"best good {n}" for n in range(8)],
        rungs=("base", "prompt", "prompt@remote/x"),
    )
    pairs = pairs_of(experiment.id)
    assert len(pairs) == 3 and pairs[0] == ("base", "prompt@remote/x")
    order = []
    while (ballot := next_pair(experiment.id, "Ada", pairs)) is not None:
        order.append(ballot.pair)
        both = ("best" in ballot.left, "best" in ballot.right)
        cast(ballot, "Ada", "left" if both[0] or (not both[1] and "good" in ballot.left) else "right")
    assert len(order) == 24 and order != sorted(order, key=pairs.index)
    found = results(experiment.id)
    assert {rung: rate.rate for rung, rate in found.rungs.items()} == {"base": 0, "prompt": 0.5, "prompt@remote/x": 1}


def test_default_pair_is_the_verdict_against_the_best_of_the_others() -> None:
    experiment = answered(["a"], ["b"], ["c"], rungs=("base", "prompt", "prompt@remote/x"))
    scored = [("base", 0.2), ("prompt", 0.7), ("prompt@remote/x", 0.8)]
    report = {"verdict": {"rung": "prompt"}, "rungs": [{"rung": rung, "score": score} for rung, score in scored]}
    with session() as db:
        db.get_one(Experiment, experiment.id).report = report
    assert pairs_of(experiment.id)[0] == ("prompt", "prompt@remote/x")


def test_table_of_votes_is_safe_to_open() -> None:
    experiment = different(2)
    vote(experiment, "=cmd()")
    (first, _) = csv.DictReader(io.StringIO(safe_csv(rows(experiment.id)).decode("utf-8-sig")))
    assert first["voter"] == "'=cmd()" and first["preferred"] == "prompt"
    assert {first["shown left"], first["shown right"]} == set(PAIR)


def test_votes_go_with_their_experiment_and_one_rung_has_none() -> None:
    experiment = different(2)
    vote(experiment, "Ada")
    delete_experiment(experiment.id)
    with session(read_only=True) as db:
        assert db.scalars(sa.select(Vote)).all() == []
    alone = answered(["a"], rungs=("base",))
    assert pairs_of(alone.id) == [] and next_pair(alone.id, "Ada") is None and results(alone.id).pairs == []
