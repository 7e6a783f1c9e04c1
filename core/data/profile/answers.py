"""The form of the answers: what they are, how steady their form is, and the schema of those that are JSON."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from core.data.duplicates import normalised

# A label is short and comes back; a text of more words is a text.
LABEL_WORDS, LABEL_REPEATS = 6, 3
SHORT_WORDS = 12
# Objects that the schema is inferred from.
MOST_FOR_SCHEMA = 1_000
MOST_LISTED = 20
# Answers that share this many first words start alike.
OPENING_WORDS = 2

_YES_NO = {"yes", "no", "true", "false", "y", "n"}
_NUMBER = re.compile(r"[-+]?[$€£]?\d[\d,. ]*%?$")
_LIST_LINE = re.compile(r"\s*(?:[-*•]|\d+[.)])\s+\S")
_CODE = re.compile(
    r"^```|^(?:select|insert|update|delete|create|with)\b.*\b(?:from|into|set|table|as)\b|^(?:def|class|import|from) \w"
    r"|^(?:function|const|let|var|public|#include)\b|[;{}]\s*$",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True)
class AnswerFormat:
    """Shares from 0 to 1 of the `measured` answers. Each answer is of one kind: the first that fits."""

    measured: int
    distinct: int
    # Share of answers whose text comes three times or more.
    repeated: float
    kinds: dict[str, float]
    common: list[tuple[str, int]]
    opening: str
    opening_share: float
    json_keys: dict[str, float] = field(default_factory=dict)
    json_schema: dict[str, Any] | None = None


def answer_format(answers: Sequence[str]) -> AnswerFormat:
    """What the answers have in common. `answers` is not empty."""
    plain = [normalised(answer) for answer in answers]
    times = Counter(plain)
    kinds = Counter(_kind(answer, times[text]) for answer, text in zip(answers, plain, strict=True))
    first: dict[str, str] = {}
    for answer, text in zip(answers, plain, strict=True):
        first.setdefault(text, answer)
    openings = Counter(" ".join(text.split()[:OPENING_WORDS]) for text in plain)
    opening, alike = openings.most_common(1)[0]
    objects = [value for answer in answers if isinstance(value := as_json(answer), dict)]
    keys = Counter(key for value in objects for key in value)
    return AnswerFormat(
        measured=len(answers),
        distinct=len(times),
        repeated=sum(count for count in times.values() if count >= LABEL_REPEATS) / len(answers),
        kinds={kind: count / len(answers) for kind, count in kinds.most_common()},
        common=[(first[text][:200], count) for text, count in times.most_common(MOST_LISTED) if count > 1],
        opening=opening[:80],
        opening_share=alike / len(answers),
        json_keys={key: count / len(objects) for key, count in keys.most_common(MOST_LISTED)},
        json_schema=_schema(objects) if objects else None,
    )


def as_json(text: str) -> Any:
    """The object or list that the text is; None if it is none."""
    if text.lstrip()[:1] in ("{", "["):
        with suppress(ValueError, RecursionError):
            return json.loads(text)
    return None


def _schema(objects: Sequence[dict[str, Any]]) -> dict[str, Any]:
    from genson import SchemaBuilder

    builder = SchemaBuilder(schema_uri="https://json-schema.org/draft/2020-12/schema")
    for value in objects[:MOST_FOR_SCHEMA]:
        builder.add_object(value)
    return builder.to_schema()  # type: ignore[no-any-return]


def _kind(answer: str, times: int) -> str:
    bare = answer.strip()
    return next(name for name, fits in KINDS.items() if fits(bare, times))


def _is_list(answer: str) -> bool:
    lines = [line for line in answer.splitlines() if line.strip()]
    return len(lines) > 1 and sum(bool(_LIST_LINE.match(line)) for line in lines) >= len(lines) / 2


KINDS: dict[str, Callable[[str, int], bool]] = {
    "tool call": lambda answer, times: answer.startswith("<tool_call>"),
    "JSON": lambda answer, times: as_json(answer) is not None,
    "yes or no": lambda answer, times: answer.casefold().rstrip(".!") in _YES_NO,
    "number": lambda answer, times: bool(_NUMBER.match(answer)),
    "label": lambda answer, times: times >= LABEL_REPEATS and len(answer.split()) <= LABEL_WORDS,
    "code": lambda answer, times: bool(_CODE.search(answer)),
    "list": lambda answer, times: _is_list(answer),
    "a few words": lambda answer, times: len(answer.split()) <= SHORT_WORDS,
    "text": lambda answer, times: True,
}
