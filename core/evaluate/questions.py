"""What a rung really sends for an example: worked examples, passages and the question, under the plan's template."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, select

from core.data.dataset import examples_of
from core.data.example import Example
from core.data.storing import example_of
from core.documents.retrieval import Hit, search
from core.errors import UserError
from core.evaluate.plan import Plan, PromptTemplate
from core.evaluate.rungs import Rung
from core.models.prompt import Message, Passage, Shot, build_messages, last_question, quoted
from core.store.database import session
from core.store.tables import Example as ExampleRow
from core.store.tables import Experiment, Prediction

# What a character of a prompt costs against a character's worth of answer, roughly, for the time left.
ANSWER_EFFORT = 400
# Training examples among which the most similar are looked for. Embedding them takes half a minute on two cores;
# of more, the nearest are hardly nearer.
SIMILAR_POOL = 5_000
# Enough to embed in full batches, few enough to stop in between.
SEARCHED_AT_ONCE = 64
INSTRUCTIONS = ("system", "developer")


@dataclass(frozen=True)
class Question:
    """One example as one rung asks it."""

    example_id: int
    chat: list[Message]
    hits: list[Hit]

    @property
    def effort(self) -> int:
        """Work, for estimates only: what differs from question to question, and an answer."""
        return len(self.chat[-1]["content"]) + ANSWER_EFFORT


@dataclass(frozen=True)
class Material:
    """The test examples (row id, example) with what rungs may show beside each; a list is empty where none needs it."""

    tests: list[tuple[int, Example]]
    shots: list[list[Shot]] = field(default_factory=list)
    hits: list[list[Hit]] = field(default_factory=list)
    no_hits: UserError | None = None
    """Why no passages could be looked up, though they should have been."""


def gather(
    experiment: Experiment,
    plan: Plan,
    tests: list[tuple[int, Example]],
    tick: Callable[[str], None] = lambda message: None,
) -> Material:
    """Look up shots and passages once, for all rungs.

    `tick` is told every few questions what is going on, and may raise to stop it.
    """
    examples = [example for _, example in tests]
    shots: list[list[Shot]] = []
    hits: list[list[Hit]] = []
    no_hits: UserError | None = None
    if tests and any(rung.shots for rung in plan.ladder):
        tick("Choosing worked examples")
        shots = shots_for(plan, experiment.dataset_id, experiment.seed, examples)
    if any(rung.retrieval for rung in plan.ladder):
        try:
            for first in range(0, len(examples), SEARCHED_AT_ONCE):
                tick(f"Looking up passages: {first} of {len(examples)} questions")
                hits += _passages(plan, experiment.index_id, examples[first : first + SEARCHED_AT_ONCE])
        except UserError as error:
            hits, no_hits = [[] for _ in examples], error
    return Material(tests, shots, hits, no_hits)


def questions_of(rung: Rung, plan: Plan, material: Material) -> list[Question]:
    """What the rung asks, one question for each test example, in their order."""
    questions = []
    for i, (example_id, example) in enumerate(material.tests):
        hits = material.hits[i] if rung.retrieval else []
        shots = material.shots[i] if rung.shots else []
        chat = chat_of(example, plan.template, shots, [hit.passage for hit in hits])
        questions.append(Question(example_id, chat, hits))
    return questions


def preview(
    plan: Plan, rung: Rung, dataset_id: int, example_id: int, index_id: int | None, seed: int
) -> tuple[list[Message], list[Hit]]:
    """The chat that `rung` would send for one test example, and the passages in it. Raises UserError."""
    example = _example(example_id)
    shots = shots_for(plan, dataset_id, seed, [example])[0] if rung.shots else []
    hits = _passages(plan, index_id, [example])[0] if rung.retrieval else []
    return chat_of(example, plan.template, shots, [hit.passage for hit in hits]), hits


def sent(prediction: Prediction) -> list[Message]:
    """The chat that was sent for a stored answer, with the passages stored beside it. Raises UserError."""
    with session(read_only=True) as db:
        experiment = db.get_one(Experiment, prediction.experiment_id)
    plan = Plan.model_validate(experiment.spec)
    rung = next(rung for rung in plan.ladder if rung.name == prediction.rung)
    example = _example(prediction.example_id)
    shots = shots_for(plan, experiment.dataset_id, experiment.seed, [example])[0] if rung.shots else []
    passages = [Passage(hit["title"], hit["text"]) for hit in prediction.retrieved]
    return chat_of(example, plan.template, shots, passages)


def chat_of(
    example: Example, template: PromptTemplate, shots: Sequence[Shot] = (), passages: Sequence[Passage] = ()
) -> list[Message]:
    """The chat for one example: the one place where a plan's template meets what the rung shows."""
    shown = [Shot(tuple(_worded(template, shot.messages)), shot.reference) for shot in shots]
    if passages and template.passages is not None:
        turns = _worded(template, example.messages, quoted(passages))
        return build_messages(turns, shown, tools=example.tools)
    return build_messages(_worded(template, example.messages), shown, passages, example.tools)


