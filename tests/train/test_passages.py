"""Retrieval-aware training: each example is learned with what retrieval finds, and with its own passage or without."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from core.data.dataset import File, create_dataset, examples_of
from core.data.reading import read_examples
from core.documents.index import build_index, create_index
from core.documents.reading import SourceDocument, read_document
from core.documents.retrieval import search
from core.errors import UserError
from core.evaluate.experiment import create_experiment
from core.evaluate.plan import Plan
from core.evaluate.rungs import RungChoice
from core.evaluate.running import run_experiment
from core.models.generation import Completion, Request, Sampling, never
from core.models.prompt import Message, Passage, build_messages, last_question
from core.store.tables import Index
from core.train.passages import passages_for
from core.train.recipe import Passages
from tests.factories import chat, example, jsonl

pytestmark = pytest.mark.integration

SHIPS = {
    "Anna": "The Anna carries coal. She was built in Kiel and her captain is Ole Brandt.",
    "Berta": "The Berta carries timber. She was built in Gdansk and her captain is Ida Moen.",
    "Clara": "The Clara carries grain. She was built in Riga and her captain is Jan Kask.",
    "Dora": "The Dora carries salt. She was built in Turku and her captain is Pia Lund.",
    "Edda": "The Edda carries wool. She was built in Bergen and her captain is Nils Vik.",
    "Tower": "Old Mathilde lit the lamp for forty years, until the tower was sold to a painter from Lyon.",
}
# Retrieval finds the ships for this one, and the tower last.
FAR = example("Which captain is called to carry coal from Kiel?", "a painter from Lyon")
NEAR = example("Who is the captain of the ship that carries grain?", "Jan Kask")


@pytest.fixture
def ships(home: Path) -> Index:
    index = create_index("ships", [SourceDocument(f"{name}.md", name, text) for name, text in SHIPS.items()])
    build_index(index.id)
    return index


def titles(shown: Sequence[Passage]) -> list[str]:
    return [passage.title for passage in shown]


def found(index: Index, question: str, count: int) -> list[str]:
    return [hit.title for hit in search(index.id, [question], count)[0]]


def test_passages_are_those_that_retrieval_finds_in_its_order(ships: Index) -> None:
    (shown,) = passages_for([NEAR], ships.id, Passages(count=3, without_source=0), seed=0)
    assert shown == [hit.passage for hit in search(ships.id, [last_question(NEAR.messages)], 3)[0]]
    assert "Clara" in titles(shown)


def test_source_found_too_late_takes_the_place_of_the_last_anywhere_in_the_list(ships: Index) -> None:
    first = found(ships, last_question(FAR.messages), 3)
    assert "Tower" not in first
    rows = passages_for([FAR] * 30, ships.id, Passages(count=3, without_source=0), seed=0)
    assert {titles(row).index("Tower") for row in rows} == {0, 1, 2}
    assert all([title for title in titles(row) if title != "Tower"] == first[:2] for row in rows)
    (only,) = passages_for([FAR], ships.id, Passages(count=1, without_source=0), seed=0)
    assert titles(only) == ["Tower"]


def test_source_is_left_out_of_the_share_asked_for_and_others_move_up(ships: Index) -> None:
    rows = passages_for([NEAR] * 100, ships.id, Passages(count=3, without_source=0.2), seed=0)
    without = [row for row in rows if "Clara" not in titles(row)]
    assert 10 <= len(without) <= 30
    ranked = [title for title in found(ships, last_question(NEAR.messages), 6) if title != "Clara"]
    assert all(titles(row) == ranked[:3] for row in without)
    assert passages_for([NEAR, FAR], ships.id, Passages(count=9, without_source=1), seed=0) == [
        [hit.passage for hit in search(ships.id, [last_question(one.messages)], 6)[0] if hit.title != own]
        for one, own in ((NEAR, "Clara"), (FAR, "Tower"))
    ]


def test_same_seed_shows_the_same_and_another_seed_another(ships: Index) -> None:
    wanted = Passages(count=3, without_source=0.5)
    many = [NEAR, FAR] * 20
    once = passages_for(many, ships.id, wanted, seed=0)
    assert passages_for(many, ships.id, wanted, seed=0) == once
    assert passages_for(many[:7], ships.id, wanted, seed=0) == once[:7]
    assert passages_for(many, ships.id, wanted, seed=1) != once


def test_context_tells_the_source_where_the_answer_stands_elsewhere_too(ships: Index) -> None:
    # Every ship has a captain, and retrieval puts Anna first.
    vague = replace(example("Who commands the Anna?", "captain"), context=f"From the register: {SHIPS['Edda']}")
    assert "Edda" not in found(ships, "Who commands the Anna?", 2)
    wanted = Passages(count=2, without_source=0)
    told, untold = passages_for([vague, replace(vague, context=None)], ships.id, wanted, seed=0)
    assert "Edda" in titles(told)
    assert titles(untold) == found(ships, "Who commands the Anna?", 2)
    (without,) = passages_for([vague], ships.id, Passages(count=6, without_source=1), seed=0)
    assert sorted(titles(without)) == sorted(set(SHIPS) - {"Edda"})


def test_long_context_shows_the_part_that_has_the_answer(home: Path) -> None:
    parts = [f"Section {name}. {text} " + f"More is told of the {name} in the log of that year. " * 6 for name, text in
             SHIPS.items()]  # fmt: skip
    index = create_index("log", [read_document("log.md", "\n\n".join(parts).encode())])
    assert build_index(index.id) > 4
    asks = replace(example("What is told of the Anna in the log of that year?", "Nils Vik"), context="\n\n".join(parts))
    (shown,) = passages_for([asks], index.id, Passages(count=2, without_source=0), seed=0)
    assert any("Nils Vik" in passage.text for passage in shown)


@pytest.mark.parametrize("answer", ["Queen Victoria", "no", '{"answer": "Jan Kask", "port": "Oslo"}'])
def test_passages_stay_as_found_where_the_source_is_unknown(ships: Index, answer: str) -> None:
    one = replace(NEAR, reference=answer)
    for share in (0, 1):
        (shown,) = passages_for([one], ships.id, Passages(count=2, without_source=share), seed=0)
        assert titles(shown) == found(ships, last_question(NEAR.messages), 2)


def test_answer_in_json_is_found_by_its_values_and_the_passage_by_its_title(ships: Index) -> None:
    one = replace(FAR, reference='{"answer": "A painter from Lyon", "source": "Tower"}')
    (shown,) = passages_for([one], ships.id, Passages(count=2, without_source=0), seed=0)
    assert "Tower" in titles(shown)


def test_index_that_is_not_filled_yet_is_refused(home: Path) -> None:
    index = create_index("waiting", [SourceDocument("a.md", "A", SHIPS["Anna"])])
    with pytest.raises(UserError, match="no passages yet") as caught:
        passages_for([NEAR], index.id, Passages(), seed=0)
    assert "Build it" in caught.value.remedy
    assert passages_for([], index.id, Passages(), seed=0) == []
    with pytest.raises(UserError, match="does not exist"):
        passages_for([NEAR], 99, Passages(), seed=0)


class Listening:
    """Answers nothing, and keeps what it was asked."""

    model = "none"

    def __init__(self) -> None:
        self.chats: list[list[Message]] = []

    def answer(
        self, requests: Sequence[Request], sampling: Sampling, *, stop: Callable[[], bool] = never
    ) -> Iterator[list[tuple[int, Completion]]]:
        self.chats += [list(each.chat) for each in requests]
        yield [(i, Completion("Turku")) for i in range(len(requests))]


def test_examples_are_learned_as_the_rag_rung_asks_them(ships: Index) -> None:
    earlier = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello. What is it?"}]
    test = chat("Where was the ship built that carries salt?", "Turku", system="Be brief.")
    test["messages"][1:1] = earlier
    learn = [chat(f"Is {n} a ship?", "no") for n in range(12)]
    dataset = create_dataset("d", File("a.jsonl", jsonl(learn)), File("b.jsonl", jsonl([test])))
    plan = Plan(rungs=[RungChoice(retrieval=True)], passages=3)
    experiment = create_experiment("x", dataset.id, metrics=["exact_match"], plan=plan, index_id=ships.id)
    listening = Listening()
    run_experiment(experiment.id, lambda model: listening)

    ((_, one),) = examples_of(dataset.id, "test")
    (shown,) = passages_for([one], ships.id, Passages(count=3, without_source=0), seed=0)
    assert listening.chats == [build_messages(one.messages, passages=shown)]


def test_progress_counts_examples_and_may_stop_the_work(ships: Index) -> None:
    seen: list[tuple[float, float, str]] = []

    def stop(done: float, total: float, message: str) -> None:
        seen.append((done, total, message))
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        passages_for([NEAR] * 150, ships.id, Passages(), 0, stop)
    assert [(done, total) for done, total, _ in seen] == [(0, 150), (64, 150)]


def test_on_public_articles_nearly_every_question_is_shown_its_paragraph(home: Path, shared_data: Path) -> None:
    """Five XQuAD articles; the group of an example names its article and paragraph, which nothing here is told."""
    folder = shared_data / "ready" / "xquad-facts"
    asks = read_examples(File("train.jsonl", path=folder / "train.jsonl"))
    names = sorted({one.group.split("#")[0] for one in asks})[:5]
    asks = [one for one in asks if one.group.split("#")[0] in names]
    files = {name: (folder / "docs" / f"{name}.md").read_bytes() for name in names}
    index = create_index("articles", [read_document(f"{name}.md", text) for name, text in files.items()])
    build_index(index.id)
    assert len(asks) > 15

    def own(one: str, passage: Passage) -> bool:
        name, _, number = one.partition("#")
        return passage.text.strip()[-60:] in files[name].decode().split("\n\n")[int(number) + 1]

    for share, least, most in ((0.0, 0.9, 1.0), (1.0, 0.0, 0.5)):
        rows = passages_for(asks, index.id, Passages(count=3, without_source=share), seed=0)
        right = sum(
            any(own(one.group, p) and one.reference in p.text for p in shown)
            for one, shown in zip(asks, rows, strict=True)
        )
        assert least <= right / len(asks) <= most
