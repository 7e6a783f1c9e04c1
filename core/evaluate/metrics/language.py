"""Language: the answer is in the language that was asked for."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import lru_cache
from typing import Any

from pydantic import Field, field_validator

from core.evaluate.metrics.registry import Answer, Scored, answer_metric
from core.evaluate.metrics.settings import MetricSettings
from core.evaluate.normalize import NOT_JSON, parse_json
from core.models.prompt import last_question

# The first sentences tell; a whole essay would not tell better.
READ_CHARACTERS = 2_000
# A name or a number is in no language: below this many letters the identifier guesses.
LEAST_LETTERS = 25


class LanguageSettings(MetricSettings):
    """Which language is right."""

    language: str = Field(
        "",
        title="Language",
        description="ISO 639-1 code, such as en, de or vi. Empty: the language of the reference, or of the question "
        "where the reference is too short to tell.",
    )

    @field_validator("language")
    @classmethod
    def _known(cls, code: str) -> str:
        code = code.strip().lower()
        if code and code not in _codes():
            raise ValueError(f"{code!r} is no code of a language that can be told apart; known: {', '.join(_codes())}")
        return code


@answer_metric("language", title="Right language", kind="binary", family="language", settings=LanguageSettings)
def language(answer: Answer, settings: LanguageSettings) -> Scored:
    """1 if the answer is in the right language: the one that is set, or else that of its reference.

    Answers too short to tell, such as names and numbers, are right if they are written in the script of that
    language's text; an answer without any letter or digit is wrong. In JSON only the values are read.
    Source: py3langid, Lui and Baldwin 2012.
    """
    given = _words(answer.output)
    if not any(letter.isalnum() for letter in given):
        return Scored(0.0, {"language": ""})
    asked = last_question([dict(turn) for turn in answer.messages])
    expected = settings.language or spoken(answer.reference) or spoken(asked)
    if _letters(given) < LEAST_LETTERS or not expected:
        scripts = _scripts(given)
        usual = _script_of(expected) if expected else _scripts(_words(answer.reference))
        return Scored(float(not scripts or not usual or bool(scripts & usual)), {"language": "", "expected": expected})
    found = _identify(given)
    return Scored(float(found == expected), {"language": found, "expected": expected})


def spoken(text: str) -> str:
    """ISO 639-1 code of the language a text is in; empty where it is too short to tell."""
    words = _words(text)
    return _identify(words) if _letters(words) >= LEAST_LETTERS else ""


def _words(text: str) -> str:
    """The beginning of a text; of JSON, its values."""
    text = text[:READ_CHARACTERS]
    waiting = [parse_json(text)]
    if waiting[0] is NOT_JSON:
        return text
    found: list[str] = []
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list):
            waiting += reversed(list(value.values()) if isinstance(value, dict) else value)
        elif isinstance(value, str):
            found.append(value)
        elif value is not None:
            found.append(str(value))
    return " ".join(found)


def _letters(text: str) -> int:
    # A Chinese or Japanese character says about as much as two letters.
    return sum(1 + (letter >= "\u3040") for letter in text if letter.isalpha())


def _scripts(text: str) -> set[str]:
    """The script that most letters are of: LATIN, CYRILLIC, CJK ...; Japanese mixes three of them."""
    counts = Counter(unicodedata.name(letter, "? ").split()[0] for letter in text if letter.isalpha())
    return {counts.most_common(1)[0][0]} if counts else set()


def _script_of(code: str) -> set[str]:
    return _SCRIPTS.get(code, {"LATIN"})


_SCRIPTS = {
    **{code: {"CYRILLIC"} for code in ("be", "bg", "kk", "ky", "mk", "mn", "ru", "sr", "uk")},
    **{code: {"ARABIC"} for code in ("ar", "fa", "ps", "ug", "ur")},
    **{code: {"DEVANAGARI"} for code in ("hi", "mr", "ne")},
    **{code: {"BENGALI"} for code in ("as", "bn")},
    "am": {"ETHIOPIC"},
    "dz": {"TIBETAN"},
    "el": {"GREEK"},
    "gu": {"GUJARATI"},
    "he": {"HEBREW"},
    "hy": {"ARMENIAN"},
    "ja": {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"},
    "ka": {"GEORGIAN"},
    "km": {"KHMER"},
    "kn": {"KANNADA"},
    "ko": {"HANGUL", "CJK"},
    "lo": {"LAO"},
    "ml": {"MALAYALAM"},
    "or": {"ORIYA"},
    "pa": {"GURMUKHI"},
    "si": {"SINHALA"},
    "ta": {"TAMIL"},
    "te": {"TELUGU"},
    "th": {"THAI"},
    "zh": {"CJK"},
}


def _identify(text: str) -> str:
    return str(_identifier().classify(text)[0])


def _codes() -> list[str]:
    return sorted(str(code) for code in _identifier().labels)


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE)
