"""Which metrics fit a dataset: the first decides, the others explain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Protocol

from core.documents.languages import NAMES
from core.evaluate.metrics.classes import MAX_CLASSES, classes_of
from core.evaluate.metrics.json_schema import infer_schema
from core.evaluate.metrics.refusal import LABELS, refuses
from core.evaluate.normalize import parse_json
from core.models.prompt import last_question

# Answers up to so many words (the median) are short facts; from so many on they are texts.
SHORT_WORDS, LONG_WORDS = 8, 40
# What nearly all answers are; a few flaws in the data change nothing.
NEARLY_ALL = 0.95
# Less than this share without an answer is more likely a gap in the data than a task.
SOME_UNANSWERABLE = 0.02
# Keys under which answers name where they are from.
SOURCE_KEYS = ("source", "sources", "citation", "citations", "document")
# References looked at for their language: the first ones tell.
LANGUAGE_SAMPLE = 50
_SQL = ("select ", "with ", "insert ", "update ", "delete ", "create ")


class Sample(Protocol):
    """What is looked at of an example; both the stored and the imported kind have it."""

    @property
    def messages(self) -> Sequence[dict[str, Any]]: ...
    @property
    def reference(self) -> str: ...
    @property
    def label(self) -> str | None: ...
    @property
    def context(self) -> str | None: ...


@dataclass(frozen=True)
class Suggestion:
    """A metric with settings that suit the data, and why in a sentence."""

    name: str
    why: str
    settings: dict[str, Any] = field(default_factory=dict)


def suggest(examples: Sequence[Sample]) -> list[Suggestion]:
    """The metrics for these examples, each once; the first is to decide. Never empty."""
    answered = [example.reference for example in examples if not _unanswerable(example)]
    found = _by_form(answered or [example.reference for example in examples])
    found += (
        _labels(examples)
        + _unanswerables(examples, len(answered))
        + _languages(examples)
        + _sources(examples, answered)
    )
    first: dict[str, Suggestion] = {}
    for suggestion in found:
        first.setdefault(suggestion.name, suggestion)
    return list(first.values())


def suggest_metric(references: Sequence[str]) -> tuple[str, str]:
    """(name of the metric to decide, why), from the answers that are expected."""
    best = _by_form(references)[0]
    return best.name, best.why


def _by_form(references: Sequence[str]) -> list[Suggestion]:
    """By what the answers look like: classes, queries, JSON, facts, texts."""
    distinct = sorted(set(references))
    objects = bool(distinct) and all(isinstance(parse_json(reference), dict) for reference in distinct)
    json = _json(distinct) if objects else []
    if len(references) >= 2 * len(distinct) and 0 < len(distinct) <= MAX_CLASSES:
        why = f"The answers come from a list of {len(distinct)}, so each is right or wrong."
        classes = Suggestion(
            "accuracy",
            "Shows which classes are taken for which, and what the model means where its form is wrong.",
            {"classes": distinct},
        )
        return [Suggestion("exact_match", why), classes, *json]
    if objects:
        return [Suggestion("json_match", "The answers are JSON objects, judged key by key."), *json]
    if _nearly_all(distinct, lambda text: text.strip().lower().startswith(_SQL)):
        return [
            Suggestion("sql_match", "The answers are SQL: the same query may be written in many ways."),
            Suggestion("token_f1", "Shows how near a query that is not the same comes."),
        ]
    words = median([len(text.split()) for text in distinct]) if distinct else 0
    shared = Suggestion("token_f1", "The answers are free text, judged by the words they share with the reference.")
    if words <= SHORT_WORDS:
        return [shared, Suggestion("contains", "The answers are short: one inside a sentence may be as good.")]
    long = [
        Suggestion("rouge_l", f"The answers are texts of about {words:.0f} words: their order counts too."),
        Suggestion("similarity", "A text may say the same in other words."),
    ]
    return [*long, shared] if words >= LONG_WORDS else [shared, *long]


def _json(distinct: Sequence[str]) -> list[Suggestion]:
    found = [Suggestion("json_valid", "A program reads the answers: what it cannot read is of no use to it.")]
    shapes = {tuple(sorted(parse_json(reference))) for reference in distinct}
    if len(shapes) == 1:
        why = "All answers have the same keys: shows where one is missing, or its value of the wrong type."
        found.append(Suggestion("json_schema", why, {"json_schema": infer_schema(distinct)}))
    return found


def _labels(examples: Sequence[Sample]) -> list[Suggestion]:
    """Where the answers are all different, but each names its example's label."""
    classes = classes_of([example.reference for example in examples], [example.label for example in examples])
    if classes is None:
        return []
    why = f"Each answer names its label, one of {len(classes.names)}: shows which are taken for which."
    return [Suggestion("accuracy", why, {"classes": list(classes.texts)})]


