"""Local generation: the tricks that make it fast change no answer."""

from __future__ import annotations

import itertools
import random
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.models import batching, rows
from core.models.generation import Completion, Request, Sampling
from core.models.loading import LoadedModel, load_model
from core.models.local import LocalGenerator, render
from core.models.prompt import Message, Passage, Shot, build_messages
from core.models.slots import Slots

Chat = list[Message]
MISTRAL_SIZES = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "max_position_embeddings", "bos_token_id", "eos_token_id"),
)
GREEDY = Sampling(max_new_tokens=12)
SHOTS = [Shot(({"role": "user", "content": f"Which kind is thing {n}?"},), ("tool", "fruit")[n % 2]) for n in range(4)]


def question(text: str, shots: Sequence[Shot] = (), passages: Sequence[Passage] = ()) -> Chat:
    opening = {"role": "system", "content": "Answer in one word."}
    return build_messages([opening, {"role": "user", "content": text}], shots, passages)


def questions(count: int, shots: Sequence[Shot] = ()) -> list[Chat]:
    """Of very different lengths."""
    return [question("What is " + "a very " * (n * 7 % 11) + f"old thing {n}?", shots) for n in range(count)]


def all_answers(
    generator: LocalGenerator,
    chats: Sequence[Chat],
    sampling: Sampling = GREEDY,
    adapter: Path | None = None,
    seeds: Sequence[int] | None = None,
) -> list[Completion]:
    """In the order of `chats`."""
    seeds = seeds or [0] * len(chats)
    return ordered(generator, [Request(chat, adapter, seed) for chat, seed in zip(chats, seeds, strict=True)], sampling)


def ordered(generator: LocalGenerator, requests: Sequence[Request], sampling: Sampling = GREEDY) -> list[Completion]:
    """In the order of `requests`; fails when a position is missing or comes twice."""
    found = [pair for batch in generator.answer(requests, sampling) for pair in batch]
    assert sorted(i for i, _ in found) == list(range(len(requests)))
    return [completion for _, completion in sorted(found, key=lambda pair: pair[0])]


def texts(completions: Sequence[Completion]) -> list[str]:
    return [completion.text for completion in completions]


def of_transformers(loaded: LoadedModel, chat: Chat) -> str:
    import torch

    prompt = loaded.tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        output = loaded.model.generate(**prompt, max_new_tokens=12, do_sample=False)
    new = output[0, prompt["input_ids"].shape[1] :]
    return str(loaded.tokenizer.decode(new, skip_special_tokens=True)).strip()


def asked_times(number: int) -> Callable[[], bool]:
    """A `stop` that says yes from the question `number` on."""
    asked = itertools.count(1)
    return lambda: next(asked) >= number


@pytest.fixture
def loaded(tiny_model: Path) -> LoadedModel:
    return load_model(str(tiny_model))


@pytest.fixture
def generator(loaded: LoadedModel) -> LocalGenerator:
    return LocalGenerator(loaded)


