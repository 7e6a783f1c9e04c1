"""What is sent: shots as chosen, passages as searched, and the template's words around them."""

from __future__ import annotations

from typing import Any

import pytest

from core.data.dataset import File, create_dataset, examples_of
from core.documents.index import build_index, create_index
from core.documents.reading import SourceDocument
from core.errors import UserError
from core.evaluate.experiment import create_experiment
from core.evaluate.plan import Plan, PromptTemplate
from core.evaluate.questions import (
    answer_tokens,
    chat_of,
    choose_shots,
    gather,
    preview,
    sent,
    shots_for,
    similar_shots,
)
from core.evaluate.rungs import Rung
from core.models.prompt import Passage, Shot, build_messages
from core.store.tables import Index
from tests.evaluate.answering import MODEL, answering, run, stored
from tests.factories import chat, example, jsonl, sorting, sorting_dataset

PASSAGE = Passage("kinds.md", "A pear is a fruit with a {question} in it.")


def planned(*rungs: str, **more: Any) -> Plan:
    return Plan.model_validate({"rungs": list(rungs)} | more)


def test_shots_come_from_training_and_show_every_answer_before_one_twice() -> None:
    rows = [example(f"q{n}", "common") for n in range(20)] + [example("r", "rare"), example("s", "other")]
    shots = choose_shots(rows, 4, seed=1)
    assert {shot.reference for shot in shots[:3]} == {"common", "rare", "other"}
    assert len(shots) == 4 and shots[3].reference == "common"
    assert choose_shots(rows, 4, seed=1) == shots != choose_shots(rows, 4, seed=2)
    assert len(choose_shots(rows, 50, seed=1)) == 22
    assert len({str(shot.messages) for shot in choose_shots(rows, 50, seed=1)}) == 22
    assert choose_shots([], 4, seed=1) == []


def test_shots_chosen_by_hand_are_shown_in_their_order_and_only_from_training() -> None:
    dataset = sorting_dataset(train=14)
    train = examples_of(dataset.id, "train")
    ids = [train[5][0], train[2][0]]
    shots = shots_for(planned("prompt", shot_choice="chosen", shot_ids=ids), dataset.id, 0, [train[0][1]] * 2)
    assert shots == [[Shot(train[i][1].messages, train[i][1].reference) for i in (5, 2)]] * 2
    tested = examples_of(dataset.id, "test")[0][0]
    for wrong in ([tested], [*ids, 99_999], []):
        with pytest.raises(UserError, match=r"No training example|No worked example"):
            shots_for(planned("prompt", shot_choice="chosen", shot_ids=wrong), dataset.id, 0, [])


@pytest.mark.integration
def test_similar_shots_mean_the_same_nearest_last_and_never_of_the_same_source() -> None:
    train = [
        example("How do I bake bread?", "Knead the dough."),
        example("Which train goes to Rome?", "The night train."),
        example("How do I make a sourdough loaf at home?", "Feed the starter."),
        example("How do I bake a sourdough bread loaf?", "Ask Mia.", group="mia"),
    ]
    asked = [example("How is sourdough bread baked?", "?", group="mia"), example("When does the train leave?", "?")]
    baking, travelling = similar_shots(train, asked, 2, seed=0)
    assert {shot.reference for shot in baking} == {"Knead the dough.", "Feed the starter."}
    assert travelling[-1].reference == "The night train."
    assert len(similar_shots(train, asked, 50, seed=0)[0]) == 3
    assert similar_shots(train[3:], asked[:1], 2, seed=0) == [[]]


def test_usual_template_sends_what_training_and_serving_send() -> None:
    asked = example("What is a pear?", "fruit")
    shots = [Shot(({"role": "user", "content": "What is a saw?"},), "tool")]
    assert chat_of(asked, PromptTemplate(), shots, [PASSAGE]) == build_messages(asked.messages, shots, [PASSAGE])


