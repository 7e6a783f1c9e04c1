"""Does a file teach behaviour, or is it facts that belong in retrieval?

An adapter learns how to answer: a form, a voice, a set of labels, a way to turn what stands in the prompt into
something else. It is bad at learning what is so. The signs of the first are a form that holds across the answers, few
different answers, or answers made of the prompt's own words; of the second, questions whose answers are nearly all
different and bring names and numbers that the prompt does not have. The thresholds were set on the public data sets
that the tests name; a file that shows neither is called unclear rather than guessed at.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from core.data.duplicates import normalised, prompt_text
from core.data.example import Example
from core.data.profile.answers import as_json

if TYPE_CHECKING:
    from core.data.profile.measure import Profile

# Fewer examples show no pattern.
FEWEST = 5
# Fewer facts are no body of knowledge: they fit a prompt.
FEWEST_FACTS = 20
# "All" and "nearly all", for what real files do with exceptions.
NEARLY_ALL = 0.9
MOST = 0.8
# Below this share of new words an answer is a rewriting of its prompt.
REWRITTEN = 0.4
# Share of answers with a name or number that the prompt lacks: 44 to 100% in files of facts, up to 30% in chat.
FACTUAL = 0.35
# A word of the answers' own voice stands in this share of the answers and in next to no prompt.
VOICE_IN_ANSWERS, VOICE_IN_PROMPTS = 0.25, 0.05

_WORD = re.compile(r"[^\W_]+")
_ASKING = re.compile(r"\b(?:who|whom|whose|what|when|where|which|why|how)\b", re.IGNORECASE)
# Numbers, and words with a capital inside a sentence; one letter (I) is no name.
_FACT = re.compile(r"\d[\d.,]*|(?<=[^.!?:\n\"'] )[^\W\d_a-z][\w'’-]+")


@dataclass(frozen=True)
class Signs:
    """Shares of the measured examples, from 0 to 1: what the hint rests on.

    `asking`: prompts that ask a question. `distinct`: different answers (values, where they are JSON), of all.
    `new_words`: words of an answer that its prompt and context lack, on average. `facts`: answers with a name or number
    that their prompt and context lack. `voice`: answers with a word that many answers share and prompts do not have.
    """

    asking: float
    distinct: float
    new_words: float
    facts: float
    voice: float
    voice_words: tuple[str, ...]


@dataclass(frozen=True)
class Hint:
    kind: Literal["behaviour", "knowledge", "both", "unclear"]
    why: str


def signs(examples: Sequence[Example]) -> Signs:
    """Look at a non-empty sample."""
    prompts = [prompt_text(example) for example in examples]
    known = [f"{prompt}\n{example.context or ''}" for prompt, example in zip(prompts, examples, strict=True)]
    answers = [_said(example.reference) for example in examples]
    count = len(examples)
    new: list[float] = []
    facts = 0
    for given, answer in zip(known, answers, strict=True):
        have = set(_WORD.findall(given.casefold()))
        # Short words are grammar.
        words = [word for word in _WORD.findall(answer.casefold()) if len(word) > 3 or word.isdigit()]
        if words:
            new.append(sum(word not in have for word in words) / len(words))
        plain = normalised(given)
        facts += any(normalised(fact) not in plain for fact in _FACT.findall(answer))
    voice = _voice(prompts, answers)
    asking = [bool(_ASKING.search(prompt)) or prompt.rstrip().endswith(("?", "？")) for prompt in prompts]
    return Signs(
        asking=sum(asking) / count,
        distinct=len({normalised(answer) for answer in answers}) / count,
        new_words=sum(new) / len(new) if new else 0.0,
        facts=facts / count,
        voice=sum(not voice.isdisjoint(_WORD.findall(answer.casefold())) for answer in answers) / count,
        voice_words=tuple(sorted(voice)[:5]),
    )


def hint(profile: Profile) -> Hint:
    """What the file seems to teach, and the sentence that says why."""
    if profile.measured < FEWEST or profile.signs is None or profile.answers is None:
        return Hint("unclear", f"{profile.measured} examples are too few to tell.")
    form, seen = _form(profile), profile.signs
    facts = (
        profile.measured >= FEWEST_FACTS
        and seen.asking >= NEARLY_ALL
        and seen.distinct >= 0.5
        and seen.new_words >= 0.5
        and seen.facts >= FACTUAL
        # Few answers that come again and again are labels, whatever is asked.
        and profile.answers.repeated < MOST
    )
    told = (
        f"{seen.asking:.0%} of the prompts ask a question, {seen.distinct:.0%} of the answers are different, and "
        f"{seen.facts:.0%} bring a name or number that the prompt does not have"
    )
    if facts and form:
        why = f"The form is behaviour: {form}. What fills it is facts: {told}. Retrieve the facts; tune the form only."
        return Hint("both", why)
    if facts:
        why = f"{told}. Facts like these belong in retrieval: tuning teaches how to answer, not what is so."
        return Hint("knowledge", why)
    if form:
        return Hint("behaviour", f"{form[:1].upper()}{form[1:]}. That is a way to answer, which tuning teaches well.")
    return Hint("unclear", f"No steady form, and no clear run of facts: {told}.")


def _form(profile: Profile) -> str:
    """What is steady about the answers, in words; empty if nothing is."""
    answers, seen = profile.answers, profile.signs
    assert answers is not None and seen is not None
    kinds = answers.kinds
    if kinds.get("JSON", 0) >= NEARLY_ALL:
        steady = [key for key, share in answers.json_keys.items() if share >= NEARLY_ALL]
        keys = f", always with {', '.join(steady[:5])}" if steady else ""
        return f"{kinds['JSON']:.0%} of the answers are JSON{keys}"
    if kinds.get("tool call", 0) >= 0.5:
        return f"{kinds['tool call']:.0%} of the answers call a tool"
    if answers.repeated >= MOST:
        return f"there are {answers.distinct:,} different answers to {answers.measured:,} prompts"
    if answers.opening_share >= MOST:
        return f'{answers.opening_share:.0%} of the answers begin with "{answers.opening}"'
    if kinds.get("code", 0) >= MOST:
        return f"{kinds['code']:.0%} of the answers are code"
    if seen.new_words <= REWRITTEN:
        return f"{1 - seen.new_words:.0%} of the words of an answer stand in its prompt"
    if seen.voice >= 0.5:
        return f"{seen.voice:.0%} of the answers share a voice ({', '.join(seen.voice_words)})"
    return ""


def _said(answer: str) -> str:
    """The answer; of JSON the values alone, since its keys are form."""
    value = as_json(answer)
    return answer if value is None else "\n".join(_values(value))


def _values(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in _values(each)]
    if isinstance(value, list):
        return [text for each in value for text in _values(each)]
    return [] if value is None else [str(value)]


def _voice(prompts: Sequence[str], answers: Sequence[str]) -> set[str]:
    """Words that many answers share and hardly a prompt has, but for English function words."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    here = Counter(word for answer in answers for word in set(_WORD.findall(answer.casefold())))
    there = Counter(word for prompt in prompts for word in set(_WORD.findall(prompt.casefold())))
    count = len(answers)
    return {
        word
        for word, times in here.items()
        if times >= max(3, VOICE_IN_ANSWERS * count)
        and there[word] < VOICE_IN_PROMPTS * count
        and word not in ENGLISH_STOP_WORDS
        and not word.isdigit()
    }
