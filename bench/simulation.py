"""What the statistics promise, checked by simulation: prints the tables of docs/method.md.

Rungs are simulated with known truth. "A vs A": rungs of equal quality; how often is one called better? "Covers": how
often does the 95% interval hold the truth, for one rung's score, for the difference of two, for what a switch bought?
"Power": how often is a true difference of exactly the stated detectable effect found? Clustered data has groups of
unequal size (four examples on average), and each rung is good at some groups and bad at others on its own account, so
that a method which ignores groups fails here.

Experiments are drawn and judged in blocks that share their groups and the random numbers of bootstrap and sign flips;
the scores, which is what the promises are about, are drawn for each. Takes about five minutes on one core.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import combinations

import numpy as np

from core.evaluate.rungs import CUBE, LADDER, Rung
from core.evaluate.statistics import DELTA, Interval, contrasts, detectable_effect, intervals, judge
from core.evaluate.statistics.clusters import clusters_of
from core.evaluate.statistics.paired import holm, paired

SIZES = (10, 20, 60, 200, 500)
# Experiments that share their groups and resampling.
BLOCK = 250
# The shapes continuous scores take: token F1 in the middle and near the ceiling, a smooth similarity, and a
# hard case, near-constant scores with rare complete failures.
SHAPES = ("f1", "high f1", "smooth", "rare failures")
# A score from uniform luck and a rung's true mean.
Score = Callable[[np.ndarray, float], np.ndarray]
# What the rungs of a factorial experiment score: each switch brings something, and two together more than their sum.
BROUGHT = {"shots": 0.1, "retrieval": 0.2, "adapter": 0.25}
TOGETHER = 0.1
DESIGNS = {"five rungs": LADDER, "all eight": CUBE}


def hit(luck: np.ndarray, quality: float) -> np.ndarray:
    """Right or wrong."""
    return (luck < quality) * 1.0


def score_of(shape: str, luck: np.ndarray, quality: float) -> np.ndarray:
    """A score in [0, 1] from uniform luck; its mean is `quality`."""
    if shape == "smooth":
        from scipy.stats import beta

        return np.asarray(beta.ppf(1 - luck, 6 * quality, 6 * (1 - quality)))
    if shape == "rare failures":
        # Nearly always between 0.9 and 1, but a complete failure with the probability that makes the mean
        # right.
        right = quality / 0.95
        return np.where(luck < right, 1.0 - 0.1 * luck / right, 0.0)
    # Token F1: a share of partly right answers spread around a half, the others all right or all wrong.
    part = min(0.25, 1.2 * (1 - quality))
    ones = quality - part / 2
    # The quantiles of Beta(2, 2), whose distribution function 3x² - 2x³ can be inverted.
    inside = 0.5 + np.sin(np.arcsin(1 - 2 * np.clip((luck - ones) / part, 0, 1)) / 3)
    return np.where(luck < ones, 1.0, np.where(luck < ones + part, inside, 0.0))


def draw(
    rng: np.random.Generator, n: int, size: int, score: Score, qualities: Sequence[float], grouped: bool
) -> tuple[list[np.ndarray], list[str] | None]:
    """Scores of rungs, (n, size) each, in `size` experiments of n examples, and the groups these share.

    Half of a rung's luck is that of the example, which is hard or easy for all; with groups, a third is its group's.
    """
    shape = (len(qualities), n, size)
    if grouped:
        index = rng.integers(0, max(3, n // 4), n)
        common = rng.random((len(qualities), index.max() + 1, size))[:, index]
        luck = np.where(rng.random(shape) < 0.35, common, rng.random(shape))
        groups = [str(i) for i in index]
    else:
        luck = np.where(rng.random(shape) < 0.5, rng.random((n, size)), rng.random(shape))
        groups = None
    return [score(own, quality) for own, quality in zip(luck, qualities, strict=True)], groups


def cases() -> list[tuple[str, str, Score, bool, tuple[float, float]]]:
    """Name, kind, score, whether grouped, and the qualities of two rungs used for coverage."""
    found: list[tuple[str, str, Score, bool, tuple[float, float]]] = [
        ("binary", "binary", hit, False, (0.4, 0.6)),
        ("binary, rare", "binary", hit, False, (0.05, 0.15)),
        ("binary, groups", "binary", hit, True, (0.4, 0.6)),
        ("binary, rare, groups", "binary", hit, True, (0.1, 0.2)),
    ]
    for shape in SHAPES:
        pair = (0.8, 0.9) if shape in ("high f1", "rare failures") else (0.4, 0.6)
        for grouped in (False, True):
            name = f"{shape}, groups" if grouped else shape
            found.append((name, "continuous", partial(score_of, shape), grouped, pair))
    return found


def blocks(experiments: int) -> Iterator[tuple[int, int]]:
    """(number, size) of blocks that make up so many experiments."""
    for number, start in enumerate(range(0, experiments, BLOCK)):
        yield number, min(BLOCK, experiments - start)


def winners(differences: np.ndarray, groups: Sequence[str] | None, binary: bool, seed: int) -> np.ndarray:
    """Which experiments, of (n, claims, size) differences, call any claim better or worse; p by Holm over claims."""
    n, claims, size = differences.shape
    seen = paired(differences.reshape(n, claims * size), clusters_of(groups, n), binary, seed)
    p = np.stack([holm(column) for column in seen.p.reshape(claims, size).T], axis=1).ravel()
    outcomes = [
        judge(float(seen.effect[k]), seen.interval(k), seen.interval_90(k), float(p[k]), DELTA) for k in range(len(p))
    ]
    return np.asarray(np.isin(outcomes, ("better", "worse")).reshape(claims, size).any(axis=0))


def holds(interval: Interval, truth: float) -> bool:
    return interval.low - 1e-9 <= truth <= interval.high + 1e-9


def calibration(
    experiments: int, seed: int, n: int, score: Score, kind: str, grouped: bool, pair: tuple[float, float]
) -> tuple[float, float, float]:
    """How often A versus A has a winner, and how often one interval and the difference's hold the truth."""
    rng = np.random.default_rng([seed, n])
    false = one = two = 0
    for number, size in blocks(experiments):
        (a, b), groups = draw(rng, n, size, score, (pair[0], pair[0]), grouped)
        false += int(winners((b - a)[:, None], groups, kind == "binary", number).sum())
        (a, b), groups = draw(rng, n, size, score, pair, grouped)
        singles = intervals({str(k): b[:, k] for k in range(size)}, groups, kind, number)
        one += sum(holds(single, pair[1]) for single in singles.values())
        both = paired(b - a, clusters_of(groups, n), kind == "binary", number)
        two += sum(holds(both.interval(k), pair[1] - pair[0]) for k in range(size))
    return false / experiments, one / experiments, two / experiments


