"""Judge: a model reads the answer and gives it a score by a rubric."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from core.evaluate.judge.asking import ask, judge_at_hand
from core.evaluate.judge.prompts import RUBRIC, SCORE_REMINDER, score_chat, wording
from core.evaluate.judge.saying import HIGHEST, LOWEST, read_score
from core.evaluate.metrics.registry import Answer, Scored, Unfinished, Value, batch_metric
from core.jobs.context import Stopped
from core.models.budget import CapReached
from core.models.catalogue import BUNDLED_MODEL
from core.models.prompt import Message, Passage


class JudgeSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str = Field(
        BUNDLED_MODEL,
        min_length=1,
        title="Judge model",
        description="A model larger than those it judges, and of another family. The bundled one is only for trying "
        "this out: its verdicts mean little.",
    )
    rubric: str = Field(
        RUBRIC, min_length=1, title="Rubric", description="What each score from 1 to 5 means, in your own words."
    )


# Scores given by another wording of ours, the usual rubric included, are scores of another metric.
@batch_metric(
    "judge",
    title="Judge's score",
    kind="continuous",
    family="judge",
    settings=JudgeSettings,
    cost="paid",
    version=wording(),
)
def judge(answers: Sequence[Answer], settings: JudgeSettings) -> list[Value]:
    """What a judge model gives the answer by your rubric, 1 to 5, told as 0 to 1: secondary evidence.

    It sees the question, the answer, and where there are any the expected answer and the passages. A reply without one
    clear score, after a reminder too, scores 0 and is noted as unreadable. An empty answer scores 0 unasked; the same
    answer to the same question is asked about once.
    """
    chats = [None if not answer.output.strip() else _chat(answer, settings.rubric) for answer in answers]
    places: dict[str, list[int]] = {}
    for place, chat in enumerate(chats):
        if chat is not None:
            places.setdefault(repr(chat), []).append(place)
    values = [Scored(0.0, {"reason": "The answer is empty."}) if chat is None else None for chat in chats]
    different = list(places.values())
    if not different:
        return list(values)
    model, stop = judge_at_hand(settings.model)
    try:
        for done in ask(model, [chats[same[0]] or [] for same in different], read_score, SCORE_REMINDER, stop):
            for position, judged in done:
                for place in different[position]:
                    paid = judged.cost_usd if place == different[position][0] else 0.0
                    values[place] = _scored(judged.verdict, judged.reason, paid)
    except CapReached as cap:
        raise Unfinished(values) from cap
    if None in values:
        raise Unfinished(values) from Stopped()
    return list(values)


def _scored(score: float | None, reason: str, cost_usd: float) -> Scored:
    notes = {"reason": reason, "unreadable": score is None, "cost_usd": cost_usd}
    return Scored(0.0 if score is None else (score - LOWEST) / (HIGHEST - LOWEST), notes)


def _chat(answer: Answer, rubric: str) -> list[Message]:
    material = [Passage(str(passage["title"]), str(passage["text"])) for passage in answer.passages]
    if not material and answer.context:
        material = [Passage("context", answer.context)]
    return score_chat(answer.messages, answer.output, rubric, answer.reference, material)
