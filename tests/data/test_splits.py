"""Splits: seeded, alike in their labels, and no group or near-duplicate cluster ever on two sides."""

from __future__ import annotations

import time
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.splits import MIN_TO_VALIDATE, SplitPlan, assign
from core.errors import UserError

names = st.integers(0, 12).map(str)
rows = st.lists(st.tuples(names, st.sampled_from(["a", "b", None]), st.integers(0, 9)), min_size=1, max_size=80)
plans = st.builds(
    SplitPlan,
    test_share=st.sampled_from([0.0, 0.1, 0.2, 0.5]),
    validation_share=st.sampled_from([0.0, 0.1, 0.3]),
    stratify=st.booleans(),
)
seeds = st.integers(0, 1000)


@settings(deadline=None)
@given(rows, plans, seeds)
def test_no_group_or_cluster_is_on_two_sides_and_training_keeps_one(
    given_rows: list[tuple[str, str | None, int]], plan: SplitPlan, seed: int
) -> None:
    groups, labels, clusters = (list(column) for column in zip(*given_rows, strict=True))
    splits = assign(groups, labels, plan, seed, clusters)
    assert len(splits) == len(given_rows)
    sides: dict[object, set[str]] = defaultdict(set)
    for group, cluster, split in zip(groups, clusters, splits, strict=True):
        sides[group].add(split)
        sides[cluster].add(split)
    assert all(len(split) == 1 for split in sides.values())
    assert "train" in splits
    assert splits == assign(groups, labels, plan, seed, clusters)


@settings(deadline=None)
@given(rows, plans, seeds)
def test_the_test_side_given_is_kept_and_never_joined(
    given_rows: list[tuple[str, str | None, int]], plan: SplitPlan, seed: int
) -> None:
    groups, labels, marks = zip(*given_rows, strict=True)
    given_test = [mark > 6 for mark in marks]
    splits = assign(groups, labels, plan, seed, None, given_test)
    assert [split == "test" for split in splits] == given_test


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=30), st.sampled_from([0.1, 0.2, 0.5]), seeds)
def test_the_share_is_met_as_nearly_as_the_groups_allow(sizes: list[int], share: float, seed: int) -> None:
    groups = [str(number) for number, size in enumerate(sizes) for _ in range(size)]
    splits = assign(groups, [None] * len(groups), SplitPlan(share, 0), seed)
    wanted, held = max(1, round(share * len(groups))), splits.count("test")
    stayed = Counter(group for group, split in zip(groups, splits, strict=True) if split == "train")
    only_one_left = len(stayed) == 1
    one_taken = held == min(Counter(groups).values())
    assert held
    assert only_one_left or one_taken or abs(held - wanted) <= min(stayed.values()) / 2


@settings(deadline=None)
@given(st.integers(2, 200), st.sampled_from([0.1, 0.2, 0.5]), seeds)
def test_the_share_is_met_when_every_example_is_its_own_group(count: int, share: float, seed: int) -> None:
    splits = assign([str(number) for number in range(count)], [None] * count, SplitPlan(share, 0), seed)
    assert splits.count("test") == max(1, round(share * count))


@settings(deadline=None)
@given(st.lists(st.sampled_from("aabbbbcdddddddd"), min_size=40, max_size=300), seeds)
def test_every_label_gets_its_share_where_groups_are_single(labels: list[str], seed: int) -> None:
    splits = assign([str(number) for number in range(len(labels))], labels, SplitPlan(0.2, 0), seed)
    tested = Counter(label for label, split in zip(labels, splits, strict=True) if split == "test")
    for label, count in Counter(labels).items():
        assert abs(tested[label] - 0.2 * count) <= 2


def test_stratifying_is_what_shares_out_rare_labels() -> None:
    labels = ["rare" if number < 25 else "common" for number in range(500)]
    groups = [str(number) for number in range(500)]
    tested = {
        stratify: {assign(groups, labels, SplitPlan(stratify=stratify), seed)[:25].count("test") for seed in range(20)}
        for stratify in (True, False)
    }
    assert tested[True] == {5}
    assert len(tested[False]) > 3


def test_clusters_chain_groups_together_unless_the_plan_says_otherwise() -> None:
    groups = [str(number) for number in range(100)]
    chained = [number // 2 for number in range(100)]
    kept = assign(groups, [None] * 100, SplitPlan(), 1, chained)
    assert kept[::2] == kept[1::2]
    parted = assign(groups, [None] * 100, SplitPlan(keep_near_duplicates_together=False), 1, chained)
    assert parted[::2] != parted[1::2]


def test_another_seed_gives_another_split() -> None:
    groups = [str(number) for number in range(50)]
    assert len({tuple(assign(groups, [None] * 50, SplitPlan(), seed)) for seed in range(5)}) == 5


def test_order_of_the_file_does_not_decide_who_is_held_out() -> None:
    groups = [str(number) for number in range(40)]
    ahead = dict(zip(groups, assign(groups, [None] * 40, SplitPlan(), 3), strict=True))
    back = dict(zip(groups[::-1], assign(groups[::-1], [None] * 40, SplitPlan(), 3), strict=True))
    assert ahead == back


@pytest.mark.parametrize(("given_count", "validation"), [(10, 0), (MIN_TO_VALIDATE, 1), (40, 4)])
def test_validation_never_takes_what_training_needs_at_least(given_count: int, validation: int) -> None:
    groups = [str(number) for number in range(given_count)]
    splits = assign(groups, [None] * given_count, SplitPlan(), 0, None, [False] * given_count)
    assert splits.count("validation") == validation


def test_one_group_stays_in_training_and_no_example_is_no_error() -> None:
    assert assign(["same"] * 9, [None] * 9, SplitPlan(), 0) == ["train"] * 9
    assert assign([], [], SplitPlan(), 0) == []


def test_a_share_that_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match=r"validation is 1\.5"):
        SplitPlan(validation_share=1.5)


def test_two_hundred_thousand_examples_take_seconds() -> None:
    count = 200_000
    started = time.process_time()
    splits = assign(
        [str(n) for n in range(count)], [str(n % 77) for n in range(count)], SplitPlan(), 0, list(range(count))
    )
    assert splits.count("test") == count / 5
    assert time.process_time() - started < 6
