"""Refusal: the model says so when there is no answer, and answers when there is one."""

from __future__ import annotations

import re

from pydantic import Field

from core.evaluate.metrics.registry import Answer, Scored, answer_metric
from core.evaluate.metrics.settings import MetricSettings
from core.evaluate.normalize import parse_json

# Who refuses says so at the beginning; further down such words belong to an answer.
READ_CHARACTERS = 300

PHRASES = (
    # English
    "i don't know", "i do not know", "don't have enough information", "do not have enough information",
    "not enough information", "cannot answer", "can't answer", "can not answer", "unable to answer",
    "cannot be answered", "can't be answered", "unanswerable", "no answer", "not mentioned", "not specified",
    "not stated", "no information", "not in the passages", "not in the documents", "i'm not sure", "i am not sure",
    "i can't help", "i cannot help", "i can't find", "i cannot find", "could not find", "n/a",
    # German, French, Spanish, Italian, Portuguese, Dutch, Polish
    "ich weiß es nicht", "ich weiss es nicht", "weiß ich nicht", "keine information", "nicht beantworten",
    "je ne sais pas", "pas d'information", "ne peux pas répondre", "no lo sé", "no sé", "no hay información",
    "no puedo responder", "non lo so", "nessuna informazione", "non posso rispondere", "não sei", "não há informações",
    "não posso responder", "ik weet het niet", "geen informatie", "kan ik niet beantwoorden", "nie wiem",
    "brak informacji",
    # Vietnamese, Turkish, Russian, Chinese, Japanese, Korean
    "tôi không biết", "không có thông tin", "không thể trả lời", "bilmiyorum", "я не знаю", "нет информации",
    "不知道", "无法回答", "没有提到", "分かりません", "わかりません", "情報がありません", "모르겠습니다", 
    "알 수 없습니다",
)  # fmt: skip
LABELS = ("unanswerable", "no answer", "no_answer", "impossible", "not answerable", "refuse", "refusal")

_SPACES = re.compile(r"\s+")


class RefusalSettings(MetricSettings):
    """What counts as refusing, and which examples have no answer."""

    phrases: tuple[str, ...] = Field(
        PHRASES, title="Phrases of a refusal", description="One of these near the beginning makes an answer a refusal."
    )
    labels: tuple[str, ...] = Field(
        LABELS, title="Labels without an answer", description="Examples with one of these labels have no answer."
    )


@answer_metric("refusal", title="Refuses where it should", kind="binary", family="facts", settings=RefusalSettings)
def refusal(answer: Answer, settings: RefusalSettings) -> Scored:
    """1 if the model refuses exactly where there is no answer: false refusals and made-up answers both score 0.

    An example has no answer if its reference is empty or refuses itself, or its label says so. An empty answer counts
    as a refusal, and so does JSON whose values are all null or empty. It does not look at whether an answer is right.
    """
    should = (answer.label or "").strip().casefold() in {label.casefold() for label in settings.labels} or refuses(
        answer.reference, settings.phrases
    )
    does = refuses(answer.output, settings.phrases)
    return Scored(float(should == does), {"refused": does, "should": should})


def refuses(text: str, phrases: tuple[str, ...] = PHRASES) -> bool:
    """Whether the text says that it does not answer; an empty one does."""
    parsed = parse_json(text)
    if parsed is None:
        return True
    if isinstance(parsed, dict):
        values = list(parsed.values())
        if all(value is None or value in ("", []) for value in values):
            return True
        return any(isinstance(value, str) and value.strip() and refuses(value, phrases) for value in values)
    beginning = _folded(text[:READ_CHARACTERS])
    return not beginning or any(phrase and _stands(_folded(phrase), beginning) for phrase in phrases)


def _folded(text: str) -> str:
    return _SPACES.sub(" ", text.casefold().replace("’", "'")).strip()


def _stands(phrase: str, text: str) -> bool:
    """Whether it stands there in whole words; scripts without spaces have none."""
    start = text.find(phrase)
    while start >= 0:
        before, after = text[start - 1 : start], text[start + len(phrase) : start + len(phrase) + 1]
        if phrase[0] > "\u2e7f" or not (before.isalnum() or after.isalnum()):
            return True
        start = text.find(phrase, start + 1)
    return False
