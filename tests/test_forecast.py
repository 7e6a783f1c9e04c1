"""What is said before something is started: lengths, memory, time and cost, and the command that prints it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from core.data.dataset import File, create_dataset, examples_of
from core.decide.prices import prices
from core.errors import UserError
from core.evaluate.plan import JudgePlan, MetricChoice, Plan
from core.evaluate.questions import preview
from core.forecast import SECONDS_PER_STEP, SECONDS_TO_START, comparison_seconds, detectable, training_seconds
from core.forecast.command import estimate as estimate_command
from core.forecast.comparison import forecast as forecast_comparison
from core.forecast.lengths import counted
from core.forecast.speed import seconds_per_step, tokens_per_s
from core.forecast.training import forecast, passage_tokens, suggestion
from core.models.access import describe, inspect
from core.models.catalogue import BUNDLED_MODEL
from core.models.services import Service, save
from core.store.database import session
from core.store.tables import Chunk, Dataset, Document, Experiment, Index, Job, Metric, Prediction
from core.train.recipe import Passages, Recipe
from tests.factories import chat, jsonl, sorting, sorting_dataset

LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"


@pytest.fixture(autouse=True)
def on_a_cpu(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.settings import get_settings

    monkeypatch.setenv("LOWEST_RUNG_DEVICE", "cpu")
    get_settings.cache_clear()


def test_lengths_are_those_a_run_learns_from(tiny_model: Path) -> None:
    from core.models.loading import load_tokenizer
    from core.train.tokens import encode

    dataset = sorting_dataset(30)
    found = counted(dataset.id, inspect(str(tiny_model)))
    tokenizer = load_tokenizer(str(tiny_model))
    encoded = [encode(tokenizer, example, 512) for _, example in examples_of(dataset.id, "train")]
    assert found.exact
    assert sorted(found.lengths) == sorted(len(example.input_ids) for example in encoded)
    assert found.answer_share == pytest.approx(sum(e.learned for e in encoded) / sum(len(e.input_ids) for e in encoded))


def test_without_the_tokenizer_lengths_are_told_from_the_texts(tiny_model: Path) -> None:
    dataset = sorting_dataset(30)
    told, exact = counted(dataset.id, describe(LLAMA_8B)), counted(dataset.id, inspect(str(tiny_model)))
    assert not told.exact
    mean, truth = (sum(found.lengths) / len(found.lengths) for found in (told, exact))
    assert truth / 1.5 < mean < truth * 1.5


def test_counting_again_takes_no_time_and_a_large_set_is_sampled(tiny_model: Path, monkeypatch: Any) -> None:
    from core.forecast import lengths

    monkeypatch.setattr(lengths, "SAMPLE", 20)
    dataset = sorting_dataset(200)
    facts = inspect(str(tiny_model))
    found = counted(dataset.id, facts)
    assert len(found.lengths) == 20
    assert found.examples > 150
    started = time.perf_counter()
    assert counted(dataset.id, facts) == found
    assert time.perf_counter() - started < 0.1


def test_passages_add_their_tokens(tiny_model: Path) -> None:
    recipe = Recipe(passages=Passages(count=3))
    added = passage_tokens(recipe)
    assert added > 3 * 100
    dataset = sorting_dataset(30)
    facts = inspect(str(tiny_model))
    plain, shown = counted(dataset.id, facts), counted(dataset.id, facts, added)
    assert [length + added for length in plain.lengths] == shown.lengths
    assert shown.answer_share < plain.answer_share
    assert passage_tokens(Recipe()) == 0


def test_the_forecast_speaks_of_this_device_and_of_every_listed_one() -> None:
    dataset = sorting_dataset(60)
    found = forecast(Recipe(model=LLAMA_8B, method="qlora"), dataset.id)
    assert [row.id for row in found.table] == [gpu.id for gpu in prices().gpus]
    for row in found.table:
        assert row.hours is not None and row.usd is not None
        assert row.usd == pytest.approx(row.hours * row.usd_per_hour)
        assert row.fits
    assert found.estimate.memory is not None
    assert found.estimate.memory.weights > 7  # a CPU holds embeddings and head in 32 bits
    told = json.loads(json.dumps(found.as_dict()))
    assert told["examples"]["count"] == found.counted.examples
    assert len(told["devices"]) == len(found.table)


def test_what_fits_nowhere_here_names_a_rented_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = sorting_dataset(60)
    found = forecast(Recipe(model="meta-llama/Llama-3.3-70B-Instruct", method="qlora"), dataset.id)
    assert found.estimate.fits is False
    assert any(advice.startswith("Rent a GPU") and "80 GB" in advice for advice in found.estimate.advice)
    nowhere = forecast(Recipe(model="meta-llama/Llama-3.3-70B-Instruct", method="full"), dataset.id)
    assert nowhere.estimate.advice[-1] == "It fits on none of the GPUs listed."
    assert not any(row.fits for row in nowhere.table)


def test_a_suggestion_is_for_the_data_at_hand(tiny_model: Path) -> None:
    recipe, why = suggestion(str(tiny_model), sorting_dataset(60).id)
    assert recipe.max_length == 128
    assert why["max_length"]


def run_of(recipe: Recipe, *, kind: str = "train", device: str = "cpu", **columns: Any) -> int:
    """A job as a run leaves it behind."""
    job = Job(kind=kind, device=device, status="done", spec={"recipe": recipe.model_dump()}, **columns)
    with session() as db:
        db.add(job)
        db.flush()
        return job.id


def test_time_follows_from_the_last_run_of_the_model_and_method_on_the_device() -> None:
    dataset = sorting_dataset(62)
    recipe = Recipe(epochs=1)
    steps = recipe.steps(dataset.notes["counts"]["train"])
    assert training_seconds(dataset.id, recipe) == SECONDS_TO_START + steps * SECONDS_PER_STEP
    run_of(Recipe(), result={"steps": 10, "seconds": 40.0})
    run_of(Recipe(method="qlora"), result={"steps": 10, "seconds": 90.0})
    run_of(Recipe(), device="cuda:0", result={"steps": 10, "seconds": 1.0})
    assert training_seconds(dataset.id, recipe) == SECONDS_TO_START + steps * 4.0
    # Twice the examples in a step take twice as long; another model's speed is better than none.
    assert seconds_per_step(Recipe(batch_size=16), "cpu") == 8.0
    assert seconds_per_step(Recipe(model="other/model"), "cpu") == 9.0
    assert seconds_per_step(Recipe(), "cuda:1") is None


def test_a_pre_flight_corrects_the_time() -> None:
    step = {"name": "step", "data": {"seconds": 2.0, "tokens": 800}}
    run_of(Recipe(), kind="preflight", notes={"preflight": [step], "measured": {"seconds_per_step": 1.5}})
    assert seconds_per_step(Recipe(), "cpu") == 1.5
    assert tokens_per_s(Recipe(), "cpu") == 400
    assert tokens_per_s(Recipe(method="qlora"), "cpu") is None
    dataset = sorting_dataset(60)
    found = forecast(Recipe(), dataset.id)
    assert found.measured
    assert found.estimate.seconds == pytest.approx(found.estimate.tokens / 400 + 15)
    job_id = run_of(Recipe())
    with session() as db:
        db.add_all(
            Metric(job_id=job_id, step=n, name="tokens_per_s", value=v, time=0.0) for n, v in enumerate((100, 300))
        )
    assert tokens_per_s(Recipe(), "cpu") == 200


app = typer.Typer()
app.command()(estimate_command)


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_the_command_prints_memory_time_and_cost_of_a_recipe_file(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "train.jsonl").write_bytes(jsonl(sorting(60)))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"model: {LLAMA_8B}\nmethod: qlora\ndata: {{train: train.jsonl}}\n")
    found = json.loads(said(str(recipe), "--json"))
    assert found["examples"]["count"] == 60
    assert found["model"]["license"] == "Llama 3.1 Community"
    assert found["estimate"]["memory"]["total"] > 5
    assert found["refused"] is None
    assert {row["id"] for row in found["devices"]} == {gpu.id for gpu in prices().gpus}


def test_the_command_reads_a_dataset_of_this_home_and_says_what_is_refused(tmp_path: Path) -> None:
    dataset = sorting_dataset(60)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"model: meta-llama/Llama-3.3-70B-Instruct\nmethod: qlora\ndata: {{dataset: {dataset.id}}}\n")
    found = json.loads(said(str(recipe), "--json"))
    assert "takes at least" in found["refused"]
    assert found["estimate"]["fits"] is False


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("rang: 8\n", "line 1: there is no field rang"),
        ("rank: 0\n", "line 1: rank"),
        ("rank: 8\n", "names no data set"),
        ("data: {train: gone.jsonl}\n", "cannot be read"),
        ("model: /no/such/folder\ndata: {dataset: 1}\n", "does not exist"),
        ("data: {dataset: 77}\n", "names no data set"),
    ],
)
def test_the_command_refuses_what_cannot_be(text: str, what: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    with pytest.raises(UserError, match=what) as caught:
        said(str(recipe))
    assert caught.value.remedy


def test_the_bundled_model_is_told_of_before_it_is_converted(home: Path) -> None:
    found = forecast(Recipe(), sorting_dataset(60).id)
    assert not found.counted.exact
    assert found.facts.id == BUNDLED_MODEL
    assert not (home / "models").exists()


def answered(
    dataset_id: int, model: str, rung: str, *, latency_s: float, reused: bool = False, tokens: int = 4
) -> None:
    """An experiment with one rung's answers to every test question, each as the run stores it."""
    experiment = Experiment(
        name="before", dataset_id=dataset_id, model=model, metric="exact_match", delta=0.05, seed=0, target=None
    )
    with session() as db:
        db.add(experiment)
        db.flush()
        db.add_all(
            Prediction(
                experiment_id=experiment.id,
                rung=rung,
                example_id=example_id,
                output="fruit",
                input_tokens=40,
                output_tokens=4,
                latency_s=latency_s,
                reused=reused,
            )
            for example_id, _ in examples_of(dataset_id, "test")
        )


