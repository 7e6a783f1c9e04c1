"""`python -m core check`: what it prints, and its exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from core.__main__ import app
from core.errors import UserError
from tests.factories import chat, jsonl

KEYS = {"line", "field", "code", "message", "remedy", "severity", "column", "unit", "fix"}


def run(*arguments: str) -> Result:
    """The command within this process; what it would do with an error of the person who calls it is in `exception`."""
    return CliRunner().invoke(app, ["check", *arguments])


def sound(count: int) -> list[dict[str, Any]]:
    return [chat(f"Question {n}?", f"Answer {n}") for n in range(count)]


@pytest.mark.integration
def test_a_sound_file_exits_with_zero(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(jsonl(sound(3)))
    command = [sys.executable, "-m", "core", "check", str(path), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    assert (report["examples"], report["errors"], report["warnings"]) == (3, [], [])
    assert (report["error_count"], report["warning_count"], report["importable"]) == (0, 0, True)


def test_problems_are_printed_with_place_reason_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(jsonl([chat("q", "a ")]) + b'{"messages": [}\n' + jsonl([{"messages": []}]))
    result = run(str(path), "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert [(p["line"], p["code"]) for p in report["errors"]] == [(2, "json"), (3, "messages")]
    assert [(p["line"], p["field"], p["fix"]) for p in report["warnings"]] == [(1, "messages[1].content", "trim")]
    assert all(set(problem) >= KEYS for problem in report["errors"] + report["warnings"])
    said = run(str(path))
    assert said.exit_code == 1
    lines = said.stdout.splitlines()
    assert lines[1].startswith(f"{path}:2:15: error: ")
    assert lines[2].startswith(f"{path}:3: error: messages: ")
    assert "cannot be imported: 1 example, 2 errors, 1 warning." in lines[-1]


def test_openais_rules_by_name(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(jsonl(sound(9)))
    assert run(str(path)).exit_code == 0
    result = run(str(path), "--profile", "openai", "--json")
    assert result.exit_code == 1
    assert [problem["code"] for problem in json.loads(result.stdout)["errors"]] == ["too_few"]


@pytest.mark.parametrize("make", ["missing", "folder", "pipe", "image", "empty"])
def test_what_cannot_be_read_is_a_message_and_json_all_the_same(tmp_path: Path, make: str) -> None:
    path = tmp_path / "train.jsonl"
    if make == "folder":
        path.mkdir()
    elif make == "pipe":
        os.mkfifo(path)
    elif make != "missing":
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50) if make == "image" else b"")
    result = run(str(path), "--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["importable"], report["error_count"]) == (1, False, 1)
    assert report["errors"][0]["message"] and report["errors"][0]["remedy"]
    assert isinstance(result.exception, SystemExit)


def test_a_layout_can_be_chosen_and_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(jsonl([{"prompt": "q", "completion": "a", "instruction": "i", "output": "b"}]))
    assert json.loads(run(str(path), "--json", "--layout", "alpaca").stdout)["format"].startswith("Alpaca")
    wrong = run(str(path), "--layout", "nonsense").exception
    assert isinstance(wrong, UserError) and "alpaca" in wrong.remedy


def test_columns_are_chosen_by_name(tmp_path: Path) -> None:
    path = tmp_path / "tickets.csv"
    path.write_text('"Ticket, whole",Team,Who\nWhere is my card?,Cards,7\n')
    asked = run(str(path))
    assert asked.exit_code == 1 and '--map prompt=COLUMN,answer=COLUMN; the columns are "Ticket, whole"' in asked.stdout
    report = json.loads(run(str(path), "--map", "prompt=Ticket, whole,answer=Team,group=Who", "--json").stdout)
    assert (report["importable"], report["examples"], report["format"]) == (True, 1, "columns you choose, CSV, UTF-8")
    unknown = json.loads(run(str(path), "--map", "prompt=Tocket,answer=Team", "--json").stdout)
    assert "Tocket" in unknown["errors"][0]["message"] and "Team" in unknown["errors"][0]["remedy"]


@pytest.mark.parametrize("columns", ["prompt=a", "a,b", "prompt=a,answer=", "prompt=a,answer=b,answer=c", "x=a"])
def test_a_mapping_that_says_too_little_is_refused(tmp_path: Path, columns: str) -> None:
    wrong = run(str(tmp_path / "f.csv"), "--map", columns).exception
    assert isinstance(wrong, UserError) and "prompt=COLUMN,answer=COLUMN" in wrong.remedy


def test_a_row_is_not_printed_as_a_line_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text('prompt,completion\n"two\nlines",a\nq\n')
    assert f"{path}: row 3: error: " in run(str(path)).stdout


def test_a_terminal_is_not_steered_by_what_a_file_says(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(jsonl([{"messages": [{"role": "\x1b[31mboss\n", "content": "x"}]}]))
    said = run(str(path)).stdout
    assert "boss" in said and "\x1b" not in said and len(said.splitlines()) == 5