def _unanswerable(example: Sample) -> bool:
    return (example.label or "").strip().casefold() in LABELS or refuses(example.reference)


def _unanswerables(examples: Sequence[Sample], answered: int) -> list[Suggestion]:
    without = len(examples) - answered
    if not answered or without < max(1, SOME_UNANSWERABLE * len(examples)):
        return []
    return [
        Suggestion("refusal", f"{without:,} of {len(examples):,} questions have no answer: the model should say so.")
    ]


def _languages(examples: Sequence[Sample]) -> list[Suggestion]:
    """Where most answers are in one language other than English, or other than the question's."""
    from core.evaluate.metrics.language import spoken

    sample = examples[:: max(1, len(examples) // LANGUAGE_SAMPLE)][:LANGUAGE_SAMPLE]
    pairs = [(spoken(last_question(list(e.messages))), spoken(e.reference)) for e in sample]
    answers = Counter(answer for _, answer in pairs if answer)
    if not answers or answers.most_common(1)[0][1] <= len(pairs) / 2:
        # Answers too short to tell are taken to be in the language of the questions.
        answers = Counter(question for question, _ in pairs if question) if not answers else Counter()
    if not answers:
        return []
    language, count = answers.most_common(1)[0]
    if count <= len(pairs) / 2:
        return []
    told = [question != answer for question, answer in pairs if question and answer]
    translated = sum(told) > len(pairs) / 2
    if language == "en" and not translated:
        return []
    name = NAMES.get(language, f"the language {language}")
    why = f"The answers are in {name}" + (", unlike the questions." if translated else ".")
    chrf = Suggestion("chrf", "Characters in place of words: fair to every script and to other endings.")
    return [Suggestion("language", f"{why} A model may fall back into English.", {"language": language}), chrf]


def _sources(examples: Sequence[Sample], answered: Sequence[str]) -> list[Suggestion]:
    """Where answers name a source, or can be looked up."""
    parsed = [parse_json(reference) for reference in answered]
    key = next((key for key in SOURCE_KEYS if parsed and all(isinstance(p, dict) and key in p for p in parsed)), "")
    found = []
    if key:
        settings = {"field": key} if key != "source" else {}
        found = [
            Suggestion("citation", f"The answers name where they are from, under “{key}”.", settings),
            Suggestion("retrieval_recall", "Shows whether the right document was found at all.", settings),
        ]
    elif answered and [suggestion.name for suggestion in _by_form(answered)] == ["token_f1", "contains"]:
        found = [Suggestion("retrieval_recall", "Facts can be looked up: shows whether the right passage was found.")]
    if _nearly_all(examples, lambda example: bool((example.context or "").strip())):
        found.append(Suggestion("groundedness", "The examples come with the text that the answer is to be taken from."))
    return found


def _nearly_all(items: Sequence[Any], holds: Callable[[Any], bool]) -> bool:
    return bool(items) and sum(map(holds, items)) >= NEARLY_ALL * len(items)
