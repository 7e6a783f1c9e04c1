"""Any columns: a person says which one is the prompt and which the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.data.layouts.layout import SHARED, Notes, Read, Talk, layout
from core.data.layouts.prompt_completion import two_columns

# What a mapping may name; the first two are needed.
MAPPED_FIELDS = ("prompt", "answer", "system", *SHARED)
# Usual names of columns, the likeliest first.
LABEL_NAMES = ("label", "category", "intent", "class", "sentiment", "topic", "tag")
PROMPT_NAMES = (
    *("prompt", "question", "instruction", "query", "input", "text", "utterance", "message", "sentence", "email"),
    *("ticket", "request", "description", "review", "comment", "document", "article", "content", "body", "title"),
)
ANSWER_NAMES = (
    *("answer", "completion", "response", "output", "target", "reply", "expected", "correct_answer", "summary"),
    *("translation", "sql", "code", *LABEL_NAMES),
)
MAPPING_REMEDY = "Choose which column is the prompt and which is the answer."


@layout(
    "mapped",
    "columns you choose",
    fields=MAPPED_FIELDS,
    sample={"ticket": "Where is my card?", "team": "Cards"},
    fits=lambda record: False,
)
def read_unmapped(record: dict[str, Any], notes: Notes) -> Talk | None:
    notes.error("", "mapping", "No column has been chosen for the prompt and the answer.", MAPPING_REMEDY)
    return None


def reader(mapping: Mapping[str, str]) -> Read:
    """Read records by a mapping from `MAPPED_FIELDS` to columns. Without prompt and answer nothing can be read."""
    prompt, answer, system = (mapping.get(field) or None for field in ("prompt", "answer", "system"))
    if prompt is None or answer is None:
        return read_unmapped
    beside = {field: mapping[field] for field in SHARED if mapping.get(field)}
    return lambda record, notes: two_columns(record, prompt, answer, notes, system=system, beside=beside)


def plain(columns: Sequence[str]) -> dict[str, str]:
    """Column names as people mean them (trimmed, in small letters, words joined by _) to the columns themselves."""
    return {column.strip().casefold().replace(" ", "_"): column for column in reversed(columns)}


def guess_mapping(columns: Sequence[str]) -> dict[str, str]:
    """A mapping by the columns' names; of two columns, knowing one is enough. Empty where nobody can tell."""
    names = plain(columns)
    prompt = next((names[name] for name in PROMPT_NAMES if name in names), None)
    answer = next((names[name] for name in ANSWER_NAMES if name in names and names[name] != prompt), None)
    if len(columns) == 2 and (prompt is None) != (answer is None):
        known = prompt or answer
        (other,) = (column for column in columns if column != known)
        prompt, answer = prompt or other, answer or other
    if prompt is None or answer is None:
        return {}
    mapping = {"prompt": prompt, "answer": answer}
    for field in ("system", "group", "context"):
        if field in names and names[field] not in mapping.values():
            mapping[field] = names[field]
    label = next((names[name] for name in LABEL_NAMES if name in names and names[name] != prompt), None)
    return {**mapping, "label": label} if label else mapping