def shots_for(plan: Plan, dataset_id: int, seed: int, examples: Sequence[Example]) -> list[list[Shot]]:
    """The worked examples to show with each of `examples`, as the plan chooses them. Raises UserError."""
    if plan.shot_choice == "chosen":
        return [chosen_shots(dataset_id, plan.shot_ids)] * len(examples)
    train = [example for _, example in examples_of(dataset_id, "train")]
    if plan.shot_choice == "random":
        return [choose_shots(train, plan.shots, seed)] * len(examples)
    return similar_shots(train, examples, plan.shots, seed)


def choose_shots(train: Sequence[Example], count: int, seed: int) -> list[Shot]:
    """Worked examples for a few-shot prompt: at random, but no answer twice while another is left."""
    order = list(train)
    random.Random(seed).shuffle(order)
    by_answer: dict[str, list[Example]] = defaultdict(list)
    for example in order:
        by_answer[example.reference].append(example)
    rounds = max(map(len, by_answer.values()), default=0)
    dealt = [examples[i] for i in range(rounds) for examples in by_answer.values() if i < len(examples)]
    return [Shot(example.messages, example.reference) for example in dealt[:count]]


def chosen_shots(dataset_id: int, ids: Sequence[int]) -> list[Shot]:
    """The training examples with these row ids, in this order. Raises UserError if one is no training example."""
    with session(read_only=True) as db:
        query = select(ExampleRow).where(
            ExampleRow.dataset_id == dataset_id, ExampleRow.split == "train", ExampleRow.id.in_(ids)
        )
        found = {row.id: Shot(tuple(row.messages), row.reference) for row in db.scalars(query)}
    missing = [str(row_id) for row_id in ids if row_id not in found]
    if missing or not ids:
        raise UserError(
            f"No training example of this dataset has the id {', '.join(missing)}."
            if missing
            else "No worked example was chosen.",
            "Choose worked examples among its training examples, or have them drawn at random.",
        )
    return [found[row_id] for row_id in ids]


def similar_shots(train: Sequence[Example], asked: Sequence[Example], count: int, seed: int) -> list[list[Shot]]:
    """For each question the training examples whose questions mean the most similar, the nearest of all last.

    A model minds most what it read last. Examples of the question's own group are never shown: they could hold its
    answer, which nobody has at hand when it matters. Looks among `SIMILAR_POOL` examples, drawn by the seed.
    """
    import numpy as np

    from core.models.embedding import load_embedder

    pool = list(train)
    if len(pool) > SIMILAR_POOL:
        pool = random.Random(seed).sample(pool, SIMILAR_POOL)
    embedder = load_embedder()
    known, wanted = (
        embedder.embed([last_question(e.messages).encode(errors="replace").decode() for e in examples])
        for examples in (pool, asked)
    )
    groups = np.array([example.group for example in pool], dtype=object)
    chosen = []
    for vector, example in zip(wanted, asked, strict=True):
        likeness = np.where(groups == example.group, -np.inf, known @ vector)
        nearest = [int(i) for i in np.argsort(-likeness, kind="stable")[:count] if np.isfinite(likeness[i])]
        chosen.append([Shot(pool[i].messages, pool[i].reference) for i in reversed(nearest)])
    return chosen


def answer_tokens(plan: Plan, dataset_id: int) -> int:
    """Tokens an answer may take: as planned, or half as much again as the longest expected one, so that none is cut.

    References are counted in characters, three to a token: fewer than any common tokenizer needs for text.
    """
    if plan.max_new_tokens is not None:
        return plan.max_new_tokens
    query = select(func.max(func.length(ExampleRow.reference)))
    with session(read_only=True) as db:
        longest = db.scalar(query.where(ExampleRow.dataset_id == dataset_id, ExampleRow.split == "train"))
    return min(1024, max(32, round(1.5 * (300 if longest is None else longest) / 3)))


def _passages(plan: Plan, index_id: int | None, examples: Sequence[Example]) -> list[list[Hit]]:
    if index_id is None:
        raise UserError("The documents of this experiment are gone.", "Index them again and start a new experiment.")
    chosen = plan.retrieval
    found = search(
        index_id,
        [last_question(example.messages) for example in examples],
        plan.passages,
        mode=chosen.mode,
        reranker=chosen.reranker,
        dense_weight=chosen.dense_weight,
    )
    least = chosen.min_score
    return found if least is None else [[hit for hit in hits if hit.score >= least] for hits in found]


def _worded(template: PromptTemplate, messages: Sequence[Message], passages: str | None = None) -> list[Message]:
    """The turns with the template's instructions, and with its words around the last question."""
    turns = [dict(turn) for turn in messages]
    if template.system is not None:
        turns = [turn for turn in turns if turn["role"] not in INSTRUCTIONS]
        if template.system:
            turns.insert(0, {"role": "system", "content": template.system})
    last = max((i for i, turn in enumerate(turns) if turn["role"] == "user"), default=None)
    if last is not None:
        form = template.question if passages is None else template.passages or template.question
        fill = {"question": str(turns[last]["content"]), "passages": passages or ""}
        # In one pass: what a question or a passage holds is never taken for a place to fill.
        turns[last]["content"] = re.sub(r"\{(question|passages)\}", lambda place: fill[place[1]], form)
    return turns


def _example(example_id: int) -> Example:
    with session(read_only=True) as db:
        row = db.get(ExampleRow, example_id)
    if row is None:
        raise UserError(f"Example {example_id} does not exist any more.", "Choose another.")
    return example_of(row)
