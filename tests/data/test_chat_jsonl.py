"""Chat JSONL in: every bad line is named, and no content whatever makes the reader fall over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.files import File
from tests.data.gathering import AS_CHAT, Result, gather
from tests.factories import chat, jsonl

GOOD = json.dumps(chat("What is it?", "A pear."))
TURN = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}


def read_chat(name: str, data: bytes) -> Result:
    """A file read as OpenAI chat, one record a line."""
    return gather(File(name, data), AS_CHAT)


@pytest.mark.parametrize(
    ("line", "code", "said", "remedy"),
    [
        ("not json", "json", "not JSON", "complete JSON object"),
        (GOOD[:-1], "json", "not JSON", "brackets"),
        (GOOD + GOOD, "json", "Extra data", "line of its own"),
        ('{"messages": [], "label": NaN}', "json", "NaN", "null or a number"),
        ("[" * 100_000, "nesting", "nested", "plain text"),
        (GOOD[:-1] + ', "label": ' + "1" * 5000 + "}", "number", "number", "text"),
        ("[1, 2]", "not_object", "found a list", "record"),
        ("null", "not_object", "found null", "record"),
        ("{}", "messages", "missing", "role"),
        ('{"messages": []}', "messages", "empty", "role"),
        ('{"messages": "hello"}', "messages", "a text", "role"),
        ('{"messages": [7]}', "turn", "Turn 1 is a number", "role"),
        (json.dumps({"messages": [{"role": "boss", "content": "x"}]}), "role", '"boss"', "assistant"),
        (json.dumps({"messages": [{"role": ["user"], "content": "x"}]}), "role", "role", "assistant"),
        (json.dumps({"messages": [{"role": "user"}]}), "content", "no content", "text"),
        (json.dumps({"messages": [{"role": "user", "content": 5}]}), "content", "a number", "text"),
        (json.dumps({"messages": [{"role": "user", "content": " "}]}), "empty_content", "empty", "Fill"),
        (json.dumps({"messages": [{"role": "user", "content": "\ud800"}]}), "surrogate", "half", "Replace"),
        (json.dumps({"messages": [TURN, ANSWER], "label": "\ud800"}), "surrogate", "half", "Replace"),
        (json.dumps({"messages": [TURN, ANSWER], "group": "\ud800"}), "surrogate", "half", "Replace"),
        (json.dumps({"messages": [TURN]}), "no_answer", "no assistant turn", "answer you expect"),
        (json.dumps({"messages": [ANSWER, TURN]}), "no_answer", "does not end", "last turn"),
        (json.dumps({"messages": [ANSWER]}), "no_question", "no user turn", "question"),
        (json.dumps({"messages": [TURN, ANSWER], "label": []}), "type", "a list", "text"),
    ],
)
def test_bad_line_is_named_with_reason_and_remedy(line: str, code: str, said: str, remedy: str) -> None:
    result = read_chat("upload.jsonl", f"{GOOD}\n{line}\n{GOOD}\n".encode())
    (problem,) = result.errors
    assert (problem.file, problem.line, problem.code) == ("upload.jsonl", 2, code)
    assert said in problem.message and remedy in problem.remedy
    assert str(problem).startswith("upload.jsonl, line 2")
    assert len(result.examples) == 2


def test_every_bad_line_is_listed() -> None:
    lines = [GOOD if number % 3 else "broken" for number in range(1, 301)]
    result = read_chat("upload.jsonl", "\n".join(lines).encode())
    assert [problem.line for problem in result.errors] == list(range(3, 301, 3))


def test_mark_line_ends_and_blank_lines_are_no_content() -> None:
    plain = read_chat("f", jsonl([chat("Größe?", "12 €"), chat("b", "c")]))
    windows = b"\xef\xbb\xbf\r\n" + jsonl([chat("Größe?", "12 €")]).replace(b"\n", b"\r\n")
    windows += b"\r\n  \r\n" + jsonl([chat("b", "c")]).rstrip()
    assert read_chat("f", windows) == plain
    assert len(plain.examples) == 2 and plain.problems == ()
    late = read_chat("f", windows + b"\r\nbroken")
    assert [problem.line for problem in late.errors] == [6]


def test_line_separators_within_a_text_do_not_end_the_line() -> None:
    result = read_chat("f", jsonl([chat("a\u2028b\x85c\u2029d", "e")]))
    assert [e.messages[0]["content"] for e in result.examples] == ["a\u2028b\x85c\u2029d"]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (jsonl([chat("a", "b")]) + chat("Größe", "x")["messages"][0]["content"].encode("latin-1"), 2),
        (GOOD.encode("utf-16"), 1),
    ],
)
def test_other_encodings_are_refused_at_their_line(data: bytes, line: int) -> None:
    (problem,) = read_chat("f", data).errors
    assert (problem.code, problem.line) == ("encoding", line)
    assert "UTF-8" in problem.remedy


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf", b" \r\n"])
def test_file_without_examples_says_so(data: bytes) -> None:
    (problem,) = read_chat("empty.jsonl", data).errors
    assert problem.code == "empty"
    assert str(problem).startswith("empty.jsonl: ")


def test_unknown_keys_warn_and_do_not_block() -> None:
    result = read_chat("f", jsonl([chat("a", "b", weight=1, source="x")]))
    (problem,) = result.problems
    assert (problem.severity, problem.line) == ("warning", 1)
    assert '"source", "weight"' in problem.message
    assert result.errors == [] and len(result.examples) == 1


def test_answer_is_the_last_turn_and_group_falls_back_to_the_prompt() -> None:
    turns = [TURN, ANSWER, {"role": "user", "content": "again?"}, {"role": "assistant", "content": "yes"}]
    records = [
        {"messages": turns, "group": "g", "label": 3, "context": None},
        chat("Same  Prompt", "1"),
        chat("same prompt", "2"),
    ]
    first, second, third = read_chat("f", jsonl(records)).examples
    assert (first.reference, len(first.messages), first.group, first.label) == ("yes", 3, "g", "3")
    assert second.group == third.group != first.group


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_raise(data: bytes) -> None:
    result = read_chat("f", data)
    assert result.examples or result.errors


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
turns = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]) | json_values})
    | st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": json_values}),
    max_size=3,
)


@given(st.fixed_dictionaries({"messages": turns | json_values}, optional={"label": json_values}))
def test_no_record_makes_the_reader_raise(record: object) -> None:
    result = read_chat("f", json.dumps(record).encode())
    assert result.examples or result.errors


def hostile(shared_data: Path) -> dict[str, bytes]:
    files = sorted((shared_data / "json-test-suite").rglob("*.json"))
    assert len(files) > 300
    return {path.name: path.read_bytes() for path in files}


def test_hostile_json_is_refused_as_a_file_and_never_raises(shared_data: Path) -> None:
    for name, data in hostile(shared_data).items():
        result = read_chat(name, data)
        assert result.examples == () and result.errors, name


def test_hostile_json_as_one_upload_is_refused_line_by_line(shared_data: Path) -> None:
    lines = []
    for data in hostile(shared_data).values():
        try:
            text = data.decode()
        except UnicodeDecodeError:
            continue
        lines += [line for line in text.split("\n") if line.strip()]
    result = read_chat("all.jsonl", "\n".join(lines).encode())
    assert result.examples == ()
    # A byte order mark at the very start would be taken off; none of these lines is the first.
    assert [problem.line for problem in result.errors] == list(range(1, len(lines) + 1))


def test_hostile_json_inside_a_record_is_judged_by_the_json_standard(shared_data: Path) -> None:
    """What must be refused is refused, what must be accepted is accepted: here as the value of an unused key."""
    for name, data in hostile(shared_data).items():
        if b"\n" in data or name[:2] not in ("n_", "y_"):
            continue
        if b"\\u0000" in data:  # valid JSON, which no database takes
            continue
        result = read_chat(name, GOOD[:-1].encode() + b', "unused": ' + data + b"}")
        assert len(result.examples) == (name[:2] == "y_"), name
        assert bool(result.errors) == (name[:2] == "n_"), name
