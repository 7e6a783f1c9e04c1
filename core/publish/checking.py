"""Whether what was exported still answers as the adapter did: the same questions to both, compared letter by letter.

Floating-point sums depend on their order, so a merged model may part from its adapter by rounding alone. Mostly no
answer shows it; where one does, the scores of both say whether it matters.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from core.data.dataset import examples_of
from core.data.example import Example
from core.evaluate.metrics import metric_named
from core.evaluate.metrics.registry import Answer
from core.evaluate.statistics import DELTA, compare
from core.evaluate.suggest import suggest
from core.models.generation import Request, Sampling
from core.models.loading import LoadedModel
from core.models.local import LocalGenerator
from core.models.prompt import Message, build_messages
from core.store.tables import Adapter
from core.train.forgetting import general_questions

# Enough that a broken export shows in nearly every answer, and a minute's work for the bundled model.
EXAMPLES = 20
MAX_NEW_TOKENS = 128
# So many of the answers that differ are kept to be read.
SHOWN = 5
# What stands in place of an answer that could not be had, such as to a question beyond the model's context.
NO_ANSWER = "No answer was had: "

Verdict = Literal["same", "equivalent", "different"]
OnProgress = Callable[[float, float, str], None]
"""Told (done, total, what is going on), in answers. It may raise, to stop."""


@dataclass(frozen=True)
class Questions:
    """What both are asked. `score` gives each answer a value from 0 to 1 by `metric`."""

    chats: list[list[Message]]
    groups: list[str]
    source: Literal["test", "general"]
    metric: str
    kind: str
    score: Callable[[Sequence[str]], list[float]]


@dataclass(frozen=True)
class Check:
    """`same` of `of` answers agree to the letter; the first that do not are in `differences`.

    Each of those holds `prompt`, `live` and `exported`. The mean scores are None where all answers agree.
    """

    of: int
    same: int
    verdict: Verdict
    text: str
    source: str
    metric: str
    live_score: float | None
    exported_score: float | None
    differences: list[dict[str, str]]

    @property
    def good(self) -> bool:
        return self.verdict != "different"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"good": self.good}


def questions_for(adapter: Adapter, count: int = EXAMPLES, seed: int = 0) -> Questions:
    """Test examples of the adapter's own data that the seed picks; general questions where there are none."""
    found = [example for _, example in examples_of(adapter.dataset_id, "test")] if adapter.dataset_id else []
    if found:
        return _of_examples(random.Random(seed).sample(found, min(count, len(found))), found)
    general = general_questions()[:count]
    return Questions(
        [[{"role": "user", "content": question.ask}] for question in general],
        [question.ask for question in general],
        "general",
        "right answers",
        "binary",
        lambda answers: [float(q.right(a)) for q, a in zip(general, answers, strict=True)],
    )


def _of_examples(chosen: Sequence[Example], split: Sequence[Example]) -> Questions:
    best = suggest(split)[0]
    metric = metric_named(best.name)

    def score(answers: Sequence[str]) -> list[float]:
        pairs = zip(chosen, answers, strict=True)
        seen = [Answer(text, e.reference, e.messages, e.label, e.context) for e, text in pairs]
        return [scored.value or 0.0 for scored in metric.score_all(seen, best.settings)]

    chats = [build_messages(example.messages, tools=example.tools) for example in chosen]
    return Questions(chats, [example.group for example in chosen], "test", metric.phrase, metric.kind, score)


def answers_of(loaded: LoadedModel, network: Any, questions: Questions, progress: Callable[[int], None]) -> list[str]:
    """Greedy answers of `network`, which is that of `loaded` or has an adapter on it; the reason where there is none.

    `progress` is told how many there are; it may raise, to stop.
    """
    texts, done = [""] * len(questions.chats), 0
    progress(done)
    requests = [Request(chat) for chat in questions.chats]
    for batch in LocalGenerator(replace(loaded, model=network)).answer(requests, Sampling(MAX_NEW_TOKENS)):
        for i, completion in batch:
            texts[i] = completion.text if completion.error is None else f"{NO_ANSWER}{completion.error}"
        done += len(batch)
        progress(done)
    return texts


def compared(questions: Questions, live: Sequence[str], exported: Sequence[str]) -> Check:
    """Both side by side, with the verdict: good when they are the same, or score the same and could score worse."""
    import numpy as np

    of = len(live)
    silent = sum(text.startswith(NO_ANSWER) for text in live)
    # Where neither could answer, nothing was compared.
    parted = [i for i in range(of) if live[i] != exported[i] or live[i].startswith(NO_ANSWER)]
    same = of - len(parted)
    kind = "test examples" if questions.source == "test" else "general questions"
    differences = [
        {"prompt": str(questions.chats[i][-1]["content"]), "live": live[i], "exported": exported[i]}
        for i in parted[:SHOWN]
    ]
    if not parted:
        text = f"Answers all {of} {kind} exactly as the live adapter does."
        return Check(of, same, "same", text, questions.source, questions.metric, None, None, [])
    before, after = (np.array(questions.score(texts)) for texts in (live, exported))
    outcome = compare(before, after, questions.groups, questions.kind)
    level = bool((before == after).all())
    scores = f"by {questions.metric} {100 * after.mean():.1f}% and the live adapter {100 * before.mean():.1f}%"
    said = f"Answers {same} of {of} {kind} exactly as the live adapter does."
    if silent:
        said += f" The live adapter had no answer to {silent}."
    # An answer that scored nothing has nothing to lose: a broken export of an adapter that is never right scores alike.
    mute = sum(before[i] < DELTA and after[i] < DELTA for i in parted)
    telling = mute <= of / 2
    verdict: Verdict = "equivalent" if telling and (level or outcome.outcome == "equivalent") else "different"
    if not telling:
        text = f"{said} It scores {scores}: most answers differ and score next to nothing, so scores cannot tell."
    elif level:
        text = f"{said} The others differ, and each scores the same: {scores}."
    elif verdict == "equivalent":
        text = f"{said} It scores {scores}: equivalent."
    else:
        text = f"{said} It scores {scores}: too far apart, or too few examples, to call them equivalent."
    return Check(
        of,
        same,
        verdict,
        text,
        questions.source,
        questions.metric,
        float(before.mean()),
        float(after.mean()),
        differences,
    )
