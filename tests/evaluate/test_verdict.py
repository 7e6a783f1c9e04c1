"""The verdict: which rung, how sure, and said so that a product manager can act on it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.evaluate.statistics import MORE_CAP, compare_all
from core.evaluate.verdict import Verdict, decide

LADDER = ["base", "prompt", "rag", "lora", "rag+lora"]


def nested(rights: dict[str, int], n: int) -> dict[str, np.ndarray]:
    """Scores where a rung with fewer right answers is right on a part of what the others get right."""
    return {rung: (np.arange(n) < right) * 1.0 for rung, right in rights.items()}


def verdict(
    scores: dict[str, np.ndarray], target: float | None = None, delta: float = 0.05, kind: str = "binary"
) -> Verdict:
    found = compare_all(scores, None, kind, delta=delta)
    return decide(LADDER, scores, found, target, delta, metric="exact match", kind=kind)


def noisy(shares: dict[str, float], n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Independent answers with these shares right."""
    rng = np.random.default_rng(seed)
    return {rung: (rng.random(n) < share) * 1.0 for rung, share in shares.items()}


def test_clear_winner_at_the_top() -> None:
    found = verdict(nested({"base": 1, "prompt": 6, "lora": 54}, 60))
    assert (found.rung, found.outcome, found.more) == ("lora", "better", None)
    assert "lora scores 90% exact match" in found.reason
    assert "80 points more than prompt" in found.reason


def test_higher_rung_that_adds_nothing_is_not_recommended() -> None:
    found = verdict(nested({"base": 2, "rag": 48, "rag+lora": 48}, 60))
    assert (found.rung, found.outcome) == ("rag", "better")
    assert "Climbing higher is shown to gain less than 5 points" in found.reason


def test_lower_rung_equivalent_to_the_best_is_enough() -> None:
    found = verdict(nested({"base": 100, "prompt": 950, "lora": 955}, 1000))
    assert (found.rung, found.outcome, found.more) == ("prompt", "equivalent", None)
    assert "lora's: 0.5 points more than prompt" in found.reason
    assert "Each rung below prompt is shown to be worse than a higher one." in found.reason


def test_sure_gain_smaller_than_what_matters_is_no_reason_to_climb() -> None:
    """Twenty more of 2,000 right and none lost: shown better beyond doubt, and still by 1 point only."""
    scores = nested({"base": 1800, "lora": 1820}, 2000)
    assert compare_all(scores, kind="binary")[0].outcome == "better"
    found = verdict(scores)
    assert (found.rung, found.outcome) == ("base", "equivalent")
    assert verdict(scores, delta=0.005).rung == "lora"


def test_promising_rung_without_proof_asks_for_more_examples() -> None:
    scores = noisy({"base": 0.5, "lora": 0.62}, 60, seed=1)
    found = verdict(scores)
    assert (found.rung, found.outcome) == ("base", "cannot tell yet")
    assert found.more is not None
    assert f"About {found.more:,} more examples" in found.reason
    assert "Use base meanwhile" in found.reason


def test_many_comparisons_are_named_as_the_reason_for_doubt() -> None:
    """Seven gains to none would do for two rungs, not among ten pairs."""
    scores = nested({"base": 20, "prompt": 20, "rag": 20, "lora": 20, "rag+lora": 27}, 60)
    found = verdict(scores)
    assert (found.rung, found.outcome) == ("base", "cannot tell yet")
    assert "Among 10 comparisons that could be chance" in found.reason
    pair = verdict({rung: scores[rung] for rung in ("base", "rag+lora")})
    assert (pair.rung, pair.outcome) == ("rag+lora", "better")


def test_lowest_rung_is_better_when_it_beats_all_others() -> None:
    found = verdict(nested({"base": 54, "prompt": 20, "lora": 30}, 60))
    assert (found.rung, found.outcome) == ("base", "better")
    assert "40 points more than lora" in found.reason


def test_lowest_rung_ahead_by_luck_is_not_called_better() -> None:
    base, lora = np.ones(40), np.ones(40)
    base[:10], lora[5:18] = 0, 0
    found = verdict({"base": base, "lora": lora})
    assert (found.rung, found.outcome) == ("base", "cannot tell yet")
    assert found.more


