"""Small inputs that many tests share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from core.data.dataset import File, create_dataset
from core.data.example import Example
from core.store.tables import Dataset

FRUIT = ("apple", "pear", "plum", "cherry", "lemon", "mango")
TOOLS = ("hammer", "saw", "pliers", "wrench", "chisel", "drill")


def chat(question: str, answer: str, system: str | None = None, **more: Any) -> dict[str, Any]:
    """One record of a chat JSONL file."""
    opening = [{"role": "system", "content": system}] if system else []
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": opening + turns, **more}


def jsonl(records: Iterable[Any]) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def sorting(count: int, start: int = 0) -> list[dict[str, Any]]:
    """`count` short records of one task, all different: is it a fruit or a tool?"""
    records = []
    for number in range(start, start + count):
        kind, words = (("fruit", FRUIT), ("tool", TOOLS))[number % 2]
        records.append(chat(f"Which kind is {words[number // 2 % 6]} number {number}?", kind))
    return records


def sorting_dataset(train: int = 14, test: int = 3, *, name: str = "sorting") -> Dataset:
    """The task as an imported dataset, with a test file of its own."""
    files = File("train.jsonl", jsonl(sorting(train))), File("test.jsonl", jsonl(sorting(test, start=1000)))
    return create_dataset(name, *files)


def example(question: str, answer: str, group: str | None = None) -> Example:
    return Example(({"role": "user", "content": question},), answer, group or question)


def examples(records: Sequence[dict[str, Any]]) -> list[Example]:
    return [example(r["messages"][-2]["content"], r["messages"][-1]["content"]) for r in records]
