"""Experiments as files: what is written runs again, what is wrong is named with its line, and CI can rely on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import select

from core.data.dataset import datasets
from core.errors import UserError
from core.evaluate.plan import MetricChoice, Plan
from core.evaluate.rungs import RungChoice
from core.experiment_file import ExperimentFile, experiment_yaml, read_experiment, write_experiment, yaml_of
from core.jobs import queue
from core.ladder import Climb, climb
from core.settings import get_settings
from core.store import lists
from core.store.database import session
from core.store.tables import Prediction
from tests.factories import jsonl, sorting, sorting_dataset
from tests.test_cli import run_cli
from tests.test_ladder import submit


def test_experiment_survives_its_file() -> None:
    file = ExperimentFile(
        rungs=[RungChoice(), RungChoice(shots=True, model="remote:oa/gpt"), RungChoice(adapter=True, adapter_id=4)],
        shots=3,
        shot_choice="similar",
        temperature=0.7,
        samples=3,
        minimums={"base": 0.1},
        name="naïve: yes",
        metrics=[MetricChoice(name="exact_match"), MetricChoice(name="token_f1")],
        target=0.8,
    )
    text = write_experiment(file)
    assert read_experiment(text, "e.yaml") == file
    assert all(line.startswith("# ") for line in text.splitlines() if line.startswith("#"))


def test_stored_experiment_can_be_taken_away_and_read_again(home: Path) -> None:
    dataset = sorting_dataset()
    wanted = Climb("mine", dataset.id, Plan(rungs=[RungChoice(), RungChoice(adapter=True)], shots=5), target=0.5)
    experiment = climb(wanted, submit)
    file = read_experiment(experiment_yaml(experiment.id), "e.yaml")
    assert (file.name, file.target, file.shots, file.data.hash) == ("mine", 0.5, 5, dataset.hash)
    assert file.recipe is not None and file.metrics[0].name == experiment.metric
    assert read_experiment(yaml_of(wanted), "e.yaml").plan == wanted.plan


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rungs: [bse]", "e.yaml, line 1: rungs.0: there is no rung called bse"),
        ("name: x\n\nfoo: 1", "e.yaml, line 3: there is no field foo"),
        ("name: x\nrungs: [base]\ntemperature: 5", "e.yaml, line 3: temperature: .*less than or equal to 2"),
        ("rungs:\n- base\n- base", "line 1: rungs: the rung base is there twice"),
        ("rungs:\n- base\n- {shots: yes, modle: x}", r"line 3: there is no field rungs.1.modle"),
        ("samples: 3", "several samples need a temperature above 0"),
        ("rungs: [base]\nminimums: {lora: 0.3}", "minimums.lora: no such rung is measured. Its rungs are base"),
        ("metrics: [{name: exact_match, settings: {a: 1}}]", "exact_match has no settings"),
        ("metrics: [bluest]", "no metric called bluest"),
        ("template: {question: hi}", "line 1: template.question: must hold {question}"),
        ("data: {dataset: 1, dataset: 2}", "line 1: dataset is said twice, first in line 1"),
        ("- base", "holds no fields"),
        ("rungs: [", "e.yaml, line 1, column 9: this is not YAML"),
        ("recipe: {rank: 0}", "line 1: recipe.rank"),
    ],
)
def test_bad_experiment_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        read_experiment(text, "e.yaml")
    assert caught.value.remedy


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path) -> Path:
    (tmp_path / "train.jsonl").write_bytes(jsonl(sorting(14)))
    (tmp_path / "test.jsonl").write_bytes(jsonl(sorting(6, start=1000)))
    write(tmp_path, tiny_model)
    return tmp_path


def write(folder: Path, model: Path, **more: Any) -> None:
    fields = {
        "name": "for CI",
        "data": {"train": "train.jsonl", "test": "test.jsonl"},
        "model": str(model),
        "rungs": ["base", "prompt"],
        "metrics": ["exact_match", "token_f1"],
        "shots": 2,
        "max_new_tokens": 4,
    }
    (folder / "e.yaml").write_text(yaml.safe_dump(fields | more), encoding="utf-8")


@pytest.mark.integration
def test_experiment_file_is_measured_and_a_missed_minimum_is_exit_status_3(
    folder: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, text = run_cli(folder, monkeypatch, capsys, "compare", "e.yaml", "--out", "out")
    assert status == 0, text
    assert "Verdict:" in text and (folder / "out" / "report.json").is_file()
    write(folder, tiny_model, minimums={"prompt": 0.9, "base": 0.0})
    asked = len(lists.experiments())
    status, text = run_cli(folder, monkeypatch, capsys, "compare", "e.yaml", "--out", "out")
    assert status == 3
    assert "prompt scores 0.000, less than the minimum of 0.900." in text
    assert "base scores" not in text and "Verdict:" in text
    assert len(lists.experiments()) == asked + 1
    # Files that have not changed are the data set of before, and their answers are known.
    assert len(datasets()) == 1
    with session(read_only=True) as db:
        newest = lists.experiments()[0].id
        reused = db.scalars(select(Prediction.reused).where(Prediction.experiment_id == newest)).all()
    assert len(reused) == 12 and all(reused)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"data": {}}, "names no data set of this home"),
        ({"data": {"dataset": 7}}, "no data set 7 in this home"),
        ({"data": {"train": "nowhere.jsonl"}}, "nowhere.jsonl cannot be read"),
        ({"data": {"train": "train.jsonl", "hash": "0123"}}, "made for data with the hash 0123"),
        ({"rungs": ["rag"]}, "rag needs documents"),
        ({"rungs": ["rag"], "data": {"train": "train.jsonl", "index": 9}}, "no index 9 in this home"),
        ({"adapter": 99, "rungs": ["lora"]}, "dapter 99"),
        ({"rungs": []}, "No rung was chosen"),
    ],
)
def test_experiment_that_cannot_work_is_refused_before_it_starts(
    folder: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: dict[str, Any],
    said: str,
) -> None:
    write(folder, tiny_model, **more)
    status, text = run_cli(folder, monkeypatch, capsys, "compare", "e.yaml", "--out", "out")
    assert status == 1 and said in text
    assert queue.jobs() == [] and lists.experiments() == []
    assert len(datasets()) <= 1 and get_settings().home.is_dir()
