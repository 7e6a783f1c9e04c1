"""Fixes: each mends what it says and nothing else, and shows it before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.check import check
from core.data.files import File, FileKind
from core.data.fixes import FIXES, preview
from core.data.mending import repaired_json
from core.data.reading import Reading, detect
from tests.data.gathering import AS_CHAT, gather
from tests.factories import chat, jsonl

GOOD = json.dumps(chat("q", "a"))


def after(lines: list[str], *fixes: str, layout: str = "chat") -> list[str]:
    """The "question -> answer" of what is left of the lines, which must then be without errors."""
    file = File("f.jsonl", "\n".join(lines).encode())
    result = gather(file, Reading(FileKind("jsonl"), layout, fixes=fixes))
    assert result.errors == []
    return [f"{example.messages[-1]['content']} -> {example.reference}" for example in result.examples]


def test_trim() -> None:
    line = json.dumps(chat(" q\n", "\ta  "))
    assert after([line]) == [" q\n -> \ta  "]
    assert after([line], "trim") == ["q -> a"]
    changes = preview(File("f.jsonl", line.encode()), AS_CHAT, ["trim"])
    assert [(change.line, change.field, change.before, change.after) for change in changes] == [
        (1, "messages[0].content", " q\n", "q"),
        (1, "messages[1].content", "\ta  ", "a"),
    ]


def test_trim_leaves_arguments_alone() -> None:
    call = {"type": "function", "function": {"name": "say", "arguments": ' {"text": " hi "} '}}
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    file = File("f.jsonl", jsonl([{"messages": turns}]))
    (example,) = gather(file, replace(AS_CHAT, fixes=("trim",))).examples
    assert example.calls == [call]


def test_drop_empty_drops_the_whole_record_and_only_for_that() -> None:
    lines = [GOOD, json.dumps(chat("q", " ")), '{"messages": [{"role": "boss", "content": ""}]}']
    result = gather(File("f.jsonl", "\n".join(lines).encode()), replace(AS_CHAT, fixes=("drop_empty",)))
    assert len(result.examples) == 1
    assert [(problem.line, problem.code) for problem in result.errors] == [(3, "role")]
    (change,) = preview(File("f.jsonl", "\n".join(lines).encode()), AS_CHAT, ["drop_empty"])
    assert (change.line, change.after) == (2, "")


def test_drop_duplicates_keeps_the_first_and_other_answers() -> None:
    lines = [GOOD, GOOD, json.dumps(chat("q", "b")), GOOD, json.dumps(chat("Q", "a"))]
    assert after(lines, "drop_duplicates") == ["q -> a", "q -> b", "Q -> a"]
    changes = preview(File("f.jsonl", "\n".join(lines).encode()), AS_CHAT, ["drop_duplicates"])
    assert [change.line for change in changes] == [2, 4]


def test_drop_duplicates_of_a_real_file(shared_data: Path) -> None:
    file = File("train.jsonl", path=shared_data / "mlx-superbowl-prompt-completion" / "train.jsonl")
    lines = set((shared_data / "mlx-superbowl-prompt-completion" / "train.jsonl").read_text().splitlines())
    reading = replace(detect(file).reading, fixes=("drop_duplicates",))
    before, mended = check(file), check(file, reading)
    assert before.by_code["duplicate"] == before.fixes["drop_duplicates"] == 1800 - len(lines)
    assert mended.examples == len(lines) and "duplicate" not in mended.by_code


@pytest.mark.parametrize("name", ["Human", "USER", " user ", "customer"])
def test_unify_roles(name: str) -> None:
    line = json.dumps({"messages": [{"role": name, "content": "q"}, {"role": "Assistant", "content": "a"}]})
    file = File("f.jsonl", line.encode())
    assert [(p.code, p.fix) for p in gather(file, AS_CHAT).errors] == [("role", "unify_roles")] * 2
    assert after([line], "unify_roles") == ["q -> a"]


def test_unify_roles_of_sharegpt_keeps_calls_and_leaves_the_unknown() -> None:
    turns = [{"from": "Human", "value": "q"}, {"from": "function_call", "value": '{"name": "f"}'}]
    turns += [{"from": "observation", "value": "1"}, {"from": "bot", "value": "a"}]
    line = json.dumps({"conversations": turns})
    assert after([line], "unify_roles", layout="sharegpt") == ["1 -> a"]
    wizard = json.dumps({"messages": [{"role": "wizard", "content": "q"}]})
    (problem,) = gather(File("f.jsonl", wizard.encode()), replace(AS_CHAT, fixes=("unify_roles",))).errors
    assert (problem.code, problem.fix) == ("role", "drop_broken")


def test_drop_trailing() -> None:
    record = chat("q", "a")
    record["messages"] += [{"role": "user", "content": "bye"}, {"role": "user", "content": ""}]
    file = File("f.jsonl", jsonl([chat("q", "a"), {"messages": record["messages"][:3]}]))
    (problem,) = gather(file, AS_CHAT).errors
    assert (problem.line, problem.fix) == (2, "drop_trailing")
    assert after([json.dumps(record)], "drop_trailing") == ["q -> a"]


def test_repair_json() -> None:
    broken = [
        GOOD[:-1],
        GOOD.replace('"', "'"),
        GOOD[:-1] + ",}",
        '{messages: [{role: "user", content: "q"}, {role: "assistant", content: "a"}]}',
    ]
    assert after(broken, "repair_json") == ["q -> a"] * 4
    errors = gather(File("f.jsonl", "\n".join(broken).encode()), AS_CHAT).errors
    assert {(problem.code, problem.fix) for problem in errors} == {("json", "repair_json")}
    changes = preview(File("f.jsonl", broken[1].encode()), AS_CHAT, ["repair_json"])
    assert [(change.before, change.after) for change in changes] == [(broken[1], GOOD)]


def test_a_file_of_nothing_but_broken_lines_is_recognised_by_what_they_were_meant_to_be() -> None:
    file = File("f.jsonl", b'{"prompt": "q", "completion": "a",}\n' * 3)
    reading = detect(file).reading
    assert reading.layout == "prompt_completion" and check(file).fixes == {"repair_json": 3}
    assert len(gather(file, replace(reading, fixes=("repair_json",))).examples) == 3


def test_repair_json_in_a_cell() -> None:
    line = json.dumps({"messages": "[{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': \"it's\"}]"})
    (problem,) = gather(File("f.jsonl", line.encode()), AS_CHAT).errors
    assert (problem.field, problem.code, problem.fix) == ("messages", "json", "repair_json")
    assert after([line], "repair_json") == ["q -> it's"]


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "{}}",
        '{"a": "b"} // note',
        '{"messages": 1',
        "[1, 2",
        '{"a": 01}',
        '{"messages": [] words}',
        "[",
    ],
)
def test_what_would_need_other_words_or_is_no_record_is_not_repaired(line: str) -> None:
    result = gather(File("f.jsonl", f"{GOOD}\n{line}".encode()), replace(AS_CHAT, fixes=("repair_json",)))
    assert len(result.examples) == 1
    assert [(problem.line, problem.fix) for problem in result.errors] == [(2, "drop_broken")]


@given(st.lists(st.text(max_size=8), min_size=1, max_size=4), st.data())
def test_a_repair_never_loses_or_adds_a_word(texts: list[str], data: st.DataObject) -> None:
    line = json.dumps(chat(texts[0], texts[-1]), ensure_ascii=False)
    place = data.draw(st.integers(0, len(line) - 1))
    broken = line[:place] + data.draw(st.sampled_from(["", ",", "}", '"', "]"])) + line[place + 1 :]
    mended = repaired_json(broken)
    if mended is not None:
        kept = [c for c in json.dumps(mended, ensure_ascii=False) if c.isalnum()]
        assert len(kept) <= sum(c.isalnum() for c in broken) + 4 * broken.count("\\")


def test_fixes_are_applied_in_one_order_however_chosen() -> None:
    lines = [GOOD, json.dumps(chat(" q", "a ")), json.dumps({"messages": [{"role": "Human", "content": "x"}]})]
    lines[2] = lines[2].replace('"x"}', '"q"}, {"role": "gpt", "content": " a"}, {"role": "Human", "content": ""}')
    for fixes in (tuple(FIXES), tuple(reversed(FIXES))):
        assert after(lines, *fixes) == ["q -> a"]


def test_preview_is_bounded_and_stores_nothing() -> None:
    file = File("f.jsonl", jsonl([chat(" q", f"a{n} ") for n in range(100)]))
    assert len(preview(file, AS_CHAT, ["trim"])) == 20
    assert len(preview(file, AS_CHAT, ["trim"], limit=3)) == 3
    assert preview(file, AS_CHAT, []) == []


def test_preview_of_a_long_text_shows_where_it_changes() -> None:
    file = File("f.jsonl", jsonl([chat("q", "a" * 50_000 + "b  ")]))
    (change,) = preview(file, AS_CHAT, ["trim"])
    assert change.before.endswith("b  ") and change.after.endswith("b") and len(change.before) <= 2_000


def test_broken_records_are_left_out_only_when_chosen_and_shown_before() -> None:
    broken = '{"messages": [{"role": "user", "content": "no answer"}]}'
    file = File("f.jsonl", f"{GOOD}\nnot json\n{broken}\n{GOOD}".encode())
    assert [(p.line, p.fix) for p in gather(file, AS_CHAT).errors] == [(2, "drop_broken"), (3, "drop_broken")]
    chosen = replace(AS_CHAT, fixes=("drop_broken",))
    result = gather(file, chosen)
    assert len(result.examples) == 2 and not result.errors
    assert [(c.line, c.before, c.after) for c in preview(file, AS_CHAT, ["drop_broken"])] == [
        (2, "not json", ""),
        (3, broken, ""),
    ]
