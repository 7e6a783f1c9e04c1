"""Two rungs' answers before a judge, in both orders: stored as they are judged, so that nothing is asked twice.

Judges favour a place: many prefer whatever they read first. Each pair is therefore shown both ways round, and only a
preference that survives the turn counts.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from core.evaluate.judge.asking import Judged, OpenModel, ask, judge_at_hand
from core.evaluate.judge.prompts import BETTER, CHOICE_REMINDER, choice_chat, wording
from core.evaluate.judge.saying import Shown, read_choice
from core.evaluate.plan import JudgePlan, Plan
from core.evaluate.reading import Scores, read_scores
from core.models.generation import Generator, never
from core.models.prompt import Message
from core.store.database import session
from core.store.tables import Example, Experiment, Judgement, Prediction

Pair = tuple[str, str]

# Begins the reason of what was settled without the judge.
UNASKED = "Not asked: "
UNREADABLE = "unreadable"
# Chats in memory at a time, so that all pairs of five rungs on thousands of examples stay below 100 MB.
AT_ONCE = 500


@dataclass(frozen=True)
class _Duel:
    """One question to the judge: two rungs' answers to one example in one order."""

    example_id: int
    pair: Pair
    swapped: bool


@dataclass(frozen=True)
class _Row:
    """A duel's end as it is stored; `choice` and `cost_usd` as in Judgement."""

    duel: _Duel
    key: str
    choice: str
    reason: str
    cost_usd: float = 0.0


@dataclass(frozen=True)
class _Given:
    """An answer under judgement; `failed` where there is none to judge."""

    text: str
    failed: bool


def judge_pairs(
    experiment_id: int,
    plan: JudgePlan,
    open_model: OpenModel,
    progress: Callable[[float, float, str], None] = lambda done, total, message: None,
    check_stop: Callable[[], None] = lambda: None,
    stop_requested: Callable[[], bool] = never,
) -> None:
    """Judge what has not been judged yet: `plan.pairs` of rungs on `plan.examples` test examples drawn by the seed.

    The first of several samples is judged. Where both answers are the same, or only one rung answered, nobody is
    asked; nor where an earlier experiment asked the same, unless this one is to ask everything afresh. Raises what
    `check_stop` and the judge raise; what is stored by then stays.
    """
    identity = identity_of(plan)
    scores = read_scores(experiment_id)
    with session(read_only=True) as db:
        experiment = db.get_one(Experiment, experiment_id)
        fresh = Plan.model_validate(experiment.spec).fresh
        done = {
            _Duel(example_id, (a, b), swapped)
            for example_id, a, b, swapped in db.execute(
                sa.select(Judgement.example_id, Judgement.rung_a, Judgement.rung_b, Judgement.swapped).where(
                    Judgement.experiment_id == experiment_id, Judgement.judge == identity
                )
            )
        }
    pairs = pairs_to_judge(scores, plan, experiment.metric)
    examples = drawn(scores.examples, experiment.seed)[: plan.examples]
    wanted = [_Duel(e, pair, swapped) for pair in pairs for e in examples for swapped in (False, True)]
    open_duels = [duel for duel in wanted if duel not in done]
    if not open_duels:
        return
    given, asked_of = _answers(experiment_id, examples)
    finished, total = len(wanted) - len(open_duels), len(wanted)

    def report() -> None:
        progress(finished, total, f"Judge: {finished} of {total} comparisons")

    def store(rows: Sequence[_Row]) -> None:
        nonlocal finished
        finished += len(rows)
        _store(experiment_id, identity, rows)
        report()

    report()
    settled = {duel: row for duel in open_duels if (row := _without_asking(duel, given)) is not None}
    if settled:
        store([_Row(duel, "", choice, reason) for duel, (choice, reason) in settled.items()])
    to_ask = [duel for duel in open_duels if duel not in settled]
    judge: Generator | None = None
    for start in range(0, len(to_ask), AT_ONCE):
        keys = {duel: _key(duel, given, *asked_of[duel.example_id]) for duel in to_ask[start : start + AT_ONCE]}
        known = {} if fresh else _judged_before(identity, set(keys.values()))
        if taken := [_row(duel, key, known[key]) for duel, key in keys.items() if key in known]:
            store(taken)
        asked = [duel for duel, key in keys.items() if key not in known]
        if not asked:
            continue
        if judge is None:
            judge, _ = judge_at_hand(plan.model, open_model)
        chats = [_chat(duel, given, *asked_of[duel.example_id], plan.rubric) for duel in asked]
        for judged in ask(judge, chats, read_choice, CHOICE_REMINDER, stop_requested):
            store([_row(asked[i], keys[asked[i]], found) for i, found in judged])
            check_stop()
    check_stop()


def identity_of(plan: JudgePlan) -> str:
    """The judging model with a hash of its rubric and of our wording around it."""
    rubric = hashlib.sha256((plan.rubric or BETTER).encode()).hexdigest()[:8]
    return f"{plan.model}:{rubric}{wording()}"


