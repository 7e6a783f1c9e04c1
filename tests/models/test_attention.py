"""Rows that share what is held for them answer as if each had its own copy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from core.models import batching, prefixes
from core.models.attention import joined, sharing_attention
from core.models.generation import Request, Sampling
from core.models.loading import LoadedModel, load_model
from core.models.local import LocalGenerator
from core.models.prefixes import HELD_TOKENS
from core.models.prompt import Message
from core.models.slots import Slots, can_share

GREEDY = Sampling(max_new_tokens=12)
# Two beginnings of different length, each longer than what is held at least.
BEGINNINGS = ["You sort things. " + "An apple is a fruit, a hammer is a tool. " * many for many in (5, 8)]


@pytest.fixture
def tiny(tiny_model: Path) -> LoadedModel:
    return load_model(str(tiny_model))


def chats(count: int) -> list[list[Message]]:
    return [
        [
            {"role": "system", "content": BEGINNINGS[n % 2]},
            {"role": "user", "content": f"What is {'a very ' * (n * 5 % 9)}old thing {n}?"},
        ]
        for n in range(count)
    ]


def answers(generator: LocalGenerator, asked: list[list[Message]], adapter: Path | None = None) -> list[str]:
    requests = [Request(chat, adapter) for chat in asked]
    found = {i: completion for batch in generator.answer(requests, GREEDY) for i, completion in batch}
    return [found[i].text for i in range(len(asked))]


@pytest.fixture(autouse=True)
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixes, "HELD_BY", 4)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Of each pass of batching, how many tokens were held for each row."""
    seen: list[list[int]] = []
    inputs = Slots._inputs

    def watched(self: Slots, network: Any, first: int, tokens: Any, starts: Any) -> dict[str, Any]:
        seen.append([self.held(slot) for slot in range(first, first + len(tokens))])
        return inputs(self, network, first, tokens, starts)

    monkeypatch.setattr(Slots, "_inputs", watched)
    return seen


def test_holding_changes_no_answer(tiny: LoadedModel, held: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    generator = LocalGenerator(tiny)
    assert generator._can_share
    asked = chats(14)
    held.clear()
    shared = answers(generator, asked)
    mixed = [rows for rows in held if len(set(rows)) > 1 and min(rows) >= HELD_TOKENS]
    assert mixed, "rows of different beginnings were to be written in one pass"
    monkeypatch.setattr(generator, "_can_share", False)
    held.clear()
    assert answers(generator, asked) == shared
    assert not any(map(any, held))


def test_little_memory_and_long_pieces_change_no_answer(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    generator, asked = LocalGenerator(tiny), chats(9)
    expected = answers(generator, asked)
    for most, piece in ((2, 7), (3, 4_000)):
        monkeypatch.setitem(batching.MOST_ROWS, "cpu", most)
        monkeypatch.setitem(batching.PIECE, "cpu", piece)
        assert answers(generator, asked) == expected


@torch.inference_mode()
def test_logits_of_shared_and_copied_beginnings_agree(tiny: LoadedModel) -> None:
    network, device = tiny.model, tiny.device
    beginning, rest = list(range(40, 90)), list(range(200, 211))
    slots = Slots(network, device)
    slots.resize(3, 80, 0)
    slots.run(network, 0, [beginning], [0])
    first, second = slots.kept(0, 0, 20), slots.kept(0, 20, len(beginning))
    whole = joined([first, second])
    assert (whole.start, whole.end) == (0, len(beginning))
    slots.fill(0, [first, second])
    slots.fill(1, (), whole)
    slots.fill(2, (), whole)
    with sharing_attention(network):
        copied = slots.run(network, 0, [rest], [len(beginning)])
        shared = slots.run(network, 1, [rest, rest[:7]], [len(beginning)] * 2)[0]
        torch.testing.assert_close(shared, copied[0], rtol=1e-4, atol=1e-4)
        after = slots.run(network, 0, [[7], [7], [7]], [len(beginning) + len(rest)] * 2 + [len(beginning) + 7])
    torch.testing.assert_close(after[1], after[0], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(after[2], after[0], rtol=1e-4, atol=1e-4)
    slots.move(1, 2, len(beginning) + len(rest) + 1)
    with sharing_attention(network):
        moved = slots.run(network, 1, [[9], [9]], [len(beginning) + len(rest) + 1] * 2)
    torch.testing.assert_close(moved[1], moved[0])


def test_a_network_with_an_attention_of_its_own_shares_nothing(tiny: LoadedModel) -> None:
    assert can_share(tiny.model, tiny.device)
    assert tiny.model.config._attn_implementation == "sdpa"
    tiny.model.set_attn_implementation("eager")
    assert not can_share(tiny.model, tiny.device)
