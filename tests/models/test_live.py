"""The live engine: many at once, each as if it were alone."""

from __future__ import annotations

import itertools
import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import UserError
from core.models import live, live_models, live_work
from core.models.constraint import Shape, ShapeRefused
from core.models.generation import Request, Sampling
from core.models.live import Answer, Asked, Busy, Engine, Piece
from core.models.live_answer import FAILED
from core.models.live_answer import Answer as Told
from core.models.live_rows import Row
from core.models.live_text import Speech
from core.models.live_work import Work
from core.models.loading import LoadedModel, load_model
from core.models.local import LocalGenerator
from core.models.prompt import Message
from core.models.slots import Slots

Chat = list[Message]
MISTRAL_SIZES = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "max_position_embeddings", "bos_token_id", "eos_token_id"),
)


def chat(number: int) -> Chat:
    """Of very different lengths, with the same instructions."""
    return [
        {"role": "system", "content": "Answer in one word, and be quick about it, for others wait too."},
        {"role": "user", "content": "What is " + "a very " * (number * 7 % 11) + f"old thing {number}?"},
    ]


def text(answer: Answer) -> str:
    return "".join(piece.text for piece in answer)


def last(answer: Answer) -> Piece:
    return list(answer)[-1]


def locally(loaded: LoadedModel, requests: Sequence[Request], new: int, **sampling: float) -> list[str]:
    """What the engine of Compare answers, in the order of `requests`."""
    found = LocalGenerator(loaded).answer(requests, Sampling(new, **sampling))
    return [completion.text for _, completion in sorted(pair for batch in found for pair in batch)]


@pytest.fixture(scope="module")
def adapters(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three adapters of random weights that mix, one that does not, and a whole tuned model."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folders = {}
    for seed, name in enumerate(("one", "two", "three", "dora")):
        torch.manual_seed(seed)
        config = LoraConfig(
            r=4, target_modules="all-linear", init_lora_weights=False, use_dora=name == "dora", task_type="CAUSAL_LM"
        )
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config)
        folders[name] = tmp_path_factory.mktemp("adapter") / name
        model.save_pretrained(folders[name])
    for name in ("whole", "other"):
        model = AutoModelForCausalLM.from_pretrained(tiny_model)
        torch.nn.init.normal_(model.model.layers[0].mlp.down_proj.weight, std=len(name) / 10)
        folders[name] = tmp_path_factory.mktemp("adapter") / name
        model.save_pretrained(folders[name])
        AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folders[name])
    return folders


@pytest.fixture
def loaded(tiny_model: Path) -> LoadedModel:
    return load_model(str(tiny_model))


@pytest.fixture
def engine(loaded: LoadedModel) -> Iterator[Engine]:
    engine = Engine(loaded)
    yield engine
    engine.close()


