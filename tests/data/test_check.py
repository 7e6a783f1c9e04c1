"""Checking: every problem with its place, exact counts, lists a person can read, and OpenAI's rules by name."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.check import MAX_LISTED, MAX_LISTED_OF_A_KIND, check
from core.data.files import File, FileKind
from core.data.layouts.layout import MAX_NOTES
from core.data.reading import Reading
from core.data.seen import Seen
from tests.factories import chat, jsonl

USER, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


def sound(count: int) -> list[dict[str, Any]]:
    return [chat(f"Question {n}?", f"Answer {n}") for n in range(count)]


def test_a_sound_file_is_importable() -> None:
    report = check(File("f.jsonl", jsonl(sound(12))))
    assert report.importable
    assert (report.examples, report.records, report.errors, report.warnings, report.problems) == (12, 12, 0, 0, [])
    assert report.format == "OpenAI chat, JSON lines, UTF-8"


def test_errors_come_first_and_counts_are_exact() -> None:
    lines = [json.dumps(record) for record in [chat("q0", "a "), *sound(3)]] + ["{", json.dumps(chat("q0", "a "))]
    report = check(File("f.jsonl", "\n".join(lines).encode()))
    assert [(p.line, p.code, p.severity) for p in report.problems] == [
        (5, "json", "error"),
        (1, "white_space", "warning"),
        (6, "white_space", "warning"),
        (6, "duplicate", "warning"),
    ]
    assert (report.examples, report.errors, report.warnings) == (5, 1, 3) and not report.importable
    assert report.by_code == {"white_space": 2, "json": 1, "duplicate": 1}
    assert report.fixes == {"trim": 2, "drop_broken": 1, "drop_duplicates": 1}


def test_one_kind_of_warning_does_not_drown_the_others() -> None:
    records = [chat(f"q{n}", " a") for n in range(3000)] + [chat("x", "!")]
    report = check(File("f.jsonl", jsonl(records) + b"broken\n" * 2000))
    listed = [problem.code for problem in report.problems]
    assert listed.count("json") == MAX_LISTED and len(listed) == MAX_LISTED
    assert report.by_code == {"white_space": 3000, "json": 2000, "short_answer": 1}
    fewer = [problem.code for problem in check(File("f.jsonl", jsonl(records))).problems]
    assert fewer.count("white_space") == MAX_LISTED_OF_A_KIND and fewer.count("short_answer") == 1


def test_copies_and_contradictions_name_the_other_line() -> None:
    records = [chat("q", "a"), chat("r", "b"), chat("q", "c"), chat("r", "b"), chat("q", "c")]
    problems = check(File("f.jsonl", jsonl(records))).problems
    assert [(p.line, p.code) for p in problems] == [(3, "conflict"), (4, "duplicate"), (5, "duplicate")]
    assert "line 1" in problems[0].message and "line 2" in problems[1].message and "line 3" in problems[2].message


def test_conflicts_of_a_real_file_are_found(shared_data: Path) -> None:
    path = shared_data / "mlx-superbowl-prompt-completion" / "train.jsonl"
    pairs = [(r["prompt"], r["completion"]) for r in map(json.loads, path.read_text().splitlines())]
    new_answers = len(set(pairs)) - len({prompt for prompt, _ in pairs})
    report = check(File(path.name, path=path))
    assert report.by_code == {"conflict": new_answers, "duplicate": len(pairs) - len(set(pairs))}


def test_a_form_that_nearly_all_keep_is_compared() -> None:
    records = [chat(f"q{n}", json.dumps({"n": n}), system="s") for n in range(19)]
    records.insert(7, chat("odd", "seven"))
    problems = check(File("f.jsonl", jsonl(records))).problems
    assert [(p.line, p.code) for p in problems] == [(8, "mixed_answers"), (8, "mixed_system")]
    assert "19 of 20" in problems[0].message


@pytest.mark.parametrize(
    ("record", "code", "field"),
    [
        (chat("q", " a"), "white_space", "messages[1].content"),
        (chat("q", "?"), "short_answer", "messages[1].content"),
        (chat("q" * 20_000, "a"), "long", "messages[1].content"),
        ({"messages": [USER, USER, ANSWER]}, "turn_order", "messages[1].content"),
        ({"messages": [USER, ANSWER], "source": 1}, "unknown_key", "source"),
        ({"messages": [USER, {**ANSWER, "mood": "good"}]}, "unknown_key", "messages[1].mood"),
        ({"messages": [{**USER, "weight": 1}, ANSWER]}, "weight", "messages[0].weight"),
    ],
)
def test_doubts_warn_and_do_not_block(record: dict[str, Any], code: str, field: str) -> None:
    report = check(File("f.jsonl", jsonl([record])))
    assert [(p.code, p.field, p.severity) for p in report.problems] == [(code, field, "warning")]
    assert report.importable


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty.jsonl", b""),
        ("blank.jsonl", b"\n\n"),
        ("image.jsonl", b"\x89PNG\r\n\x1a\n" + bytes(100)),
        ("cut.jsonl.gz", gzip.compress(jsonl(sound(2000)))[:-200]),
    ],
)
def test_what_is_no_file_of_examples_is_an_error_not_an_exception(name: str, data: bytes) -> None:
    report = check(File(name, data))
    assert not report.importable and report.errors == 1
    assert report.problems[0].message and report.problems[0].remedy


@given(st.binary(max_size=200))
def test_no_bytes_make_the_check_raise(data: bytes) -> None:
    for profile in ("", "openai"):
        report = check(File("f", data), profile=profile)  # type: ignore[arg-type]
        assert not report.importable
        json.dumps(report.as_dict())


def test_messages_quote_at_most_forty_characters() -> None:
    record = {"messages": [{"role": "x" * 500, "content": "y"}], "k" * 500: 1}
    problems = check(File("f.jsonl", jsonl([record, record]))).problems
    assert problems and all("x" * 41 not in p.message and "k" * 41 not in p.message for p in problems)


def test_a_record_wrong_throughout_is_not_looked_at_to_its_end() -> None:
    """Two million empty turns would else be two million problems, which are a gigabyte."""
    import tracemalloc

    data = b'{"messages": [' + b",".join([b"{}"] * 50_000) + b"]}\n"
    for profile in ("", "openai"):
        tracemalloc.start()
        report = check(File("f.jsonl", data), profile=profile)  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert report.by_code["more"] == 1 and report.by_code["role"] <= MAX_NOTES and peak < 15_000_000


def test_long_names_do_not_fill_the_report() -> None:
    record = {"messages": [{**USER, "k" * 100_000: 1}, ANSWER], "n" * 100_000: 1}
    assert len(json.dumps(check(File("f.jsonl", jsonl([record]))).as_dict())) < 5_000


def test_keys_that_never_recur_are_not_remembered_for_ever() -> None:
    reading = Reading(FileKind("jsonl"), "prompt_completion")
    data = jsonl({"prompt": f"q{n}", "completion": "a", f"{'k' * 10_000}{n}": 1} for n in range(300))
    told = check(File("f.jsonl", data), reading).by_code["unknown_key"]
    assert 50 < told < 150


def test_trying_repairs_is_bounded() -> None:
    """The fix is offered as long as trying it takes seconds; the errors are named all the same."""
    record = jsonl([{"prompt": "x y " * 10_000, "completion": "b"}]).replace(b"}", b"")
    report = check(File("f.jsonl", record * 100))
    assert report.errors == 100 and 20 <= report.fixes["repair_json"] <= 25


@pytest.mark.parametrize("text", ["\\ud800", "\\u0000", "[" * 200 + "]" * 200])
@pytest.mark.parametrize("where", ["cell", "arguments", "call", "tools"])
def test_what_hides_in_a_text_of_json_is_refused_like_the_rest(where: str, text: str) -> None:
    inner = text if text.startswith("[") else f'"{text}"'
    call = f'{{"name": "f", "arguments": {{"a": {inner}}}}}'
    asks: list[dict[str, Any]] = [USER, {"role": "assistant", "tool_calls": [{"function": json.loads("{}")}]}]
    asks[1]["tool_calls"][0]["function"] = {"name": "f", "arguments": f'{{"a": {inner}}}'}
    shapes: dict[str, dict[str, Any]] = {
        "cell": {"messages": f'[{{"role": "user", "content": {inner}}}, {{"role": "assistant", "content": "a"}}]'},
        "arguments": {"messages": asks},
        "call": {"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": call}]},
        "tools": {"messages": [USER, ANSWER], "tools": f'[{{"name": "f", "parameters": {{"a": {inner}}}}}]'},
    }
    report = check(File("f.jsonl", jsonl([shapes[where]])))
    assert report.errors >= 1 and report.examples == 0


def test_progress_ends_at_the_size_of_the_file() -> None:
    file = File("f.jsonl", jsonl(sound(3000)))
    told: list[tuple[int, int]] = []
    check(file, on_progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told) and told[-1] == (file.size, file.size) and len(told) >= 3


def test_first_lines_are_kept_through_growth() -> None:
    seen, keys = Seen(), [hash(("key", n)) for n in range(20_000)]
    assert [seen.first(key, n + 1) for n, key in enumerate(keys)] == list(range(1, 20_001))
    assert [seen.first(key, 99_999) for key in keys] == list(range(1, 20_001))


def test_a_hundred_thousand_lines_take_seconds(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    """A fifth of them in a fifth of the time; `bench/check.py` measures all."""
    path.write_bytes(jsonl(chat(f"Where is parcel {n}?", f"On its way, number {n}.") for n in range(20_000)))
    started = time.process_time()  # of this process alone: others may be at work on the machine
    assert check(File(path.name, path=path)).examples == 20_000
    assert time.process_time() - started < 2


def openai(records: list[Any], **more: Any) -> list[tuple[int, str, str]]:
    """(line, code, field) of the errors by OpenAI's rules, among nine sound lines so that ten are enough."""
    report = check(File("f.jsonl", jsonl([*records, *sound(9)])), profile="openai", **more)
    return [(p.line, p.code, p.field) for p in report.problems if p.severity == "error"]


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [USER, ANSWER]},
        {"messages": [{"role": "developer", "content": "d"}, USER, {**ANSWER, "weight": 0}]},
        {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}], "tools": []},
        {"messages": [USER, {"role": "assistant", "tool_calls": [CALL]}], "parallel_tool_calls": False},
        {"messages": [USER, {"role": "assistant", "function_call": {"name": "f"}}], "functions": []},
        {"messages": [{**USER, "name": "ann"}, {**ANSWER, "weight": 1}]},
        {"messages": [USER, {"role": "tool", "content": "1", "tool_call_id": "c"}, ANSWER]},
        {"messages": [{"role": "system", "content": "s"}, ANSWER]},
    ],
)
def test_openai_takes(record: dict[str, Any]) -> None:
    assert openai([record]) == []


