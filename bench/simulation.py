"""What the statistics promise, checked by simulation: prints the tables of docs/method.md.

Rungs are simulated with known truth. "A vs A": two rungs of equal quality; how often is one called better?
"Covers": how often does the 95% interval hold the truth, for one rung's score and for the difference of
two? "Power": how often is a true difference of exactly the stated detectable effect found? Clustered data
has groups of unequal size (four examples on average), and each rung is good at some groups and bad at
others on its own account, so that a method which ignores groups fails here.

Takes about twelve minutes on one core; --experiments 200 gives a quick look.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from functools import partial

import numpy as np

from core.evaluate.statistics import compare, compare_all, detectable_effect, interval

SIZES = (10, 20, 60, 200, 500)
# The shapes continuous scores take: token F1 in the middle and near the ceiling, a smooth similarity, and a
# hard case, near-constant scores with rare complete failures.
SHAPES = ("f1", "high f1", "smooth", "rare failures")
Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray, "list[str] | None"]]


def binary(p_a: float, p_b: float) -> Draw:
    """Two rungs right with p_a and p_b, on examples they find hard or easy together."""

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, None]:
        shared, own = rng.random(n), rng.random((2, n))
        luck = np.where(rng.random((2, n)) < 0.5, shared, own)
        return (luck[0] < p_a) * 1.0, (luck[1] < p_b) * 1.0, None

    return draw


def score_of(shape: str, luck: np.ndarray, quality: float) -> np.ndarray:
    """A score in [0, 1] from uniform luck; its mean is `quality`."""
    from scipy.stats import beta

    if shape == "smooth":
        return np.asarray(beta.ppf(1 - luck, 6 * quality, 6 * (1 - quality)))
    if shape == "rare failures":
        # Nearly always between 0.9 and 1, but a complete failure with the probability that makes the mean
        # right.
        right = quality / 0.95
        return np.where(luck < right, 1.0 - 0.1 * luck / right, 0.0)
    # Token F1: a share of partly right answers spread around a half, the others all right or all wrong.
    part = min(0.25, 1.2 * (1 - quality))
    ones = quality - part / 2
    inside = beta.ppf(1 - np.clip((luck - ones) / part, 0, 1), 2, 2)
    return np.where(luck < ones, 1.0, np.where(luck < ones + part, inside, 0.0))


def continuous(shape: str, a: float, b: float) -> Draw:
    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, None]:
        shared, own = rng.random(n), rng.random((2, n))
        luck = np.where(rng.random((2, n)) < 0.5, shared, own)
        return score_of(shape, luck[0], a), score_of(shape, luck[1], b), None

    return draw


def clustered(plain: Callable[[np.ndarray, float], np.ndarray], a: float, b: float) -> Draw:
    """Groups of unequal size; for a third of the examples a rung's luck is that of its group."""

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
        index = rng.integers(0, max(3, n // 4), n)
        common = rng.random((2, index.max() + 1))[:, index]
        luck = np.where(rng.random((2, n)) < 0.35, common, rng.random((2, n)))
        return plain(luck[0], a), plain(luck[1], b), [str(i) for i in index]

    return draw


def hit(luck: np.ndarray, quality: float) -> np.ndarray:
    return (luck < quality) * 1.0


def cases() -> list[tuple[str, str, Callable[[float, float], Draw], tuple[float, float]]]:
    """Name, kind, data for given qualities of the two rungs, and the qualities used for coverage."""
    found: list[tuple[str, str, Callable[[float, float], Draw], tuple[float, float]]] = [
        ("binary", "binary", binary, (0.4, 0.6)),
        ("binary, rare", "binary", binary, (0.05, 0.15)),
        ("binary, groups", "binary", partial(clustered, hit), (0.4, 0.6)),
        ("binary, rare, groups", "binary", partial(clustered, hit), (0.1, 0.2)),
    ]
    for shape in SHAPES:
        pair = (0.8, 0.9) if shape in ("high f1", "rare failures") else (0.4, 0.6)
        found.append((shape, "continuous", partial(continuous, shape), pair))
        found.append((f"{shape}, groups", "continuous", partial(clustered, partial(score_of, shape)), pair))
    return found


def calibration(
    experiments: int,
    seed: int,
    sizes: tuple[int, ...],
    draws: Callable[[float, float], Draw],
    kind: str,
    pair: tuple[float, float],
) -> dict[int, tuple[float, float, float]]:
    """Per size: how often A versus A has a winner, and how often one interval and the difference's cover."""
    rows = {}
    for n in sizes:
        rng = np.random.default_rng([seed, n])
        false = one = two = 0
        same, different = draws(pair[0], pair[0]), draws(*pair)
        for run in range(experiments):
            a, b, groups = same(rng, n)
            false += compare(a, b, groups, kind, seed=run).outcome in ("better", "worse")
            a, b, groups = different(rng, n)
            single, both = interval(b, groups, kind, seed=run), compare(a, b, groups, kind, seed=run).interval
            one += single.low <= pair[1] <= single.high
            two += both.low - 1e-9 <= pair[1] - pair[0] <= both.high + 1e-9
        rows[n] = (false / experiments, one / experiments, two / experiments)
    return rows


def family(experiments: int, seed: int, n: int) -> float:
    """Share of experiments with any winner at all among five equal rungs (ten pairs, Holm)."""
    rng = np.random.default_rng([seed, n, 5])
    winners = 0
    for run in range(experiments):
        luck = np.where(rng.random((5, n)) < 0.5, rng.random(n), rng.random((5, n)))
        found = compare_all({str(k): (luck[k] < 0.5) * 1.0 for k in range(5)}, None, "binary", seed=run)
        winners += any(c.outcome in ("better", "worse") for c in found)
    return winners / experiments


def found_at_detectable(experiments: int, seed: int, n: int, kind: str) -> tuple[float, float]:
    """The detectable effect at n, and how often a true one of that size is shown; nan where there is none."""
    sd, discordance = 0.2, 0.3
    effect = detectable_effect(n, kind, sd=sd, discordance=discordance)
    if not math.isfinite(effect):
        return effect, math.nan
    rng = np.random.default_rng([seed, n, 7])
    shown = 0
    for run in range(experiments):
        if kind == "binary":
            differing = max(discordance, effect)
            luck = rng.random(n)
            b = (luck < (differing + effect) / 2) * 1.0
            a = ((luck >= (differing + effect) / 2) & (luck < differing)) * 1.0
        else:
            # A normal difference split over two scores: both stay within [0, 1] but for the far tails.
            d = rng.normal(effect, sd, n)
            a, b = np.clip(0.5 - d / 2, 0, 1), np.clip(0.5 + d / 2, 0, 1)
        shown += compare(a, b, None, kind, seed=run).outcome == "better"
    return effect, shown / experiments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="only the scores whose name contains this")
    options = parser.parse_args()
    print(f"{options.experiments} experiments per cell, seed {options.seed}\n")
    print("| scores | n | A vs A: false winner | one rung: covers | difference: covers |\n|---|--:|--:|--:|--:|")
    for name, kind, draws, pair in (case for case in cases() if options.only in case[0]):
        rows = calibration(options.experiments, options.seed, SIZES, draws, kind, pair)
        for n, (false, one, two) in rows.items():
            print(f"| {name} | {n} | {false:.1%} | {one:.1%} | {two:.1%} |", flush=True)
    print("\n| five equal rungs, binary, Holm | any false winner |\n|---|--:|")
    for n in SIZES:
        print(f"| n = {n} | {family(options.experiments // 4, options.seed, n):.1%} |", flush=True)
    print("\n| kind | n | detectable effect | found (80% stated) |\n|---|--:|--:|--:|")
    for kind in ("binary", "continuous"):
        for n in SIZES:
            effect, share = found_at_detectable(options.experiments, options.seed, n, kind)
            print(f"| {kind} | {n} | {effect:.3f} | {share:.1%} |", flush=True)


if __name__ == "__main__":
    main()