def pairs_to_judge(scores: Scores, plan: JudgePlan, metric: str) -> list[Pair]:
    """All pairs in the ladder's order, or those of the rung with the highest score."""
    pairs = list(itertools.combinations(scores.rungs, 2))
    if plan.pairs == "all":
        return pairs
    means = {rung: float(np.nan_to_num(scores.values[metric][rung]).mean()) for rung in scores.rungs}
    best = max(scores.rungs, key=lambda rung: means[rung])
    return [pair for pair in pairs if best in pair]


def drawn(examples: Iterable[int], seed: int) -> list[int]:
    """Test examples in the order in which judges and voters meet them: the first ones are those of all of them.

    The same seed gives the same order, so that more examples are the same ones and some more.
    """
    order = [int(example) for example in examples]
    random.Random(seed).shuffle(order)
    return order


def _answers(
    experiment_id: int, examples: Sequence[int]
) -> tuple[dict[tuple[str, int], _Given], dict[int, tuple[list[dict[str, Any]], str]]]:
    """What each rung said to each example, and each example's prompt and reference."""
    with session(read_only=True) as db:
        rows = db.execute(
            sa.select(Prediction.rung, Prediction.example_id, Prediction.output, Prediction.error.is_not(None)).where(
                Prediction.experiment_id == experiment_id,
                Prediction.sample == 0,
                Prediction.example_id.in_(examples),
            )
        )
        given = {(rung, example): _Given(output, failed) for rung, example, output, failed in rows}
        asked = db.execute(sa.select(Example.id, Example.messages, Example.reference).where(Example.id.in_(examples)))
        return given, {example: (messages, reference) for example, messages, reference in asked}


def _without_asking(duel: _Duel, given: dict[tuple[str, int], _Given]) -> tuple[str, str] | None:
    """Choice and reason where there is nothing to judge."""
    missing = _Given("", True)
    a, b = (given.get((rung, duel.example_id), missing) for rung in duel.pair)
    if a.failed and b.failed:
        return "tie", f"{UNASKED}neither rung answered."
    if a.failed or b.failed:
        return ("b" if a.failed else "a"), f"{UNASKED}the other rung gave no answer."
    return ("tie", f"{UNASKED}both answers are the same.") if a.text.strip() == b.text.strip() else None


def _shown(duel: _Duel, given: dict[tuple[str, int], _Given]) -> tuple[str, str]:
    """Both answers in the order in which the judge reads them."""
    first, second = duel.pair[::-1] if duel.swapped else duel.pair
    return given[first, duel.example_id].text, given[second, duel.example_id].text


def _chat(
    duel: _Duel, given: dict[tuple[str, int], _Given], messages: list[dict[str, Any]], reference: str, rubric: str
) -> list[Message]:
    return choice_chat(messages, *_shown(duel, given), rubric, reference)


def _key(duel: _Duel, given: dict[tuple[str, int], _Given], messages: list[dict[str, Any]], reference: str) -> str:
    """Hash of what the judge sees besides its rubric and our wording, which stand in its identity."""
    seen = json.dumps([messages, reference, *_shown(duel, given)])
    return hashlib.sha256(seen.encode()).hexdigest()


def _judged_before(identity: str, keys: set[str]) -> dict[str, Judged[Shown]]:
    """By key what the same judge, asked the same, has said; unreadable replies are asked for again."""
    query = (
        sa.select(Judgement.key, Judgement.choice, Judgement.swapped, Judgement.reason)
        .where(Judgement.judge == identity, Judgement.key.in_(keys), Judgement.choice != UNREADABLE)
        .order_by(Judgement.id)
    )
    with session(read_only=True) as db:
        return {
            key: Judged("tie" if choice == "tie" else "first" if (choice == "b") == swapped else "second", reason)
            for key, choice, swapped, reason in db.execute(query)
        }


def _row(duel: _Duel, key: str, judged: Judged[Shown]) -> _Row:
    """The judge's choice in terms of the pair."""
    choice: str
    if judged.verdict is None:
        choice = UNREADABLE
    elif judged.verdict == "tie":
        choice = "tie"
    else:
        choice = "b" if (judged.verdict == "first") == duel.swapped else "a"
    # A judge whose own words begin like our mark does not pass for one that was not asked.
    reason = f'"{judged.reason}"' if judged.reason.startswith(UNASKED) else judged.reason
    return _Row(duel, key, choice, reason, judged.cost_usd)


def _store(experiment_id: int, judge: str, rows: Sequence[_Row]) -> None:
    with session() as db:
        db.execute(
            sa.insert(Judgement),
            [
                {
                    "experiment_id": experiment_id,
                    "example_id": row.duel.example_id,
                    "rung_a": row.duel.pair[0],
                    "rung_b": row.duel.pair[1],
                    "swapped": row.duel.swapped,
                    "judge": judge,
                    "key": row.key,
                    "choice": row.choice,
                    "reason": row.reason,
                    "cost_usd": row.cost_usd,
                }
                for row in rows
            ],
        )
