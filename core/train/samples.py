"""A few fixed questions, answered at every evaluation, so that a person can read what the loss means.

The network in training answers through the generator that Compare uses, with the same prompts: what it says at a step
is what the adapter of that step would say there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import delete, select

from core.data.example import Example
from core.models.generation import Request, Sampling
from core.models.loading import LoadedModel
from core.models.local import LocalGenerator
from core.models.prompt import Message, Passage, build_messages
from core.store.database import session
from core.store.tables import Sample

# Enough to see form and content; a long answer would hold the training up.
MAX_NEW_TOKENS = 64


@dataclass(frozen=True)
class Question:
    """One fixed question: `messages` as the model is asked, `prompt` its last turn for a person to read."""

    position: int
    messages: list[Message]
    prompt: str
    reference: str


@dataclass(frozen=True)
class SampleAnswer:
    """What was answered to one question."""

    position: int
    prompt: str
    reference: str
    output: str


def choose(
    validation: Sequence[Example],
    train: Sequence[Example],
    count: int,
    seed: int,
    passages: Sequence[Sequence[Passage]] | None = None,
) -> list[Question]:
    """`count` questions that the seed picks, of different answers where there are enough.

    Training examples step in when the validation examples are too few. `passages` are those of the validation
    examples followed by those of the training examples, for a run that shows them.
    """
    order = random.Random(seed)
    numbers = order.sample(range(len(validation)), len(validation))
    numbers += order.sample(range(len(validation), len(validation) + len(train)), len(train))
    pool = [*validation, *train]
    held_out = min(count, len(validation))
    chosen = _different(numbers[: len(validation)], pool, held_out)
    chosen += _different(numbers[len(validation) :], pool, count - held_out)
    return [
        Question(
            position,
            build_messages(pool[i].messages, passages=passages[i] if passages else (), tools=pool[i].tools),
            build_messages(pool[i].messages)[-1]["content"],
            pool[i].reference,
        )
        for position, i in enumerate(chosen)
    ]


def answer(loaded: LoadedModel, network: Any, questions: Sequence[Question]) -> list[str]:
    """Greedy answers of `network`, the base model of `loaded` as it is trained; at most MAX_NEW_TOKENS tokens each.

    Leaves the random generators and every module's mode as they were, so that a run learns the same with samples as
    without. A question that the model cannot hold is answered by the sentence that says so.
    """
    texts = [""] * len(questions)
    with _undisturbed(loaded, network):
        generator = LocalGenerator(replace(loaded, model=network))
        requests = [Request(question.messages) for question in questions]
        for batch in generator.answer(requests, Sampling(MAX_NEW_TOKENS)):
            for i, completion in batch:
                texts[i] = completion.error or completion.text
    return texts


def answered(questions: Sequence[Question], texts: Sequence[str]) -> list[SampleAnswer]:
    """The questions with their answers, to be recorded."""
    return [
        SampleAnswer(question.position, question.prompt, question.reference, text)
        for question, text in zip(questions, texts, strict=True)
    ]


def store(job_id: int, step: int, answers: Sequence[SampleAnswer]) -> None:
    """Keep the answers of one step, in place of any that were kept before."""
    with session() as db:
        db.execute(delete(Sample).where(Sample.job_id == job_id, Sample.step == step))
        db.add_all(Sample(job_id=job_id, step=step, **vars(one)) for one in answers)


def of_job(job_id: int) -> list[Sample]:
    """All answers of a run, by step and then by question."""
    query = select(Sample).where(Sample.job_id == job_id).order_by(Sample.step, Sample.position)
    with session(read_only=True) as db:
        return list(db.scalars(query))


def forget_after(job_id: int, step: int) -> None:
    """Drop the answers of steps that are taken again."""
    with session() as db:
        db.execute(delete(Sample).where(Sample.job_id == job_id, Sample.step > step))


def _different(numbers: Sequence[int], pool: Sequence[Example], count: int) -> list[int]:
    """The first `count`, those whose answer has not been seen yet before the others."""
    firsts: dict[str, int] = {}
    for i in numbers:
        firsts.setdefault(pool[i].reference, i)
    return [*firsts.values(), *(i for i in numbers if i not in firsts.values())][:count]


@contextmanager
def _undisturbed(loaded: LoadedModel, network: Any) -> Iterator[None]:
    import torch

    modes = [(module, module.training) for module in network.modules()]
    devices = [loaded.device] if loaded.device.type == "cuda" else []
    network.eval()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