def family(experiments: int, seed: int, n: int, score: Score, kind: str, grouped: bool, rungs: int = 5) -> float:
    """Share of experiments with any winner at all among equal rungs (for five: ten pairs, Holm)."""
    rng, found = np.random.default_rng([seed, n, rungs]), 0
    for number, size in blocks(experiments):
        scores, groups = draw(rng, n, size, score, [0.5] * rungs, grouped)
        differences = np.stack([b - a for a, b in combinations(scores, 2)], axis=1)
        found += int(winners(differences, groups, kind == "binary", number).sum())
    return found / experiments


def quality(rung: Rung) -> float:
    """What a rung of the simulated experiments truly scores."""
    brought = [gain for switch, gain in BROUGHT.items() if getattr(rung, switch)]
    return 0.15 + sum(brought) + TOGETHER * len(list(combinations(brought, 2)))


def bought(
    experiments: int, seed: int, n: int, score: Score, grouped: bool, rungs: Sequence[Rung]
) -> tuple[float, float]:
    """Effects of switches: share of experiments with any false one among equal rungs, and the worst one's coverage."""
    asked, false = contrasts(rungs), 0
    held = np.zeros(len(asked))
    rng = np.random.default_rng([seed, n, len(rungs)])
    truth = {rung.name: np.array([quality(rung)]) for rung in rungs}
    for number, size in blocks(experiments):
        for same in (True, False):
            qualities = [0.5 if same else quality(rung) for rung in rungs]
            drawn, groups = draw(rng, n, size, score, qualities, grouped)
            scores = dict(zip([rung.name for rung in rungs], drawn, strict=True))
            columns = np.stack([contrast.of(scores) for contrast in asked], axis=1)
            if same:
                false += int(winners(columns, groups, False, number).sum())
                continue
            seen = paired(columns.reshape(n, -1), clusters_of(groups, n), False, number)
            for i, contrast in enumerate(asked):
                true = float(contrast.of(truth)[0])
                held[i] += sum(holds(seen.interval(i * size + k), true) for k in range(size))
    return false / experiments, float(held.min()) / experiments


