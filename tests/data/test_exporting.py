"""Export: what goes out comes back the same, in the forms others read."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from core.data.example import Example
from core.data.exporting import export
from core.data.files import File
from core.data.reading import read_examples
from core.models.prompt import calls_text
from tests.factories import example

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the public data sets are not beside the repository")
CALLS = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}}]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
CALLING = Example(({"role": "user", "content": "Rain?"},), calls_text(CALLS), "g", tools=TOOLS, calls=CALLS)


def lines(examples: list[Example], layout: str, **options: bool) -> list[dict[str, object]]:
    data = b"".join(export(examples, layout, **options))  # type: ignore[arg-type]
    return [json.loads(line) for line in data.decode().splitlines()]


@needs_data
@pytest.mark.parametrize(
    "name",
    [
        "ready/tickets-json/train.jsonl",
        "ready/xquad-cited/train.jsonl",
        "pirate-chat-jsonl/training_set.jsonl",
        "anthropic-json-mode-ft/json_mode_dataset.jsonl",
        "llamafactory-formats/glaive_toolcall_en_demo.json",
        "fastchat-identity-sharegpt/dummy_conversation.json",
        "mlx-superbowl-prompt-completion/valid.jsonl",
        "mlx-wikisql-text-jsonl/valid.jsonl",
        "banking77/test.csv",
    ],
)
def test_real_files_come_back_from_chat_as_they_went(name: str) -> None:
    before = read_examples(File(name, path=DATA / name))
    assert before
    assert read_examples(File("out.jsonl", b"".join(export(before, "chat", extras=True)))) == before


def test_a_chat_line_holds_what_openai_knows_and_nothing_else() -> None:
    labelled = Example(({"role": "user", "content": "q"},), "a", "g", "l", "c")
    assert lines([labelled], "chat") == [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    ]
    assert lines([labelled], "chat", extras=True)[0] | {"messages": 0} == {
        "messages": 0,
        "label": "l",
        "group": "g",
        "context": "c",
    }


def test_tool_calls_stay_calls() -> None:
    (record,) = lines([CALLING], "chat")
    assert record == {
        "messages": [
            {"role": "user", "content": "Rain?"},
            {"role": "assistant", "content": None, "tool_calls": CALLS},
        ],
        "tools": TOOLS,
    }
    said = Example(CALLING.messages, f"Let me look.\n{CALLING.reference}", "g", tools=TOOLS, calls=CALLS)
    assert lines([said], "chat")[0]["messages"][-1]["content"] == "Let me look."  # type: ignore[index]


def test_prompt_completion_is_one_text_and_its_answer() -> None:
    turns = (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Who?"},
    )
    assert lines([Example(turns, "me", "g")], "prompt_completion") == [
        {"prompt": "Be brief.\n\nUser: Hi\n\nAssistant: Hello\n\nUser: Who?", "completion": "me"}
    ]
    assert lines([example("q\nr", "a")], "prompt_completion") == [{"prompt": "q\nr", "completion": "a"}]


def test_a_sheet_runs_nothing_and_loses_nothing() -> None:
    texts = ["=HYPERLINK(1)", "+1", "@x", 'say "hi"', "a\nb", "ü€", "plain, with comma"]
    data = b"".join(export([example(text, text) for text in texts], "csv"))
    assert data.startswith(b"\xef\xbb\xbfsystem,prompt,answer,label,group,context")
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert [row["prompt"] for row in rows] == ["'=HYPERLINK(1)", "'+1", "'@x", *texts[3:]]
    assert [row["answer"] for row in rows] == [row["prompt"] for row in rows]


@pytest.mark.parametrize("layout", ["chat", "prompt_completion", "csv"])
@pytest.mark.parametrize("count", [0, 1, 500, 1_201])
def test_it_streams_whatever_the_count(layout: str, count: int) -> None:
    pieces = list(export((example(f"q{n}", "a") for n in range(count)), layout))  # type: ignore[arg-type]
    assert b"".join(pieces).count(b"\n") == count + (layout == "csv")
    assert all(piece.count(b"\n") <= 500 for piece in pieces)
