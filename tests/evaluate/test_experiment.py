"""Comparisons: every rung is asked every question once, whatever interrupts, and only when it can be asked."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from core.data.dataset import File, create_dataset, examples_of
from core.documents.index import build_index, create_index
from core.documents.reading import read_document
from core.errors import UserError
from core.evaluate.experiment import Plan, choose_shots, create_experiment, delete_experiment, run_experiment
from core.evaluate.report import build_report
from core.jobs import queue
from core.jobs.run import run_foreground
from core.models.generation import Completion, Sampling
from core.models.loading import load_model
from core.models.local import LocalGenerator
from core.models.prompt import Message
from core.store.database import session
from core.store.tables import Adapter, Dataset, Experiment, Job, Prediction
from tests.factories import chat, example, examples, jsonl, sorting, sorting_dataset


class Watched:
    """The tiny model, with every chat that it is asked, by adapter."""

    def __init__(self, folder: Path) -> None:
        self.model = str(folder)
        self.asked: list[tuple[Path | None, list[Message]]] = []
        self._inner = LocalGenerator(load_model(str(folder)), batch_size=4)

    def answer(
        self, chats: Sequence[Sequence[Message]], sampling: Sampling, adapter: Path | None = None
    ) -> Iterator[list[tuple[int, Completion]]]:
        for batch in self._inner.answer(chats, sampling, adapter):
            self.asked += [(adapter, list(chats[i])) for i, _ in batch]
            yield batch


@pytest.fixture
def watched(tiny_model: Path) -> Watched:
    return Watched(tiny_model)


def stored(experiment_id: int) -> list[tuple[int, str, int, str]]:
    """(row id, rung, example, output) of every prediction."""
    with session(read_only=True) as db:
        rows = db.scalars(
            sa.select(Prediction).where(Prediction.experiment_id == experiment_id).order_by(Prediction.id)
        )
        return [(row.id, row.rung, row.example_id, row.output) for row in rows]


def experiment_on(dataset: Dataset, *rungs: str, **more: Any) -> Experiment:
    plan = Plan(rungs=list(rungs), max_new_tokens=6, shots=3)
    return create_experiment("test", dataset.id, **({"metric": "exact_match", "plan": plan} | more))


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


def test_rungs_differ_by_their_switches_alone(watched: Watched, tiny_model: Path, home: Path) -> None:
    dataset = sorting_dataset(train=14, test=3)
    index = create_index("d", [read_document("kinds.md", b"# Kinds\n\nA pear is a fruit.")])
    build_index(index.id)
    adapter = random_adapter(tiny_model, home)
    names = ("base", "prompt", "rag", "lora", "rag+lora")
    experiment = experiment_on(dataset, *names, index_id=index.id, adapter_id=adapter.id)
    run_experiment(experiment.id, watched)

    folder = home / "adapters" / "1"
    asked = [watched.asked[start : start + 3] for start in range(0, 15, 3)]
    assert [{adapter for adapter, _ in rung} for rung in asked] == [{None}, {None}, {None}, {folder}, {folder}]
    turns = [{len(messages) for _, messages in rung} for rung in asked]
    assert turns == [{1}, {1 + 2 * 3}, {1}, {1}, {1}]
    helped = [{"A pear is a fruit." in messages[-1]["content"] for _, messages in rung} for rung in asked]
    assert helped == [{False}, {False}, {True}, {False}, {True}]
    with session(read_only=True) as db:
        retrieved = {
            rung: [hit["source"] for hit in hits]
            for rung, hits in db.execute(sa.select(Prediction.rung, Prediction.retrieved))
        }
    assert retrieved == {"base": [], "prompt": [], "rag": ["kinds.md"], "lora": [], "rag+lora": ["kinds.md"]}


def test_adapter_trained_with_passages_answers_the_rungs_with_retrieval(
    watched: Watched, tiny_model: Path, home: Path
) -> None:
    dataset = sorting_dataset(train=14, test=2)
    index = create_index("d", [read_document("kinds.md", b"# Kinds\n\nA pear is a fruit.")])
    build_index(index.id)
    plain, with_passages = (random_adapter(tiny_model, home, number) for number in (1, 2))
    given: dict[str, Any] = {"metric": "exact_match", "index_id": index.id, "adapter_id": plain.id}
    plan = Plan(rungs=["rag", "lora", "rag+lora"], rag_adapter_id=with_passages.id, max_new_tokens=6)
    with pytest.raises(UserError, match="which is not bundled"):
        create_experiment("another base", dataset.id, plan=plan, **given)
    with pytest.raises(UserError, match="no adapter 99"):
        create_experiment("gone", dataset.id, plan=plan.model_copy(update={"rag_adapter_id": 99}), **given)

    experiment = create_experiment("both", dataset.id, plan=plan, model=str(tiny_model), **given)
    run_experiment(experiment.id, watched)
    folders = [adapter for adapter, _ in watched.asked]
    assert folders == [None] * 2 + [home / "adapters" / "1"] * 2 + [home / "adapters" / "2"] * 2
    shutil.rmtree(home / with_passages.path)
    again = create_experiment("vanished", dataset.id, plan=plan, model=str(tiny_model), **given)
    with pytest.raises(UserError, match="gone"):
        run_experiment(again.id, watched)


def test_shots_come_from_training_and_show_every_answer_before_one_twice() -> None:
    rows = [example(f"q{n}", "common") for n in range(20)] + [example("r", "rare"), example("s", "other")]
    shots = choose_shots(rows, 4, seed=1)
    assert {shot.reference for shot in shots[:3]} == {"common", "rare", "other"}
    assert len(shots) == 4 and shots[3].reference == "common"
    assert choose_shots(rows, 4, seed=1) == shots != choose_shots(rows, 4, seed=2)
    assert len(choose_shots(rows, 50, seed=1)) == 22
    assert len({str(shot.messages) for shot in choose_shots(rows, 50, seed=1)}) == 22
    assert choose_shots([], 4, seed=1) == []


def test_interrupted_comparison_repeats_no_answer_and_loses_none(watched: Watched) -> None:
    dataset = sorting_dataset(train=14, test=10)
    experiment = experiment_on(dataset, "base", "prompt")
    batches = 0

    def interrupt() -> None:
        nonlocal batches
        batches += 1
        if batches == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_experiment(experiment.id, watched, check_stop=interrupt)
    before = stored(experiment.id)
    assert len(before) == len(watched.asked) == 4 + 4 + 2 + 4

    seen: list[tuple[float, float]] = []
    run_experiment(experiment.id, watched, lambda done, total, message: seen.append((done, total)))
    assert stored(experiment.id)[: len(before)] == before
    assert len(stored(experiment.id)) == len(watched.asked) == 20
    assert len({(rung, example) for _, rung, example, _ in stored(experiment.id)}) == 20
    shares = [done / total for done, total in seen if total]
    assert shares == sorted(shares) and 0.4 < shares[0] < 1 and shares[-1] == 1
    run_experiment(experiment.id, watched)
    assert len(watched.asked) == 20


def test_prompt_that_does_not_fit_is_stored_as_an_error_and_scores_zero(watched: Watched) -> None:
    test = [chat("word " * 700, "fruit"), *sorting(3, start=1000)]
    dataset = create_dataset("d", File("a", jsonl(sorting(12))), File("b", jsonl(test)))
    experiment = experiment_on(dataset, "base")
    run_experiment(experiment.id, watched)
    (row,) = build_report(experiment.id)["rungs"]
    assert (row["scored"], row["of"]) == (3, 4)
    with session(read_only=True) as db:
        (error,) = db.scalars(sa.select(Prediction.error).where(Prediction.error.is_not(None)))
    assert "reads 512 at most" in error


@pytest.mark.parametrize(
    ("rungs", "more", "said"),
    [
        (["rag"], {}, "rag need documents"),
        (["base", "rag+lora"], {"adapter_id": 1}, "need documents"),
        (["base", "lora"], {}, "lora need a trained adapter"),
        (["lora"], {"adapter_id": 1, "model": "remote/gpt"}, "cannot be measured on the remote model"),
        (["base"], {"metric": "bleu"}, "no metric called bleu"),
        (["base"], {"target": 1.5}, "not a share"),
        (["ladder"], {}, "no rung called ladder"),
        ([], {}, "No rung was chosen"),
    ],
)
def test_what_cannot_be_measured_is_refused_and_nothing_stored(
    rungs: list[str], more: dict[str, Any], said: str
) -> None:
    dataset = sorting_dataset()
    with pytest.raises(UserError, match=said) as caught:
        experiment_on(dataset, *rungs, **more)
    assert caught.value.remedy
    with session(read_only=True) as db:
        assert db.scalars(sa.select(Experiment)).all() == []


def test_unknown_dataset_is_refused() -> None:
    with pytest.raises(UserError, match="no test examples"):
        create_experiment("x", 99, metric="exact_match", plan=Plan(rungs=["base"]))


def test_deleting_an_experiment_removes_its_predictions(watched: Watched) -> None:
    dataset = sorting_dataset(test=3)
    experiment = experiment_on(dataset, "base")
    run_experiment(experiment.id, watched)
    delete_experiment(experiment.id)
    assert stored(experiment.id) == []
    assert len(examples_of(dataset.id, "test")) == 3


@pytest.mark.integration
def test_rung_whose_adapter_vanished_says_so_and_keeps_the_others(tiny_model: Path, home: Path) -> None:
    dataset = sorting_dataset(test=3)
    adapter = random_adapter(tiny_model, home)
    experiment = experiment_on(dataset, "base", "lora", adapter_id=adapter.id, model=str(tiny_model))
    shutil.rmtree(home / adapter.path)
    job = run_foreground("compare", {"experiment_id": experiment.id})
    assert (job.status, job.error) == ("failed", "The adapter of this experiment is gone.")
    assert "Train it again" in job.remedy
    assert [rung for _, rung, _, _ in stored(experiment.id)] == ["base"] * 3


@pytest.fixture
def no_job_left(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield
    for job in queue.jobs():
        if job.status == "running" and job.pid is not None and job.pid != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)


@pytest.mark.integration
@pytest.mark.skipif(sys.platform == "win32", reason="kills the POSIX way")
def test_killed_comparison_resumes_repeating_no_answer_and_losing_none(bundled: Path, no_job_left: None) -> None:
    """`kill -9` of the real process, twice, on the bundled model."""
    dataset = sorting_dataset(train=14, test=60)
    experiment = experiment_on(dataset, "base", "prompt")
    job_id = queue.submit("compare", {"experiment_id": experiment.id})

    def wait_for(answers: int) -> Job:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            queue.dispatch()
            job = queue.get(job_id)
            if job.status != "running" or len(stored(experiment.id)) >= answers:
                return job
            time.sleep(0.02)
        raise AssertionError(f"only {len(stored(experiment.id))} answers: {queue.log_tail(job_id)}")

    kept: list[tuple[int, str, int, str]] = []
    for answers in (16, 76):
        job = wait_for(answers)
        assert job.status == "running" and job.pid is not None
        os.kill(job.pid, signal.SIGKILL)
        assert wait_for(10**6).status == "interrupted"
        assert stored(experiment.id)[: len(kept)] == kept
        kept = stored(experiment.id)
        assert answers <= len(kept) < 120
        queue.resume(job_id)

    job = wait_for(10**6)
    assert (job.status, job.error) == ("done", "")
    rows = stored(experiment.id)
    assert rows[: len(kept)] == kept
    pairs = [(rung, example) for _, rung, example, _ in rows]
    assert len(pairs) == len(set(pairs)) == 120
    assert {example for _, example in pairs} == {row_id for row_id, _ in examples_of(dataset.id, "test")}
    # Ids are never used twice, so rows without gaps mean that no answer was stored, lost and asked again.
    assert [row_id for row_id, *_ in rows] == list(range(rows[0][0], rows[0][0] + 120))
    assert job.result["verdict"]["reason"]


def test_training_examples_are_what_shots_are_taken_from(watched: Watched) -> None:
    dataset = sorting_dataset(train=14, test=3)
    experiment = experiment_on(dataset, "prompt")
    run_experiment(experiment.id, watched)
    trained = {e.messages[0]["content"] for _, e in examples_of(dataset.id, "train")}
    shown = {turn["content"] for _, messages in watched.asked for turn in messages[:-1] if turn["role"] == "user"}
    assert len(shown) == 3 and shown <= trained
    assert {e.messages[0]["content"] for e in examples(sorting(3, start=1000))}.isdisjoint(shown)
