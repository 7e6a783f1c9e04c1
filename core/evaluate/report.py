"""From stored scores to a verdict with its evidence: an experiment's report as plain data, which report.json holds.

Columns come from core.evaluate.reading; nothing here looks at answers, but for the classes of a labelling task.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from core.evaluate import slices, takeaway
from core.evaluate.doubts import unreadable_share, warnings
from core.evaluate.effects import gaps, told
from core.evaluate.judge.outcome import results as judge_results
from core.evaluate.labels import label_report
from core.evaluate.metrics import metric_named
from core.evaluate.plan import MetricChoice, Plan, metrics_of
from core.evaluate.reading import Scores, read_scores
from core.evaluate.rungs import Rung
from core.evaluate.setup import setup_seconds
from core.evaluate.statistics import (
    Comparison,
    Effect,
    Interval,
    compare_all,
    design_effect,
    detectable_effect,
    effects,
    intervals,
)
from core.evaluate.verdict import Verdict, decide
from core.models.open import is_remote
from core.store.database import session
from core.store.tables import Experiment

# A judge that cannot be read this often has no say: its zeros are about the judge, not about the answers.
MOST_UNREADABLE = 0.1


def build_report(experiment_id: int) -> dict[str, Any]:
    """Scores, comparisons, effects and verdict of an experiment."""
    with session(read_only=True) as db:
        experiment = db.get_one(Experiment, experiment_id)
    plan = Plan.model_validate(experiment.spec)
    seen = read_scores(experiment_id)
    choices = metrics_of(experiment)
    chosen = metric_named(choices[0].name)
    kind, phrase = kind_of(choices[0], plan), f"({chosen.phrase})"
    scores = deciding(seen, choices[0].identity)
    rungs = [rung for rung in plan.ladder if rung.name in scores]
    ranges = intervals(scores, seen.groups, kind, experiment.seed) if scores else {}
    compared = compare_all(scores, seen.groups, kind, experiment.seed, experiment.delta)
    bought = effects(scores, rungs, seen.groups, kind, experiment.seed, experiment.delta) if seen.n else []
    verdict = decide(
        list(scores), scores, compared, experiment.target, experiment.delta, intervals=ranges, metric=phrase
    )
    unreadable = unreadable_share(experiment_id, choices[0])
    if seen.n and not any((seen.answered[rung] & ~seen.failed[rung]).any() for rung in seen.rungs):
        verdict = _unanswered(verdict)
    elif unreadable > MOST_UNREADABLE:
        verdict = _unjudged(verdict, unreadable)
    pairs = max(1, math.comb(len(scores), 2))
    likeness = design_effect(seen.groups)
    classes = label_report(experiment_id, seen.rungs, seen.examples, experiment.seed)
    # A class that stands in the reference is the example's label, where it carries none.
    actual = classes.pop("actual") if classes else None
    return {
        "model": experiment.model,
        "metric": choices[0].identity,
        "metric_title": chosen.title,
        "kind": kind,
        "metrics": [
            {"identity": c.identity, "title": c.title, "kind": kind_of(c, plan), "deciding": c is choices[0]}
            for c in choices
        ],
        "n": seen.n,
        "groups": len(set(seen.groups)),
        "samples": plan.samples,
        "seed": experiment.seed,
        "target": experiment.target,
        "delta": experiment.delta,
        "detectable_effect": _finite(
            detectable_effect(seen.n, kind, design_effect=likeness, comparisons=pairs) if seen.n else math.inf
        ),
        "plan": plan.model_dump(mode="json"),
        "rungs": _rows(experiment, plan, seen, choices, scores, ranges),
        "comparisons": [_pair(comparison) for comparison in compared],
        "effects": [_effect(effect, experiment.delta) for effect in bought],
        "effects_missing": gaps(rungs),
        "slices": slices.all_of(seen, choices[0].identity, experiment.seed, actual),
        "labels": classes,
        "judge": judge_results(experiment_id),
        "minimums": minimums(plan, scores),
        "warnings": warnings(experiment, plan, seen, choices[0], scores, unreadable),
        "verdict": asdict(verdict),
    }


def kind_of(choice: MetricChoice, plan: Plan) -> str:
    """Which statistics apply: the mean of several samples is no longer right or wrong."""
    return metric_named(choice.name).kind if plan.samples == 1 else "continuous"


def deciding(seen: Scores, metric: str) -> dict[str, np.ndarray]:
    """By rung the scores that the verdict rests on, (n,), for the rungs to which the metric applies.

    Where it does not apply to one example, that example counts 0 and stays: what a rung is compared on is the same
    for all of them.
    """
    return {rung: np.nan_to_num(seen.values[metric][rung]) for rung in seen.rungs if applies(seen, metric, rung).any()}


def applies(seen: Scores, metric: str, rung: str) -> np.ndarray:
    """Which examples, (n,), a metric has a value for; all False where it has nothing to say of the rung."""
    known = ~np.isnan(seen.values[metric][rung])
    # A failed answer is 0 under any metric, which does not yet mean that the metric applies to the rung.
    judged = known & seen.answered[rung] & ~seen.failed[rung]
    refused = bool((~known).any()) and not judged.any()
    return np.zeros(seen.n, dtype=bool) if refused else known


def minimums(plan: Plan, scores: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """The scores that the plan asks of some rungs, and whether they were reached."""
    found = []
    for rung, asked in plan.minimums.items():
        score = float(scores[rung].mean()) if rung in scores and len(scores[rung]) else None
        # Rounding must not turn 0.85 of 20 examples into a miss.
        found.append(
            {"rung": rung, "asked": asked, "score": score, "reached": score is not None and score >= asked - 1e-9}
        )
    return found


def store_report(experiment_id: int, report: dict[str, Any]) -> None:
    """Keep the report with its experiment, for the pages."""
    with session() as db:
        db.get_one(Experiment, experiment_id).report = report


def write_report(experiment_id: int, folder: Path) -> tuple[Path, Path, Path]:
    """Write report.json, predictions.jsonl and report.html into `folder`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    with session(read_only=True) as db:
        report = db.get_one(Experiment, experiment_id).report
    first, second = folder / "report.json", folder / "predictions.jsonl"
    first.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    with second.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(takeaway.jsonl(experiment_id))
    third = folder / "report.html"
    third.write_text(takeaway.html(experiment_id), encoding="utf-8")
    return first, second, third


