"""The promises of docs/method.md, by simulation with known truth: 2,000 experiments in every cell.

The limits are those promised, without allowance for luck: the seeds are fixed, and true rates lie a little inside.
`python -m bench.simulation` prints many more cells.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from bench.simulation import bought, calibration, family, found_at_detectable, hit, score_of, winners
from core.evaluate.rungs import LADDER

EXPERIMENTS = 2000
F1 = partial(score_of, "f1")


@pytest.mark.parametrize("n", [10, 40, 120, 500])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(("kind", "score"), [("binary", hit), ("continuous", F1)])
def test_equal_rungs_seldom_get_a_winner_and_intervals_cover(kind: str, score: object, grouped: bool, n: int) -> None:
    false, one, two = calibration(EXPERIMENTS, 0, n, score, kind, grouped, (0.4, 0.6))  # type: ignore[arg-type]
    assert false <= 0.05
    assert one >= 0.94
    assert two >= 0.94


@pytest.mark.parametrize("kind", ["binary", "continuous"])
@pytest.mark.parametrize("n", [20, 60, 200, 500])
def test_stated_power_is_the_power_found(kind: str, n: int) -> None:
    _, found = found_at_detectable(EXPERIMENTS, 0, n, kind)
    assert 0.75 <= found <= 0.85


@pytest.mark.parametrize("grouped", [False, True])
def test_five_equal_rungs_seldom_have_any_winner(grouped: bool) -> None:
    for n in (20, 100):
        assert family(1000, 0, n, hit, "binary", grouped) <= 0.05


@pytest.mark.parametrize("grouped", [False, True])
def test_switches_that_bring_nothing_are_seldom_credited_and_intervals_of_effects_cover(grouped: bool) -> None:
    for n in (20, 100):
        false, covers = bought(1000, 0, n, hit, grouped, LADDER)
        assert false <= 0.05
        assert covers >= 0.94


def test_ignoring_groups_would_name_false_winners() -> None:
    """The simulation is able to fail: on grouped data, a test blind to groups errs more often than promised."""
    rng = np.random.default_rng(3)
    a, b = (np.repeat(rng.random((15, 500)) < 0.5, 8, axis=0) * 1.0 for _ in range(2))
    eights = [str(i // 8) for i in range(120)]
    assert winners((b - a)[:, None], None, True, 0).mean() > 0.3
    assert winners((b - a)[:, None], eights, True, 0).mean() <= 0.05
