"""What prompts have in common: a tree of the beginnings that are worth reading only once.

Instructions are shared by all rungs, worked examples by all prompts of a rung, and a passage by the questions that it
was found for.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

# A beginning of so many tokens that so many prompts share is held for all of them, rather than copied to each: fewer
# pay neither for attention in two parts nor for the memory, since the slots of neighbours are long anyway.
HELD_TOKENS = 48
HELD_BY = 16


@dataclass
class Prefix:
    """Tokens `start` to `end` of `count` prompts, of which `example` is one.

    Of these prompts the first `held` tokens are to be held once for all of them; `longest` is what the longest of them
    has besides. `prompts` go on from here each by itself; `branches` are longer prefixes of two or more.
    """

    start: int
    end: int
    example: int
    count: int
    held: int = 0
    longest: int = 0
    prompts: list[int] = field(default_factory=list)
    branches: list[Prefix] = field(default_factory=list)

    @property
    def all(self) -> Iterator[Prefix]:
        """Itself and all that go on from it."""
        stack = [self]
        while stack:
            prefix = stack.pop()
            yield prefix
            stack += prefix.branches


def shared_prefixes(prompts: Sequence[array[int]], worth: int) -> Prefix:
    """The tree of what `prompts` share, from its root, which holds no tokens.

    A branch is made where it saves reading `worth` tokens: a few words that two questions begin with do not pay for
    a pass of their own.
    """
    order = sorted(range(len(prompts)), key=lambda i: prompts[i])
    root = Prefix(0, 0, order[0], len(order))
    made = [root]
    # The prefix to hang on, the prompts, and how many tokens these are known to share.
    open_groups = [(root, order, 0)]
    while open_groups:
        prefix, group, known = open_groups.pop()
        prefix.prompts += [i for i in group if len(prompts[i]) == known]
        longer = [i for i in group if len(prompts[i]) > known]
        for _, same in groupby(longer, key=lambda i: prompts[i][known]):
            members = list(same)
            if len(members) == 1:
                prefix.prompts += members
                continue
            # Sorted, so whatever the first and the last share is shared by all.
            shared = _common(prompts[members[0]], prompts[members[-1]], known)
            below = prefix
            if (len(members) - 1) * (shared - prefix.end) >= worth:
                below = Prefix(prefix.end, shared, members[0], len(members), prefix.held)
                if shared >= HELD_TOKENS and len(members) >= HELD_BY:
                    below.held = shared
                prefix.branches.append(below)
                made.append(below)
            open_groups.append((below, members, shared))
    for prefix in reversed(made):
        own = [len(prompts[i]) - prefix.held for i in prefix.prompts]
        prefix.longest = max(own + [branch.longest for branch in prefix.branches])
    return root


def _common(first: Sequence[int], second: Sequence[int], known: int) -> int:
    shortest = min(len(first), len(second))
    return next((i for i in range(known, shortest) if first[i] != second[i]), shortest)
