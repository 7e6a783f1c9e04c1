"""What each switch bought: the right rungs are matched, the arithmetic is right, and the words say it."""

from __future__ import annotations

import numpy as np
import pytest

from core.evaluate.effects import gaps, told
from core.evaluate.rungs import CUBE, LADDER, Rung, rungs_named
from core.evaluate.statistics import compare, contrasts, effects
from core.evaluate.words import figure


def scored(means: dict[str, float], n: int = 400) -> dict[str, np.ndarray]:
    """Right-or-wrong scores where a worse rung is right on a part of what a better one gets right."""
    luck = (np.arange(n) + 0.5) / n
    return {rung: (luck < mean) * 1.0 for rung, mean in means.items()}


def matched(rungs: list[Rung]) -> dict[str, set[tuple[str, ...]]]:
    return {contrast.name: set(contrast.matched) for contrast in contrasts(rungs)}


def test_the_ladder_tells_four_effects_from_the_pairs_that_differ_in_one_switch() -> None:
    assert matched(list(LADDER)) == {
        "shots": {("base", "prompt")},
        "retrieval": {("base", "rag"), ("lora", "rag+lora")},
        "adapter": {("base", "lora"), ("rag", "rag+lora")},
        "retrieval x adapter": {("base", "rag", "lora", "rag+lora")},
    }
    (sentence,) = gaps(LADDER)
    assert "whether worked examples and retrieval add up and whether worked examples and tuning add up" in sentence


def test_the_cube_tells_everything_from_all_eight() -> None:
    found = matched(list(CUBE))
    assert {name: len(pairs) for name, pairs in found.items()} == {
        "shots": 4,
        "retrieval": 4,
        "adapter": 4,
        "shots x retrieval": 2,
        "shots x adapter": 2,
        "retrieval x adapter": 2,
    }
    assert gaps(CUBE) == []


def test_only_rungs_of_one_model_and_one_adapter_are_matched() -> None:
    rungs = [
        Rung(),
        Rung(adapter=True, adapter_id=3),
        Rung(retrieval=True, adapter=True, adapter_id=4),
        Rung(retrieval=True, model="remote/big"),
        Rung(tuned=True, model="remote/big"),
    ]
    assert matched(rungs) == {"adapter": {("base", "lora#3")}}
    assert "What retrieval bought cannot be told" in gaps(rungs)[0]


def test_effects_are_means_over_matched_pairs() -> None:
    scores = scored({"base": 0.1, "prompt": 0.3, "rag": 0.35, "lora": 0.4, "rag+lora": 0.9})
    found = {effect.contrast.name: effect for effect in effects(scores, LADDER, kind="binary")}
    assert found["shots"].effect == pytest.approx(0.2)
    assert found["retrieval"].effect == pytest.approx((0.25 + 0.5) / 2)
    assert found["adapter"].effect == pytest.approx((0.3 + 0.55) / 2)
    assert found["retrieval x adapter"].effect == pytest.approx(0.9 - 0.35 - 0.4 + 0.1)
    for effect in found.values():
        assert effect.interval.low < effect.effect < effect.interval.high
        assert effect.p_adjusted >= effect.p


def test_one_pair_is_judged_as_in_the_table_of_pairs() -> None:
    scores = scored({"base": 0.1, "prompt": 0.16}, n=100)
    (effect,) = effects(scores, rungs_named(["base", "prompt"]), kind="binary")
    pair = compare(scores["base"], scores["prompt"], kind="binary")
    assert (effect.p, effect.interval, effect.outcome) == (pair.p, pair.interval, pair.outcome)


def test_an_interplay_of_two_whole_points_is_within_its_scale() -> None:
    """Only both together, and then always: 1 - 0 - 0 + 0; alone always, together never: 0 - 1 - 1 + 0 = -2."""
    names = ["base", "rag", "lora", "rag+lora"]
    for means, expected in (((0, 0, 0, 1), 1.0), ((0, 1, 1, 0), -2.0)):
        scores = {name: np.full(60, float(mean)) for name, mean in zip(names, means, strict=True)}
        found = {e.contrast.name: e for e in effects(scores, LADDER, kind="binary")}["retrieval x adapter"]
        assert found.effect == expected
        assert -2 <= found.interval.low <= expected <= found.interval.high <= 2
        assert found.outcome == ("better" if expected > 0 else "worse")


def test_no_rungs_and_one_rung_tell_nothing() -> None:
    assert effects({}, LADDER) == []
    assert effects({"base": np.ones(5)}, LADDER) == []
    assert gaps([Rung()]) == []


def test_effects_are_told_in_plain_words() -> None:
    scores = scored({"base": 0.1, "prompt": 0.3, "rag": 0.1, "lora": 0.6, "rag+lora": 0.6})
    said = {e.contrast.name: told(e, 0.05) for e in effects(scores, LADDER, kind="binary")}
    assert said["shots"].startswith("Worked examples bought 20 points (plausibly 1")
    assert said["shots"].endswith("Measured from base to prompt.")
    assert said["retrieval"].startswith("Retrieval changed the score by less than 5 points")
    assert "The mean of the steps from base to lora and from rag to rag+lora." in said["adapter"]
    assert said["retrieval x adapter"].startswith("Retrieval and tuning add up")
    few = effects(scored({"base": 0.4, "prompt": 0.5}, 10), rungs_named(["base", "prompt"]), kind="binary")
    assert "which may be chance" in told(few[0], 0.05)


@pytest.mark.parametrize(("share", "text"), [(0.125, "12.5"), (0.5, "50"), (-0.0001, "0"), (0.996, "99.6"), (1, "100")])
def test_figures_read_well(share: float, text: str) -> None:
    assert figure(share) == text