def test_tokens_of_a_comparison_are_those_that_will_be_sent(tiny_model: Path) -> None:
    from core.models.loading import load_tokenizer
    from core.models.local import render

    dataset = sorting_dataset(30, 8)
    plan = Plan(rungs=["base", "prompt"], shots=4)
    found = forecast_comparison(dataset.id, plan, str(tiny_model))
    tokenizer = load_tokenizer(str(tiny_model))
    for rung, told in zip(plan.ladder, found.rungs, strict=True):
        chats = [
            preview(plan, rung, dataset.id, example_id, None, dataset.seed)[0]
            for example_id, _ in examples_of(dataset.id, "test")
        ]
        sent = sum(len(tokenizer(render(tokenizer, chat), add_special_tokens=False)["input_ids"]) for chat in chats)
        assert told.exact
        # Worked examples are drawn by the data set's seed; other ones are a few tokens longer or shorter.
        assert told.input_tokens == pytest.approx(sent, rel=0.05 if rung.shots else 1e-9)
    assert found.answers == 16
    assert found.rungs[1].input_tokens > 2 * found.rungs[0].input_tokens


def test_passages_of_the_index_stand_for_those_that_will_be_found() -> None:
    dataset = sorting_dataset(30, 8)
    with session() as db:
        index = Index(name="Handbook", embedder="any", chunk_tokens=64, overlap_tokens=0)
        db.add(index)
        db.flush()
        document = Document(index_id=index.id, name="a.md", title="A", hash="a", text="word " * 400)
        db.add(document)
        db.flush()
        place = {"index_id": index.id, "document_id": document.id, "section": "", "start": 0, "end": 2000}
        db.add(Chunk(**place, position=0, hash="a", text="word " * 400))
        index_id = index.id
    plan = Plan(rungs=["base", "rag"], passages=3)
    base, rag = forecast_comparison(dataset.id, plan, LLAMA_8B, index_id).rungs
    assert rag.input_tokens - base.input_tokens == pytest.approx(8 * 3 * 500, rel=0.1)


