"""Plain question and answer in two columns, under any of their usual names, in any case."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from core.data.layouts.layout import SHARED, Notes, Read, Talk, layout
from core.data.layouts.mapped import plain, reader

QUESTION = ("question", "q", "query", "prompt", "instruction", "input", "user")
ANSWER = ("answer", "a", "response", "output", "completion", "correct_answer", "expected", "reply", "assistant")


def _mapping(columns: tuple[str, ...]) -> dict[str, str]:
    names = plain(columns)
    question = next((names[name] for name in QUESTION if name in names), None)
    answer = next((names[name] for name in ANSWER if name in names), None)
    if question is None or answer is None:
        return {}
    others = {field: names[field] for field in ("system", *SHARED) if field in names}
    return {"prompt": question, "answer": answer, **others}


@lru_cache(maxsize=16)
def _reader(columns: tuple[str, ...]) -> Read:
    """Asked for every record, and nearly always for the same columns."""
    return reader(_mapping(columns) or {"prompt": "question", "answer": "answer", "system": "system", **SHARED})


@layout(
    "question_answer",
    "question/answer",
    fields=("question", "answer", "system"),
    sample={"question": "Hello", "answer": "Good morning!"},
    fits=lambda record: bool(_mapping(tuple(record))),
    columns=lambda keys: _mapping(keys).values(),
)
def read_question_answer(record: dict[str, Any], notes: Notes) -> Talk | None:
    return _reader(tuple(record))(record, notes)
