"""{"prompt": ..., "completion": ...}: two texts, or two lists of turns as TRL has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.data.layouts.chat import talk
from core.data.layouts.layout import SHARED, Notes, Talk, column_text, layout, shared
from core.data.layouts.turns import read_turns


@layout(
    "prompt_completion",
    "prompt/completion",
    fields=("prompt", "completion", "system", "tools"),
    sample={"prompt": "Hello", "completion": "Good morning!"},
    fits=lambda record: "prompt" in record and "completion" in record,
)
def read_prompt_completion(record: dict[str, Any], notes: Notes) -> Talk | None:
    if isinstance(record.get("prompt"), list) and isinstance(record.get("completion"), list):
        asked, places = read_turns(record["prompt"], "prompt", notes)
        answered, more = read_turns(record["completion"], "completion", notes)
        return talk(record, asked + answered, places + more, notes)
    return two_columns(record, "prompt", "completion", notes, system="system")


def two_columns(
    record: dict[str, Any],
    prompt: str,
    answer: str,
    notes: Notes,
    *,
    system: str | None = None,
    beside: Mapping[str, str] = SHARED,
) -> Talk | None:
    """A question in one column and its answer in another, perhaps with instructions in a third.

    `beside` says which columns are group, label and context.
    """
    opening = column_text(record, system, notes, needed=False) if system else None
    asked = column_text(record, prompt, notes, needed=True)
    answered = column_text(record, answer, notes, needed=True, answer=True)
    others = shared(record, notes, beside)
    if asked is None or answered is None or notes.failed:
        return None
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    places = [prompt, answer]
    if system and opening:
        turns, places = [{"role": "system", "content": opening}, *turns], [system, *places]
    return Talk(turns, places, **others)