@pytest.mark.parametrize(
    ("record", "code", "field"),
    [
        ({"messages": [USER, ANSWER], "group": "g"}, "unknown_key", "group"),
        ({"messages": [USER, {**ANSWER, "mood": 1}]}, "unknown_key", "messages[1].mood"),
        ({"messages": [USER, {**ANSWER, "mood": None}]}, "unknown_key", "messages[1].mood"),
        ({"messages": [{**USER, "role": "human"}, ANSWER]}, "role", "messages[0].role"),
        ({"messages": [{**USER, "role": "function"}, ANSWER]}, "role", "messages[0].role"),
        ({"messages": [{"role": "user"}, ANSWER]}, "content", "messages[0].content"),
        ({"messages": [{**USER, "content": ""}, ANSWER]}, "content", "messages[0].content"),
        ({"messages": [{**USER, "content": 5}, ANSWER]}, "content", "messages[0].content"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "content", "messages[1].content"),
        ({"messages": [USER]}, "no_answer", "messages"),
        ({"messages": []}, "messages", "messages"),
        ({"messages": {}}, "messages", "messages"),
        ({"messages": [USER, "x", ANSWER]}, "turn", "messages[1]"),
        ({"messages": [{**USER, "weight": 1}, ANSWER]}, "weight", "messages[0].weight"),
        ({"messages": [USER, {**ANSWER, "weight": 2}]}, "weight", "messages[1].weight"),
        ({"messages": [USER, {**ANSWER, "weight": True}]}, "weight", "messages[1].weight"),
    ],
)
def test_openai_refuses(record: dict[str, Any], code: str, field: str) -> None:
    assert openai([record]) == [(1, code, field)]