def test_time_of_a_comparison_follows_from_earlier_answers_of_the_rung() -> None:
    dataset = sorting_dataset(30, 10)
    plan = Plan(rungs=["base", "prompt"])
    assert not any(rung.measured for rung in forecast_comparison(dataset.id, plan, BUNDLED_MODEL).rungs)
    answered(dataset.id, BUNDLED_MODEL, "base", latency_s=2.0)
    # Taken over from elsewhere: it took no time here.
    answered(dataset.id, BUNDLED_MODEL, "base", latency_s=900.0, reused=True)
    answered(dataset.id, "other/model", "base", latency_s=700.0)
    base, prompt = forecast_comparison(dataset.id, plan, BUNDLED_MODEL).rungs
    assert base.measured and prompt.measured
    assert base.output_tokens == 40  # as many as before, not as the references have
    assert base.seconds == pytest.approx(10 * 2.0, rel=0.3)
    assert prompt.seconds is not None and base.seconds is not None and prompt.seconds > 1.5 * base.seconds
    twice = forecast_comparison(dataset.id, Plan(rungs=["base"], temperature=1, samples=2), BUNDLED_MODEL)
    assert twice.seconds == pytest.approx(2 * base.seconds)


def test_money_follows_from_the_price_of_the_service(home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    save(Service(name="shop", url="http://127.0.0.1:9/v1", price_input=2.0, price_output=8.0, concurrency=5))
    dataset = sorting_dataset(30, 10)
    plan = Plan(rungs=["base", "base@remote:shop/large"], judge=JudgePlan(model="remote:shop/large", examples=4))
    found = forecast_comparison(dataset.id, plan, BUNDLED_MODEL, metrics=[MetricChoice(name="exact_match")])
    local, remote = found.rungs
    assert local.usd == 0
    assert remote.usd == pytest.approx((2 * remote.input_tokens + 8 * remote.output_tokens) / 1e6, rel=0.01)
    (judge,) = found.judges
    assert judge.answers == 2 * 4 and judge.usd > 0
    assert found.usd == pytest.approx(remote.usd + judge.usd)
    assert remote.seconds is not None and remote.seconds < 10  # five questions are under way at once
    with pytest.raises(UserError, match="no service called gone"):
        forecast_comparison(dataset.id, Plan(rungs=["base@remote:gone/x"]), BUNDLED_MODEL)


def test_a_model_of_unknown_shape_has_no_time_and_nothing_is_made_up(tmp_path: Path) -> None:
    dataset = sorting_dataset(30, 5)
    found = forecast_comparison(dataset.id, Plan(rungs=["base"]), str(tmp_path / "nowhere"))
    assert found.seconds is None
    assert found.input_tokens > 0


def test_seconds_of_any_rung_are_said_at_once() -> None:
    plan = Plan(rungs=["base", "prompt+rag+lora", "managed@remote/x"])
    assert comparison_seconds(10, plan.ladder) > comparison_seconds(10, plan.ladder[:1]) > SECONDS_TO_START


def test_groups_and_many_pairs_make_a_test_show_less() -> None:
    def grouped(size: int) -> Dataset:
        records = [
            chat(f"Question {n} of {n // size}?", f"answer {n}", group=f"g{n // size}") for n in range(1002, 1062)
        ]
        train = File("train.jsonl", jsonl(sorting(20)))
        return create_dataset(f"by {size}", train, File("test.jsonl", jsonl(records)))

    alone, together = grouped(1), grouped(6)
    two, five = detectable(alone.id, "binary", 2), detectable(alone.id, "binary", 5)
    assert (two.comparisons, five.comparisons) == (1, 10)
    assert two.smallest < five.smallest
    assert "all 10 pairs" in five.words and "pairs" not in two.words
    shared = detectable(together.id, "binary", 2)
    assert shared.design == pytest.approx(1.5)
    assert shared.smallest > two.smallest and "worth about 40" in shared.words
    sizes, effects = zip(*two.more, strict=True)
    assert sizes == (120, 240, 480, 960)
    assert list(effects) == sorted(effects, reverse=True)
    assert two.for_wanted > 960 or min(effects) < 0.05


def test_a_large_test_is_told_of_at_once() -> None:
    from core.evaluate.statistics import detectable_effect
    from core.forecast.detectable import _detectable

    started = time.perf_counter()
    found = _detectable(100_000, "binary", 1.0, 10)
    assert time.perf_counter() - started < 5
    assert found.smallest < 0.01
    # The root of the size tells the same as the exact arithmetic does.
    exact = detectable_effect(4_000, "binary", comparisons=10)
    assert _detectable(4_000, "binary", 1.0, 10).smallest == pytest.approx(exact, rel=0.03)
