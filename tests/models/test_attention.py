"""Rows packed in a pass, and rows that share what is held for them, answer as each would by itself."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from core.models import batching, prefixes
from core.models.attention import joined, packing_attention
from core.models.generation import Request, Sampling
from core.models.loading import LoadedModel, load_model
from core.models.local import LocalGenerator
from core.models.prefixes import HELD_TOKENS
from core.models.prompt import Message
from core.models.slots import Slots, can_pack

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
    packed = Slots.packed

    def watched(self: Slots, network: Any, tokens: Any, starts: Any, wanted: int) -> torch.Tensor:
        seen.append([self.held(slot) for slot in range(len(tokens))])
        return packed(self, network, tokens, starts, wanted)

    monkeypatch.setattr(Slots, "packed", watched)
    return seen


def test_holding_changes_no_answer(tiny: LoadedModel, held: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    generator = LocalGenerator(tiny)
    assert generator._can_pack
    asked = chats(14)
    held.clear()
    shared = answers(generator, asked)
    mixed = [rows for rows in held if len(set(rows)) > 1 and min(rows) >= HELD_TOKENS]
    assert mixed, "rows of different beginnings were to be written in one pass"
    monkeypatch.setattr(prefixes, "HELD_BY", len(asked) + 1)
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
def test_logits_of_packed_rows_are_those_of_each_by_itself(tiny: LoadedModel) -> None:
    """Written rows, prompts from their start and in the middle, beginnings copied and held: all in one pass."""
    network, device = tiny.model, tiny.device
    beginning, rest = list(range(40, 90)), list(range(200, 211))
    slots = Slots(network, device)
    slots.resize(6, 80, 0)
    whole = [*beginning, *rest]
    alone = {n: slots.run(network, 5, [whole[:n]], [0])[0] for n in (11, 51, 57, 60, 61)}
    first, second = slots.kept(5, 0, 20), slots.kept(5, 20, len(beginning))
    held = joined([first, second])
    assert (held.start, held.end) == (0, len(beginning))
    slots.fill(0, [slots.kept(5, 0, 60)])
    slots.fill(1, (), held)
    slots.fill(2, [first, second])
    slots.fill(3, (), held)
    slots.fill(4, ())
    with packing_attention(network):
        tokens = [whole[60:], whole[50:51], whole[50:57], whole[50:60], whole[:11]]
        found = slots.packed(network, tokens, [60, 50, 50, 50, 0], 5)
        for logits, n in zip(found, (61, 51, 57, 60, 11), strict=True):
            torch.testing.assert_close(logits, alone[n], rtol=1e-4, atol=1e-4)
        slots.move(3, 0, 60)
        after = slots.packed(network, [whole[60:], whole[51:57]], [60, 51], 1)
        assert len(after) == 1
        torch.testing.assert_close(after[0], alone[61], rtol=1e-4, atol=1e-4)
        assert len(slots.packed(network, [whole[57:61]], [57], 0)) == 0


def test_a_network_with_an_attention_of_its_own_is_answered_in_plain_batches(tiny: LoadedModel) -> None:
    expected = answers(LocalGenerator(tiny), chats(5))
    assert can_pack(tiny.model, tiny.device)
    assert tiny.model.config._attn_implementation == "sdpa"
    tiny.model.set_attn_implementation("eager")
    assert not can_pack(tiny.model, tiny.device)
    assert answers(LocalGenerator(tiny), chats(5)) == expected


def test_half_precision_is_packed_too(tiny: LoadedModel) -> None:
    assert can_pack(copy.deepcopy(tiny.model).to(torch.bfloat16), tiny.device)


@torch.inference_mode()
def test_a_network_packs_for_one_at_a_time_and_is_otherwise_what_it_was(tiny: LoadedModel) -> None:
    padded = {
        "input_ids": torch.tensor([[0, 0, 0, 5, 6, 7], [5, 6, 7, 8, 9, 10]]),
        "attention_mask": torch.tensor([[0, 0, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1]]),
    }
    expected = tiny.model(**padded).logits[:, -1]
    with packing_attention(tiny.model):
        torch.testing.assert_close(tiny.model(**padded).logits[:, -1], expected)
        with pytest.raises(RuntimeError, match="already"), packing_attention(tiny.model):
            pass
        assert tiny.model.config._attn_implementation != "sdpa"
    assert tiny.model.config._attn_implementation == "sdpa"


def test_memory_of_all_slots_is_given_back(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Slots] = []
    begin = Slots.__init__

    def noted(self: Slots, *given: Any) -> None:
        begin(self, *given)
        made.append(self)

    monkeypatch.setattr(Slots, "__init__", noted)
    answers(LocalGenerator(tiny), chats(14))
    assert len(made) > 3 and not any(slots._layers for slots in made)


@pytest.mark.parametrize("stretched", ["dynamic", "longrope"])
def test_positions_that_depend_on_the_longest_row_are_read_row_by_row(tiny: LoadedModel, stretched: str) -> None:
    config = copy.deepcopy(tiny.model.config)
    half = config.hidden_size // config.num_attention_heads // 2
    config.rope_parameters = {
        "rope_type": stretched,
        "rope_theta": 10_000.0,
        "factor": 4.0,
        "original_max_position_embeddings": 64,
        **({"short_factor": [1.0] * half, "long_factor": [3.0] * half} if stretched == "longrope" else {}),
    }
    torch.manual_seed(5)
    generator = LocalGenerator(dataclasses.replace(tiny, model=type(tiny.model)(config).eval()))
    asked = [*chats(3), [{"role": "user", "content": "Why?"}], [{"role": "user", "content": "Who is it?"}]]
    assert not generator._can_pack
    assert answers(generator, asked) == [answers(generator, [chat])[0] for chat in asked]
