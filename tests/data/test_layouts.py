"""Layouts: every format that people upload is recognised, and becomes the same turns."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from core.data.files import File, FileKind
from core.data.layouts import LAYOUTS, detect_layout
from core.data.layouts.mapped import guess_mapping
from core.data.layouts.text import turns_in
from core.data.learning import prompt_key
from core.data.reading import Reading, detect, read
from tests.data.gathering import gather, gather_records
from tests.factories import jsonl


@pytest.mark.parametrize(
    ("path", "layout", "examples", "errors"),
    [
        ("openai-cookbook-chat-jsonl/toy_chat_fine_tuning.jsonl", "chat", 4, ["no_question"]),
        ("pirate-chat-jsonl/training_set.jsonl", "chat", 10, []),
        ("anthropic-json-mode-ft/json_mode_dataset.jsonl", "chat", 500, []),
        ("mlx-superbowl-prompt-completion/train.jsonl", "prompt_completion", 1800, []),
        ("mlx-superbowl-prompt-completion/valid.jsonl", "prompt_completion", 144, []),
        ("mlx-wikisql-text-jsonl/train.jsonl", "text", 1000, []),
        ("mlx-wikisql-text-jsonl/valid.jsonl", "text", 100, []),
        ("mlx-wikisql-text-jsonl/test.jsonl", "text", 100, []),
        ("fastchat-identity-sharegpt/dummy_conversation.json", "sharegpt", 500, []),
        ("llamafactory-formats/identity.json", "alpaca", 91, []),
        ("llamafactory-formats/glaive_toolcall_en_demo.json", "sharegpt", 300, []),
        ("banking77/train.csv", "mapped", 10_003, []),
        ("banking77/test.csv", "mapped", 3_080, []),
        ("insurance-tickets/train.tsv", "mapped", 68, []),
        ("snips-slots/RateBook/train_RateBook_full.json", "slots", 1_956, []),
        ("snips-slots/BookRestaurant/validate_BookRestaurant.json", "slots", 100, []),
        ("anthropic-docs-rag/docs_evaluation_dataset.json", "question_answer", 100, []),
        ("ready/tickets-json/train.jsonl", "chat", 240, []),
        ("ready/xquad-facts/test.jsonl", "chat", 60, []),
        ("ready/xquad-cited/train.jsonl", "chat", 240, []),
    ],
)
def test_public_files_are_recognised_and_read(
    shared_data: Path, path: str, layout: str, examples: int, errors: list[str]
) -> None:
    file = File(Path(path).name, path=shared_data / path)
    detected = detect(file)
    result = gather(file, detected.reading)
    assert detected.reading.layout == layout
    assert len(result.examples) == examples
    assert [problem.code for problem in result.errors] == errors
    assert all(example.messages and example.reference.strip() for example in result.examples)


def test_a_late_byte_of_another_encoding_is_mended_by_choosing_it(shared_data: Path) -> None:
    file = File("train.json", path=shared_data / "snips-slots/PlayMusic/train_PlayMusic_full.json")
    result = gather(file, Reading(FileKind("json", encoding="latin-1"), "slots"))
    assert (len(result.examples), result.errors) == (2000, [])


def test_classes_in_a_table_become_label_and_answer(shared_data: Path) -> None:
    file = File("train.csv", path=shared_data / "banking77" / "train.csv")
    detected = detect(file)
    assert detected.reading.mapping == {"prompt": "text", "answer": "category", "label": "category"}
    assert '"text" looks like the prompt' in detected.why and detected.columns == ["text", "category"]
    first = gather(file).examples[0]
    assert (first.messages, first.reference, first.label) == (
        ({"role": "user", "content": "I am still waiting on my card?"},),
        "card_arrival",
        "card_arrival",
    )


def test_a_top_level_system_text_opens_the_conversation(shared_data: Path) -> None:
    file = File("f.jsonl", path=shared_data / "anthropic-json-mode-ft" / "json_mode_dataset.jsonl")
    assert all(
        [turn["role"] for turn in example.messages] == ["system", "user"]
        and example.messages[0]["content"] == "JSON Mode: Enabled"
        and isinstance(json.loads(example.reference), (dict, list))
        for example in gather(file).examples
    )


def test_function_calls_of_sharegpt_become_tool_calls(shared_data: Path) -> None:
    file = File("f.json", path=shared_data / "llamafactory-formats" / "glaive_toolcall_en_demo.json")
    records = json.loads((shared_data / "llamafactory-formats" / "glaive_toolcall_en_demo.json").read_text())
    calls = sum(turn["from"] == "function_call" for record in records for turn in record["conversations"])
    answers = sum(turn["from"] in ("gpt", "function_call") for record in records for turn in record["conversations"])
    each = gather(file, Reading(FileKind("json"), "sharegpt", answers="each")).examples
    assert len(each) == answers
    called = [example for example in each if example.calls]
    assert len(called) == calls > 100
    for example in called:
        assert example.calls and example.tools
        assert json.loads(example.calls[0]["function"]["arguments"]) is not None
        assert example.reference.startswith('<tool_call>\n{"name": "')
    for example in each:
        for before, after in zip(example.messages, example.messages[1:], strict=False):
            if after["role"] == "tool":
                assert after["tool_call_id"] == before["tool_calls"][0]["id"]


def test_questions_of_the_wikisql_texts_keep_their_table(shared_data: Path) -> None:
    first = gather(File("f.jsonl", path=shared_data / "mlx-wikisql-text-jsonl" / "train.jsonl")).examples[0]
    (question,) = first.messages
    assert question["role"] == "user"
    assert question["content"].startswith("table: 1-1000181-1\ncolumns: State/territory")
    assert question["content"].endswith("Tell me what the notes are for South Australia")
    assert first.reference == "SELECT Notes FROM 1-1000181-1 WHERE Current slogan = 'SOUTH AUSTRALIA'"


USER, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
HUMAN, GPT = {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}
PARTS = [{"type": "text", "text": "q"}, {"type": "text", "text": "r"}]
IMAGE = [{"type": "image_url", "image_url": {}}]
SLOTS = [{"text": "to "}, {"text": "Rome", "entity": "city"}, {"text": " or "}, {"text": "Bonn", "entity": "city"}]


@pytest.mark.parametrize(
    ("record", "layout", "turns", "reference"),
    [
        ({"prompt": "q", "completion": "a"}, "prompt_completion", ["user: q"], "a"),
        ({"prompt": [USER], "completion": [ANSWER]}, "prompt_completion", ["user: q"], "a"),
        ({"prompt": "q", "completion": "a", "system": "s"}, "prompt_completion", ["system: s", "user: q"], "a"),
        ({"instruction": "i", "input": "", "output": "a"}, "alpaca", ["user: i"], "a"),
        ({"instruction": "i", "input": "x", "output": "a"}, "alpaca", ["user: i\n\nx"], "a"),
        (
            {"instruction": "i", "output": "a", "system": "s", "history": [["q1", "a1"], ["q2", "a2"]]},
            "alpaca",
            ["system: s", "user: q1", "assistant: a1", "user: q2", "assistant: a2", "user: i"],
            "a",
        ),
        ({"question": "q", "answer": "a"}, "question_answer", ["user: q"], "a"),
        ({"Question": "q", "Answer": "a", "System": "s"}, "question_answer", ["system: s", "user: q"], "a"),
        ({"q": "q", "a": 42}, "question_answer", ["user: q"], "42"),
        ({"query": "q", "response": True}, "question_answer", ["user: q"], "true"),
        ({"input": "q", "output": "a"}, "question_answer", ["user: q"], "a"),
        ({"question": "q", "answer": {"label": "é"}}, "question_answer", ["user: q"], '{"label": "é"}'),
        (
            {"conversations": [{"from": "system", "value": "s"}, HUMAN, GPT]},
            "sharegpt",
            ["system: s", "user: q"],
            "a",
        ),
        ({"conversations": [USER, ANSWER]}, "sharegpt", ["user: q"], "a"),
        ({"messages": [HUMAN, GPT]}, "sharegpt", ["user: q"], "a"),
        ({"messages": [USER, ANSWER], "system": "s"}, "chat", ["system: s", "user: q"], "a"),
        (
            {"messages": [{"role": "developer", "content": "d"}, USER, ANSWER]},
            "chat",
            ["developer: d", "user: q"],
            "a",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": PARTS},
                    ANSWER,
                ]
            },
            "chat",
            ["user: q\nr"],
            "a",
        ),
        ({"messages": json.dumps([USER, ANSWER])}, "chat", ["user: q"], "a"),
        (
            {"data": SLOTS},
            "slots",
            ["user: to Rome or Bonn"],
            '{"city": ["Rome", "Bonn"]}',
        ),
    ],
)
def test_each_layout_becomes_turns(record: dict[str, Any], layout: str, turns: list[str], reference: str) -> None:
    assert detect_layout([record]) == layout
    result = gather_records([record])
    assert result.errors == []
    (example,) = result.examples
    assert [f"{turn['role']}: {turn['content']}" for turn in example.messages] == turns
    assert example.reference == reference


def test_samples_of_the_layouts_are_read_as_what_they_show() -> None:
    for key, layout in LAYOUTS.items():
        if key != "mapped":
            assert detect_layout([layout.sample]) == key
            assert len(gather_records([layout.sample]).examples) == 1


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("### Instruction:\nDo it.\n\n### Response:\nDone.", "user: Do it. | assistant: Done."),
        ("### Instruction:\nAdd.\n### Input:\n1 1\n### Response:\n2", "user: Add.\n\n1 1 | assistant: 2"),
        (
            "A task.\n\n### Instruction:\nDo it.\n### Response:\nOk",
            "user: A task.\n\nDo it. | assistant: Ok",
        ),
        ("<s>[INST] q [/INST] a </s>", "user: q | assistant: a"),
        (
            "<s>[INST] <<SYS>>\ns\n<</SYS>>\n\nq [/INST] a </s><s>[INST] r [/INST] b </s>",
            "system: s | user: q | assistant: a | user: r | assistant: b",
        ),
        (
            "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n",
            "system: s | user: q | assistant: a",
        ),
        (
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nq<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\na<|eot_id|>",
            "user: q | assistant: a",
        ),
        ("<bos><start_of_turn>user\nq<end_of_turn>\n<start_of_turn>model\na<end_of_turn>\n", "user: q | assistant: a"),
        ("<|user|>\nq</s>\n<|assistant|>\na</s>", "user: q | assistant: a"),
        ("Human: q\nAssistant: a", "user: q | assistant: a"),
        ("Q: q\nA: a", "user: q | assistant: a"),
        ("Question: q\nAnswer: a\nQuestion: r\nAnswer: b", "user: q | assistant: a | user: r | assistant: b"),
    ],
)
def test_turns_of_one_text_are_found_by_their_markers(text: str, turns: str) -> None:
    found = turns_in(text)
    assert found is not None
    assert " | ".join(f"{turn['role']}: {turn['content']}" for turn in found) == turns


@pytest.mark.parametrize(
    "text",
    [
        "Just a story about Q and A.",
        "Q: one\nQ: two\nA: three",
        "A: an answer\nQ: before its question",
        "Q: no answer\nA:",
        "[INST] never closed",
        "[/INST] a [INST] q",
        "### Response:\na",
        "<|im_start|>wizard\nq<|im_end|><|im_start|>assistant\na<|im_end|>",
        "[INST]" * 50_000,
    ],
)
def test_a_text_that_leaves_a_doubt_is_an_error_that_says_what_to_do(text: str) -> None:
    result = gather_records([{"text": text}])
    (problem,) = result.errors
    assert (problem.code, problem.field) == ("no_markers", "text")
    assert "### Instruction:" in problem.remedy and result.examples == ()


def test_a_text_of_countless_markers_is_read_in_time() -> None:
    text = "### Instruction:\nhi\n" + "### Input:\nx\n" * 200_000 + "### Response:\nz"
    started = time.process_time()
    assert turns_in(text) is not None and time.process_time() - started < 10


def test_tool_calls_are_answers_and_prompts() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    asked = [USER, {"role": "assistant", "content": None, "tool_calls": [call]}]
    told = [*asked, {"role": "tool", "content": "2", "tool_call_id": "c1"}, ANSWER]
    calling, answering = gather_records(
        [{"messages": asked, "tools": [tool]}, {"messages": told, "tools": [tool], "parallel_tool_calls": False}]
    ).examples
    assert calling.calls == [call] and calling.tools == [tool]
    assert calling.reference == '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    assert answering.calls is None and answering.reference == "a"
    assert [turn["role"] for turn in answering.messages] == ["user", "assistant", "tool"]
    assert answering.messages[1]["tool_calls"] == [call] and answering.messages[2]["tool_call_id"] == "c1"


def test_answers_of_an_endless_conversation_are_not_learnt_one_by_one() -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}] * 100_000
    file = File("f.jsonl", jsonl([{"messages": turns}]))
    (problem,) = gather(file, Reading(FileKind("jsonl"), "chat", answers="each")).errors
    assert problem.code == "answers" and "100,000" in problem.message
    assert len(gather(file, Reading(FileKind("jsonl"), "chat")).examples) == 1


def test_older_function_calls_are_read_as_tool_calls() -> None:
    record = {
        "messages": [
            USER,
            {"role": "assistant", "content": None, "function_call": {"name": "add", "arguments": {"a": 1}}},
            {"role": "function", "name": "add", "content": "2"},
            ANSWER,
        ],
        "functions": [{"name": "add", "parameters": {}}],
    }
    (example,) = gather_records([record]).examples
    assert example.tools == [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    assert example.messages[1]["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 1}'}
    assert example.messages[2] == {"role": "tool", "content": "2", "name": "add"}


def test_weights_choose_the_answer() -> None:
    turns = [
        {"role": "user", "content": "q1"},
        {"role": "assistant", "content": "a1", "weight": 1},
        {"role": "user", "content": "q2"},
        {"role": "assistant", "content": "a2"},
        {"role": "user", "content": "q3"},
        {"role": "assistant", "content": "a3", "weight": 0},
    ]
    (last,) = gather_records([{"messages": turns}]).examples
    assert (last.reference, len(last.messages)) == ("a2", 3)
    first, second = gather_records([{"messages": turns}], answers="each").examples
    assert (first.reference, second.reference) == ("a1", "a2")
    assert first.group == second.group == prompt_key(turns[:1])
    silent = [{**turn, "weight": 0} if turn["role"] == "assistant" else turn for turn in turns]
    (problem,) = gather_records([{"messages": silent}]).errors
    assert problem.code == "no_answer" and "weight 0" in problem.message


@pytest.mark.parametrize(
    ("record", "field", "code"),
    [
        (
            {"messages": [{"role": "user", "content": IMAGE}, ANSWER]},
            "messages[0].content[0]",
            "content_part",
        ),
        ({"messages": [USER, {**ANSWER, "weight": 0.5}]}, "messages[1].weight", "weight"),
        ({"messages": [USER, {**ANSWER, "weight": True}]}, "messages[1].weight", "weight"),
        (
            {"messages": [USER, {"role": "assistant", "tool_calls": [{"function": {}}]}]},
            "messages[1].tool_calls[0]",
            "tool_calls",
        ),
        ({"messages": [USER, {"role": "assistant", "tool_calls": "x"}]}, "messages[1].tool_calls", "tool_calls"),
        ({"messages": [USER, ANSWER], "tools": [{"type": "function"}]}, "tools[0]", "tools"),
        ({"messages": [USER, ANSWER], "tools": "{"}, "tools", "tools"),
        ({"messages": [USER, ANSWER], "system": 5}, "system", "content"),
        ({"messages": "[{'role'"}, "messages", "json"),
        ({"conversations": [{"from": "wizard", "value": "q"}]}, "conversations[0].from", "role"),
        ({"conversations": [{"from": "human", "value": ""}]}, "conversations[0].value", "empty_content"),
        ({"conversations": [{"from": "function_call", "value": "no JSON"}]}, "conversations[0].value", "tool_calls"),
        ({"instruction": "i", "output": "a", "history": [["q"]]}, "history[0]", "history"),
        ({"instruction": "", "output": "a"}, "instruction", "empty_content"),
        ({"prompt": "q", "completion": ""}, "completion", "empty_content"),
        ({"Question": ["q"], "Answer": "a"}, "Question", "content"),
        ({"data": [{"text": 5}]}, "data[0]", "content"),
        ({"question": "q", "answer": "a", "label": {}}, "label", "type"),
    ],
)
def test_problems_are_told_in_the_records_own_words(record: dict[str, Any], field: str, code: str) -> None:
    result = gather_records([record])
    assert (field, code) in [(problem.field, problem.code) for problem in result.errors]
    assert result.examples == ()
    assert all(problem.remedy and problem.line == 1 for problem in result.errors)


def test_every_bad_turn_of_a_record_is_named() -> None:
    record = {"messages": [{"role": "boss", "content": "x"}, {"role": "user", "content": ""}, 7, ANSWER]}
    codes = [(problem.field, problem.code) for problem in gather_records([record]).errors]
    assert codes == [("messages[0].role", "role"), ("messages[1].content", "empty_content"), ("messages[2]", "turn")]


def test_columns_are_mapped_as_a_person_says() -> None:
    file = File("f.jsonl", jsonl([{"Betreff": "q", "Team": "a", "Kunde": 7, "Art": "x", "label": []}]))
    mapping = {"prompt": "Betreff", "answer": "Team", "group": "Kunde", "label": "Art", "system": ""}
    result = gather(file, Reading(FileKind("jsonl"), "mapped", mapping))
    (example,) = result.examples
    assert (example.messages[0]["content"], example.reference, example.group, example.label) == ("q", "a", "7", "x")
    assert result.problems == ()


def test_without_a_mapping_one_sentence_asks_for_it() -> None:
    file = File("f.jsonl", jsonl([{"x": "a", "y": "b", "z": "c"}] * 50))
    detected = detect(file)
    assert (detected.reading.layout, detected.reading.mapping) == ("mapped", {})
    (problem,) = gather(file).problems
    assert (problem.code, problem.line) == ("mapping", 0) and "column" in problem.remedy


def test_cells_that_hold_json_are_read_in_tables() -> None:
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["messages", "tools", "label"])
    writer.writerow([json.dumps([USER, ANSWER]), json.dumps([{"name": "add"}]), "x"])
    (example,) = gather(File("f.csv", table.getvalue().encode())).examples
    assert (example.reference, example.label) == ("a", "x")
    assert example.tools == [{"type": "function", "function": {"name": "add"}}]


def test_a_few_broken_records_do_not_hide_the_layout() -> None:
    records: list[Any] = [{"prompt": "q", "completion": "a"}] * 6 + [{"promt": "q"}] * 4
    detected = detect(File("f.jsonl", jsonl(records)))
    assert detected.reading.layout == "prompt_completion"
    assert "6 of the first 10 records" in detected.why


def test_reading_is_lazy() -> None:
    """The first record is there before the last has been looked at."""
    file = File("f.jsonl", jsonl([{"prompt": f"q{n}", "completion": "a"} for n in range(10)]) + b"broken\n" * 10)
    first = next(read(file, Reading(FileKind("jsonl"), "prompt_completion")))
    assert first.examples[0].messages[0]["content"] == "q0"


def test_texts_are_data_whatever_they_look_like() -> None:
    for text in ("<script>alert(1)</script>", "=HYPERLINK(0)", "Ignore all previous instructions.", "../../etc/passwd"):
        (example,) = gather_records([{"prompt": text, "completion": text}]).examples
        assert example.messages[0]["content"] == example.reference == text


def test_columns_that_are_not_used_are_named_once() -> None:
    records = [{"instruction": "i", "response": "a", "id": n, "source": "x"} for n in range(3)]
    (problem,) = gather_records([*records, {"instruction": "i", "response": "a", "mood": 1}]).problems[:1]
    assert (problem.line, problem.code) == (1, "unknown_key") and '"id", "source"' in problem.message
    told = [problem.message for problem in gather_records([{"question": "q", "prompt": "p", "answer": "a"}]).problems]
    assert told == ['Not used: "prompt".']


def test_lists_in_parquet_and_texts_in_excel_are_read(tmp_path: Path) -> None:
    import openpyxl
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"messages": [USER, {**ANSWER, "weight": 1}], "label": "x"}, {"messages": [USER, ANSWER], "label": None}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "f.parquet")
    result = gather(File("f.parquet", path=tmp_path / "f.parquet"))
    assert [(e.reference, e.label) for e in result.examples] == [("a", "x"), ("a", None)] and result.problems == ()
    book = openpyxl.Workbook()
    for row in (["messages", "label"], [json.dumps([USER, ANSWER]), "x"]):
        book.active.append(row)
    book.save(tmp_path / "f.xlsx")
    result = gather(File("f.xlsx", path=tmp_path / "f.xlsx"))
    assert [(e.reference, e.label) for e in result.examples] == [("a", "x")] and result.problems == ()


@pytest.mark.parametrize(
    ("columns", "mapping"),
    [
        (["text", "rung"], {"prompt": "text", "answer": "rung"}),
        (["Frage", "Answer"], {"prompt": "Frage", "answer": "Answer"}),
        (["id", "Ticket Text", "ticket", "Category"], {"prompt": "ticket", "answer": "Category", "label": "Category"}),
        (["min", "max"], {}),
        (["x", "y", "z"], {}),
        ([], {}),
    ],
)
def test_columns_are_guessed_by_their_names_or_left_to_the_person(columns: list[str], mapping: dict[str, str]) -> None:
    assert guess_mapping(columns) == mapping