def test_openai_wants_ten_examples() -> None:
    assert openai([chat("q", "a")]) == []
    assert openai([]) == [(0, "too_few", "")]


def test_what_only_we_would_refuse_is_a_warning_under_openais_rules() -> None:
    report = check(File("f.jsonl", jsonl([{"messages": [ANSWER]}, *sound(9)])), profile="openai")
    assert report.importable and report.examples == 10
    assert [(p.line, p.code, p.severity) for p in report.problems] == [(1, "no_question", "warning")]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("f.json", json.dumps(sound(12)).encode()),
        ("f.jsonl", jsonl({"prompt": f"q{n}", "completion": "a"} for n in range(12))),
        ("f.jsonl", jsonl(sound(12)).decode().encode("utf-16")),
        ("f.jsonl.gz", gzip.compress(jsonl(sound(12)))),
        ("f.csv", b"question,answer\n" + b"a,b\n" * 12),
    ],
)
def test_other_formats_are_exported_for_openai(name: str, data: bytes) -> None:
    report = check(File(name, data), profile="openai")
    assert report.problems[0].code == "openai_format" and "Export as OpenAI chat" in report.problems[0].remedy
    assert not report.importable and report.errors == 1
    assert check(File(name, data)).importable


def test_the_public_chat_files_by_openais_rules(shared_data: Path) -> None:
    def codes(path: str) -> list[str]:
        report = check(File("f.jsonl", path=shared_data / path), profile="openai")
        return [problem.code for problem in report.problems if problem.severity == "error"]

    assert codes("openai-cookbook-chat-jsonl/toy_chat_fine_tuning.jsonl") == ["too_few"]
    assert codes("pirate-chat-jsonl/training_set.jsonl") == []
    assert set(codes("anthropic-json-mode-ft/json_mode_dataset.jsonl")) == {"unknown_key"}


def test_a_layout_that_does_not_fit_says_so_on_every_line() -> None:
    report = check(File("f.jsonl", jsonl(sound(3))), Reading(FileKind("jsonl"), "alpaca"))
    assert report.by_code == {"missing": 6, "unknown_key": 1} and report.examples == 0


def test_no_hostile_file_makes_the_check_raise(shared_data: Path) -> None:
    paths = sorted((shared_data / "json-test-suite").rglob("*.json"))
    assert len(paths) > 300
    for path in paths:
        report = check(File(path.name, path=path))
        assert not report.importable and report.problems, path.name
