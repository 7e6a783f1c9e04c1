"""The command line: one command from files to verdict, and a sentence instead of a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core import __main__ as cli
from core.data.dataset import datasets
from core.jobs import queue
from core.settings import REPOSITORY
from core.store import lists
from tests.evaluate.test_report import COMPARISON_KEYS, KEYS, RUNG_KEYS, VERDICT_KEYS, strictly
from tests.factories import chat, jsonl, sorting


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with train.jsonl (14 examples), test.jsonl (3), few.jsonl (5) and docs/."""
    folder = tmp_path / "[my] data"
    (folder / "docs").mkdir(parents=True)
    (folder / "train.jsonl").write_bytes(jsonl(sorting(14)))
    (folder / "test.jsonl").write_bytes(jsonl(sorting(3, start=1000)))
    (folder / "few.jsonl").write_bytes(jsonl(sorting(5)))
    (folder / "docs" / "kinds.md").write_text("# Kinds\n\nA pear is a fruit; a saw is a tool.")
    return folder


def run_cli(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str]:
    """(exit status, what was said) of the command in this process, started in `folder`."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["core", *arguments])
    try:
        status = cli.run()
    except SystemExit as leaving:
        status = int(leaving.code or 0)
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert "Traceback" not in said
    return status, " ".join(said.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--train", "missing.jsonl"], "missing.jsonl cannot be read: No such file"),
        (["--train", "docs"], "docs cannot be read: Is a directory"),
        (["--train", "train.jsonl", "--test", "nope.jsonl"], "nope.jsonl cannot be read"),
        (["--train", "train.jsonl", "--documents", "nowhere"], "nowhere is not a folder"),
        (["--train", "train.jsonl", "--documents", "empty"], "empty holds no .csv"),
        (["--train", "train.jsonl", "--rungs", "base,rag"], "rag needs documents to retrieve from"),
        (["--train", "train.jsonl", "--rungs", "base,rag+lora"], "Add documents, or leave these rungs out."),
        (["--train", "train.jsonl", "--rungs", "base,summit"], "no rung called summit. Choose from base, prompt, rag"),
        (["--train", "train.jsonl", "--rungs", ","], "No rung was chosen"),
        (["--train", "train.jsonl", "--metric", "bluest"], "no metric called bluest. Choose from accuracy, bleu"),
        (["--train", "train.jsonl", "--target", "85"], "The target 85.0 is not a share"),
        (["--train", "few.jsonl", "--test", "test.jsonl"], "5 training examples are too few to learn from. Collect"),
        (["--train", "train.jsonl", "--model", "remote/x", "--rungs", "lora"], "cannot be measured on the remote"),
        (["--train", "train.jsonl", "--test", "train.jsonl"], "proves nothing"),
        (["--train", "train.jsonl", "--out", "train.jsonl"], "The folder train.jsonl cannot be made"),
        (["--train", "train.jsonl", "--out", "train.jsonl/deep"], "Give another with --out"),
    ],
)  # fmt: skip
def test_mistake_is_said_before_anything_starts(
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    (files / "empty").mkdir()
    status, text = run_cli(files, monkeypatch, capsys, "ladder", *arguments)
    assert status == 1
    assert said in text
    assert queue.jobs() == [] and lists.experiments() == []


def test_broken_lines_are_listed_with_numbers_and_nothing_is_imported(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = jsonl(sorting(12)).decode().splitlines()
    lines[3], lines[8] = "{broken [/red]", '{"messages": []}'
    (files / "broken.jsonl").write_text("\n".join(lines))
    status, text = run_cli(files, monkeypatch, capsys, "ladder", "--train", "broken.jsonl")
    assert status == 1
    assert "Nothing was imported: 2 problems" in text
    assert "broken.jsonl, line 4, column 2: This is not JSON" in text
    assert 'broken.jsonl, line 9: "messages" is empty' in text
    assert datasets() == [] and queue.jobs() == []


@pytest.mark.parametrize("arguments", [["--method", "full"], ["--seed", "-1"], ["--target", "much"], ["--frobnicate"]])
def test_value_no_option_takes_is_a_usage_error(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    status, text = run_cli(files, monkeypatch, capsys, "ladder", "--train", "train.jsonl", *arguments)
    assert status == 2 and arguments[0] in text
    assert datasets() == []


@pytest.mark.integration
def test_names_with_brackets_are_texts_not_markup(
    files: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unknown keys are warned about by name, and the file's name is in every line of progress."""
    (files / "[bold]a[").write_bytes(jsonl([chat(f"q{n}", "yes", **{"[/red]": 1}) for n in range(12)]))
    status, text = run_cli(
        files, monkeypatch, capsys, "ladder", "--train", "[bold]a[", "--rungs", "base", "--model", str(tiny_model)
    )
    assert status == 0
    assert 'line 1: Not used: "[/red]"' in text
    assert "Compare: [bold]a[" in text