@pytest.mark.parametrize(("n", "outcome"), [(20, "cannot tell yet"), (200, "equivalent")])
def test_equal_rungs_are_equivalent_once_examples_suffice(n: int, outcome: str) -> None:
    found = verdict(nested({"base": n // 2, "rag": n // 2, "lora": n // 2}, n))
    assert (found.rung, found.outcome) == ("base", outcome)


def test_nothing_works_is_said_plainly() -> None:
    scores = nested({"base": 0, "prompt": 0, "lora": 0}, 60)
    for target in (None, 0.5):
        found = verdict(scores, target)
        assert (found.rung, found.outcome, found.more) == (None, "cannot tell yet", None)
        assert "No rung answers this task" in found.reason


def test_single_rung_and_no_examples_have_defined_outcomes() -> None:
    alone = verdict(nested({"base": 30}, 60))
    assert (alone.rung, alone.outcome) == ("base", "cannot tell yet")
    assert "Only base was measured" in alone.reason
    empty = verdict({"base": np.array([]), "lora": np.array([])})
    assert (empty.rung, empty.outcome) == (None, "cannot tell yet")
    one = verdict({"base": np.array([0.0]), "lora": np.array([1.0])})
    assert (one.rung, one.outcome) == (None, "cannot tell yet")


def test_unmeasured_rungs_are_skipped_and_ladder_order_rules() -> None:
    """The order of the ladder decides, not that of the scores or comparisons."""
    scores = nested({"lora": 54, "base": 6}, 60)
    found = verdict(scores)
    assert (found.rung, found.outcome) == ("lora", "better")


# With a target


def test_lowest_rung_shown_to_reach_the_target() -> None:
    found = verdict(nested({"base": 20, "prompt": 185, "lora": 195}, 200), target=0.8)
    assert (found.rung, found.outcome) == ("prompt", "better")
    assert "target of 80% exact match" in found.reason
    assert "Every rung below it is shown to miss it." in found.reason


def test_lower_rung_that_may_reach_the_target_is_mentioned() -> None:
    found = verdict(nested({"base": 20, "prompt": 160, "lora": 195}, 200), target=0.8)
    assert (found.rung, found.outcome) == ("lora", "better")
    assert "prompt, a lower rung, may reach it too" in found.reason


def test_rung_within_delta_of_the_target_is_equivalent() -> None:
    found = verdict(nested({"base": 300, "lora": 2390}, 3000), target=0.8)
    assert (found.rung, found.outcome) == ("lora", "equivalent")
    assert "within 5 points" in found.reason


def test_undecided_target_asks_for_more_examples() -> None:
    found = verdict(nested({"base": 5, "rag": 50, "lora": 53}, 60), target=0.8)
    assert (found.rung, found.outcome) == ("rag", "cannot tell yet")
    assert found.more is not None and 0 < found.more < MORE_CAP


def test_missed_target_names_the_best_and_no_rung() -> None:
    found = verdict(nested({"base": 5, "rag": 20, "lora": 15}, 60), target=0.8)
    assert (found.rung, found.outcome, found.more) == (None, "below target", None)
    assert "The best, rag, gets 33.3%" in found.reason


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_every_verdict_is_readable_and_names_a_measured_rung(data: st.DataObject) -> None:
    rungs = data.draw(st.lists(st.sampled_from(LADDER), min_size=1, max_size=5, unique=True))
    n = data.draw(st.integers(1, 50))
    values = st.sampled_from([0.0, 0.4, 1.0])
    scores = {rung: np.array(data.draw(st.lists(values, min_size=n, max_size=n))) for rung in rungs}
    target = data.draw(st.none() | st.floats(0, 1))
    found = verdict(scores, target, kind="continuous")
    assert found.rung is None or found.rung in rungs
    assert found.outcome in ("better", "equivalent", "cannot tell yet", "below target")
    assert found.reason[-1] == "." and "  " not in found.reason
    assert not re.search(r"p-value|significan|hypothes|nan|inf\b|None", found.reason)
    assert 1 <= len(re.findall(r"\.(?: |$)", found.reason)) <= 6
    assert found.more is None or 0 < found.more <= MORE_CAP


def test_recommended_rung_is_seldom_wrong_by_more_than_matters() -> None:
    """The higher rung is truly 12 points better: a settled verdict for the lower one is an error."""
    settled = wrong = 0
    for seed in range(150):
        found = verdict(noisy({"base": 0.6, "lora": 0.72}, 400, seed))
        settled += found.outcome != "cannot tell yet"
        wrong += found.outcome != "cannot tell yet" and found.rung == "base"
    assert settled > 120
    assert wrong <= 0.05 * 150


def test_rung_that_answers_nothing_is_not_to_be_used_even_meanwhile() -> None:
    found = verdict(nested({"base": 0, "prompt": 4, "rag": 0}, 36))
    assert (found.rung, found.outcome) == (None, "cannot tell yet")
    assert "No rung is to be used yet: base answered nothing right" in found.reason and found.more
