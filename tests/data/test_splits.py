"""Splits: seeded, and no group ever on both sides."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.data.splits import hold_out
from tests.factories import example

groups = st.lists(st.integers(0, 12).map(str), min_size=1, max_size=60)
shares = st.sampled_from([0.1, 0.2, 0.5])


@given(groups, shares, st.integers(0, 1000))
def test_no_group_is_on_both_sides_and_no_example_is_lost(names: list[str], share: float, seed: int) -> None:
    kept, held = hold_out([example("q", "a", name) for name in names], share, seed)
    assert sorted(kept + held) == list(range(len(names)))
    assert not {names[i] for i in kept} & {names[i] for i in held}
    assert kept


@given(groups, shares, st.integers(0, 1000))
def test_the_same_seed_gives_the_same_split(names: list[str], share: float, seed: int) -> None:
    rows = [example("q", "a", name) for name in names]
    assert hold_out(rows, share, seed) == hold_out(rows, share, seed)


def test_another_seed_gives_another_split() -> None:
    rows = [example("q", "a", str(number)) for number in range(50)]
    assert len({tuple(hold_out(rows, 0.2, seed)[1]) for seed in range(5)}) == 5


@given(st.integers(5, 200), shares, st.integers(0, 100))
def test_the_share_is_met_when_every_example_is_its_own_group(count: int, share: float, seed: int) -> None:
    _, held = hold_out([example("q", "a", str(number)) for number in range(count)], share, seed)
    assert len(held) == round(share * count)


def test_order_of_the_file_does_not_decide_who_is_held_out() -> None:
    rows = [example("q", "a", str(number)) for number in range(40)]
    _, held = hold_out(rows, 0.2, 3)
    _, turned = hold_out(rows[::-1], 0.2, 3)
    assert {rows[i].group for i in held} == {rows[::-1][i].group for i in turned}