@pytest.mark.integration
def test_small_test_says_what_it_could_detect(
    files: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["ladder", "--train", "train.jsonl", "--test", "test.jsonl", "--rungs", "base", "--model", str(tiny_model)]
    status, text = run_cli(files, monkeypatch, capsys, *few)
    assert status == 0
    assert "3 test examples are few" in text and "Collect at least 20" in text


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "core", "ladder", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


@pytest.mark.integration
@pytest.mark.parametrize(
    "rungs",
    [["base", "prompt", "lora"], ["base", "prompt", "rag", "lora", "rag+lora"]],
    ids=["without documents", "with documents"],
)
def test_one_command_measures_the_rungs_and_writes_the_report(files: Path, bundled: Path, rungs: list[str]) -> None:
    options = ["--train", "train.jsonl", "--test", "test.jsonl", "--out", "deep/out"]
    if "rag" in rungs:
        options += ["--documents", "docs"]
    else:
        options += ["--rungs", "lora,base,prompt", "--metric", "exact_match", "--target", "0.9"]
    done = command(files, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "Verdict: " in done.stdout and all(rung in done.stdout for rung in rungs)

    report: dict[str, Any] = strictly((files / "deep" / "out" / "report.json").read_text())
    assert report.keys() >= KEYS and report["verdict"].keys() >= VERDICT_KEYS
    assert (report["model"], report["metric"], report["n"]) == ("bundled/SmolLM2-135M-Instruct", "exact_match", 3)
    assert [row["rung"] for row in report["rungs"]] == rungs
    for row in report["rungs"]:
        assert row.keys() >= RUNG_KEYS
        assert (row["scored"], row["of"]) == (3, 3)
        assert 0 <= row["interval"][0] <= row["score"] <= row["interval"][1] <= 1
        assert row["latency_p50_s"] > 0 and row["input_tokens"] > 0 and row["output_tokens"] > 0
    setup = {row["rung"]: row["setup_s"] for row in report["rungs"]}
    assert setup["base"] == setup["prompt"] == 0 < setup["lora"]
    if "rag" in rungs:
        assert setup["rag"] > 0 and setup["rag+lora"] == pytest.approx(setup["rag"] + setup["lora"])
    pairs = len(rungs) * (len(rungs) - 1) // 2
    assert len({(c["a"], c["b"]) for c in report["comparisons"]}) == len(report["comparisons"]) == pairs
    assert all(c.keys() >= COMPARISON_KEYS for c in report["comparisons"])

    lines = (files / "deep" / "out" / "predictions.jsonl").read_text().splitlines()
    predictions = [strictly(line) for line in lines]
    assert sorted((p["rung"], p["example"]) for p in predictions) == sorted((r, n) for r in rungs for n in range(3))
    asked = [record["messages"][0]["content"] for record in sorting(3, start=1000)]
    assert all(p["messages"][-1]["content"] == asked[p["example"]] for p in predictions)
    assert {bool(p["retrieved"]) for p in predictions if "rag" in p["rung"]} <= {True}
    for row in report["rungs"]:
        scores = [p["score"] for p in predictions if p["rung"] == row["rung"]]
        assert row["score"] == pytest.approx(sum(scores) / 3)
    assert {job.status for job in queue.jobs()} == {"done"}


@pytest.mark.integration
def test_mistake_from_a_real_terminal_is_exit_status_one(files: Path) -> None:
    (files / "bad.jsonl").write_text('{"messages": []}\n')
    failed = command(files, "--train", "bad.jsonl")
    assert failed.returncode == 1
    assert "bad.jsonl, line 1" in failed.stdout + failed.stderr
    assert "Traceback" not in failed.stdout + failed.stderr
