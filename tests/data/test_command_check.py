"""`python -m core check`: what it prints, and its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.factories import chat, jsonl

KEYS = {"line", "field", "code", "message", "remedy", "severity", "column", "unit", "fix"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "core", "check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def sound(count: int) -> list[dict[str, Any]]:
    return [chat(f"Question {n}?", f"Answer {n}") for n in range(count)]


@pytest.mark.integration
def test_a_sound_file_exits_with_zero(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(jsonl(sound(3)))
    result = run(str(path), "--json")
    assert (result.returncode, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    assert (report["examples"], report["errors"], report["warnings"]) == (3, [], [])
    assert (report["error_count"], report["warning_count"], report["importable"]) == (0, 0, True)


@pytest.mark.integration
def test_problems_are_printed_with_place_reason_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(jsonl([chat("q", "a ")]) + b'{"messages": [}\n' + jsonl([{"messages": []}]))
    result = run(str(path), "--json")
    assert result.returncode == 1
    report = json.loads(result.stdout)
    assert [(p["line"], p["code"]) for p in report["errors"]] == [(2, "json"), (3, "messages")]
    assert [(p["line"], p["field"], p["fix"]) for p in report["warnings"]] == [(1, "messages[1].content", "trim")]
    assert all(set(problem) >= KEYS for problem in report["errors"] + report["warnings"])
    said = run(str(path))
    assert said.returncode == 1
    lines = said.stdout.splitlines()
    assert lines[1].startswith(f"{path}:2:15: error: ")
    assert lines[2].startswith(f"{path}:3: error: messages: ")
    assert "cannot be imported: 1 example, 2 errors, 1 warning." in lines[-1]


@pytest.mark.integration
def test_openais_rules_by_name(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(jsonl(sound(9)))
    assert run(str(path)).returncode == 0
    result = run(str(path), "--profile", "openai", "--json")
    assert result.returncode == 1
    assert [problem["code"] for problem in json.loads(result.stdout)["errors"]] == ["too_few"]


@pytest.mark.integration
@pytest.mark.parametrize("make", ["missing", "folder", "image", "empty"])
def test_what_cannot_be_read_is_a_message_and_json_all_the_same(tmp_path: Path, make: str) -> None:
    path = tmp_path / "train.jsonl"
    if make == "folder":
        path.mkdir()
    elif make != "missing":
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50) if make == "image" else b"")
    result = run(str(path), "--json")
    report = json.loads(result.stdout)
    assert (result.returncode, report["importable"], report["error_count"]) == (1, False, 1)
    assert report["errors"][0]["message"] and report["errors"][0]["remedy"]
    assert "Traceback" not in result.stderr


@pytest.mark.integration
def test_a_layout_can_be_chosen_and_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(jsonl([{"prompt": "q", "completion": "a", "instruction": "i", "output": "b"}]))
    assert json.loads(run(str(path), "--json", "--layout", "alpaca").stdout)["format"].startswith("Alpaca")
    wrong = run(str(path), "--layout", "nonsense")
    assert wrong.returncode == 1 and "alpaca" in wrong.stderr and "Traceback" not in wrong.stderr


@pytest.mark.integration
def test_a_terminal_is_not_steered_by_what_a_file_says(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(jsonl([{"messages": [{"role": "\x1b[31mboss\n", "content": "x"}]}]))
    said = run(str(path)).stdout
    assert "boss" in said and "\x1b" not in said and len(said.splitlines()) == 4