class Stepped:
    """The engine's work without its thread, one turn at a time; `events` are what was read and what was told."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.chats = LocalGenerator(loaded)
        self.loaded = loaded
        self.events: list[tuple[str, int]] = []
        self.work = Work(loaded, self.chats.ends, lambda id, logprob: live.Token(id, "", b"", logprob), lambda: None)

    def ask(self, prompt: Sequence[int], **how: Any) -> tuple[Row, list[Piece]]:
        answer = Told(len(prompt), lambda: None)
        row = Row(Asked(prompt, **how), answer, self.loaded.tokenizer, None)
        pieces: list[Piece] = []
        answer.on_piece(pieces.append)
        self.work.waiting.append(row)
        return row, pieces

    def until(self, done: Callable[[], bool]) -> int:
        """How many turns it took."""
        for turns in range(2000):
            if done():
                return turns
            self.work.turn()
        raise AssertionError("it never came to that")


@pytest.fixture
def stepped(loaded: LoadedModel) -> Stepped:
    return Stepped(loaded)


def test_forty_at_once_answer_as_compare_does_whatever_their_adapters(
    tiny_model: Path, engine: Engine, adapters: dict[str, Path]
) -> None:
    folders = [None, adapters["one"], adapters["two"], adapters["three"], adapters["dora"], adapters["whole"]]
    chats = [chat(n) for n in range(40)]
    choices = [folders[n % len(folders)] for n in range(40)]
    with ThreadPoolExecutor(40) as threads:
        answers = list(
            threads.map(
                lambda pair: text(engine.ask(Asked(engine.tokenize(pair[0]), pair[1], max_new_tokens=12))),
                zip(chats, choices, strict=True),
            )
        )
    alone = load_model(str(tiny_model))
    requests = [Request(each, adapter) for each, adapter in zip(chats, choices, strict=True)]
    assert answers == locally(alone, requests, 12)
    assert len(set(answers)) > 30


def test_mixed_adapters_share_their_passes(
    loaded: LoadedModel, adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    run = Slots.run

    def counted(slots: Slots, network: object, first: int, tokens: Sequence[Sequence[int]], starts: list[int]) -> Any:
        rows.append(sum(map(bool, map(len, tokens))))
        return run(slots, network, first, tokens, starts)

    monkeypatch.setattr(Slots, "run", counted)
    stepped = Stepped(loaded)
    folders = [None, adapters["one"], adapters["two"], adapters["three"]]
    asked = [stepped.ask(stepped.chats.tokenize(chat(n)), adapter=folder) for n, folder in enumerate(folders)]
    stepped.until(lambda: all(row.to_read == 0 for row, _ in asked) and not stepped.work.waiting)
    rows.clear()
    stepped.work.turn()
    assert rows == [4]
    loner = stepped.ask(stepped.chats.tokenize(chat(5)), adapter=adapters["dora"])[0]
    stepped.until(lambda: loner.read > 0 and loner.to_read == 0)
    rows.clear()
    stepped.work.turn()
    assert sorted(rows) == [1, 4]


def test_drawn_answers_depend_on_their_seed_alone(loaded: LoadedModel, engine: Engine) -> None:
    prompts = [engine.tokenize(chat(n)) for n in range(6)]

    def drawn(seed: int, neighbours: int) -> list[str]:
        others = [
            engine.ask(Asked(prompts[n % 6], temperature=2.0, seed=n, max_new_tokens=9)) for n in range(neighbours)
        ]
        mine = [engine.ask(Asked(each, temperature=1.5, top_p=0.9, seed=seed, max_new_tokens=12)) for each in prompts]
        found = [text(answer) for answer in mine]
        assert all(text(other) for other in others)
        return found

    first, again, other = drawn(1, 0), drawn(1, 6), drawn(2, 3)
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))
    requests = [Request(chat(n), seed=1) for n in range(6)]
    assert first == locally(loaded, requests, 12, temperature=1.5, top_p=0.9)


def test_stop_text_ends_the_answer_wherever_its_tokens_are_cut(loaded: LoadedModel, engine: Engine) -> None:
    prompt = engine.tokenize(chat(1))
    whole = text(engine.ask(Asked(prompt, max_new_tokens=24, strip=False)))
    for begin, end in itertools.combinations(range(0, len(whole), 5), 2):
        if end - begin > 12:
            continue
        stop = whole[begin:end]
        answer = engine.ask(Asked(prompt, max_new_tokens=24, stop=("not in there", stop), strip=False))
        pieces = list(answer)
        assert "".join(piece.text for piece in pieces) == whole[: whole.find(stop)]
        assert pieces[-1].finish_reason == "stop"


def test_beginning_of_a_stop_text_is_held_back_until_it_turns_out_to_be_none(loaded: LoadedModel) -> None:
    speech = Speech(loaded.tokenizer, ("END OF ALL",), strip=True)
    told = []
    for token in loaded.tokenizer(" One END OF it all END OF ALL of it")["input_ids"]:
        if not speech.stopped:
            speech.add(token)
            told.append(speech.tell(end=speech.stopped)[0])
    assert "".join(told) == "One END OF it all"
    assert speech.stopped
    assert all("END" not in piece or "END OF it" in piece for piece in told)


@pytest.mark.parametrize("said", ["Zoë 👩‍👩‍👧 ate 寿司 🍣!", "  two lines\n\nand blanks  ", "🏳️‍🌈"])
def test_characters_of_many_tokens_come_whole(loaded: LoadedModel, said: str) -> None:
    tokenizer = loaded.tokenizer
    speech = Speech(tokenizer, (), strip=True)
    told = []
    for token in tokenizer(said)["input_ids"]:
        speech.add(token)
        told.append(speech.tell()[0])
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in told)
    assert "".join([*told, speech.tell(end=True)[0]]) == said.strip()
    # Cut off within a character, an answer ends as decoding it at once does.
    ids = tokenizer(said)["input_ids"][:-1]
    speech = Speech(tokenizer, (), strip=True)
    for token in ids:
        speech.add(token)
    assert speech.tell(end=True)[0] == tokenizer.decode(ids).strip()


def test_cancelled_answer_ends_and_leaves_its_place(engine: Engine) -> None:
    answer = engine.ask(Asked(engine.tokenize(chat(0)), max_new_tokens=400))
    pieces = iter(answer)
    next(pieces)
    assert engine.figures().running == 1
    answer.cancel()
    answer.cancel()
    assert list(pieces)[-1].finish_reason == "cancelled"
    assert answer.output_tokens < 400
    assert (engine.figures().running, engine.figures().waiting) == (0, 0)
    assert last(engine.ask(Asked(engine.tokenize(chat(0)), max_new_tokens=2))).finish_reason == "length"


def test_reader_that_raises_cancels_its_own_answer_alone(engine: Engine) -> None:
    def gone(piece: Piece) -> None:
        raise RuntimeError("Event loop is closed")

    kept = engine.ask(Asked(engine.tokenize(chat(1)), max_new_tokens=30))
    lost = engine.ask(Asked(engine.tokenize(chat(2)), max_new_tokens=400))
    lost.on_piece(gone)
    assert last(kept).finish_reason == "length"
    assert lost.output_tokens < 100


def test_two_hundred_wait_their_turn_and_are_answered(
    loaded: LoadedModel, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [engine.tokenize(chat(n)) for n in range(20)]
    answers = [engine.ask(Asked(prompts[n % 20], max_new_tokens=3)) for n in range(200)]
    found = [text(answer) for answer in answers]
    assert found == locally(loaded, [Request(chat(n)) for n in range(20)], 3) * 10
    assert (engine.figures().running, engine.figures().waiting) == (0, 0)


def test_too_many_are_told_to_come_back(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_WAITING", 3)
    monkeypatch.setattr(engine._work, "_most_rows", 1)
    answers = []
    with pytest.raises(Busy, match="3 requests wait"):
        for _ in range(9):
            answers.append(engine.ask(Asked(engine.tokenize(chat(0)), max_new_tokens=200)))
    assert 3 <= len(answers) <= 6
    for answer in answers:
        answer.cancel()
    assert {last(answer).finish_reason for answer in answers} == {"cancelled"}


def test_adapter_that_cannot_be_used_is_refused_and_hurts_nobody(
    engine: Engine, adapters: dict[str, Path], tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "adapter_config.json").write_text((adapters["one"] / "adapter_config.json").read_text())
    other = engine.ask(Asked(engine.tokenize(chat(3)), adapters["two"], max_new_tokens=60))
    for expected in ("no adapter_model.safetensors", "does not go on"):
        with pytest.raises(UserError, match=expected):
            engine.ask(Asked(engine.tokenize(chat(3)), foreign, max_new_tokens=3))
        weights = load_file(adapters["one"] / "adapter_model.safetensors")
        save_file({name: torch.cat([w, w], 1) for name, w in weights.items()}, foreign / "adapter_model.safetensors")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    refused = last(engine.ask(Asked(engine.tokenize(chat(3)), broken, max_new_tokens=3)))
    assert refused.finish_reason == "error" and "broken" in str(refused.error)
    assert text(other) == text(engine.ask(Asked(engine.tokenize(chat(3)), adapters["two"], max_new_tokens=60)))


def test_requests_that_cannot_be_answered_are_refused_at_once(engine: Engine) -> None:
    assert engine.longest == 512
    prompt = engine.tokenize(chat(0))
    with pytest.raises(UserError, match="the answer may take 500, but the model reads 512 at most"):
        engine.ask(Asked(prompt, max_new_tokens=500))
    with pytest.raises(UserError, match="empty"):
        engine.ask(Asked([]))
    with pytest.raises(ShapeRefused, match="uniqueItems"):
        engine.ask(Asked(prompt, shape=Shape.schema({"type": "array", "uniqueItems": True})))
    answer = engine.ask(Asked(prompt, max_new_tokens=512 - len(prompt)))
    assert last(answer).finish_reason in ("stop", "length")


def test_short_prompt_overtakes_a_long_one_after_a_piece(stepped: Stepped, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another writes; and the long one is not put off for ever by short ones that keep coming."""
    stepped.work._piece = 32
    writer, _ = stepped.ask(range(3, 9), max_new_tokens=500)
    stepped.until(lambda: writer.answer.output_tokens > 0)
    long, _ = stepped.ask([*range(10, 460)], max_new_tokens=2)
    stepped.work.turn()
    assert 0 < long.read <= 32
    short, _ = stepped.ask([*range(500, 520)], max_new_tokens=2)
    assert stepped.until(lambda: short.answer.output_tokens > 0) <= 2
    assert long.read <= 64
    before = writer.answer.output_tokens
    turns = 0
    while long.answer.output_tokens == 0:
        stepped.ask([*range(600 + 40 * turns, 620 + 40 * turns)], max_new_tokens=1)
        stepped.work.turn()
        turns += 1
    assert turns <= 2 * 450 // 32
    # Nobody who writes waited for more than a piece.
    assert writer.answer.output_tokens - before == turns


