"""What a judge said: one clear verdict, or none. Nothing is guessed.

Judges are asked for JSON and mostly give it. Where they do not, a verdict in plain words counts if there is exactly
one; a reply that states two different ones is as unreadable as a reply that states none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

Shown = Literal["first", "second", "tie"]
V = TypeVar("V")

LOWEST, HIGHEST = 1, 5
# A verdict takes a few lines. What a broken service sends beyond that is not searched.
MOST_CHARACTERS = 4_000
MOST_REASON = 600

_SCALE = r"([1-5](?:\.\d+)?)"
_SCORE_TEXT = re.compile(rf"\s*{_SCALE}\s*(?:(?:/|out of)\s*5)?\s*\Z")
_SCORE_WORDS = (
    re.compile(rf"\A[\s\"'*.]*{_SCALE}[\s\"'*.]*\Z"),
    re.compile(rf"(?i)\b(?:score|rating|grade)[\s\"'*]*(?:is|of|:|=)[\s\"'*]*{_SCALE}(?![\d.]*\d|\s*(?:to|-|–)\s*\d)"),
    re.compile(rf"(?i)(?<![\d.]){_SCALE}\s*(?:/|out of)\s*5(?!\d)"),
)
_CHOICES: dict[str, Shown] = {
    "a": "first",
    "b": "second",
    "tie": "tie",
    "equal": "tie",
    "equally good": "tie",
    "both": "tie",
    "neither": "tie",
}
_CHOICE_WORDS = (
    re.compile(r"(?i)\A[\s\"'*.]*(?:(?:answer|response)\s+)?(a|b|tie)[\s\"'*.]*\Z"),
    re.compile(r"(?i)\[\[\s*(a|b|tie)\s*\]\]"),
    re.compile(r"(?i)\b(?:better|verdict|winner)[\s\"'*]*(?:is|:|=)[\s\"'*]*(?:(?:answer|response)\s+)?(a|b|tie)\b"),
    re.compile(
        r"(?i)\b(?:answer|response)\s+(a|b)\s+is\s+(?:clearly\s+|slightly\s+|much\s+)?(?:the\s+)?(?:better|best)\b"
    ),
    re.compile(r"(?i)\b(?:answers|responses|both)\s+are\s+(equal|equally good)\b"),
)


@dataclass(frozen=True)
class Said(Generic[V]):
    """A verdict, None where none could be read, and the judge's reason for it."""

    verdict: V | None
    reason: str = ""


def read_score(reply: str) -> Said[float]:
    """The score from 1 to 5 that a reply states."""
    return _read(reply, "score", _score, _SCORE_WORDS)


def read_choice(reply: str) -> Said[Shown]:
    """Which of the two answers shown, A (first) or B (second), a reply prefers."""
    return _read(reply, "better", _choice, _CHOICE_WORDS)


def _read(reply: str, key: str, value: Callable[[Any], V | None], words: tuple[re.Pattern[str], ...]) -> Said[V]:
    text = reply[:MOST_CHARACTERS]
    stated = [found for found in _objects(text) if key in found]
    if stated:
        verdicts = {value(found[key]) for found in stated}
        reason = next((str(found["reason"]) for found in stated if found.get("reason")), "")
    else:
        verdicts = {value(match) for pattern in words for match in pattern.findall(text)}
        reason = text
    verdict = verdicts.pop() if len(verdicts) == 1 else None
    return Said(verdict, " ".join((reason or text).split())[:MOST_REASON])


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Every JSON object of the text; without any, the first one that repairs to something."""
    decoder, at, whole = json.JSONDecoder(), 0, False
    while (start := text.find("{", at)) >= 0:
        try:
            found, at = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            at = start + 1
            continue
        whole = True
        yield found
    if not whole and (start := text.find("{")) >= 0:
        # Cut at the longest reply, single quotes, a comma too many: what small models do to JSON.
        import json_repair

        with suppress(ValueError):  # nested too deeply
            repaired = json_repair.loads(text[start:])
            if isinstance(repaired, dict):
                yield repaired


def _score(value: Any) -> float | None:
    if isinstance(value, str):
        match = _SCORE_TEXT.match(value)
        value = float(match[1]) if match else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not LOWEST <= value <= HIGHEST:
        return None
    return float(value)


def _choice(value: Any) -> Shown | None:
    if not isinstance(value, str):
        return None
    plain = value.strip().lower().removeprefix("answer ").removeprefix("response ")
    return _CHOICES.get(plain)
