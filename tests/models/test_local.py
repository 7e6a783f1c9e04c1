"""Local generation: the tricks that make it fast change no answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from core.errors import UserError
from core.models.generation import Completion, Sampling
from core.models.loading import LoadedModel, load_model
from core.models.local import LocalGenerator, render
from core.models.prompt import Message, Passage, Shot, build_messages

Chat = list[Message]
GREEDY = Sampling(max_new_tokens=12)
SHOTS = [Shot(({"role": "user", "content": f"Which kind is thing {n}?"},), ("tool", "fruit")[n % 2]) for n in range(4)]


def question(text: str, shots: Sequence[Shot] = (), passages: Sequence[Passage] = ()) -> Chat:
    opening = {"role": "system", "content": "Answer in one word."}
    return build_messages([opening, {"role": "user", "content": text}], shots, passages)


def questions(count: int, shots: Sequence[Shot] = ()) -> list[Chat]:
    """Of very different lengths."""
    return [question("What is " + "a very " * (n * 7 % 11) + f"old thing {n}?", shots) for n in range(count)]


def all_answers(
    generator: LocalGenerator, chats: Sequence[Chat], sampling: Sampling = GREEDY, adapter: Path | None = None
) -> list[Completion]:
    """In the order of `chats`; fails when a position is missing or comes twice."""
    found = [pair for batch in generator.answer(chats, sampling, adapter) for pair in batch]
    assert sorted(i for i, _ in found) == list(range(len(chats)))
    return [completion for _, completion in sorted(found, key=lambda pair: pair[0])]


def texts(completions: Sequence[Completion]) -> list[str]:
    return [completion.text for completion in completions]


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


def test_batches_and_shared_prefix_change_no_answer(loaded: LoadedModel) -> None:
    chats = questions(21, SHOTS)
    together = all_answers(LocalGenerator(loaded, batch_size=8), chats)
    assert len(set(texts(together))) > 10
    assert texts(together) == texts(all_answers(LocalGenerator(loaded, batch_size=8, share_prefix=False), chats))
    plain = LocalGenerator(loaded, batch_size=1, share_prefix=False)
    assert texts(together) == [all_answers(plain, [chat])[0].text for chat in chats]


def test_answers_equal_those_of_transformers_itself(loaded: LoadedModel, generator: LocalGenerator) -> None:
    import torch

    chats = questions(3)
    for chat, completion in zip(chats, all_answers(generator, chats), strict=True):
        prompt = loaded.tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            output = loaded.model.generate(**prompt, max_new_tokens=12, do_sample=False)
        new = output[0, prompt["input_ids"].shape[1] :]
        assert completion.text == loaded.tokenizer.decode(new, skip_special_tokens=True).strip()
        assert completion.input_tokens == prompt["input_ids"].shape[1]


def test_one_batch_holds_chats_of_like_length_and_the_longest_come_first(generator: LocalGenerator) -> None:
    generator.batch_size = 4
    chats = questions(10)
    lengths = [[len(generator.tokenize(chats[i])) for i, _ in batch] for batch in generator.answer(chats, GREEDY)]
    assert [len(batch) for batch in lengths] == [4, 4, 2]
    flat = [length for batch in lengths for length in batch]
    assert flat == sorted(flat, reverse=True)


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
    alone = LocalGenerator(load_model(str(tiny_model)), share_prefix=False)
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


def test_sampling_repeats_by_seed(generator: LocalGenerator) -> None:
    chats = questions(6)
    warm = [Sampling(12, temperature=1.5, seed=seed) for seed in (1, 1, 2)]
    first, again, other = (texts(all_answers(generator, chats, sampling)) for sampling in warm)
    assert first == again
    assert first != other
    assert first != texts(all_answers(generator, chats))


def test_no_chats_no_answers(generator: LocalGenerator) -> None:
    assert list(generator.answer([], GREEDY)) == []


def test_closing_stops_at_the_next_batch(generator: LocalGenerator) -> None:
    generator.batch_size = 2
    work = generator.answer(questions(6), GREEDY)
    assert len(next(work)) == 2
    work.close()  # type: ignore[attr-defined]
    assert len(all_answers(generator, questions(6))) == 6


def test_adapter_without_safetensors_is_refused(
    generator: LocalGenerator, adapters: list[Path], tmp_path: Path
) -> None:
    import torch

    (tmp_path / "adapter_config.json").write_text((adapters[0] / "adapter_config.json").read_text())
    torch.save({}, tmp_path / "adapter_model.bin")
    with pytest.raises(UserError, match=r"no adapter_model\.safetensors.*pickled weights are not opened"):
        list(generator.answer(questions(1), GREEDY, tmp_path))
    assert len(all_answers(generator, questions(2))) == 2


def test_instructions_join_the_question_where_the_template_has_no_place_for_them(loaded: LoadedModel) -> None:
    tokenizer = loaded.tokenizer
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "<{{ m.role }}>{{ m.content }}{% endfor %}"
    )
    assert render(tokenizer, question("Why?")) == "<user>Answer in one word.\n\nWhy?"