def test_what_was_read_lately_is_not_read_again(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    run = Slots.run

    def counted(slots: Slots, network: object, first: int, tokens: Sequence[Sequence[int]], starts: list[int]) -> Any:
        read.append(sum(map(len, tokens)))
        return run(slots, network, first, tokens, starts)

    monkeypatch.setattr(Slots, "run", counted)
    engine = Engine(loaded)
    opening = chat(2)
    first = engine.ask(Asked(engine.tokenize(opening), max_new_tokens=12))
    said = text(first)
    assert first.reused_tokens == 0
    follow_up = [*opening, {"role": "assistant", "content": said}, {"role": "user", "content": "Are you sure?"}]
    prompt = engine.tokenize(follow_up)
    read.clear()
    second = engine.ask(Asked(prompt, max_new_tokens=12))
    answered = text(second)
    assert second.reused_tokens >= len(engine.tokenize(opening)) - 1
    assert sum(read) <= len(prompt) - second.reused_tokens + 12
    third = engine.ask(Asked(prompt, max_new_tokens=12))
    assert text(third) == answered and third.reused_tokens == len(prompt) - 1
    engine.close()
    assert [said, answered] == locally(loaded, [Request(opening), Request(follow_up)], 12)


def test_beginnings_are_shared_with_those_under_way_but_not_across_adapters(
    stepped: Stepped, adapters: dict[str, Path]
) -> None:
    prompt = [*range(10, 110)]
    writer, _ = stepped.ask(prompt, max_new_tokens=300)
    stepped.until(lambda: writer.answer.output_tokens > 0)
    same, _ = stepped.ask([*prompt[:80], 5, 6, 7], max_new_tokens=2)
    other, _ = stepped.ask(prompt, max_new_tokens=2, adapter=adapters["one"])
    stepped.until(lambda: same.answer.output_tokens > 0 and other.answer.output_tokens > 0)
    assert (same.answer.reused_tokens, other.answer.reused_tokens) == (80, 0)


def test_rows_move_to_wider_slots_and_none_takes_more_than_the_memory(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for four short rows or one long one, everybody is answered, and as ever."""
    monkeypatch.setattr(live_work, "COLUMNS", (32, 64, 128))
    stepped = Stepped(loaded)
    per_token = stepped.work._models.bytes_per_token(None)
    assert per_token is not None
    stepped.work._most_bytes = 200 * per_token
    stepped.work._recent.most_bytes = 40 * per_token
    dice = random.Random(1)
    prompts = [[dice.randrange(10, 999) for _ in range(dice.randrange(1, 60))] for _ in range(15)]
    asked = [stepped.ask(prompt, max_new_tokens=60 if n % 3 else 8) for n, prompt in enumerate(prompts)]
    most = 0
    while any(not pieces or not pieces[-1].finish_reason for _, pieces in asked):
        stepped.work.turn()
        most = max(most, sum(lane.bytes for lane in stepped.work._lanes.values()))
        assert stepped.work._recent.bytes <= stepped.work._recent.most_bytes
    assert 128 * per_token <= most <= 200 * per_token
    engine = Engine(loaded)
    for (row, pieces), prompt in zip(asked, prompts, strict=True):
        assert pieces[-1].finish_reason in ("stop", "length"), pieces[-1]
        expected = text(engine.ask(Asked(prompt, max_new_tokens=row.asked.max_new_tokens)))
        assert "".join(piece.text for piece in pieces) == expected
    engine.close()


def test_long_request_that_finds_no_room_is_not_overtaken_for_ever(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_work, "COLUMNS", (32,))
    stepped = Stepped(loaded)
    stepped.work._most_bytes = 520 * (stepped.work._models.bytes_per_token(None) or 0)
    first, _ = stepped.ask([5], max_new_tokens=20)
    stepped.work.turn()
    long, _ = stepped.ask([7] * 400, max_new_tokens=2)
    short = 0
    while long.answer.output_tokens == 0:
        stepped.ask([short % 900 + 10], max_new_tokens=3)
        short += 1
        stepped.work.turn()
        assert short < 200
    assert first.answer.output_tokens > 0


def test_fewer_adapters_in_memory_than_are_asked_for(
    engine: Engine, adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("one", "two", "three", "dora")

    def all_of_them() -> list[str]:
        asked = [Asked(engine.tokenize(chat(4)), adapters[name], max_new_tokens=10) for name in names]
        return [text(answer) for answer in [engine.ask(each) for each in asked]]

    expected = all_of_them()
    monkeypatch.setattr(live_models, "MOST_ADAPTERS", 2)
    assert all_of_them() == expected == all_of_them()


def test_whole_tuned_models_take_turns(engine: Engine, adapters: dict[str, Path]) -> None:
    prompt = engine.tokenize(chat(4))
    names = ("whole", "other", None, "whole", "other")
    folders = [adapters[name] if name else None for name in names]
    answers = [engine.ask(Asked(prompt, folder, max_new_tokens=8)) for folder in folders]
    whole, other, base, whole_again, other_again = (text(answer) for answer in answers)
    assert (whole, other) == (whole_again, other_again)
    assert len({whole, other, base}) == 3


def test_network_that_forgets_is_answered_row_by_row_and_still_streamed(
    loaded: LoadedModel, adapters: dict[str, Path], tmp_path: Path
) -> None:
    """Layers that keep a window of 16 tokens alone cannot be cut into slots."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(3)
    sizes = {key: getattr(loaded.model.config, key) for key in MISTRAL_SIZES}
    MistralForCausalLM(MistralConfig(**sizes, sliding_window=16, initializer_range=0.3)).save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    sliding = load_model(str(tmp_path))
    engine = Engine(sliding)
    answers = [engine.ask(Asked(engine.tokenize(chat(n)), max_new_tokens=12)) for n in range(12)]
    pieces = [list(answer) for answer in answers]
    found = ["".join(piece.text for piece in each) for each in pieces]
    assert max(map(len, pieces)) > 4
    tuned = [engine.ask(Asked(engine.tokenize(chat(0)), adapters[name], max_new_tokens=12)) for name in ("one", "dora")]
    found += [text(each) for each in [*tuned, engine.ask(Asked(engine.tokenize(chat(0)), max_new_tokens=12))]]
    engine.close()
    requests = [Request(chat(n)) for n in range(12)]
    requests += [Request(chat(0), adapter) for adapter in (adapters["one"], adapters["dora"], None)]
    assert found == locally(load_model(str(tmp_path)), requests, 12)


def test_logprobs_are_those_of_a_plain_pass(loaded: LoadedModel, engine: Engine) -> None:
    import torch

    prompt = engine.tokenize(chat(3))
    for how in ({}, {"temperature": 1.3, "seed": 4}, {"shape": Shape.regex("[a-z]{8}")}):
        answer = engine.ask(Asked(prompt, max_new_tokens=8, logprobs=3, strip=False, **how))
        pieces = list(answer)
        tokens = [token for piece in pieces for token in piece.tokens]
        ids = [token.id for token in tokens]
        assert ids and "".join(piece.text for piece in pieces) == loaded.tokenizer.decode(ids)
        with torch.inference_mode():
            logits = loaded.model(input_ids=torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
        expected = logits.log_softmax(-1)
        for token, row in zip(tokens, expected, strict=True):
            assert token.logprob == pytest.approx(float(row[token.id]), abs=1e-4)
            values, likeliest = row.topk(3)
            assert [each[0] for each in token.top] == likeliest.tolist()
            assert [each[3] for each in token.top] == pytest.approx(values.tolist(), abs=1e-4)
        assert b"".join(token.bytes for token in tokens).decode(errors="replace") == loaded.tokenizer.decode(ids)


PLAIN = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.builds(
        lambda words: {"enum": words}, st.lists(st.text("abc é", max_size=6), min_size=1, max_size=3, unique=True)
    ),
    st.builds(
        lambda least, more: {"type": "integer", "minimum": least, "maximum": least + more},
        st.integers(-50, 50),
        st.integers(0, 99),
    ),
    st.builds(lambda most: {"type": "string", "maxLength": most}, st.integers(0, 5)),
)
SCHEMAS = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.builds(lambda each, most: {"type": "array", "items": each, "maxItems": most}, inner, st.integers(0, 2)),
        st.builds(
            lambda parts: {
                "type": "object",
                "properties": parts,
                "required": list(parts),
                "additionalProperties": False,
            },
            st.dictionaries(st.sampled_from(["name", "a b", "größe"]), inner, max_size=3),
        ),
        st.builds(lambda some: {"anyOf": some}, st.lists(inner, min_size=1, max_size=2)),
    ),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def lasting_engine(tiny_model: Path) -> Iterator[Engine]:
    engine = Engine(load_model(str(tiny_model)))
    yield engine
    engine.close()


@given(schema=SCHEMAS, seed=st.integers(0, 9))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_answers_of_a_schema_always_validate(lasting_engine: Engine, schema: dict[str, Any], seed: int) -> None:
    import jsonschema

    asked = Asked([1, 5, 9], max_new_tokens=300, temperature=1.0, seed=seed, shape=Shape.schema(schema))
    pieces = list(lasting_engine.ask(asked))
    assert pieces[-1].finish_reason in ("stop", "length"), pieces[-1].error
    if pieces[-1].finish_reason == "stop":
        jsonschema.validate(json.loads("".join(piece.text for piece in pieces)), schema)


def test_shape_ends_the_answer_when_it_is_complete(lasting_engine: Engine) -> None:
    asked = Asked([1, 5, 9], max_new_tokens=300, shape=Shape.regex("(yes|no), [0-9]{2}%"))
    (*_, end) = pieces = list(lasting_engine.ask(asked))
    assert end.finish_reason == "stop"
    assert "".join(piece.text for piece in pieces)[-1] == "%"


def test_failed_pass_ends_its_own_answers_with_a_sentence(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Slots.run
    failing = threading.Event()

    def broken(slots: Slots, *pass_: Any) -> Any:
        if failing.is_set():
            failing.clear()
            raise RuntimeError("out of memory")
        return run(slots, *pass_)

    monkeypatch.setattr(Slots, "run", broken)
    failing.set()
    end = last(engine.ask(Asked(engine.tokenize(chat(0)), max_new_tokens=3)))
    assert (end.finish_reason, end.error) == ("error", FAILED)
    assert last(engine.ask(Asked(engine.tokenize(chat(0)), max_new_tokens=3))).finish_reason == "length"


def test_closing_ends_what_is_open_and_refuses_what_comes(loaded: LoadedModel) -> None:
    engine = Engine(loaded)
    answer = engine.ask(Asked(engine.tokenize(chat(0)), max_new_tokens=400))
    next(iter(answer))
    engine.close()
    end = last(answer)
    assert end.finish_reason == "error" and "taken off the server" in str(end.error)
    with pytest.raises(UserError, match="taken off the server"):
        engine.ask(Asked(engine.tokenize(chat(0))))


def test_callback_gets_what_came_before_it_and_all_that_follows(engine: Engine) -> None:
    prompt = engine.tokenize(chat(5))
    expected = text(engine.ask(Asked(prompt, max_new_tokens=30)))
    answer = engine.ask(Asked(prompt, max_new_tokens=30))
    while not answer.output_tokens > 5:
        pass
    pieces: list[Piece] = []
    ended = threading.Event()

    def take(piece: Piece) -> None:
        pieces.append(piece)
        if piece.finish_reason:
            ended.set()

    answer.on_piece(take)
    assert ended.wait(30)
    assert "".join(piece.text for piece in pieces) == expected
    assert [bool(piece.finish_reason) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert answer.input_tokens == len(prompt) and 0 < (answer.first_token_s or 0) <= answer.seconds


@pytest.mark.integration
def test_bundled_model_says_the_same_in_a_crowd(bundled: Path) -> None:
    loaded = load_model("bundled/SmolLM2-135M-Instruct")
    engine = Engine(loaded)
    chats = [
        [{"role": "user", "content": f"Name {n + 2} animals that live in the {place}."}]
        for n, place in enumerate(["sea", "forest", "desert", "air", "city", "ice"])
    ]
    answers = [engine.ask(Asked(engine.tokenize(each), max_new_tokens=16)) for each in chats]
    found = [text(answer) for answer in answers]
    engine.close()
    assert found == locally(loaded, [Request(each) for each in chats], 16)
