"""OpenAI chat: {"messages": [{"role": ..., "content": ...}, ...]}, with tools; "system" may stand beside the turns."""

from __future__ import annotations

from typing import Any

from core.data.layouts.layout import Notes, Talk, layout, shared
from core.data.layouts.turns import read_tools, read_turns


def names_senders(value: Any) -> bool:
    """Whether turns say "from" in place of "role", as ShareGPT does."""
    return isinstance(value, list) and any(turn.get("from") is not None for turn in value if isinstance(turn, dict))


@layout(
    "chat",
    "OpenAI chat",
    fields=("messages", "system", "tools", "functions", "function_call", "tool_choice", "parallel_tool_calls"),
    sample={"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good morning!"}]},
    fits=lambda record: "messages" in record and not names_senders(record["messages"]),
    cells=("messages",),
)
def read_chat(record: dict[str, Any], notes: Notes) -> Talk | None:
    turns, places = read_turns(record.get("messages"), "messages", notes)
    return talk(record, turns, places, notes)


def talk(record: dict[str, Any], turns: list[Any], places: list[str], notes: Notes) -> Talk | None:
    """Turns with what may stand beside them: instructions under "system" (as Anthropic writes them), and tools."""
    if record.get("system"):
        opening: list[Any] = []
        if isinstance(record["system"], (str, list)):
            opening, _ = read_turns([{"role": "system", "content": record["system"]}], "system", notes)
        else:
            notes.error("system", "content", '"system" is no text.', "Write the instructions as a text.")
        turns, places = [*opening, *turns], ["system"] * len(opening) + places
    key = "tools" if record.get("tools") is not None else "functions"
    tools = read_tools(record.get(key), key, notes)
    return None if notes.failed else Talk(turns, places, tools=tools, **shared(record, notes))
