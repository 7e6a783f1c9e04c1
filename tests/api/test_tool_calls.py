"""Function calls taken out of what a model writes, however it is cut into pieces."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.api.chat_types import Function, Tool
from core.api.tool_calls import Reader, ToolCall

WEATHER = Tool(type="function", function=Function(name="weather", parameters={"type": "object"}))
STRICT = Tool(
    type="function",
    function=Function(
        name="weather",
        strict=True,
        parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    ),
)


def block(name: str = "weather", arguments: object = None) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments or {}})}\n</tool_call>"


def read(text: str, cuts: list[int], tool: Tool = WEATHER) -> list[str | ToolCall]:
    reader = Reader([tool])
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    said = [part for start, end in pairwise(places) for part in reader.feed(text[start:end])]
    return [*said, *reader.rest()]


@given(st.lists(st.integers(0, 200), max_size=12))
def test_a_call_is_found_however_it_is_cut(cuts: list[int]) -> None:
    said = read(f"One moment <please>. {block(arguments={'city': 'Rome'})}\n{block()}", cuts)
    assert "".join(part for part in said if isinstance(part, str)) == "One moment <please>. "
    calls = [part for part in said if isinstance(part, ToolCall)]
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [
        ("weather", {"city": "Rome"}),
        ("weather", {}),
    ]
    assert calls[0].id != calls[1].id


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>\nnot json\n</tool_call>",
        block("another"),
        '<tool_call>["weather"]</tool_call>',
        '<tool_call>{"name": "weather", "arguments": "Rome"}</tool_call>',
        "a < b, and <tool",
        "<tool_call>" * 3,
    ],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    said = read(text, [3, 9])
    assert all(isinstance(part, str) for part in said)
    assert "".join(map(str, said)) == text


def test_a_call_that_stops_at_the_closing_tag_counts() -> None:
    (call,) = read(block(arguments={"city": "Rome"}).removesuffix("</tool_call>"), [])
    assert isinstance(call, ToolCall)
    assert json.loads(call.arguments) == {"city": "Rome"}


def test_a_strict_function_is_called_with_allowed_arguments_alone() -> None:
    assert isinstance(read(block(arguments={"city": "Rome"}), [], STRICT)[0], ToolCall)
    assert read(block(arguments={"city": 7}), [], STRICT) == [block(arguments={"city": 7})]


def test_without_tools_nothing_is_held_back() -> None:
    reader = Reader([])
    assert reader.feed(block()) == [block()]
    assert reader.rest() == []
