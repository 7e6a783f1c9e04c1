"""The live engine where something beside an answer goes wrong: the answer, and those beside it, go on all the same."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.models.constraint import Compiler, Shape, ShapeRefused
from core.models.live import Answer, Asked, Engine, Piece
from core.models.live_work import Work
from core.models.loading import LoadedModel, load_model
from core.models.slots import Slots

PROMPT = [5, 6, 7]


def ended(answer: Answer) -> tuple[str, Piece]:
    pieces = list(answer)
    return "".join(piece.text for piece in pieces), pieces[-1]


def made(folder: Path, tokenizer_of: Path, model: Any) -> Path:
    from transformers import AutoTokenizer

    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer_of).save_pretrained(folder)
    return folder


@pytest.fixture
def wide(tiny_model: Path, tmp_path: Path) -> LoadedModel:
    """A tiny model that reads more than the narrowest slots hold."""
    import torch
    from transformers import AutoConfig, LlamaForCausalLM

    config = AutoConfig.from_pretrained(tiny_model)
    config.max_position_embeddings = 4096
    torch.manual_seed(7)
    return load_model(str(made(tmp_path / "wide", tiny_model, LlamaForCausalLM(config))))


@pytest.fixture
def engine(tiny_model: Path) -> Iterator[Engine]:
    made = Engine(load_model(str(tiny_model)))
    yield made
    made.close()


def test_a_question_shares_the_beginning_of_a_text_longer_than_its_own_slot(wide: LoadedModel) -> None:
    long = [number % 40_000 + 100 for number in range(1500)]
    short = [*long[:100], *PROMPT]
    said = []
    for before in ([long], []):
        engine = Engine(wide)
        try:
            for prompt in before:
                ended(engine.ask(Asked(prompt, max_new_tokens=2)))
            answer = engine.ask(Asked(short, max_new_tokens=6))
            text, last = ended(answer)
            assert last.error is None
            assert answer.reused_tokens == (100 if before else 0)
            said.append(text)
        finally:
            engine.close()
    assert said[0] == said[1]


def test_models_with_learned_positions_are_asked_together(tiny_model: Path, tmp_path: Path) -> None:
    """What pads a shorter prompt stands at no position that the model has not."""
    import torch
    from transformers import AutoConfig, GPT2Config, GPT2LMHeadModel

    size = AutoConfig.from_pretrained(tiny_model)
    ends = {"bos_token_id": size.bos_token_id, "eos_token_id": size.eos_token_id}
    config = GPT2Config(
        vocab_size=size.vocab_size, n_positions=64, n_embd=16, n_layer=2, n_head=2, initializer_range=0.3, **ends
    )
    torch.manual_seed(7)
    engine = Engine(load_model(str(made(tmp_path / "gpt2", tiny_model, GPT2LMHeadModel(config)))))
    prompts = [list(range(5, 5 + length)) for length in (20, 3, 30, 7)]
    try:
        alone = [ended(engine.ask(Asked(prompt, max_new_tokens=8)))[0] for prompt in prompts]
        together = [engine.ask(Asked(prompt, max_new_tokens=8)) for prompt in prompts]
        assert [ended(answer)[0] for answer in together] == alone
        assert all(alone)
    finally:
        engine.close()


def test_an_answer_ends_well_though_its_whole_model_is_deleted_meanwhile(wide: LoadedModel, tmp_path: Path) -> None:
    engine = Engine(wide)
    try:
        shutil.copytree(tmp_path / "wide", tmp_path / "whole")
        pieces = iter(engine.ask(Asked(PROMPT, adapter=tmp_path / "whole", max_new_tokens=600)))
        next(pieces)
        shutil.rmtree(tmp_path / "whole")
        assert [piece.error for piece in pieces if piece.finish_reason] == [None]
    finally:
        engine.close()


def test_memory_that_is_not_there_costs_a_request_and_not_the_engine(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(slots: Slots, rows: int, columns: int, kept: int) -> None:
        if rows:
            raise RuntimeError("CUDA out of memory in /home/somebody")

    with monkeypatch.context() as patch:
        patch.setattr(Slots, "resize", refuse)
        _, last = ended(engine.ask(Asked(PROMPT, max_new_tokens=4)))
    # Clients are told no folders.
    assert last.finish_reason == "error" and "somebody" not in str(last.error)
    assert ended(engine.ask(Asked(PROMPT, max_new_tokens=4)))[1].finish_reason == "length"


def test_a_turn_that_fails_outside_a_pass_costs_its_answers_and_not_the_engine(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(work: Work) -> None:
        raise RuntimeError("nobody foresaw this")

    with monkeypatch.context() as patch:
        patch.setattr(Work, "_leave_cancelled", fail)
        assert ended(engine.ask(Asked(PROMPT, max_new_tokens=4)))[1].finish_reason == "error"
    assert ended(engine.ask(Asked(PROMPT, max_new_tokens=4)))[1].finish_reason == "length"


def test_a_row_that_outgrows_its_slot_is_told_when_there_is_no_memory(
    wide: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Slots.resize

    def refuse_wide(slots: Slots, rows: int, columns: int, kept: int) -> None:
        if rows and columns > 512:
            raise RuntimeError("out of memory")
        real(slots, rows, columns, kept)

    monkeypatch.setattr(Slots, "resize", refuse_wide)
    engine = Engine(wide)
    try:
        answer = engine.ask(Asked([number + 100 for number in range(300)], max_new_tokens=400))
        told: list[Piece] = []
        done = threading.Event()

        def take(piece: Piece) -> None:
            told.append(piece)
            if piece.finish_reason:
                done.set()

        answer.on_piece(take)
        assert done.wait(30), "the answer was lost"
        assert told[-1].finish_reason == "error"
    finally:
        engine.close()


@pytest.mark.parametrize(("temperature", "top_p"), [(1e-40, 1.0), (5e-324, 1.0), (1.0, 0.0), (1e-9, 0.5)])
def test_the_coldest_and_the_narrowest_choice_is_the_likeliest(
    engine: Engine, temperature: float, top_p: float
) -> None:
    greedy, _ = ended(engine.ask(Asked(PROMPT, max_new_tokens=8)))
    cold, _ = ended(engine.ask(Asked(PROMPT, max_new_tokens=8, temperature=temperature, top_p=top_p, seed=3)))
    assert cold == greedy


def test_others_are_written_while_logprobs_are_asked_for_the_first_time(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What describes tokens takes a second to make: in the thread of the one who asks, not in the engine's."""
    makers = []
    real = Compiler.__init__

    def noted(compiler: Compiler, *args: Any) -> None:
        makers.append(threading.current_thread().name)
        real(compiler, *args)

    monkeypatch.setattr(Compiler, "__init__", noted)
    ended(engine.ask(Asked(PROMPT, max_new_tokens=2, logprobs=1)))
    assert makers == [threading.current_thread().name]


MANY = {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(2000)}}


def test_an_answer_whose_shape_is_lost_on_the_way_is_not_called_complete(engine: Engine) -> None:
    said, last = ended(engine.ask(Asked(PROMPT, max_new_tokens=40, shape=Shape.schema(MANY))))
    if last.finish_reason == "stop":
        json.loads(said)
    else:
        assert last.finish_reason == "error" and "shape" in str(last.error)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"$ref": "http://127.0.0.1:1/schema.json"},
        {"enum": [json.loads("[" * 300 + "]" * 300)]},
    ],
    ids=["itself", "in a circle", "elsewhere", "deep"],
)
def test_a_schema_that_no_answer_can_begin_is_refused_before_it_is_asked(
    engine: Engine, schema: dict[str, Any]
) -> None:
    with pytest.raises(ShapeRefused):
        engine.ask(Asked(PROMPT, shape=Shape.schema(schema)))
