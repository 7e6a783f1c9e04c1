"""The reading of curves, on thousands of simulated runs whose truth is known, and on the words it finds."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from core.train.curves import Reading, read

TOTAL = 400


def run(
    rng: np.random.Generator,
    *,
    evaluations: int = 8,
    tau: float = 0.2,
    noise: float = 0.15,
    jitter: float = 0.005,
    overfits: tuple[float, float] | None = None,
    blows_up: float | None = None,
    until: float = 0.99,
    total: int = TOTAL,
) -> Reading:
    """A run whose loss falls towards 0.6 as exp(-t / tau). Shares of the run: `tau`, `until` and where things happen.

    `noise` and `jitter` are relative jumps of the training and the evaluation loss. `overfits` is (where, by how much
    of itself the evaluation loss has risen at the end).
    """
    time = np.arange(1, total + 1)
    loss = 0.6 + 2.0 * np.exp(-time / total / tau)
    steps = np.linspace(total / evaluations, total, evaluations).astype(int)
    held_out = loss[steps - 1] * 1.05
    if overfits:
        where, rise = overfits
        held_out *= 1 + rise * np.maximum(0, (steps / total - where) / (1 - where))
        loss *= np.exp(-np.maximum(0, time / total - where))
    loss *= 1 + noise * rng.standard_normal(total)
    if blows_up:
        loss[time > blows_up * total] = 3 * (1 + noise * rng.standard_normal((time > blows_up * total).sum()))
    held_out *= 1 + jitter * rng.standard_normal(evaluations)
    seen = steps <= until * total
    curve = np.column_stack([time, loss])[: int(until * total)]
    return read(curve, np.column_stack([steps[seen], held_out[seen]]), total)


def shares(count: int = 150, **more: Any) -> dict[str, float]:
    rng = np.random.default_rng(1)
    found = Counter(run(rng, **more).state for _ in range(count))
    return Counter({state: number / count for state, number in found.items()})


@pytest.mark.parametrize("evaluations", [4, 8, 20])
@pytest.mark.parametrize("jitter", [0.001, 0.01])
def test_falling_loss_is_still_improving(evaluations: int, jitter: float) -> None:
    found = shares(evaluations=evaluations, jitter=jitter, tau=0.3)
    assert found["improving"] > 0.95 and found["overfitting"] + found["diverged"] == 0


@pytest.mark.parametrize("evaluations", [5, 8, 20])
def test_loss_that_stays_is_not_called_anything_else(evaluations: int) -> None:
    found = shares(evaluations=evaluations, tau=0.02)
    assert found["flat"] > 0.9 and found["overfitting"] + found["diverged"] < 0.02


@pytest.mark.parametrize(("evaluations", "rise", "at_least"), [(4, 0.3, 0.9), (8, 0.2, 0.9), (20, 0.2, 0.95)])
def test_overfitting_is_found(evaluations: int, rise: float, at_least: float) -> None:
    found = shares(evaluations=evaluations, tau=0.06, overfits=(0.3, rise), until=1)
    assert found["overfitting"] > at_least


@pytest.mark.parametrize("noise", [0.05, 0.3])
@pytest.mark.parametrize("where", [0.3, 0.8])
def test_divergence_is_found(noise: float, where: float) -> None:
    assert shares(noise=noise, blows_up=where)["diverged"] > 0.98


@pytest.mark.parametrize("noise", [0.05, 0.4])
def test_noise_alone_is_no_divergence(noise: float) -> None:
    """Neither on the way down nor once the loss has levelled off."""
    for tau in (0.02, 0.5):
        for until in (0.1, 0.5, 0.99):
            assert shares(noise=noise, tau=tau, until=until)["diverged"] < 0.01


def test_one_spike_is_no_divergence() -> None:
    values = 1 + np.exp(-np.arange(100) / 20)
    values[60:63] = 9
    steps = np.arange(1, 101)
    assert read(np.column_stack([steps, values]), [], 200).state == "improving"


def test_words_of_overfitting_name_step_rise_and_checkpoint() -> None:
    falling = [(step, 2.0 - step / 150) for step in range(1, 221)]
    held_out = [(40, 1.9), (80, 1.6), (120, 1.5), (160, 1.55), (200, 1.62)]
    found = read(falling, held_out, 400)
    assert (found.state, found.since) == ("overfitting", 120)
    assert found.text.startswith(
        "Overfitting since step 120: the training loss still falls, but the loss on unseen examples has risen by 8% "
        "since. The checkpoint of step 120 is the one that will be kept."
    )
    closed = read(falling, held_out, 220)
    assert closed.state == "overfitting" and "went on falling" in closed.text and "is kept" in closed.text


def test_small_rise_after_one_evaluation_does_not_count_yet() -> None:
    assert read([], [(10, 2.0), (20, 1.5), (30, 1.53)], 100).state != "overfitting"
    assert read([], [(10, 2.0), (20, 1.5), (30, 1.6)], 100).state == "overfitting"
    assert read([], [(10, 0.004), (20, 0.002), (30, 0.004), (40, 0.004)], 100).state == "flat"


@pytest.mark.parametrize(
    ("loss", "held_out"),
    [([], []), ([(1, 2.0)], [(1, 2.0)]), ([(step, 2.0 - step / 50) for step in range(10)], []), ([], [(5, 2), (9, 2)])],
)
def test_few_points_are_too_early(loss: Any, held_out: Any) -> None:
    found = read(loss, held_out, 100)
    assert (found.state, found.since) == ("too_early", None) and found.text.startswith("Too early to say")


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf")])
def test_loss_that_is_no_number_is_a_divergence_at_its_step(bad: float | None) -> None:
    found = read([(1, 2.0), (2, 1.9), (3, bad), (4, bad)], [], 100)
    assert (found.state, found.since) == ("diverged", 3) and "learning rate" in found.text
    assert read([(1, bad)], [], 100).since == 1


def test_finished_run_says_whether_more_would_help() -> None:
    rising = [(25, 2.0), (50, 1.5), (75, 1.2), (100, 1.0)]
    found = read([(100, 1.0)], rising, 100)
    assert found.state == "done" and "step 100" in found.text and "still improving" in found.text
    level = [(25, 2.0), (50, 1.0), (75, 1.001), (100, 0.999)]
    assert "would gain little" in read([(100, 1.0)], level, 100).text
    assert "Nothing was held out" in read([(step, 2.0) for step in range(1, 101)], [], 100).text
    assert read([(100, 1.0)], rising, 0).state == "improving"


def test_training_loss_is_read_where_nothing_is_held_out() -> None:
    assert shares(evaluations=1, tau=0.4, noise=0.05)["improving"] > 0.95
    assert shares(evaluations=1, tau=0.02, noise=0.05)["flat"] > 0.9
    assert shares(evaluations=1, tau=0.02, noise=0.6, total=60)["too_early"] > 0.8


def test_long_curve_is_read_in_a_moment() -> None:
    import time

    steps = np.arange(10**6)
    curve = np.column_stack([steps, 1 + np.exp(-steps / 1e5)])
    started = time.perf_counter()
    assert read(curve, [], 2 * 10**6).state == "flat"
    assert time.perf_counter() - started < 2