def test_template_words_questions_shots_and_passages() -> None:
    system = {"role": "system", "content": "Old instructions."}
    asked = example("What is {passages}?", "fruit")
    asked = type(asked)((system, *asked.messages), "fruit", "g")
    shots = [Shot((system, {"role": "user", "content": "What is a saw?"}), "tool")]
    template = PromptTemplate(system="Be brief.", question="Q: {question} A:", passages="See {passages}. {question}")
    assert [turn["content"] for turn in chat_of(asked, template, shots)] == [
        "Be brief.",
        "Q: What is a saw? A:",
        "tool",
        "Q: What is {passages}? A:",
    ]
    with_passages = chat_of(asked, template, [], [PASSAGE])[-1]["content"]
    assert with_passages == f"See [kinds.md]\n{PASSAGE.text}. What is {{passages}}?"
    usual = chat_of(asked, template.model_copy(update={"passages": None}), [], [PASSAGE])[-1]["content"]
    assert usual.startswith("Passages that may help:") and usual.endswith("Q: What is {passages}? A:")
    assert [turn["role"] for turn in chat_of(asked, PromptTemplate(system=""))] == ["user"]


@pytest.fixture
def kinds() -> Index:
    index = create_index("d", [SourceDocument(f"{n}.md", n, f"A {n} is a fruit.") for n in ("pear", "plum", "quince")])
    build_index(index.id)
    return index


def interrupt(message: str) -> None:
    raise KeyboardInterrupt


@pytest.mark.integration
def test_what_is_previewed_is_what_is_asked_and_what_is_shown_afterwards(
    monkeypatch: pytest.MonkeyPatch, kinds: Index
) -> None:
    dataset = sorting_dataset(test=2)
    plan = planned("prompt+rag", shots=2, shot_choice="similar", template={"question": "Hm. {question}"})
    experiment = create_experiment("e", dataset.id, metrics=["exact_match"], plan=plan, model=MODEL, index_id=kinds.id)
    with answering(monkeypatch) as service:
        run(experiment)
    asked = sorted(str(request["messages"]) for request in service.requests)
    rung = Rung(shots=True, retrieval=True)
    with pytest.raises(KeyboardInterrupt):
        gather(experiment, plan, examples_of(dataset.id, "test"), interrupt)
    seen = [preview(plan, rung, dataset.id, id, kinds.id, experiment.seed) for id, _ in examples_of(dataset.id, "test")]
    assert sorted(str(chat) for chat, _ in seen) == asked and all(len(hits) == 2 for _, hits in seen)
    assert sorted(str(sent(prediction)) for prediction in stored(experiment.id)) == asked


@pytest.mark.integration
def test_retriever_settings_of_the_plan_hold(kinds: Index) -> None:
    test = [chat("Is a quince a fruit?", "yes")]
    dataset = create_dataset("d", File("a", jsonl(sorting(12))), File("b", jsonl(test)))
    ((id, _),) = examples_of(dataset.id, "test")

    def found(**retrieval: Any) -> list[Any]:
        plan = planned("rag", passages=3, retrieval=retrieval)
        return preview(plan, Rung(retrieval=True), dataset.id, id, kinds.id, 0)[1]

    assert all(hit.sparse_rank is None for hit in found(mode="dense"))
    assert all(hit.dense_rank is None for hit in found(mode="sparse"))
    assert all(hit.score == pytest.approx(6 / (5 + hit.dense_rank)) for hit in found(dense_weight=1.0))
    assert all(hit.score == pytest.approx(6 / (5 + hit.sparse_rank)) for hit in found(dense_weight=0.0))
    scores = [hit.score for hit in found(mode="dense")]
    assert len(found(mode="dense", min_score=scores[0])) == 1 < len(scores)
    assert found(mode="dense", min_score=2.0) == []


def test_longest_answer_comes_from_the_plan_or_from_what_training_expects() -> None:
    dataset = sorting_dataset()
    assert answer_tokens(planned("base", max_new_tokens=7), dataset.id) == 7
    assert answer_tokens(planned("base"), dataset.id) == 32
    long = create_dataset(
        "l", File("a", jsonl([chat(f"q{n}", "w" * 300) for n in range(3)])), File("b", jsonl(sorting(2)))
    )
    assert answer_tokens(planned("base"), long.id) == 150


def test_documents_that_are_gone_are_an_error() -> None:
    dataset = sorting_dataset()
    ((id, _), *_) = examples_of(dataset.id, "test")
    with pytest.raises(UserError, match="documents of this experiment are gone"):
        preview(planned("rag"), Rung(retrieval=True), dataset.id, id, None, 0)