@pytest.fixture(scope="module")
def adapters(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """Two adapters of random weights, strong enough to change every answer."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config)
        folders.append(tmp_path_factory.mktemp("adapter") / str(seed))
        model.save_pretrained(folders[-1])
    yield folders


def ladder(adapters: Sequence[Path]) -> list[Request]:
    """The questions of five rungs, and two that say the same: prefixes within prefixes, long ones among short ones."""
    passages = [Passage(f"Shelf {n}", "The old thing stands there. " * (n + 1)) for n in range(3)]
    chats = [*questions(9), *questions(7, SHOTS), questions(1)[0]]
    chats += [question(f"Where is {n}?", (), [passages[n % 3], passages[n % 2]]) for n in range(8)]
    requests = [Request(chat) for chat in chats]
    return requests + [Request(chat, adapter) for adapter in adapters for chat in chats[::2]]


def test_side_by_side_answers_equal_those_given_alone(loaded: LoadedModel, adapters: list[Path]) -> None:
    requests = ladder(adapters)
    generator = LocalGenerator(loaded)
    together = ordered(generator, requests)
    assert len(set(texts(together))) > 20
    alone = [ordered(generator, [request])[0] for request in requests]
    assert texts(together) == texts(alone)
    assert [c.input_tokens for c in together] == [c.input_tokens for c in alone]


@pytest.mark.parametrize("slots", [1, 5])
def test_little_memory_changes_no_answer(
    loaded: LoadedModel, adapters: list[Path], slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = ladder(adapters)
    generator = LocalGenerator(loaded)
    expected = texts(ordered(generator, requests))
    longest = max(len(generator.tokenize(request.chat)) for request in requests) + 13
    assert generator._bytes_per_token is not None
    monkeypatch.setattr(batching, "CPU_BYTES", slots * longest * generator._bytes_per_token)
    monkeypatch.setattr(batching, "PIECE", {"cpu": 24})
    assert texts(ordered(generator, requests)) == expected


def test_what_prompts_share_is_read_once(generator: LocalGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    packed = Slots.packed

    def counted(slots: Slots, network: object, tokens: Sequence[Sequence[int]], *others: Any) -> Any:
        read.append(sum(map(len, tokens)))
        return packed(slots, network, tokens, *others)

    all_answers(generator, questions(1))  # tries out what the network can do
    monkeypatch.setattr(Slots, "packed", counted)
    chats = questions(21, SHOTS)
    all_answers(generator, chats, Sampling(max_new_tokens=1))
    tokens = [generator.tokenize(chat) for chat in chats]
    shared = next(i for i, column in enumerate(zip(*tokens, strict=False)) if len(set(column)) > 1)
    assert shared > 80
    assert shared < sum(read) <= shared + sum(len(ids) - shared for ids in tokens)


def test_answers_equal_those_of_transformers_itself(loaded: LoadedModel, generator: LocalGenerator) -> None:
    chats = [*questions(3), *questions(2, SHOTS)]
    assert texts(all_answers(generator, chats)) == [of_transformers(loaded, chat) for chat in chats]


def test_a_network_that_forgets_is_answered_in_plain_batches(
    loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers that keep a window of 16 tokens alone cannot be cut into prefixes."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(3)
    sizes = {key: getattr(loaded.model.config, key) for key in MISTRAL_SIZES}
    config = MistralConfig(**sizes, sliding_window=16, initializer_range=0.3)
    MistralForCausalLM(config).save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    sliding = LocalGenerator(load_model(str(tmp_path)))
    assert sliding._bytes_per_token is None
    chats = questions(20)
    together = texts(all_answers(sliding, chats))
    assert together == [all_answers(sliding, [chat])[0].text for chat in chats]
    assert together[:3] == [of_transformers(sliding.loaded, chat) for chat in chats[:3]]
    warm = Sampling(12, temperature=1.5)
    assert texts(all_answers(sliding, chats, warm))[4:5] == texts(all_answers(sliding, chats[4:5], warm))
    monkeypatch.setattr(rows, "BEAT_S", 0.0)
    assert sum(map(len, sliding.answer([Request(chat) for chat in chats], GREEDY, stop=asked_times(20)))) == 16


def test_longest_prompts_come_first(generator: LocalGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MOST_ROWS", {"cpu": 4})
    monkeypatch.setattr(rows, "BEAT_S", 0.0)
    monkeypatch.setattr(batching, "BEAT_S", 0.0)
    requests = [Request(chat) for chat in questions(12)]
    lengths = [
        [len(generator.tokenize(requests[i].chat)) for i, _ in batch] for batch in generator.answer(requests, GREEDY)
    ]
    assert len(lengths) > 2
    assert min(lengths[0]) > max(lengths[-1])


def test_adapters_switch_and_the_base_stays_the_base(generator: LocalGenerator, adapters: list[Path]) -> None:
    chats = questions(5)
    runs = [texts(all_answers(generator, chats, adapter=a)) for a in (None, *adapters, None, *adapters, None)]
    base, first, second = runs[0], runs[1], runs[2]
    assert base != first != second != base
    assert runs == [base, first, second, base, first, second, base]


def test_adapter_answers_alike_alone_and_after_others(
    tiny_model: Path, generator: LocalGenerator, adapters: list[Path]
) -> None:
    chats = questions(5, SHOTS)
    all_answers(generator, chats, adapter=adapters[0])
    alone = LocalGenerator(load_model(str(tiny_model)))
    expected = texts(all_answers(alone, chats, adapter=adapters[1]))
    assert texts(all_answers(generator, chats, adapter=adapters[1])) == expected


def test_too_long_prompt_is_an_error_and_the_others_are_answered(generator: LocalGenerator) -> None:
    chats = questions(4)
    expected = texts(all_answers(generator, chats))
    long = question("word " * 600)
    mixed = all_answers(generator, [chats[0], long, *chats[1:]])
    assert texts(mixed[:1] + mixed[2:]) == expected
    refused = mixed[1]
    assert (refused.text, refused.finish_reason) == ("", "error")
    assert refused.input_tokens > 600
    assert refused.error is not None
    assert "reads 512 at most" in refused.error and "fewer passages" in refused.error
    (alone,) = all_answers(generator, [long])
    assert alone.error == refused.error


def test_prompt_that_just_fits_is_answered(generator: LocalGenerator) -> None:
    base = len(generator.tokenize(question("")))
    chat = question("word" + " word" * (512 - 12 - base - 1))
    assert len(generator.tokenize(chat)) == 500
    assert all_answers(generator, [chat])[0].error is None
    longer = question("word" + " word" * (512 - 12 - base))
    assert all_answers(generator, [longer])[0].error is not None


def test_counts_and_reasons_tell_what_happened(loaded: LoadedModel, generator: LocalGenerator) -> None:
    (cut,) = all_answers(generator, questions(1), Sampling(max_new_tokens=3))
    assert (cut.finish_reason, cut.output_tokens) == ("length", 3)
    assert cut.latency_s > 0 and cut.cost_usd == 0
    # Whatever this model says first now ends the answer.
    import torch

    with torch.inference_mode():
        ids = torch.tensor([generator.tokenize(questions(1)[0])])
        loaded.model.generation_config.eos_token_id = [int(loaded.model(input_ids=ids).logits[0, -1].argmax())]
    (ended,) = all_answers(generator, questions(1))
    assert (ended.text, ended.finish_reason, ended.output_tokens) == ("", "stop", 1)


WARM = Sampling(12, temperature=1.5)


def test_sampling_repeats_by_seed(generator: LocalGenerator) -> None:
    chats = questions(6)
    first, again, other = (texts(all_answers(generator, chats, WARM, seeds=[seed] * 6)) for seed in (1, 1, 2))
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))
    assert first != texts(all_answers(generator, chats))


def test_a_drawn_answer_does_not_depend_on_the_others(generator: LocalGenerator) -> None:
    chats = questions(8, SHOTS)
    same = [chats[0], *chats, chats[0]]
    drawn = texts(all_answers(generator, same, WARM, seeds=[5, *range(8), 5]))
    assert drawn[0] == drawn[-1] == texts(all_answers(generator, chats[:1], WARM, seeds=[5]))[0]
    assert drawn[1:-1] == [texts(all_answers(generator, [chats[i]], WARM, seeds=[i]))[0] for i in range(8)]


def test_little_of_the_likeliest_is_the_likeliest(generator: LocalGenerator) -> None:
    chats = questions(5)
    narrow = Sampling(12, temperature=1.5, top_p=1e-6)
    assert texts(all_answers(generator, chats, narrow)) == texts(all_answers(generator, chats))


def test_words_are_drawn_as_often_as_they_are_likely() -> None:
    import torch

    shares = torch.tensor([0.5, 0.3, 0.15, 0.05])
    drawers = [rows.Row(i, array("i", [1]), random.Random(i)) for i in range(4000)]
    for top_p, expected in ((1.0, [0.5, 0.3, 0.15, 0.05]), (0.7, [0.625, 0.375, 0, 0])):
        logits = shares.log().expand(4000, 4)
        drawn = rows.choose(logits, drawers, Sampling(temperature=1.0, top_p=top_p))
        assert [drawn.count(token) / 4000 for token in range(4)] == pytest.approx(expected, abs=0.03)


def test_no_requests_no_answers(generator: LocalGenerator) -> None:
    assert list(generator.answer([], GREEDY)) == []


def test_closing_ends_the_work_and_leaves_the_generator_usable(
    generator: LocalGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "MOST_ROWS", {"cpu": 2})
    monkeypatch.setattr(batching, "BEAT_S", 0.0)
    work = generator.answer([Request(chat) for chat in questions(6)], GREEDY)
    assert len(next(work)) == 2
    work.close()  # type: ignore[attr-defined]
    assert len(all_answers(generator, questions(6))) == 6


def test_stopping_keeps_what_is_answered(generator: LocalGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MOST_ROWS", {"cpu": 2})
    monkeypatch.setattr(rows, "BEAT_S", 0.0)
    chats = questions(6)
    requests = [Request(chat) for chat in chats]
    # The first two rows take a pass for what they share, two for their prompts at most, and twelve words.
    found = [pair for batch in generator.answer(requests, GREEDY, stop=asked_times(20)) for pair in batch]
    assert 2 <= len(found) < 6
    whole = all_answers(generator, chats)
    assert all(completion.text == whole[i].text for i, completion in found)
    assert list(generator.answer(requests, GREEDY, stop=lambda: True)) == []


def test_adapter_that_cannot_be_used_fails_its_own_requests_alone(
    generator: LocalGenerator, adapters: list[Path], tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    pickled, foreign = tmp_path / "pickled", tmp_path / "foreign"
    for folder in (pickled, foreign):
        folder.mkdir()
        (folder / "adapter_config.json").write_text((adapters[0] / "adapter_config.json").read_text())
    torch.save({}, pickled / "adapter_model.bin")
    weights = load_file(adapters[0] / "adapter_model.safetensors")
    save_file({name: torch.cat([w, w], 1) for name, w in weights.items()}, foreign / "adapter_model.safetensors")
    chats = questions(2)
    base, tuned = (texts(all_answers(generator, chats, adapter=adapter)) for adapter in (None, adapters[0]))
    fresh = LocalGenerator(load_model(generator.model))
    for order in ([pickled, foreign, None, adapters[0]], [adapters[0], foreign, pickled, None]):
        requests = [Request(chat, adapter) for adapter in order for chat in chats]
        found = dict(zip(order, zip(*[iter(ordered(fresh, requests))] * 2, strict=True), strict=True))
        assert [texts(found[None]), texts(found[adapters[0]])] == [base, tuned]
        assert all("no adapter_model.safetensors" in str(c.error) for c in found[pickled])
        assert all("does not go on" in str(c.error) and c.finish_reason == "error" for c in found[foreign])


def test_instructions_join_the_question_where_the_template_has_no_place_for_them(loaded: LoadedModel) -> None:
    tokenizer = loaded.tokenizer
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "<{{ m.role }}>{{ m.content }}{% endfor %}"
    )
    assert render(tokenizer, question("Why?")) == "<user>Answer in one word.\n\nWhy?"
