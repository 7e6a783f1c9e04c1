"""Sample answers: what Compare would get at that step, at no cost to what is learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.jobs import queue
from core.models.generation import Request, Sampling
from core.models.loading import LoadedModel, load_model
from core.models.local import LocalGenerator
from core.models.prompt import Passage
from core.train import samples
from core.train.recipe import Recipe
from core.train.samples import MAX_NEW_TOKENS, Question, answer, answered, choose
from core.train.trainer import train
from tests.factories import example, examples, sorting
from tests.train.notes import Notes

QUESTIONS = choose(examples(sorting(3, start=50)), examples(sorting(6)), 3, 0)


def test_questions_are_fixed_by_the_seed_and_differ_in_their_answers() -> None:
    validation = [example(f"Which queue, ticket {i}?", "cards" if i < 18 else f"queue {i}") for i in range(20)]
    chosen = choose(validation, [], 3, 4)
    assert chosen == choose(validation, [], 3, 4) != choose(validation, [], 3, 5)
    for seed in range(20):
        assert len({question.reference for question in choose(validation, [], 3, seed)}) == 3
    assert [question.position for question in chosen] == [0, 1, 2]
    assert chosen[0].messages[-1]["content"] == chosen[0].prompt


def test_training_examples_step_in_where_validation_is_short() -> None:
    chosen = choose([example("held out", "a")], [example(f"learned {i}", "b") for i in range(5)], 3, 0)
    assert chosen[0].prompt == "held out"
    assert len({question.prompt for question in chosen}) == 3
    assert choose([], [], 3, 0) == []


def test_questions_show_their_own_passages() -> None:
    """As build_messages shows them; the prompt for people stays the question."""
    validation, train = [example("first", "a")], [example("second", "b")]
    shown = [[Passage("One", "of the first")], [Passage("Two", "of the second")]]
    first, second = choose(validation, train, 2, 0, shown)
    assert "of the first" in first.messages[-1]["content"] and first.prompt == "first"
    assert "of the second" in second.messages[-1]["content"] and second.prompt == "second"


def test_answers_are_kept_by_step_and_forgotten_with_it() -> None:
    job = queue.submit("train", {}, start=False)
    for step, text in ((0, "base"), (4, "lost"), (4, "again"), (8, "later")):
        samples.store(job, step, answered(QUESTIONS, [f"{text} {i}" for i in range(3)]))
    kept = samples.of_job(job)
    assert [(row.step, row.position) for row in kept] == [(s, p) for s in (0, 4, 8) for p in range(3)]
    assert [row.output for row in kept if row.step == 4] == ["again 0", "again 1", "again 2"]
    assert kept[0].prompt == QUESTIONS[0].prompt and kept[0].reference == QUESTIONS[0].reference
    samples.forget_after(job, 4)
    assert {row.step for row in samples.of_job(job)} == {0, 4}


def _adapted(loaded: LoadedModel, *, dropout: float = 0.1) -> Any:
    """The model with an adapter that changes its answers."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    config = LoraConfig(r=4, lora_alpha=64, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM")
    network = get_peft_model(loaded.model, config)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.3)
    return network


@pytest.mark.integration
def test_network_in_training_says_what_compare_would(tiny_model: Path, tmp_path: Path) -> None:
    network = _adapted(loaded := load_model(str(tiny_model)))
    network.gradient_checkpointing_enable()
    network.enable_input_require_grads()
    network.config.use_cache = False
    network.train()
    in_training = answer(loaded, network, QUESTIONS)

    network.save_pretrained(tmp_path)
    compare = LocalGenerator(load_model(str(tiny_model)))
    chats = [question.messages for question in QUESTIONS]
    for adapter, agrees in ((tmp_path, True), (None, False)):
        texts = [""] * 3
        for batch in compare.answer([Request(chat, adapter) for chat in chats], Sampling(MAX_NEW_TOKENS)):
            for i, completion in batch:
                texts[i] = completion.text
        assert (texts == in_training) is agrees
    assert all(in_training)


@pytest.mark.integration
def test_model_that_is_trained_whole_answers_too(tiny_model: Path) -> None:
    loaded = load_model(str(tiny_model))
    loaded.model.gradient_checkpointing_enable()
    loaded.model.train()
    before = answer(loaded, loaded.model, QUESTIONS)
    assert all(before) and loaded.model.training
    loaded.model.eval()
    assert answer(loaded, loaded.model, QUESTIONS) == before


@pytest.mark.integration
@pytest.mark.parametrize("four_bit", [False, True])
def test_answering_leaves_learning_as_it_was(tiny_model: Path, four_bit: bool) -> None:
    """Dropout draws from the global generator; modes, numbers and four-bit weights come back to the bit."""
    import torch

    def learn(asked: bool) -> list[Any]:
        loaded = load_model(str(tiny_model), four_bit=four_bit)
        network = _adapted(loaded)
        network.train()
        network.base_model.model.model.norm.eval()  # one that a trainer froze
        torch.manual_seed(1)
        optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], 1e-3)
        ids = torch.tensor([loaded.tokenizer("Which kind is a plum? fruit")["input_ids"]])
        for _ in range(2):
            if asked:
                assert len(answer(loaded, network, QUESTIONS[:1])) == 1
            network(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        assert network.training and not network.base_model.model.model.norm.training
        return [weight.detach().clone() for weight in network.parameters() if weight.requires_grad]

    for one, other in zip(learn(False), learn(True), strict=True):
        assert torch.equal(one, other)


@pytest.mark.integration
def test_question_too_long_for_the_model_is_answered_by_a_sentence(tiny_model: Path) -> None:
    loaded = load_model(str(tiny_model))
    long = Question(0, [{"role": "user", "content": "word " * 600}], "word", "a")
    (text,) = answer(loaded, loaded.model, [long])
    assert "the model reads 512 at most" in text


@pytest.mark.integration
@pytest.mark.parametrize("method", ["lora", "full"])
def test_run_learns_the_same_with_samples_as_without(tiny_model: Path, tmp_path: Path, method: str) -> None:
    learn, held_out = examples(sorting(12)), examples(sorting(3, start=500))
    weights, losses = [], []
    for count in (0, 3):
        wanted = Recipe.model_validate(
            {
                "model": str(tiny_model),
                "method": method,
                "batch_size": 4,
                "epochs": 2,
                "rank": 4,
                "evaluations": 2,
                "dropout": 0.1,
                "samples": count,
            }
        )
        notes = Notes()
        result = train(wanted, learn, held_out, tmp_path / str(count), notes)
        assert result.best is not None
        (file,) = result.best.glob("*model.safetensors")
        weights.append(file.read_bytes())
        losses.append([notes.losses(), notes.losses("eval_loss")])
        assert sorted(notes.answers) == ([0, 3, 6] if count else [])
        assert all(len(answers) == count for answers in notes.answers.values())
    assert weights[0] == weights[1] and losses[0] == losses[1]