def found_at_detectable(experiments: int, seed: int, n: int, kind: str) -> tuple[float, float]:
    """The detectable effect at n, and how often a true one of that size is shown; nan where there is none."""
    sd, discordance = 0.2, 0.3
    effect = detectable_effect(n, kind, sd=sd, discordance=discordance)
    if not math.isfinite(effect):
        return effect, math.nan
    rng, shown = np.random.default_rng([seed, n, 7]), 0
    for number, size in blocks(experiments):
        if kind == "binary":
            differing = max(discordance, effect)
            luck = rng.random((n, size))
            gain = luck < (differing + effect) / 2
            difference = gain * 1.0 - ((luck < differing) & ~gain)
        else:
            # A normal difference split over two scores: both stay within [0, 1] but for the far tails.
            d = rng.normal(effect, sd, (n, size))
            difference = np.clip(0.5 + d / 2, 0, 1) - np.clip(0.5 - d / 2, 0, 1)
        shown += int(winners(difference[:, None], None, kind == "binary", number).sum())
    return effect, shown / experiments


def table(title: str, names: Sequence[str], share: Callable[[str, int], float]) -> None:
    """Print shares by name and test size, a row at a time as they are found."""
    print(f"**{title}**\n\n| n = | {' | '.join(map(str, SIZES))} |\n|---|{'--:|' * len(SIZES)}")
    for name in names:
        print(f"| {name} | {' | '.join(f'{share(name, n):.1%}' for n in SIZES)} |", flush=True)
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    count, seed = options.experiments, options.seed
    print(f"{count} experiments per cell, seed {seed}\n")
    all_cases = {case[0]: case[1:] for case in cases()}

    @cache
    def calibrated(name: str, n: int) -> tuple[float, float, float]:
        kind, score, grouped, pair = all_cases[name]
        return calibration(count, seed, n, score, kind, grouped, pair)

    table("A vs A: a false winner", list(all_cases), lambda name, n: calibrated(name, n)[0])
    table("One rung: the 95% interval holds the truth", list(all_cases), lambda name, n: calibrated(name, n)[1])
    table("Difference of two: the 95% interval holds it", list(all_cases), lambda name, n: calibrated(name, n)[2])

    some = ["binary", "binary, groups", "f1", "f1, groups"]

    def any_winner(name: str, n: int) -> float:
        kind, score, grouped, _ = all_cases[name]
        return family(count, seed, n, score, kind, grouped)

    table("Five equal rungs, ten pairs: any false winner", some, any_winner)

    designs = {f"{design}, {name}": (rungs, name) for design, rungs in DESIGNS.items() for name in some}

    @cache
    def effects(design: str, n: int) -> tuple[float, float]:
        rungs, name = designs[design]
        _, score, grouped, _ = all_cases[name]
        return bought(count, seed, n, score, grouped, rungs)

    table("Switches that bring nothing: any is credited", list(designs), lambda name, n: effects(name, n)[0])
    table("What a switch brings: the worst covered effect", list(designs), lambda name, n: effects(name, n)[1])
    table(
        "A true difference of exactly the detectable effect: found, where 80% is stated",
        ["binary", "continuous"],
        lambda kind, n: found_at_detectable(count, seed, n, kind)[1],
    )


if __name__ == "__main__":
    main()
