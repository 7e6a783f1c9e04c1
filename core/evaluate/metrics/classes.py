"""Classes: the short list that answers come from, and which of them an answer names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from core.evaluate.normalize import normalize, parse_json, same_json

# What an answer is that names none of the classes, or more than one.
OTHER = "other"
# More different answers than this are hardly a list of classes any more.
MAX_CLASSES = 100


@dataclass(frozen=True)
class Classes:
    """The classes of a test set: `names` as people read them, `texts` as the references write them."""

    names: tuple[str, ...]
    texts: tuple[str, ...]

    def of(self, text: str) -> str:
        """The name of the class that a text means, or OTHER.

        Where the classes are JSON, the whole text must be the JSON of one of them, since a program reads it. Else it
        must be one of them after SQuAD normalisation, or name exactly one of them among other words.
        """
        given = parse_json(text)
        for name, expected in self._structured:
            if same_json(given, expected):
                return name
        bare = normalize(text)
        if bare in self._plain:
            return self._plain[bare]
        named = [words for words in self._plain if words and f" {words} " in f" {bare} "]
        # "card lost" names "card" too, but means the longer one.
        meant = [w for w in named if not any(w != other and f" {w} " in f" {other} " for other in named)]
        return self._plain[meant[0]] if len(meant) == 1 else OTHER

    @cached_property
    def _structured(self) -> list[tuple[str, Any]]:
        parsed = ((name, parse_json(text)) for name, text in zip(self.names, self.texts, strict=True))
        return [(name, value) for name, value in parsed if isinstance(value, dict | list)]

    @cached_property
    def _plain(self) -> dict[str, str]:
        structured = {name for name, _ in self._structured}
        pairs = zip(self.names, self.texts, strict=True)
        return {normalize(text): name for name, text in pairs if name not in structured}


def classes_of(references: Sequence[str], labels: Sequence[str | None] = ()) -> Classes | None:
    """The classes that these reference answers come from; None where they are no short list.

    Where the answers are all different but each names its example's label, the labels are the classes.
    """
    answers = _short_list(references)
    if answers:
        return classes_named(answers)
    named = _short_list([label for label in labels if label])
    if not named or not all(labels):
        return None
    classes = classes_named(named)
    agree = all(
        classes.of(reference) == classes.of(label or "") for reference, label in zip(references, labels, strict=True)
    )
    return classes if agree and len(classes.names) > 1 else None


def _short_list(texts: Sequence[str]) -> list[str]:
    """The different ones among texts that repeat, in alphabetical order; none where they hardly do."""
    distinct = sorted({text for text in texts if text.strip()})
    return distinct if len(distinct) <= MAX_CLASSES and len(texts) >= 2 * len(distinct) else []


def classes_named(texts: Sequence[str]) -> Classes:
    """Classes written this way. Ways that differ in case, punctuation or the order of JSON keys are one class."""
    named: dict[str, str] = {}
    seen: set[str] = set()
    for text in sorted(texts):
        parsed = parse_json(text)
        structured = isinstance(parsed, dict | list)
        written = json.dumps(parsed, sort_keys=True) if structured else normalize(text)
        if written in seen:
            continue
        seen.add(written)
        name = _name(parsed) if structured else text.strip()
        # One that is called "other" is a class all the same, and two may have the same value under other keys.
        named[name if name != OTHER and name not in named else f"{name} ({text.strip()})"] = text
    return Classes(tuple(named), tuple(named.values()))


def confusion(true: Sequence[str], given: Sequence[str], names: Sequence[str]) -> list[list[int]]:
    """How often class i (row, true) was answered as class j (column); the last row and column are OTHER."""
    from sklearn.metrics import confusion_matrix

    counts: list[list[int]] = confusion_matrix(list(true), list(given), labels=[*names, OTHER]).tolist()
    return counts


def macro_f1(true: Sequence[str], given: Sequence[str]) -> float:
    """Mean over the classes that occur in `true` of the F1 of each, from 0 to 1: rare classes count like common ones.

    An answer outside the list is a miss of its true class and no class of its own.
    """
    from sklearn.metrics import f1_score

    labels = sorted(set(true))
    return float(f1_score(list(true), list(given), labels=labels, average="macro", zero_division=0))


def _name(parsed: Any) -> str:
    """The one value of a JSON object with one key, else all of it."""
    if isinstance(parsed, dict) and len(parsed) == 1:
        value = next(iter(parsed.values()))
        if isinstance(value, str) and value.strip():
            return value.strip()
    return json.dumps(parsed, ensure_ascii=False, sort_keys=True)
