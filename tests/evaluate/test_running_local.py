"""Comparisons on weights in this process: rungs differ by their switches alone, and adapters may go missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.data.dataset import File, create_dataset, examples_of
from core.documents.index import build_index, create_index
from core.documents.reading import read_document
from core.evaluate.experiment import create_experiment, rerun
from core.evaluate.plan import Plan
from core.evaluate.running import run_experiment
from core.jobs.run import run_foreground
from core.models.generation import Completion, Generator, Request, Sampling, never
from core.models.identity import adapter_fingerprint, fingerprint
from core.models.open import open_generator
from core.store.database import session
from core.store.tables import Adapter, Dataset, Experiment, Index
from tests.evaluate.answering import outputs, stored
from tests.factories import chat, examples, jsonl, sorting, sorting_dataset


class Watched:
    """The tiny model, with every request it answers."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.opened: list[str] = []
        self._inner: Generator

    def open(self, model: str) -> Watched:
        self.model = model
        self.opened.append(model)
        self._inner = open_generator(model)
        return self

    def answer(
        self, requests: Sequence[Request], sampling: Sampling, *, stop: Callable[[], bool] = never
    ) -> Iterator[list[tuple[int, Completion]]]:
        for batch in self._inner.answer(requests, sampling, stop=stop):
            self.asked += [requests[i] for i, _ in batch]
            yield batch


def random_adapter(model: Path, home: Path, number: int = 1) -> Adapter:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(number)
    path = f"adapters/{number}"
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(model), config).save_pretrained(home / path)
    adapter = Adapter(name="random", base_model=str(model), method="lora", path=path, eval_loss=None)
    with session() as db:
        db.add(adapter)
    return adapter


def pears() -> Index:
    index = create_index("d", [read_document("kinds.md", b"# Kinds\n\nA pear is a fruit.")])
    build_index(index.id)
    return index


def made(model: Path, dataset: Dataset, *rungs: str, **more: Any) -> Experiment:
    plan = Plan.model_validate({"rungs": list(rungs), "max_new_tokens": 6, "shots": 3} | more.pop("plan", {}))
    return create_experiment("test", dataset.id, metrics=["exact_match"], plan=plan, model=str(model), **more)


def test_rungs_differ_by_their_switches_alone(tiny_model: Path, home: Path) -> None:
    dataset = sorting_dataset(train=14, test=3)
    adapter = random_adapter(tiny_model, home)
    names = ("base", "prompt", "rag", "lora", "rag+lora", "prompt+rag+lora")
    experiment = made(tiny_model, dataset, *names, index_id=pears().id, adapter_id=adapter.id)
    watched = Watched()
    run_experiment(experiment.id, watched.open)

    def shown(request: Request) -> str:
        on = ["prompt" if len(request.chat) == 1 + 2 * 3 else "" if len(request.chat) == 1 else "?"]
        on.append("rag" if "A pear is a fruit." in request.chat[-1]["content"] else "")
        on.append("lora" if request.adapter == home / "adapters" / "1" else "?" if request.adapter else "")
        return "+".join(part for part in on if part) or "base"

    assert sorted(map(shown, watched.asked)) == sorted(names * 3) and watched.opened == [str(tiny_model)]
    retrieved = {row.rung: [hit["source"] for hit in row.retrieved] for row in stored(experiment.id)}
    assert retrieved == {name: ["kinds.md"] if "rag" in name else [] for name in names}
    trained = {e.messages[0]["content"] for _, e in examples_of(dataset.id, "train")}
    turns = [turn for request in watched.asked for turn in request.chat[:-1] if turn["role"] == "user"]
    assert len({turn["content"] for turn in turns}) == 3 and {turn["content"] for turn in turns} <= trained
    assert {e.messages[0]["content"] for e in examples(sorting(3, start=1000))}.isdisjoint(
        turn["content"] for turn in turns
    )


def test_adapter_trained_with_passages_answers_the_rungs_with_retrieval(tiny_model: Path, home: Path) -> None:
    dataset = sorting_dataset(train=14, test=2)
    plain, with_passages = (random_adapter(tiny_model, home, number) for number in (1, 2))
    own = random_adapter(tiny_model, home, 3)
    names = ("rag", "lora", "rag+lora", f"lora#{own.id}")
    given: dict[str, Any] = {"index_id": pears().id, "adapter_id": plain.id}
    experiment = made(tiny_model, dataset, *names, plan={"rag_adapter_id": with_passages.id}, **given)
    watched = Watched()
    run_experiment(experiment.id, watched.open)
    folders = [request.adapter.name if request.adapter else "" for request in watched.asked]
    assert sorted(folders) == ["", "", "1", "1", "2", "2", "3", "3"]


