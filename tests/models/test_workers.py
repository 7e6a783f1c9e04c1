"""Two batches beside each other: the same answers, every row once, nothing read twice, and an end to all of it."""

from __future__ import annotations

import copy
import random
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core.models import batching, workers
from core.models.generation import Request, Sampling, never
from core.models.loading import LoadedModel, load_model
from core.models.local import LocalGenerator
from core.models.prompt import Message
from core.models.rows import Pool, Row, Stopped
from core.models.slots import Slots
from core.models.workers import portions, side_by_side

GREEDY = Sampling(max_new_tokens=12)
# Tokens that fit: more than any test asks for.
MEMORY = 1_000_000
SHELF = "You sort things on shelves. " + "An apple is a fruit, a hammer is a tool. " * 8


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny(tiny_model: Path) -> LoadedModel:
    return load_model(str(tiny_model))


def chats(count: int) -> list[list[Message]]:
    """A third of them behind one long beginning, another third by twos behind a shorter one."""
    beginnings = [lambda n: SHELF, lambda n: f"Shelf {n // 6}: " + "old thing, " * 9, lambda n: "Answer."]
    return [
        [
            {"role": "system", "content": beginnings[n % 3](n)},
            {"role": "user", "content": f"What is {'a very ' * (n * 5 % 9)}old thing {n}?"},
        ]
        for n in range(count)
    ]


def pool(lengths: Sequence[int], *, stop: Any = never) -> Pool:
    """Prompts of these lengths that share nothing."""
    dice = random.Random(1)
    prompts = [array("i", (dice.randrange(10_000) for _ in range(length))) for length in lengths]
    rows = [Row(i, prompt, random.Random(i)) for i, prompt in enumerate(prompts)]
    return Pool(torch.nn.Module(), torch.device("cpu"), rows, GREEDY, frozenset([1]), 0, stop)


def answers(generator: LocalGenerator, asked: list[list[Message]]) -> list[str]:
    found = [pair for batch in generator.answer([Request(chat) for chat in asked], GREEDY) for pair in batch]
    assert sorted(i for i, _ in found) == list(range(len(asked)))
    return [completion.text for _, completion in sorted(found, key=lambda pair: pair[0])]


