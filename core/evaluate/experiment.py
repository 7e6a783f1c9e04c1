"""An experiment: the rungs, asked the same test questions, with every answer stored as it comes."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import delete, insert, select

from core.data.dataset import MIN_TEST_EXAMPLES, count_of, examples_of
from core.data.example import Example
from core.documents.retrieval import Hit, search
from core.errors import UserError
from core.evaluate.metrics import metric_named
from core.evaluate.rungs import LADDER, Rung, rungs_named
from core.evaluate.statistics import DELTA, detectable_effect
from core.models.catalogue import BUNDLED_MODEL
from core.models.generation import Completion, Generator, Sampling
from core.models.open import is_remote
from core.models.prompt import Message, Shot, build_messages, last_question
from core.settings import get_settings
from core.store import lists
from core.store.database import session
from core.store.tables import Adapter, Dataset, Experiment, Prediction

# What a character of a prompt costs against a character's worth of answer, roughly, for the time left.
ANSWER_EFFORT = 400


class Plan(BaseModel):
    """How the rungs are asked; the same for all of them. Kept with the experiment, so that it can be run again."""

    model_config = ConfigDict(extra="forbid")

    rungs: list[str] = Field(default_factory=lambda: [rung.name for rung in LADDER])
    shots: int = Field(8, ge=1, le=64, description="Worked examples in the prompt of a rung with shots.")
    passages: int = Field(2, ge=1, le=50, description="Passages in the prompt of a rung with retrieval.")
    rag_adapter_id: int | None = Field(
        None, description="Adapter of rungs with retrieval, trained with passages; empty: the experiment's one."
    )
    max_new_tokens: int | None = Field(None, ge=1, le=32_768, description="Longest answer; empty: from the data.")
    temperature: float = Field(0.0, ge=0, le=2)
    answers: dict[str, bool | float | str] = Field(
        default_factory=dict,
        description="The wizard's answers that led here, whose advice the verdict is held against.",
    )


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


def check_measurable(
    dataset_id: int,
    *,
    rungs: Sequence[str],
    metric: str | None,
    model: str,
    documents: bool,
    adapter: bool,
    target: float | None,
) -> None:
    """Everything about an experiment that can be wrong before anything starts. Raises UserError.

    `documents` and `adapter` say whether there is an index, and an adapter or the training of one.
    """
    chosen = rungs_named(rungs)
    if metric is not None:
        metric_named(metric)
    if target is not None and not 0 < target <= 1:
        raise UserError(f"The target {target} is not a share.", "Give a number above 0 and up to 1.")
    retrieving = [rung.name for rung in chosen if rung.retrieval]
    if retrieving and not documents:
        raise UserError(
            f"{' and '.join(retrieving)} need documents to retrieve from, but there are none.",
            "Add documents, or leave these rungs out.",
        )
    tuned = [rung.name for rung in chosen if rung.adapter]
    if tuned and not adapter:
        raise UserError(
            f"{' and '.join(tuned)} need a trained adapter, but there is none.",
            "Train one first, or leave these rungs out.",
        )
    if tuned and is_remote(model):
        raise UserError(
            f"{' and '.join(tuned)} cannot be measured on the remote model {model}.",
            "Leave these rungs out, or choose the local model the adapter was trained on.",
        )
    if count_of(dataset_id, "test") == 0:
        raise UserError("The dataset has no test examples.", "Import it with a test file.")


def create_experiment(
    name: str,
    dataset_id: int,
    *,
    metric: str,
    plan: Plan,
    model: str = BUNDLED_MODEL,
    index_id: int | None = None,
    adapter_id: int | None = None,
    train_job_id: int | None = None,
    target: float | None = None,
    delta: float = DELTA,
) -> Experiment:
    """Record an experiment. Raises UserError when a rung could not be measured as things are; nothing is stored then.

    `train_job_id` names a training that may still be waiting; its adapter is used once it is there.
    """
    check_measurable(
        dataset_id,
        rungs=plan.rungs,
        metric=metric,
        model=model,
        documents=index_id is not None,
        adapter=adapter_id is not None or train_job_id is not None,
        target=target,
    )
    if plan.rag_adapter_id is not None:
        trained_on = lists.adapter(plan.rag_adapter_id).base_model
        if trained_on != model:
            raise UserError(
                f"The adapter for rungs with retrieval was trained on {trained_on}, which is not {model}.",
                "Choose one of the same base model.",
            )
    rungs = rungs_named(plan.rungs)
    needs_index = any(rung.retrieval for rung in rungs)
    needs_adapter = any(rung.adapter for rung in rungs)
    experiment = Experiment(
        name=name,
        dataset_id=dataset_id,
        index_id=index_id if needs_index else None,
        adapter_id=adapter_id if needs_adapter else None,
        train_job_id=train_job_id if needs_adapter else None,
        model=model,
        metric=metric,
        target=target,
        delta=delta,
        seed=0,
        spec=plan.model_dump(),
    )
    with session() as db:
        dataset = db.get(Dataset, dataset_id)
        if dataset is None:
            raise UserError(f"Dataset {dataset_id} does not exist any more.", "Import it again on the Data page.")
        experiment.seed = dataset.seed
        db.add(experiment)
    return experiment


def small_test_warning(n: int) -> str | None:
    """What to say when the test set is too small to tell much; None when it is not."""
    if n >= MIN_TEST_EXAMPLES:
        return None
    seen = detectable_effect(n, "binary")
    shown = f"only a difference of about {seen:.0%} or more" if math.isfinite(seen) else "no difference, however large,"
    return f"{n} test examples are few: {shown} would be noticed. Collect at least {MIN_TEST_EXAMPLES}."


def run_experiment(
    experiment_id: int,
    generator: Generator,
    progress: Callable[[float, float, str], None] = lambda done, total, message: None,
    check_stop: Callable[[], None] = lambda: None,
) -> None:
    """Ask every rung every test question that has no stored prediction yet.

    `check_stop` is called between batches and may raise; whatever is stored by then is never asked again.
    """
    with session(read_only=True) as db:
        experiment = db.get_one(Experiment, experiment_id)
        done = {
            (rung, example_id)
            for rung, example_id in db.execute(
                select(Prediction.rung, Prediction.example_id).where(Prediction.experiment_id == experiment_id)
            )
        }
    plan = Plan.model_validate(experiment.spec)
    test = examples_of(experiment.dataset_id, "test")
    train = [example for _, example in examples_of(experiment.dataset_id, "train")]
    sampling = Sampling(plan.max_new_tokens or _answer_budget(train), plan.temperature, experiment.seed)
    progress(0, 0, "Looking up passages")
    asked = {rung: _questions(rung, experiment, plan, train, test) for rung in rungs_named(plan.rungs)}
    total = sum(question.effort for questions in asked.values() for question in questions)
    finished = sum(q.effort for rung, qs in asked.items() for q in qs if (rung.name, q.example_id) in done)
    for rung, questions in asked.items():
        open_questions = [q for q in questions if (rung.name, q.example_id) not in done]
        answered = len(questions) - len(open_questions)
        adapter = _adapter_folder(rung, experiment, plan) if rung.adapter and open_questions else None
        progress(finished, total, f"{rung.name}: {answered} of {len(questions)} answers")
        for batch in generator.answer([q.chat for q in open_questions], sampling, adapter):
            _store(experiment_id, rung, [(open_questions[i], completion) for i, completion in batch])
            finished += sum(open_questions[i].effort for i, _ in batch)
            answered += len(batch)
            progress(finished, total, f"{rung.name}: {answered} of {len(questions)} answers")
            check_stop()


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


def delete_experiment(experiment_id: int) -> None:
    """Remove an experiment with its predictions."""
    with session() as db:
        db.execute(delete(Experiment).where(Experiment.id == experiment_id))


def _questions(
    rung: Rung, experiment: Experiment, plan: Plan, train: Sequence[Example], test: Sequence[tuple[int, Example]]
) -> list[Question]:
    shots = choose_shots(train, plan.shots, experiment.seed) if rung.shots else []
    hits: list[list[Hit]] = [[] for _ in test]
    if rung.retrieval and experiment.index_id is not None:
        hits = search(experiment.index_id, [last_question(example.messages) for _, example in test], plan.passages)
    return [
        Question(
            example_id,
            build_messages(example.messages, shots, [hit.passage for hit in found], example.tools),
            found,
        )
        for (example_id, example), found in zip(test, hits, strict=True)
    ]


def _answer_budget(train: Sequence[Example]) -> int:
    """Tokens an answer may take: half as much again as the longest expected one, so that none is cut short.

    References are counted in characters, three to a token: fewer than any common tokenizer needs for text.
    """
    longest = max((len(example.reference) for example in train), default=300)
    return min(1024, max(32, round(1.5 * longest / 3)))


def _adapter_folder(rung: Rung, experiment: Experiment, plan: Plan) -> Path:
    named = experiment.adapter_id
    if rung.retrieval and plan.rag_adapter_id is not None:
        named = plan.rag_adapter_id
    with session(read_only=True) as db:
        wanted = Adapter.id == named if named is not None else Adapter.job_id == experiment.train_job_id
        adapter = db.scalar(select(Adapter).where(wanted).order_by(Adapter.id.desc()))
    folder = get_settings().home / adapter.path if adapter else None
    if folder is None or not folder.is_dir():
        raise UserError("The adapter of this experiment is gone.", "Train it again and start a new experiment.")
    return folder


def _store(experiment_id: int, rung: Rung, answers: list[tuple[Question, Completion]]) -> None:
    rows = [
        {
            "experiment_id": experiment_id,
            "rung": rung.name,
            "example_id": question.example_id,
            "output": completion.text,
            "error": completion.error,
            "finish_reason": completion.finish_reason,
            "input_tokens": completion.input_tokens,
            "output_tokens": completion.output_tokens,
            "latency_s": completion.latency_s,
            "cost_usd": completion.cost_usd,
            "retrieved": [hit.as_dict() for hit in question.hits],
        }
        for question, completion in answers
    ]
    with session() as db:
        db.execute(insert(Prediction), rows)