def test_rung_whose_adapter_vanished_fails_and_the_others_go_on(tiny_model: Path, home: Path) -> None:
    dataset = sorting_dataset(test=3)
    gone, broken, sound = (random_adapter(tiny_model, home, number) for number in (1, 2, 3))
    names = ["base", *(f"lora#{adapter.id}" for adapter in (gone, broken, sound))]
    experiment = made(tiny_model, dataset, *names)
    shutil.rmtree(home / gone.path)
    (home / broken.path / "adapter_model.safetensors").unlink()
    run_experiment(experiment.id, open_generator)
    errors = {row.rung: row.error for row in stored(experiment.id)}
    assert len(stored(experiment.id)) == 12
    assert errors["base"] is None and errors[names[3]] is None
    assert "is gone" in (errors[names[1]] or "") and "adapter_model.safetensors" in (errors[names[2]] or "")


@pytest.mark.integration
def test_comparison_whose_only_adapter_vanished_says_so_and_can_be_resumed(tiny_model: Path, home: Path) -> None:
    adapter = random_adapter(tiny_model, home)
    experiment = made(tiny_model, sorting_dataset(test=3), "lora", adapter_id=adapter.id)
    (home / adapter.path).rename(home / "elsewhere")
    job = run_foreground("compare", {"experiment_id": experiment.id})
    assert job.status == "failed" and "The adapter of lora is gone." in job.error and "resume" in job.remedy
    assert stored(experiment.id) == []
    (home / "elsewhere").rename(home / adapter.path)
    job = run_foreground("compare", {"experiment_id": experiment.id})
    assert (job.status, job.error) == ("done", "") and len(stored(experiment.id)) == 3


def test_prompt_that_does_not_fit_fails_alone(tiny_model: Path) -> None:
    test = [chat("word " * 700, "fruit"), *sorting(3, start=1000)]
    dataset = create_dataset("d", File("a", jsonl(sorting(12))), File("b", jsonl(test)))
    experiment = made(tiny_model, dataset, "base")
    run_experiment(experiment.id, open_generator)
    (error,) = [row.error for row in stored(experiment.id) if row.error]
    assert "reads 512 at most" in error and len(stored(experiment.id)) == 4


def test_sampled_answers_are_the_same_whatever_shares_the_run(tiny_model: Path) -> None:
    dataset = sorting_dataset(train=14, test=4)
    sampled = {"temperature": 1.0, "samples": 2, "seed": 3}
    alone = made(tiny_model, dataset, "base", plan=sampled)
    run_experiment(alone.id, open_generator)
    together = made(tiny_model, dataset, "base", "prompt", plan=sampled | {"fresh": True})
    run_experiment(together.id, open_generator)
    one, both = outputs(alone.id), outputs(together.id)
    assert len(both) == 16 and one == {key: text for key, text in both.items() if key[0] == "base"}
    assert any(one["base", example, 0] != one["base", example, 1] for _, example, _ in one)


def test_answers_of_other_weights_are_not_taken_for_these(tiny_model: Path, home: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    dataset = sorting_dataset(test=2)
    adapter = random_adapter(model, home)
    experiment = made(model, dataset, "base", "lora", adapter_id=adapter.id)
    run_experiment(experiment.id, open_generator)

    unchanged = rerun(experiment.id)
    run_experiment(unchanged.id, open_generator)
    assert {row.rung: row.reused for row in stored(unchanged.id)} == {"base": True, "lora": True}

    before = adapter_fingerprint(home / adapter.path)
    random_adapter(model, home, 1)  # the same numbers: another row of the same weights
    assert adapter_fingerprint(home / adapter.path) == before
    shutil.rmtree(home / adapter.path)
    random_adapter(model, home, 2)
    (home / "adapters" / "2").rename(home / adapter.path)
    retrained = rerun(experiment.id)
    run_experiment(retrained.id, open_generator)
    assert {row.rung: row.reused for row in stored(retrained.id)} == {"base": True, "lora": False}

    known = fingerprint(str(model))
    template = model / "chat_template.jinja"
    template.write_text(template.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert known != fingerprint(str(model)) and fingerprint("nobody/has-this") is None