def test_two_batches_answer_as_one_does(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    packed = Slots.packed

    def watched(*given: Any) -> torch.Tensor:
        seen.add(threading.current_thread().name)
        assert torch.get_num_threads() == 1
        return packed(*given)

    generator, asked = LocalGenerator(tiny), chats(48)
    alone = [answers(generator, [chat])[0] for chat in asked]
    assert len(set(alone)) > 20
    monkeypatch.setattr(Slots, "packed", watched)
    assert answers(generator, asked) == alone
    assert len(seen) == workers.BESIDE
    assert torch.get_num_threads() == 2


def test_what_both_batches_begin_with_is_read_once(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    packed = Slots.packed

    def counted(slots: Slots, network: object, tokens: Sequence[Sequence[int]], *others: Any) -> torch.Tensor:
        read.append(sum(map(len, tokens)))
        return packed(slots, network, tokens, *others)

    generator = LocalGenerator(tiny)
    asked = [chat for chat in chats(120) if chat[0]["content"] == SHELF]
    tokens = [generator.tokenize(chat) for chat in asked]
    answers(generator, asked[:1])  # tries out what the network can do
    monkeypatch.setattr(Slots, "packed", counted)
    monkeypatch.setattr(batching, "BEAT_S", 0.0)
    list(generator.answer([Request(chat) for chat in asked], Sampling(max_new_tokens=1)))
    shared = next(i for i, column in enumerate(zip(*tokens, strict=False)) if len(set(column)) > 1)
    assert shared > 80
    assert sum(read) < 2 * shared + sum(len(ids) - shared for ids in tokens)


def test_parts_are_of_the_same_size_and_always_the_same() -> None:
    dice = random.Random(3)
    given = pool([dice.randrange(1, 400) for _ in range(200)])
    parts = portions(given, worth=8, tokens=MEMORY)
    assert sorted(row.position for part in parts for row in part.rows) == list(range(200))
    work = [sum(len(row.prompt) + 12 for row in part.rows) for part in parts]
    assert max(work) < 1.02 * min(work)
    again = portions(given, worth=8, tokens=MEMORY)
    assert [[row.position for row in part.rows] for part in parts] == [[r.position for r in p.rows] for p in again]


@pytest.mark.parametrize(("beginning", "own", "others"), [(2_000, 30, 0), (300, 12, 0), (300, 0, 0), (2_000, 30, 5)])
def test_what_all_begin_with_makes_no_part_of_it_all(beginning: int, own: int, others: int) -> None:
    """As many worked examples and short questions do, or one question asked again and again."""
    given = pool([own or 1] * 40 + [20] * others)
    for row in given.rows[:40]:
        row.prompt = array("i", range(beginning)) + (row.prompt if own else array("i", [7]))
    sizes = [len(part.rows) for part in portions(given, 32, MEMORY)]
    assert sum(sizes) == 40 + others and max(sizes) - min(sizes) <= 1


def test_little_memory_is_given_to_one_batch() -> None:
    given = pool([88] * 100)
    assert len(portions(given, worth=8, tokens=8 * 100)) == 2
    assert len(portions(given, worth=8, tokens=8 * 100 - 1)) == 1


def test_a_network_that_changes_itself_in_every_pass_has_one_batch(tiny: LoadedModel) -> None:
    from peft import LoraConfig, get_peft_model

    for config, parts in ((LoraConfig(r=2), 2), (LoraConfig(r=2, target_parameters=["mlp.gate_proj.weight"]), 1)):
        network = get_peft_model(copy.deepcopy(tiny.model), config)
        assert len(portions(replace(pool([5] * 100), network=network), worth=8, tokens=MEMORY)) == parts


def test_few_rows_and_one_thread_make_one_batch() -> None:
    assert len(portions(pool([5] * (2 * workers.LEAST_ROWS - 1)), worth=8, tokens=MEMORY)) == 1
    assert len(portions(pool([5] * 2 * workers.LEAST_ROWS), worth=8, tokens=MEMORY)) == 2
    torch.set_num_threads(1)
    assert len(portions(pool([5] * 100), worth=8, tokens=MEMORY)) == 1


def slowly(part: Pool) -> Iterator[list[Row]]:
    for row in part.rows:
        time.sleep(0.01)
        if part.stop():
            return
        row.seconds += 0.01
        yield [row]


def test_stopping_ends_both_and_keeps_what_is_done() -> None:
    asked: list[float] = []

    def stop() -> bool:
        asked.append(time.perf_counter())
        return len(asked) > 3

    given = replace(pool([5] * 100, stop=stop), beat_s=0.05)
    found = [row for rows in side_by_side(given, portions(given, 8, MEMORY), slowly) for row in rows]
    assert 2 <= len(found) < 50
    assert {row.position for row in found} == {row.position for row in given.rows if row.seconds}
    assert torch.get_num_threads() == 2


def test_batches_hear_of_a_stop_at_their_next_step() -> None:
    def quickly(part: Pool) -> Iterator[list[Row]]:
        while True:
            time.sleep(0.001)
            try:
                part.check_stop()
            except Stopped:
                heard.append(time.perf_counter())
                return
            yield []

    asked: list[float] = []
    heard: list[float] = []

    def stop() -> bool:
        asked.append(time.perf_counter())
        return len(asked) > 1

    given = pool([5] * 100, stop=stop)
    list(side_by_side(given, portions(given, 8, MEMORY), quickly))
    assert len(asked) == 2 and len(heard) == 2


def test_leaving_early_ends_both() -> None:
    given = pool([5] * 100)
    work = side_by_side(given, portions(given, 8, MEMORY), slowly)
    next(work)
    work.close()
    assert sum(row.seconds > 0 for row in given.rows) < 20
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batch")]
    assert torch.get_num_threads() == 2


def test_the_time_of_both_is_told_once() -> None:
    given = pool([5] * 100)
    assert len(list(side_by_side(given, portions(given, 8, MEMORY), slowly))) == 100
    assert sum(row.seconds for row in given.rows) == pytest.approx(0.5)


def test_an_error_in_one_ends_the_other_and_is_raised() -> None:
    def breaking(part: Pool) -> Iterator[list[Row]]:
        if given.rows[0] in part.rows:
            raise MemoryError("no room")
        yield from slowly(part)

    given = pool([5] * 100)
    with pytest.raises(MemoryError, match="no room"):
        list(side_by_side(given, portions(given, 8, MEMORY), breaking))
    assert sum(row.seconds > 0 for row in given.rows) < 20
    assert torch.get_num_threads() == 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batch")]
