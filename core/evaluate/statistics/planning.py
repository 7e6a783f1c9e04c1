"""How many examples: what a test set can show, and how many more would settle an open question."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

# Share of examples on which exactly one of two rungs is right, before anything is known: half of them would
# be two unrelated rungs at 50%; two variants of one model answer most examples alike.
DISCORDANCE = 0.3
# Standard deviation of the paired difference of a score in [0, 1], before anything is known: typical of
# token F1.
SPREAD = 0.35
# Likeness within a group, before anything is known: questions on one document are hard or easy together.
LIKENESS = 0.1
# The two imaginary examples that keep intervals of continuous differences honest cost the power of about
# two real ones.
IMAGINARY = 2
# More than this is not a plan: the honest answer is "more than".
MORE_CAP = 10_000


def power(
    effect: float,
    n: int,
    kind: str,
    *,
    discordance: float = DISCORDANCE,
    sd: float = SPREAD,
    design_effect: float = 1.0,
    comparisons: int = 1,
    alpha: float = 0.05,
) -> float:
    """Probability that n paired examples show a true difference of `effect` (0 to 1), two-sided at `alpha`.

    Binary: exact for the exact McNemar test, with `discordance` the share of examples on which exactly one
    rung is right (at least the effect itself). Continuous: the paired t test's with `sd` of the
    differences, at two examples fewer, which simulation shows our permutation test with interval to match.
    `comparisons` divides alpha, as Holm does at worst; `design_effect` divides n (Kish).
    """
    level = alpha / comparisons
    effective = int(n / design_effect)
    # Fewer signs than this cannot reach the level even if all agree.
    if effective < 1 or 2.0 ** (1 - effective) >= level:
        return 0.0
    if kind == "binary":
        return _mcnemar_power(effect, effective, max(discordance, effect), level)
    return _t_power(effect / sd, effective - IMAGINARY, level)


def _t_power(standardised: float, n: int, alpha: float) -> float:
    """Power of the paired t test, as statsmodels' `TTestPower` less the far tail, where that one is nan."""
    from scipy.stats import nct, t

    return float(nct.sf(t.isf(alpha / 2, n - 1), n - 1, standardised * n**0.5))


def _mcnemar_power(effect: float, n: int, discordance: float, alpha: float) -> float:
    from scipy.stats import binom

    differing = np.arange(n + 1)
    favourable = (discordance + effect) / (2 * discordance)
    # The most discordant pairs the weaker rung may win for two-sided p to stay below alpha; -1 when none may.
    most = np.asarray(binom.ppf(alpha / 2, differing, 0.5)).astype(int)
    most = np.where(2 * binom.cdf(most, differing, 0.5) < alpha, most, most - 1)
    shown = binom.cdf(most, differing, 1 - favourable) + binom.cdf(most, differing, favourable)
    return float(binom.pmf(differing, n, discordance) @ shown)


def detectable_effect(
    n: int,
    kind: str,
    *,
    discordance: float = DISCORDANCE,
    sd: float = SPREAD,
    design_effect: float = 1.0,
    comparisons: int = 1,
    power: float = 0.8,
    alpha: float = 0.05,
) -> float:
    """The smallest true difference (0 to 1) that n paired examples show with probability `power`.

    math.inf when they cannot show any, however large: fewer than six examples never can.
    """

    def chance(effect: float) -> float:
        return _power(effect, n, kind, discordance, sd, design_effect, comparisons, alpha)

    if chance(1.0) < power:
        return math.inf
    low, high = 0.0, 1.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if chance(middle) >= power else (middle, high)
    return high


def needed_examples(
    effect: float,
    kind: str,
    *,
    discordance: float = DISCORDANCE,
    sd: float = SPREAD,
    design_effect: float = 1.0,
    comparisons: int = 1,
    power: float = 0.8,
    alpha: float = 0.05,
) -> int:
    """How many paired examples show a true difference of `effect` with probability `power`.

    Raises:
        ValueError: the effect is not above 0 and at most 1.
    """
    if not 0 < effect <= 1:
        raise ValueError(f"An effect is above 0 and at most 1, not {effect}.")

    def enough(n: int) -> bool:
        return _power(effect, n, kind, discordance, sd, design_effect, comparisons, alpha) >= power

    high = 8
    while not enough(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _power(
    effect: float,
    n: int,
    kind: str,
    discordance: float,
    sd: float,
    design: float,
    comparisons: int,
    alpha: float,
) -> float:
    return power(
        effect,
        n,
        kind,
        discordance=discordance,
        sd=sd,
        design_effect=design,
        comparisons=comparisons,
        alpha=alpha,
    )


def design_effect(groups: Sequence[str], likeness: float = LIKENESS) -> float:
    """By how much repeated groups shrink a test set (Kish).

    1 + (size of the average example's group - 1) x likeness.
    """
    _, sizes = np.unique(np.asarray(groups), return_counts=True)
    return float(1 + ((sizes**2).sum() / sizes.sum() - 1) * likeness) if len(sizes) else 1.0


def examples_to_settle(
    effect: float,
    sd: float,
    n: int,
    delta: float,
    *,
    alpha: float = 0.05,
    clusters: int | None = None,
    chance: float = 0.8,
) -> int:
    """About how many examples beyond n would settle a difference now seen as `effect`, at 80% power.

    Settled means shown (two-sided at `alpha`), or shown to be smaller than `delta` (TOST at 5%), whichever
    takes fewer. `sd`: standard deviation one example contributes. Rounded up to two digits, at most
    MORE_CAP.
    """
    from scipy.stats import norm

    size, n_clusters = abs(effect), n if clusters is None else clusters
    reach = norm.ppf(chance)
    options = [math.inf]
    if size > 0:
        # Fewer clusters than this cannot reach alpha even if all agree; n / n_clusters examples make one.
        least = math.floor(1 - math.log2(alpha)) + 1
        shown = ((norm.isf(alpha / 2) + reach) * sd / size) ** 2
        options.append(max(shown, least * max(n, 1) / max(n_clusters, 1)))
    if size < delta:
        # At no difference at all both one-sided tests must succeed, so each needs the higher power.
        each = norm.ppf((1 + chance) / 2) if size < delta / 10 else reach
        options.append(((norm.isf(0.05) + each) * sd / (delta - size)) ** 2)
    more = min(options) - n
    if more >= MORE_CAP:
        return MORE_CAP
    step = 10 ** max(0, math.floor(math.log10(max(more, 1))) - 1)
    return max(1, int(math.ceil(more / step) * step))