def _rows(
    experiment: Experiment,
    plan: Plan,
    seen: Scores,
    choices: Sequence[MetricChoice],
    scores: dict[str, np.ndarray],
    ranges: dict[str, Interval],
) -> list[dict[str, Any]]:
    others = {
        choice.identity: _other(seen, choice.identity, kind_of(choice, plan), experiment.seed) for choice in choices[1:]
    }
    setup = setup_seconds(experiment, plan)
    return [
        _row(experiment, plan, seen, rung)
        | {
            "score": float(scores[rung.name].mean()) if rung.name in scores and seen.n else None,
            "interval": _ends(ranges[rung.name]) if rung.name in ranges else None,
            "setup_s": setup[rung.name],
            "other_metrics": {identity: found[rung.name] for identity, found in others.items()},
        }
        for rung in plan.ladder
    ]


def _row(experiment: Experiment, plan: Plan, seen: Scores, rung: Rung) -> dict[str, Any]:
    """What answering took, and how much of it came to nothing."""
    name, model = rung.name, rung.model or experiment.model
    answered, failed = seen.answered[name], seen.failed[name]
    good = answered & ~failed
    seconds, paid = seen.latency_s[name][good], seen.cost_usd[name]
    return {
        "rung": name,
        "switches": rung.switches,
        "model": model,
        "remote": is_remote(model),
        "scored": int(good.sum()),
        "failed": int(failed.sum()),
        "missing": int((~answered).sum()),
        "cut": int(seen.cut[name].sum()),
        "empty": int((good & (seen.outputs[name] == 0)).sum()),
        "of": seen.n,
        "latency_p50_s": float(np.median(seconds)) if len(seconds) else None,
        "latency_p95_s": float(np.quantile(seconds, 0.95)) if len(seconds) else None,
        "seconds_per_answer": float(seconds.mean()) if len(seconds) else None,
        "input_tokens": round(plan.samples * float(seen.input_tokens[name].sum())),
        "output_tokens": round(plan.samples * float(seen.output_tokens[name].sum())),
        "cost_usd": plan.samples * float(paid.sum()),
        "usd_per_1000": 1000 * float(paid[answered].mean()) if answered.any() else None,
    }


def _other(seen: Scores, metric: str, kind: str, seed: int) -> dict[str, dict[str, Any] | None]:
    """By rung the score under a metric that does not decide, over the examples it applies to."""
    found: dict[str, dict[str, Any] | None] = {}
    groups = np.array(seen.groups)
    for rung in seen.rungs:
        known = applies(seen, metric, rung)
        values = seen.values[metric][rung][known]
        found[rung] = None
        if len(values):
            (span,) = intervals({rung: values}, list(groups[known]), kind, seed).values()
            found[rung] = {"score": float(values.mean()), "interval": _ends(span), "n": len(values)}
    return found


def _pair(c: Comparison) -> dict[str, Any]:
    return {
        "a": c.a,
        "b": c.b,
        "effect": c.effect,
        "interval": _ends(c.interval),
        "p": c.p,
        "p_mid": c.p_mid,
        "p_adjusted": c.p_adjusted,
        "outcome": c.outcome,
        "more": c.more,
    }


def _effect(effect: Effect, delta: float) -> dict[str, Any]:
    return {
        "factor": effect.contrast.name,
        "kind": "main" if len(effect.contrast.factors) == 1 else "interaction",
        "effect": effect.effect,
        "interval": _ends(effect.interval),
        "p": effect.p,
        "p_adjusted": effect.p_adjusted,
        "outcome": effect.outcome,
        "pairs": [list(names) for names in effect.contrast.matched],
        "text": told(effect, delta),
    }


def _unanswered(verdict: Verdict) -> Verdict:
    """The verdict when all answers failed: the zeros are about the models' whereabouts, not about the task."""
    reason = (
        "No rung gave a single answer: all failed or are missing, and count as 0. Put right what the warning names, "
        "then run the comparison again."
    )
    return replace(verdict, rung=None, outcome="cannot tell yet", reason=reason, more=None)


def _unjudged(verdict: Verdict, share: float) -> Verdict:
    """The verdict when too much of what the judge said could not be read."""
    reason = (
        f"The judge's answer could not be read for {share:.0%} of the answers, which count as 0, so the scores say as "
        "much about the judge as about the rungs. Choose another judge, or decide by another metric."
    )
    return replace(verdict, outcome="cannot tell yet", reason=reason, more=None)


def _ends(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


def _finite(value: float) -> float | None:
    """JSON has no infinity: None where no effect, however large, could be detected."""
    return float(value) if math.isfinite(value) else None
