"""Slot filling as Snips has it: {"data": [{"text": "in "}, {"text": "Rome", "entity": "city"}]}; learnt as JSON."""

from __future__ import annotations

import json
from typing import Any

from core.data.layouts.layout import Notes, Talk, layout, shared


def _fits(record: dict[str, Any]) -> bool:
    parts = record.get("data")
    return isinstance(parts, list) and bool(parts) and all(isinstance(part, dict) and "text" in part for part in parts)


@layout(
    "slots",
    "slots in an utterance",
    fields=("data",),
    sample={"data": [{"text": "weather in "}, {"text": "Rome", "entity": "city"}]},
    fits=_fits,
    cells=("data",),
)
def read_slots(record: dict[str, Any], notes: Notes) -> Talk | None:
    """The utterance is the prompt; the answer is an object of its slots, a list where a slot occurs more than once."""
    slots: dict[str, list[str]] = {}
    utterance = ""
    parts = record.get("data")
    for number, part in enumerate(parts if isinstance(parts, list) else []):
        text = part.get("text") if isinstance(part, dict) else None
        if not isinstance(text, str):
            remedy = 'Each part is {"text": "..."}, with "entity" where it fills a slot.'
            notes.error(f"data[{number}]", "content", f"Part {number + 1} has no text.", remedy)
            continue
        utterance += text
        entity = part.get("entity")
        if isinstance(entity, str) and entity:
            slots.setdefault(entity, []).append(text.strip())
    if not utterance.strip() and not notes.failed:
        notes.error("data", "empty_content", '"data" is empty.', "Fill it in or drop the record.", "drop_empty")
    beside = shared(record, notes)
    if notes.failed:
        return None
    answer = json.dumps({k: v[0] if len(v) == 1 else v for k, v in slots.items()}, ensure_ascii=False)
    turns = [{"role": "user", "content": utterance.strip()}, {"role": "assistant", "content": answer}]
    return Talk(turns, ["data", "data"], **beside)
