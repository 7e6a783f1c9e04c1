"""The forgetting check: fair questions, an honest verdict, and real adapters that forgot nothing, much, or all."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import UserError
from core.jobs.run import run_foreground
from core.models.loading import LoadedModel, load_model
from core.settings import get_settings
from core.store.database import session
from core.store.tables import Adapter
from core.train.forgetting import check, general_questions, verdict
from core.train.recipe import Recipe

BUNDLED = "bundled/SmolLM2-135M-Instruct"
N = 40


def test_questions_are_many_short_and_never_answer_themselves() -> None:
    questions = general_questions()
    assert len(questions) == N == len({question.ask for question in questions})
    for question in questions:
        assert question.right(question.reference), question
        assert not question.right(question.ask), question
        assert not question.right(""), question
        assert len(question.ask) < 80


def test_answer_is_right_when_it_contains_whole_words_of_one_accepted() -> None:
    days = next(question for question in general_questions() if "days" in question.ask)
    assert days.right("There are SEVEN days.") and days.right("7") and days.right("**7**")
    assert not days.right("17 or 70") and not days.right("seventy")


def marks(right: int) -> list[bool]:
    return [i < right for i in range(N)]


def test_verdict_names_what_the_paired_tests_show() -> None:
    rng = np.random.default_rng(0)

    def rise(mean: float, spread: float = 0.2) -> list[float]:
        values = rng.standard_normal(N)
        return list(mean + spread * (values - values.mean()) / values.std())

    clear = verdict(marks(30), marks(15), rise(0.3))
    assert clear.startswith("Clearly forgets. It answers 15 of 40 general questions right, the base model 30")
    assert "15 lost, 0 gained; p = 6.1e-05" in clear
    assert verdict(marks(30), marks(28), rise(1.0)).startswith("Clearly forgets. Each token of a right answer")
    assert "63% less likely on average" in verdict(marks(30), marks(28), rise(1.0))
    assert verdict(marks(30), marks(29), rise(0.25)).startswith("Forgets a little.")
    assert verdict(marks(30), marks(30), rise(0.0, 0.1)).startswith("No forgetting seen.")
    assert verdict(marks(30), marks(36), rise(-0.5)).startswith("No forgetting seen.")
    assert verdict(marks(30), marks(29), rise(0.1, 0.6)).startswith("Cannot tell with 40 questions.")
    assert verdict(marks(30), marks(25), rise(0.0, 0.1)).startswith("Cannot tell"), "5 lost, none gained: p = 0.06"
    assert verdict(marks(30), marks(30), [0.0] * N).startswith("No forgetting seen.")


def test_verdict_on_models_that_differ_by_chance_alone_rarely_says_forgets() -> None:
    rng = np.random.default_rng(1)
    said = [
        verdict(list(rng.random(N) < 0.7), list(rng.random(N) < 0.7), list(rng.standard_normal(N) * 0.3))
        for _ in range(500)
    ]
    assert sum("orgets" in text.split(".")[0] for text in said) / 500 <= 0.05


def _adapter_on(loaded: LoadedModel, folder: Path, strength: float) -> None:
    """A LoRA adapter whose every matrix adds noise of so much of the size it starts with."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    network = get_peft_model(loaded.model, config)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, strength)
    network.save_pretrained(folder)


@pytest.mark.integration
def test_adapter_that_changes_nothing_has_forgotten_nothing(tiny_model: Path, tmp_path: Path) -> None:
    _adapter_on(load_model(str(tiny_model)), tmp_path, 0.0)
    seen: list[tuple[float, float, str]] = []
    first = check(str(tiny_model), tmp_path, "lora", lambda *said: seen.append(said))
    assert first.text.startswith("No forgetting seen.") and first.changed == []
    assert first.before == first.after and first.before["of"] == N
    assert seen[-1][:2] == (2 * N, 2 * N) and [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)

    asked: list[str] = []
    again = check(str(tiny_model), tmp_path, "lora", lambda done, total, message: asked.append(message))
    assert again == first and "Asking the base model" not in asked, "the base model's answers are kept"


@pytest.mark.integration
def test_adapter_that_broke_its_model_is_found(bundled: Path, tmp_path: Path) -> None:
    _adapter_on(load_model(BUNDLED), tmp_path, 0.2)
    broken = check(BUNDLED, tmp_path, "lora")
    assert broken.text.startswith("Clearly forgets.")
    assert 15 < broken.before["right"] < 35, "a small model knows much of this, and has room to lose and to gain"
    assert broken.after["nll"] > broken.before["nll"] and broken.after["right"] < broken.before["right"]
    for i, question in enumerate(broken.questions):
        assert (question["right_before"] != question["right_after"]) is (i in broken.changed)


@pytest.mark.integration
def test_model_that_was_trained_whole_is_checked_too(tiny_model: Path, tmp_path: Path) -> None:
    import torch

    loaded = load_model(str(tiny_model))
    shutil.copytree(tiny_model, tmp_path / "whole")
    assert check(str(tiny_model), tmp_path / "whole", "full").before["nll"] > 0
    with torch.no_grad():
        for weight in loaded.model.parameters():
            weight.mul_(1.5)
    loaded.model.save_pretrained(tmp_path / "whole")
    changed = check(str(tiny_model), tmp_path / "whole", "full")
    assert changed.before["nll"] != changed.after["nll"]


@pytest.mark.integration
def test_adapter_without_safetensors_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    for method in ("lora", "full"):
        with pytest.raises(UserError, match="has lost its file"):
            check(str(tiny_model), tmp_path, method)


@pytest.mark.integration
def test_job_writes_the_result_beside_the_adapter_and_into_its_card(tiny_model: Path) -> None:
    folder = get_settings().home / "adapters" / "1"
    _adapter_on(load_model(str(tiny_model)), folder, 0.0)
    recipe: dict[str, Any] = Recipe(model=str(tiny_model)).model_dump()
    with session() as db:
        adapter = Adapter(
            name="A", base_model=str(tiny_model), method="lora", recipe=recipe, path="adapters/1", notes={"step": 4}
        )
        db.add(adapter)
    job = run_foreground("forgetting", {"adapter_id": adapter.id})
    assert (job.status, job.error) == ("done", "")
    with session(read_only=True) as db:
        notes = db.get_one(Adapter, adapter.id).notes
    assert notes["step"] == 4
    assert notes["forgetting"]["text"] == job.result["text"]
    assert set(notes["forgetting"]) == {"before", "after", "changed", "text", "questions"}
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert re.search(r"## What it forgot\s+No forgetting seen\.", card)

    gone = run_foreground("forgetting", {"train_job_id": 12345})
    assert gone.status == "failed" and "no such adapter" in gone.error
