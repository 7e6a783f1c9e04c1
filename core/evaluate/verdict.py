"""Which rung to use and how sure that is: the lowest one good enough, in words a product manager can act on.

The burden of proof is on the higher rung, because it costs more: without evidence that climbing gains more
than `delta`, stay. And the burden of proof is on us: "equivalent" is said only when a gain of `delta` or
more is ruled out, never because a test failed to find one. docs/method.md states the rule in full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.evaluate.statistics import DELTA, MORE_CAP, Comparison, Interval, examples_to_settle
from core.evaluate.statistics import intervals as intervals_of
from core.evaluate.words import percent, plausible, points, tests


@dataclass(frozen=True)
class Verdict:
    """`rung`: the one to use, or to use meanwhile when the outcome is "cannot tell yet"; None when none
    will do.

    `outcome`: "better", "equivalent", "cannot tell yet" or "below target". `reason`: one paragraph in plain
    words. `more`: about how many further examples would settle it, None when it is settled or more would
    not help.
    """

    rung: str | None
    outcome: str
    reason: str
    more: int | None = None


@dataclass(frozen=True)
class _Evidence:
    """What was measured. `pairs[low, high]` is rung `high` relative to rung `low`."""

    ladder: list[str]
    means: dict[str, float]
    n: int
    pairs: dict[tuple[str, str], Comparison]
    delta: float
    metric: str

    @property
    def top(self) -> str:
        """The highest score; the lowest rung that has it."""
        return max(self.ladder, key=lambda rung: (self.means[rung], -self.ladder.index(rung)))

    def below(self, rung: str) -> list[str]:
        return self.ladder[: self.ladder.index(rung)]

    def above(self, rung: str) -> list[str]:
        return self.ladder[self.ladder.index(rung) + 1 :]

    def worth_climbing(self, low: str, high: str) -> bool:
        """Shown better, and not shown to be better by less than matters."""
        pair = self.pairs[low, high]
        return pair.outcome == "better" and not pair.within(self.delta)

    def could_matter(self, low: str, high: str) -> bool:
        """A gain of delta or more from climbing is not ruled out (one-sided, at 5%)."""
        return self.pairs[low, high].interval_90.high >= self.delta


def decide(
    ladder: Sequence[str],
    scores: Mapping[str, np.ndarray],
    comparisons: Sequence[Comparison],
    target: float | None = None,
    delta: float = DELTA,
    *,
    intervals: Mapping[str, Interval] | None = None,
    metric: str = "score",
    groups: Sequence[str] | None = None,
    kind: str = "continuous",
    seed: int = 0,
) -> Verdict:
    """The verdict on the rungs of `ladder` (lowest first) that have scores.

    `comparisons`: from `compare_all` on the same scores, in any direction. `target`: the mean score asked
    for, 0 to 1. `intervals`: each rung's interval, used with a target; computed from `groups`, `kind` and
    `seed` when not given. `metric`: the metric's title, for the reason.

    Raises:
        KeyError: two rungs with scores have no comparison.
    """
    rungs = [rung for rung in ladder if rung in scores]
    n = len(scores[rungs[0]]) if rungs else 0
    if n == 0:
        return Verdict(None, "cannot tell yet", "Nothing was measured: there are no scored test examples.")
    pairs: dict[tuple[str, str], Comparison] = {}
    for found in comparisons:
        pairs[found.a, found.b] = found
        pairs[found.b, found.a] = found.flipped()
    means = {rung: float(np.mean(scores[rung])) for rung in rungs}
    evidence = _Evidence(rungs, means, n, pairs, delta, metric)
    if not any(means.values()):
        return Verdict(
            None,
            "cannot tell yet",
            f"No rung answers this task: every one scores 0% {metric} on {tests(n)}. Read some outputs and "
            "check that the metric fits the answers you expect; more examples will not change this.",
        )
    if target is not None:
        return _against(evidence, target, intervals or intervals_of(scores, groups, kind, seed))
    if len(rungs) == 1:
        return Verdict(
            rungs[0],
            "cannot tell yet",
            f"Only {rungs[0]} was measured: {percent(means[rungs[0]])} {metric} on {tests(n)}. There is nothing to "
            "compare it with: measure a second rung, or set a target.",
        )
    return _lowest_unbeaten(evidence)


def _lowest_unbeaten(seen: _Evidence) -> Verdict:
    """Without a target: the lowest rung that no higher one is shown to beat by more than may be nothing."""
    rung = next(low for low in seen.ladder if not any(seen.worth_climbing(low, high) for high in seen.above(low)))
    top, below, above = seen.top, seen.below(rung), seen.above(rung)
    unsure = [high for high in above if seen.could_matter(rung, high)]

    if rung == top and below:
        rival = max(below, key=lambda low: seen.means[low])
        if all(seen.pairs[low, rung].outcome == "better" for low in below):
            gain = f"That is {_gap(seen.pairs[rival, rung])}, the best rung below it."
        else:
            gain = "Each rung below it is shown to be worse than a rung above."
        return Verdict(rung, "better", _paragraph(_standing(seen, rung), gain, _climbing(seen, rung, unsure)))

    if rung == top and all(seen.pairs[high, rung].outcome == "better" for high in above):
        rival = max(above, key=lambda high: seen.means[high])
        gain = f"That is {_gap(seen.pairs[rival, rung])}, the best of the others."
        return Verdict(rung, "better", _paragraph(_standing(seen, rung), gain, "It is also the lowest rung measured."))

    lower = f"Each rung below {rung} is shown to be worse than a higher one." if below else ""
    if not unsure:
        return Verdict(
            rung,
            "equivalent",
            _paragraph(_standing(seen, rung), _versus_top(seen, rung), lower, _climbing(seen, rung, unsure)),
        )

    # What the top rung needs is settled first; without a better score above, every open question counts.
    questions = [top] if top in unsure else unsure
    known = [number for high in questions if (number := seen.pairs[rung, high].more) is not None]
    more = max(known, default=None)
    versus = _paragraph(_versus_top(seen, rung), "" if top in unsure else _climbing(seen, rung, unsure))
    meanwhile = f"Use {rung} meanwhile, the lowest rung not shown to be worse."
    use: str | None = rung
    if not seen.means[rung]:
        # Nobody should use what answered nothing right, even for a while.
        use = None
        meanwhile = f"No rung is to be used yet: {rung} answered nothing right, and none is shown to be better."
    settle = "" if more is None else f"{_examples(more)} would probably settle it."
    return Verdict(use, "cannot tell yet", _paragraph(_standing(seen, rung), versus, lower, meanwhile, settle), more)


def _against(seen: _Evidence, target: float, intervals: Mapping[str, Interval]) -> Verdict:
    """With a target: the lowest rung shown to reach it, else shown to be within delta of it."""
    asked = f"the target of {percent(target)} {seen.metric}"
    spans = {rung: _span(seen, rung, intervals[rung]) for rung in seen.ladder}
    unsure = [rung for rung in seen.ladder if intervals[rung].low < target <= intervals[rung].high]

    reached = [rung for rung in seen.ladder if intervals[rung].low >= target]
    if reached:
        rung = reached[0]
        lower = "Every rung below it is shown to miss it." if seen.below(rung) else ""
        undecided = [low for low in seen.below(rung) if low in unsure]
        if undecided:
            few = undecided[0]
            tell = _examples(_to_target(seen, target, few, intervals[few]))
            lower = f"{few}, a lower rung, may reach it too ({spans[few]}). {tell} would probably tell."
        reason = f"{rung} is the lowest rung shown to reach {asked}: {spans[rung]}."
        return Verdict(rung, "better", _paragraph(reason, lower))

    margin = seen.delta
    near = [r for r in seen.ladder if target - margin < intervals[r].low and intervals[r].high < target + margin]
    if near:
        rung = near[0]
        reason = f"{rung} is the lowest rung shown to be within {points(margin)} of {asked}: {spans[rung]}."
        return Verdict(rung, "equivalent", f"{reason} No rung is shown to exceed the target.")

    if unsure:
        promising = [rung for rung in unsure if seen.means[rung] >= target]
        rung = promising[0] if promising else max(unsure, key=lambda r: seen.means[r])
        more = _to_target(seen, target, rung, intervals[rung])
        reason = f"No rung is shown to reach {asked} yet, but {rung} may: {spans[rung]}."
        settle = f"{_examples(more)} would probably settle it."
        return Verdict(rung, "cannot tell yet", f"{reason} Use {rung} meanwhile. {settle}", more)

    reason = f"No rung reaches {asked}. The best, {seen.top}, gets {spans[seen.top]}."
    remedy = "improve the training data, the documents or the model, or lower the target"
    return Verdict(None, "below target", f"{reason} More test examples will not change this: {remedy}.")


def _to_target(seen: _Evidence, target: float, rung: str, interval: Interval) -> int:
    # The interval's own width tells how much one example contributes, groups included.
    spread = (interval.high - interval.low) / (2 * 1.96) * seen.n**0.5
    return examples_to_settle(seen.means[rung] - target, spread, seen.n, seen.delta)


# The sentences. Shares and differences are told in percent and points: the words of the people who decide.


def _standing(seen: _Evidence, rung: str) -> str:
    return f"On {tests(seen.n)}, {rung} scores {percent(seen.means[rung])} {seen.metric}."


def _versus_top(seen: _Evidence, rung: str) -> str:
    if rung == seen.top:
        return ""
    pair = seen.pairs[rung, seen.top]
    told = f"The highest score is {seen.top}'s: {_gap(pair)}."
    if pair.outcome != "cannot tell yet" or not seen.could_matter(rung, seen.top):
        return told
    pairs = len(seen.ladder) * (len(seen.ladder) - 1) // 2
    among = f"Among {pairs} comparisons that" if pair.interval.low > 0 and pairs > 1 else "That"
    return f"{told} {among} could be chance, or a gain that matters."


def _climbing(seen: _Evidence, rung: str, unsure: list[str]) -> str:
    """What is known about the rungs above."""
    if not seen.above(rung):
        return "No higher rung was measured."
    if not unsure:
        return f"Climbing higher is shown to gain less than {points(seen.delta)}, the difference that matters."
    most = max(unsure, key=lambda high: seen.pairs[rung, high].interval.high)
    gain = f"{most} could still prove up to {points(seen.pairs[rung, most].interval.high)} better"
    return f"No higher rung scores better here, but {gain}." if rung == seen.top else f"What is open: {gain}."


def _gap(pair: Comparison) -> str:
    """Rung b against rung a: "12 points more than prompt (plausibly 3 to 21 points more)"."""
    direction = "more" if pair.effect > 0 else "less"
    size = f"{points(abs(pair.effect))} {direction} than" if pair.effect else "the same as"
    return f"{size} {pair.a} (plausibly {plausible(pair.interval)})"


def _span(seen: _Evidence, rung: str, interval: Interval) -> str:
    return (
        f"{percent(seen.means[rung])} on {tests(seen.n)}, plausibly {percent(interval.low)} to "
        f"{percent(interval.high)} on others like them"
    )


def _examples(more: int) -> str:
    return (
        f"More than {MORE_CAP:,} further examples"
        if more >= MORE_CAP
        else f"About {more:,} more example{'' if more == 1 else 's'}"
    )


def _paragraph(*parts: str) -> str:
    return " ".join(part for part in parts if part)
