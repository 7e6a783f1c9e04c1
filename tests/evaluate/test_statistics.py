"""Intervals, paired comparisons and planning: textbook values, honest edges, promises simulated."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.evaluate.statistics import (
    MORE_CAP,
    Interval,
    compare,
    compare_all,
    design_effect,
    detectable_effect,
    examples_to_settle,
    interval,
    intervals,
    judge,
    needed_examples,
    power,
)

# Differences in height of Darwin's 15 pairs of maize plants, eighths of an inch (Fisher 1935, section 21).
DARWIN = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48])
WINNER = ("better", "worse")


def share(right: int, of: int) -> np.ndarray:
    return np.array([1.0] * right + [0.0] * (of - right))


def paired(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    a = [1] * both + [1] * only_a + [0] * only_b + [0] * neither
    b = [1] * both + [0] * only_a + [1] * only_b + [0] * neither
    return np.array(a, float), np.array(b, float)


# One rung


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_newcombes_published_intervals(right: int, of: int, low: float, high: float) -> None:
    found = interval(share(right, of), kind="binary")
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_groups_that_never_repeat_change_nothing() -> None:
    scores = np.random.default_rng(0).random(40)
    names = [f"g{i}" for i in range(40)]
    assert interval(scores, names) == interval(scores)
    assert interval(share(9, 40), names, "binary") == interval(share(9, 40), None, "binary")


def test_dense_scores_below_20_get_student_t() -> None:
    scores = 0.5 + DARWIN / 400
    found = interval(scores)
    mean, reach = scores.mean(), 2.1448 * scores.std(ddof=1) / math.sqrt(15)
    assert found.low <= mean - reach + 1e-5
    assert found.high >= mean + reach - 1e-5
    assert found.high - found.low < 2.1 * reach


def test_bootstrap_is_scipys_bca_at_the_raised_level() -> None:
    from scipy.stats import bootstrap, norm, t

    from core.evaluate.statistics.clusters import estimate
    from core.evaluate.statistics.intervals import resampled

    scores = np.random.default_rng(5).beta(5, 1, 60)
    sums, sizes = scores[:, None], np.ones(60)
    ((low, high),) = resampled(sums, sizes, estimate(sums, sizes), 0, (0.95,))
    raised = 1 - 2 * norm.sf(math.sqrt(60 / 59) * t.ppf(0.975, 59))
    theirs = bootstrap((scores,), np.mean, n_resamples=20000, confidence_level=raised, rng=1).confidence_interval
    width = theirs.high - theirs.low
    assert low[0] == pytest.approx(theirs.low, abs=0.05 * width)
    assert high[0] == pytest.approx(theirs.high, abs=0.05 * width)


def test_groups_that_repeat_widen_the_interval() -> None:
    """Forty examples that are ten questions asked four times carry the information of ten."""
    ten = np.array([1, 0, 1, 1, 0, 1, 0, 1, 1, 1], float)
    forty, groups = np.repeat(ten, 4), [str(i // 4) for i in range(40)]
    naive, honest = interval(forty, None, "binary"), interval(forty, groups, "binary")
    small = interval(ten, None, "binary")
    assert honest.high - honest.low > 1.7 * (naive.high - naive.low)
    assert honest.high - honest.low >= 0.95 * (small.high - small.low)


@pytest.mark.parametrize("kind", ["binary", "continuous"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_scores_that_all_agree_are_not_certainty(kind: str, value: float) -> None:
    widths = []
    for n in (1, 2, 10, 60, 500):
        found = interval(np.full(n, value), kind=kind)
        assert found.low <= value <= found.high
        widths.append(found.high - found.low)
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 0.7
    # The rule of three: up to three in sixty could still be otherwise.
    assert widths[3] > 3 / 60


def test_same_middling_score_everywhere_still_has_a_width() -> None:
    found = interval(np.full(30, 0.3))
    assert 0.1 < found.low < 0.3 < found.high < 0.6


@pytest.mark.parametrize("kind", ["binary", "continuous"])
def test_nothing_or_one_group_says_nothing(kind: str) -> None:
    assert interval(np.array([]), kind=kind) == Interval(0.0, 1.0)
    assert interval(np.array([1.0, 0.0, 1.0]), ["same"] * 3, kind) == Interval(0.0, 1.0)
    found = compare(np.zeros(3), np.ones(3), ["same"] * 3, kind)
    assert (found.interval, found.outcome) == (Interval(-1.0, 1.0), "cannot tell yet")
    empty = compare(np.array([]), np.array([]), None, kind)
    assert (empty.effect, empty.p, empty.outcome) == (0.0, 1.0, "cannot tell yet")


def test_unknown_kind_and_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="binary"):
        interval(np.ones(3), kind="ordinal")
    with pytest.raises(ValueError, match="groups"):
        interval(np.ones(3), ["a"])
    with pytest.raises(ValueError, match="same examples"):
        compare(np.ones(3), np.ones(4))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(1, 6), st.sampled_from([0.8, 0.9, 0.95]))
def test_intervals_hold_the_mean_and_stay_in_range(values: list[float], size: int, level: float) -> None:
    scores, groups = np.array(values), [str(i // size) for i in range(len(values))]
    found = interval(scores, groups, level=level)
    assert 0 <= found.low <= scores.mean() + 1e-9
    assert scores.mean() - 1e-9 <= found.high <= 1
    assert found.level == level


def test_intervals_for_all_rungs_are_those_of_each() -> None:
    rng = np.random.default_rng(2)
    scores = {"base": rng.random(50), "rag": rng.beta(4, 1, 50)}
    together = intervals(scores, seed=3)
    for rung, column in scores.items():
        alone = interval(column, seed=3)
        assert together[rung].low == pytest.approx(alone.low)
        assert together[rung].high == pytest.approx(alone.high)


# Two rungs


def test_mcnemar_gives_the_published_exact_and_mid_p() -> None:
    """Airway responsiveness before and after transplantation, from Fagerland et al. 2013: 1 and 7 of 21."""
    a, b = paired(both=1, only_a=1, only_b=7, neither=12)
    found = compare(a, b, kind="binary")
    assert found.p == pytest.approx(0.0703, abs=5e-5)
    assert found.p_mid == pytest.approx(0.0391, abs=5e-5)
    assert found.effect == pytest.approx(6 / 21)
    # Bonett and Price by hand: (8 - 2) / 23 and its standard error.
    middle, reach = 6 / 23, 1.96 * math.sqrt((10 / 23 - (6 / 23) ** 2) / 23)
    assert found.interval.low == pytest.approx(middle - reach, abs=1e-4)
    assert found.interval.high == pytest.approx(middle + reach, abs=1e-4)


def test_permutation_gives_fishers_exact_p_for_darwins_maize() -> None:
    """Fisher counted 863 of 2^15 sign patterns with a sum as large: two-sided 0.0527."""
    found = compare(0.5 - DARWIN / 200, 0.5 + DARWIN / 200)
    assert found.p == pytest.approx(2 * 863 / 2**15, abs=0.01)


def test_all_sign_patterns_are_tried_when_there_are_few() -> None:
    from scipy.stats import permutation_test

    d = np.array([0.3, -0.1, 0.2, 0.25, 0.05, 0.4, -0.02, 0.1])
    theirs = permutation_test((d,), np.mean, permutation_type="samples", n_resamples=10_000).pvalue
    assert compare(0.5 - d / 2, 0.5 + d / 2).p == pytest.approx(theirs)
    assert compare(np.zeros(6), np.ones(6)).p == 2 / 2**6


def test_sign_flips_by_group_count_each_group_once() -> None:
    """Thirty gains in five groups are five signs: no winner, whatever a test of thirty would say."""
    groups = [str(i // 6) for i in range(30)]
    a, b = np.zeros(30), np.ones(30)
    assert compare(a, b, None, "binary").outcome == "better"
    grouped = compare(a, b, groups, "binary")
    assert grouped.p == 2 / 2**5
    assert grouped.outcome == "cannot tell yet"
    assert grouped.p_mid is None


def test_holm_gives_the_textbook_adjustment() -> None:
    from statsmodels.stats.multitest import multipletests

    from core.evaluate.statistics.paired import holm

    p = np.array([0.01, 0.04, 0.03, 0.005])
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    many = np.random.default_rng(0).random(45) ** 3
    assert holm(many) == pytest.approx(multipletests(many, method="holm")[1])


def test_outcomes_use_the_adjusted_p() -> None:
    """Seven gains to none is a find for two rungs (p = 0.016), and none among the pairs of five."""
    a, b = paired(both=20, only_a=0, only_b=7, neither=33)
    assert compare(a, b, kind="binary").outcome == "better"
    family = compare_all({"base": a, "prompt": a, "rag": a, "lora": a, "rag+lora": b}, kind="binary")
    assert [(c.a, c.b) for c in family][:4] == [
        ("base", "prompt"),
        ("base", "rag"),
        ("base", "lora"),
        ("base", "rag+lora"),
    ]
    assert len(family) == 10
    assert family[3].p == pytest.approx(0.015625)
    assert family[3].p_adjusted == pytest.approx(0.15625)
    assert family[3].outcome == "cannot tell yet"


def test_judge_follows_its_rule() -> None:
    wide, narrow = Interval(-0.1, 0.2), Interval(-0.03, 0.04, 0.9)
    assert judge(0.1, Interval(0.02, 0.18), Interval(0.03, 0.17, 0.9), 0.01, 0.05) == "better"
    assert judge(-0.1, Interval(-0.18, -0.02), Interval(-0.17, -0.03, 0.9), 0.01, 0.05) == "worse"
    assert judge(0.1, wide, Interval(-0.05, 0.15, 0.9), 0.01, 0.05) == "cannot tell yet"
    assert judge(0.0, wide, narrow, 0.9, 0.05) == "equivalent"
    assert judge(0.0, wide, narrow, 0.9, 0.04) == "cannot tell yet"


@pytest.mark.parametrize("kind", ["binary", "continuous"])
def test_equal_answers_are_equivalent_only_with_enough_examples(kind: str) -> None:
    few, many = np.ones(20), np.ones(100)
    unsure = compare(few, few, kind=kind)
    assert unsure.outcome == "cannot tell yet"
    assert unsure.interval.low < -0.05 < 0.05 < unsure.interval.high
    assert unsure.more is not None and unsure.more > 0
    found = compare(many, many, kind=kind)
    assert (found.outcome, found.more, found.p) == ("equivalent", None, 1.0)


@settings(deadline=None, max_examples=60)
@given(st.data(), st.sampled_from(["binary", "continuous"]), st.booleans())
def test_comparing_the_other_way_round_mirrors_everything(data: st.DataObject, kind: str, grouped: bool) -> None:
    n = data.draw(st.integers(1, 40))
    score = st.sampled_from([0.0, 1.0]) if kind == "binary" else st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0])
    a, b = (np.array(data.draw(st.lists(score, min_size=n, max_size=n))) for _ in range(2))
    groups = [str(i // 3) for i in range(n)] if grouped else None
    there, back = compare(a, b, groups, kind, seed=1), compare(b, a, groups, kind, seed=1, names=("b", "a"))
    assert back.p == there.p
    assert (back.outcome, back.more) == (there.flipped().outcome, there.more)
    assert back.effect == pytest.approx(-there.effect)
    for mine, theirs in ((back.interval, there.interval), (back.interval_90, there.interval_90)):
        assert mine.low == pytest.approx(-theirs.high, abs=1e-9)
        assert mine.high == pytest.approx(-theirs.low, abs=1e-9)
    assert there.interval.low - 1e-9 <= there.interval_90.low <= there.interval_90.high <= there.interval.high + 1e-9


def test_same_scores_and_seed_give_the_same_answer() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 50))
    assert compare(a, b, seed=4) == compare(a, b, seed=4)
    assert interval(a, seed=4) == interval(a, seed=4)


def test_five_rungs_of_5000_examples_take_under_two_seconds() -> None:
    rng = np.random.default_rng(0)
    scores = {str(k): rng.random(5000) for k in range(5)}
    compare_all({k: v[:50] for k, v in scores.items()})
    start = time.process_time()
    assert len(compare_all(scores)) == 10
    intervals(scores)
    assert time.process_time() - start < 2


# How many examples


def test_few_examples_can_show_nothing() -> None:
    for kind in ("binary", "continuous"):
        assert detectable_effect(5, kind) == math.inf
        assert detectable_effect(0, kind) == math.inf
        assert detectable_effect(10, kind, comparisons=100) == math.inf


@pytest.mark.parametrize("kind", ["binary", "continuous"])
def test_more_examples_show_less(kind: str) -> None:
    effects = [detectable_effect(n, kind) for n in (10, 20, 60, 200, 500, 5000, 20000)]
    assert effects == sorted(effects, reverse=True)
    assert effects[2] < 0.25
    assert detectable_effect(200, kind, comparisons=10) > effects[3]
    assert detectable_effect(200, kind, design_effect=2) == pytest.approx(detectable_effect(100, kind))


def test_planning_agrees_with_the_textbook_formulas() -> None:
    """Paired t: n = ((1.96 + 0.84) sd / d)^2; McNemar: Connor 1987. Both are a little larger when exact."""
    normal = ((1.95996 + 0.84162) * 0.35 / 0.1) ** 2
    assert normal <= needed_examples(0.1, "continuous", sd=0.35) <= normal + 6
    d, psi = 0.15, 0.3
    connor = ((1.95996 * math.sqrt(psi) + 0.84162 * math.sqrt(psi - d**2)) / d) ** 2
    assert connor - 3 <= needed_examples(d, "binary", discordance=psi) <= 1.15 * connor


@pytest.mark.parametrize("kind", ["binary", "continuous"])
@pytest.mark.parametrize("effect", [0.05, 0.2, 0.5])
def test_needed_examples_are_just_enough(kind: str, effect: float) -> None:
    n = needed_examples(effect, kind)
    assert power(effect, n, kind) >= 0.8 > power(effect, n - 1, kind)
    assert detectable_effect(n, kind) <= effect + 1e-3


def test_impossible_effects_are_refused() -> None:
    for effect in (0.0, -0.1, 1.5):
        with pytest.raises(ValueError, match="effect"):
            needed_examples(effect, "binary")


def test_design_effect_is_kishs() -> None:
    assert design_effect([str(i) for i in range(10)]) == 1
    assert design_effect([str(i // 5) for i in range(20)], likeness=0.1) == pytest.approx(1.4)
    assert design_effect([]) == 1


def test_more_examples_are_told_sensibly() -> None:
    # A visible gain not yet shown: n = ((1.96 + 0.84) 0.5 / 0.15)^2 = 87, of which 50 are there.
    assert examples_to_settle(0.15, 0.5, 50, 0.05) == 38
    # A small difference: to show it is below 5 points, ((1.645 + 0.84) 0.3 / (0.05 - 0.01))^2 = 348.
    assert examples_to_settle(0.01, 0.3, 100, 0.05) == 250
    # Between the two the cheaper way counts: no equivalence of 4.9 points, but a gain that 1,300 would show.
    assert examples_to_settle(0.049, 0.6, 100, 0.05) < 1200
    assert examples_to_settle(0.0001, 0.5, 100, 0.0) == MORE_CAP
    # Four groups cannot show anything by signs; six can.
    assert examples_to_settle(0.9, 0.3, 40, 0.05, clusters=4) == 20


def test_promised_number_of_examples_does_settle_it() -> None:
    rng = np.random.default_rng(8)
    a, b = (rng.random((2, 60)) < [[0.5], [0.62]]).astype(float)
    first = compare(a, b, kind="binary")
    assert first.outcome == "cannot tell yet" and first.more is not None
    effect, settled = first.effect, 0
    discordant = float((a != b).mean())
    for run in range(100):
        luck = np.random.default_rng(run).random(60 + first.more)
        gained, lost = luck < (discordant + effect) / 2, luck > 1 - (discordant - effect) / 2
        settled += compare(lost * 1.0, gained * 1.0, kind="binary").outcome != "cannot tell yet"
    assert 70 <= settled <= 97
