"""The tree of what prompts share: every prompt hangs on it once, behind tokens that are its own."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator

import pytest

from core.models.prefixes import Prefix, shared_prefixes


def prompts(*texts: str) -> list[array[int]]:
    """A token for each letter."""
    return [array("i", map(ord, text)) for text in texts]


def walk(prefix: Prefix) -> Iterator[Prefix]:
    above = [prefix]
    while above:
        yield above[-1]
        above += above.pop().branches


def read(given: list[array[int]], root: Prefix) -> int:
    """Tokens to read when every prefix is read once."""
    prefixes = list(walk(root))
    own = sum(len(given[i]) - prefix.end for prefix in prefixes for i in prefix.prompts)
    return own + sum(prefix.end - prefix.start for prefix in prefixes)


def test_prefixes_stand_within_prefixes() -> None:
    given = prompts("system shots one", "system shots two", "system passage x", "system passage y", "system z")
    root = shared_prefixes(given, worth=1)
    (system,) = root.branches
    assert (system.start, system.end, system.count, system.prompts) == (0, 7, 5, [4])
    assert [(b.start, b.end, sorted(b.prompts)) for b in sorted(system.branches, key=lambda b: b.end)] == [
        (7, 13, [0, 1]),
        (7, 15, [2, 3]),
    ]
    assert read(given, root) == len("system " + "shots " + "one" + "two" + "passage " + "x" + "y" + "z")


def test_a_prefix_that_does_not_pay_is_left_to_its_prompts() -> None:
    given = prompts("What is a?", "What is b?", "Where?", "Whose instructions are long and the same, c", "Whose "
                    "instructions are long and the same, d")  # fmt: skip
    root = shared_prefixes(given, worth=20)
    (long,) = root.branches
    assert (long.start, long.example in long.prompts, sorted(long.prompts)) == (0, True, [3, 4])
    assert sorted(root.prompts) == [0, 1, 2]


def test_equal_prompts_and_those_that_go_on_where_another_ends() -> None:
    given = prompts("again and again", "again and again", "again and again", "again", "")
    root = shared_prefixes(given, worth=1)
    assert root.prompts == [4]
    (short,) = root.branches
    assert (short.end, short.prompts, short.longest) == (5, [3], 15)
    (whole,) = short.branches
    assert (whole.start, whole.end, sorted(whole.prompts), whole.branches) == (5, 15, [0, 1, 2], [])
    assert read(given, root) == 15


def test_each_grows_out_of_the_one_before() -> None:
    given = prompts(*("a" * n for n in range(1, 1500)))
    root = shared_prefixes(given, worth=1)
    assert read(given, root) == 1499


@pytest.mark.parametrize("worth", [1, 8, 1000])
def test_every_prompt_hangs_on_the_tree_once_behind_its_own_tokens(worth: int) -> None:
    rng = random.Random(5)
    given = [array("i", (rng.randrange(2) for _ in range(rng.randrange(12)))) for _ in range(300)]
    root = shared_prefixes(given, worth)
    found: list[int] = []
    for prefix in walk(root):
        below = [i for each in walk(prefix) for i in each.prompts]
        assert len(below) == prefix.count
        assert max(len(given[i]) for i in below) == prefix.longest
        assert all(given[i][: prefix.end] == given[prefix.example][: prefix.end] for i in below)
        found += prefix.prompts
    assert sorted(found) == list(range(300))
    if worth == 1000:
        assert root.branches == []
    if worth == 1:
        distinct = {tuple(each[: n + 1]) for each in given for n in range(len(each))}
        assert read(given, root) == len(distinct)
