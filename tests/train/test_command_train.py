"""`python -m core train`: a recipe in, an adapter and everything about it out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from core import __main__ as cli
from core.settings import REPOSITORY
from core.store import lists
from core.train.recipe_file import read_recipe
from tests.factories import jsonl, sorting, sorting_dataset

pytestmark = pytest.mark.integration
RECIPE = "model: {model}\nrank: 4\nepochs: 1\nsamples: 1\nbatch_size: 4\n"


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["core", *map(str, arguments)])
    try:
        return cli.run()
    except SystemExit as ended:
        return int(ended.code or 0)


def test_recipe_becomes_an_adapter_and_the_same_adapter_again(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.jsonl").write_bytes(jsonl(sorting(30)))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(model=tiny_model) + "data: {train: train.jsonl}\n")
    first, second = tmp_path / "first", tmp_path / "second"
    assert call(monkeypatch, "train", recipe, "--out", first) == 0
    said = capsys.readouterr().out
    assert "Something to learn in every example" in said and "evaluation loss" in said
    written = {path.name for path in first.iterdir()}
    assert {
        "adapter_model.safetensors",
        "adapter_config.json",
        "README.md",
        "recipe.yaml",
        "measurements.jsonl",
    } <= written
    names = {json.loads(line)["name"] for line in (first / "measurements.jsonl").read_text().splitlines()}
    assert {"loss", "eval_loss", "tokens_per_s"} <= names

    # What was written names the data set with its hash, and gives the same weights.
    again = read_recipe((first / "recipe.yaml").read_text(), "recipe.yaml")
    assert again.data.dataset is not None and again.data.hash
    assert call(monkeypatch, "train", first / "recipe.yaml", "--out", second) == 0
    weights = [(folder / "adapter_model.safetensors").read_bytes() for folder in (first, second)]
    assert weights[0] == weights[1]
    assert len(lists.adapters(again.data.dataset)) == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "names no data set of this home"),
        ("data: {dataset: 99}", "no data set 99"),
        ("data: {dataset: 1, hash: other}", "made for data with the hash other"),
        ("data: {dataset: 1}\npassages: {count: 2}", "names no index of this home"),
        ("data: {train: nowhere.jsonl}", "cannot be read"),
    ],
)
def test_recipe_whose_data_is_not_there_is_refused(
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    data: str,
    message: str,
) -> None:
    sorting_dataset()
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(model=tiny_model) + data)
    assert call(monkeypatch, "train", recipe, "--out", tmp_path / "out") == 1
    assert message in capsys.readouterr().err
    assert lists.adapters() == []


def test_bad_recipe_ends_the_real_command_with_the_line(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("rank: 16\nranks: 3\n")
    done = subprocess.run(
        [sys.executable, "-m", "core", "train", recipe], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "recipe.yaml, line 2: there is no field ranks" in done.stderr and "Traceback" not in done.stderr
