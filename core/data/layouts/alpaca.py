"""Alpaca: {"instruction": ..., "input": ..., "output": ...}, with LLaMA-Factory's "system" and "history".

Some files say "response" for "output".
"""

from __future__ import annotations

from typing import Any

from core.data.files.parsing import kind_of
from core.data.layouts.layout import Notes, Talk, column_text, layout, shared


@layout(
    "alpaca",
    "Alpaca",
    fields=("instruction", "input", "output", "response", "system", "history"),
    sample={"instruction": "Translate to French.", "input": "Good morning", "output": "Bonjour"},
    cells=("history",),
    fits=lambda record: "instruction" in record and ("output" in record or "response" in record),
)
def read_alpaca(record: dict[str, Any], notes: Notes) -> Talk | None:
    """The input follows the instruction after an empty line; earlier rounds come before both."""
    system = column_text(record, "system", notes, needed=False)
    instruction = column_text(record, "instruction", notes, needed=True)
    material = column_text(record, "input", notes, needed=False)
    output = "response" if "response" in record and "output" not in record else "output"
    answer = column_text(record, output, notes, needed=True, answer=True)
    turns = [{"role": "system", "content": system}] if system else []
    places = ["system"] if system else []
    history = record.get("history")
    for number, pair in enumerate(history if isinstance(history, list) else []):
        field = f"history[{number}]"
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(t, str) and t.strip() for t in pair):
            notes.error(field, "history", f"Round {number + 1} is no pair of texts.", 'Write ["...", "..."].')
            continue
        turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
        places += [f"{field}[0]", f"{field}[1]"]
    if history is not None and not isinstance(history, list):
        notes.error("history", "history", f'"history" is {kind_of(history)}.', 'Write a list of ["...", "..."].')
    beside = shared(record, notes)
    if instruction is None or answer is None or notes.failed:
        return None
    asked = f"{instruction}\n\n{material}" if material else instruction
    turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return Talk(turns, [*places, "instruction", output], **beside)
