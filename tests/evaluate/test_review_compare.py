"""What a review of asking, keeping and paying has found: each of these went wrong once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.documents.index import delete_index
from core.errors import UserError
from core.evaluate import running
from core.evaluate.plan import Plan
from core.evaluate.rungs import Rung
from core.evaluate.running import adapter_folder, run_experiment
from core.experiment_file import ExperimentFile, read_experiment
from core.ladder import climb
from core.models.budget import Budget, CapReached
from core.models.generation import Completion, Request, Sampling
from core.models.loading import load_model
from core.models.local import LocalGenerator
from core.models.open import open_generator
from core.models.remote import Endpoint, RemoteGenerator
from core.settings import get_settings
from core.store.database import session
from core.store.tables import Adapter, Experiment
from core.strict_yaml import read_yaml
from tests.evaluate import test_running_local as local
from tests.evaluate.answering import answering, kind, made, run, stored
from tests.factories import sorting_dataset
from tests.models.service import Handler, echo, serving

SAMPLING = Sampling(max_new_tokens=9)


def chats(count: int) -> list[Request]:
    return [Request([{"role": "user", "content": f"question {n}"}]) for n in range(count)]


def answers(generator: Any, requests: list[Request]) -> list[Completion]:
    found = {i: completion for batch in generator.answer(requests, SAMPLING) for i, completion in batch}
    return [found[i] for i in range(len(requests))]


# Services


def test_older_service_that_is_asked_many_things_at_once_answers_them_all() -> None:
    def old(handler: Handler, request: dict[str, Any], attempt: int) -> None:
        time.sleep(0.05)
        if "max_completion_tokens" in request:
            handler.refuse(400, "Unrecognized request argument supplied: max_completion_tokens")
        else:
            echo(handler, request, attempt)

    with serving(old) as service:
        found = answers(RemoteGenerator("m", Endpoint(service.url, "", concurrency=8)), chats(12))
    assert [completion.error for completion in found] == [None] * 12


def odd(**parts: Any) -> Any:
    """A service whose reply to the first test question differs by `parts`."""

    def behave(handler: Handler, request: dict[str, Any], attempt: int) -> None:
        if "1000" not in json.dumps(request["messages"]):
            kind(handler, request, attempt)
            return
        message = {"role": "assistant", "content": "fruit"}
        choice = {"index": 0, "message": message, "finish_reason": parts.get("finish_reason", "stop")}
        body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        handler.reply(200, body | {"usage": parts["usage"]} if "usage" in parts else body)

    return behave


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"finish_reason": ["stop"]},
        {"finish_reason": "\ud800"},
        {"usage": {"prompt_tokens": -5, "completion_tokens": -4}},
        {"usage": {"prompt_tokens": float("nan"), "completion_tokens": 1}},
        {"usage": {"prompt_tokens": 10**30, "completion_tokens": 1}},
        {"usage": {"prompt_tokens": None, "completion_tokens": None}},
        {"usage": [1]},
    ],
    ids=str,
)
def test_odd_figures_of_a_service_neither_end_the_run_nor_make_an_answer_cheap(
    monkeypatch: pytest.MonkeyPatch, parts: dict[str, Any]
) -> None:
    with answering(monkeypatch, odd(**parts), price_output="1000000"):
        experiment = made(sorting_dataset(test=3), "base")
        run(experiment)
    # As they came: the first question's may be the last.
    first, *others = sorted(stored(experiment.id), key=lambda row: row.example_id)
    assert [row.error for row in (first, *others)] == [None] * 3 and first.output == "fruit"
    assert (first.finish_reason, first.input_tokens) == ("stop", 0)
    # Six tokens were allowed, a dollar each; the others took three.
    assert first.cost_usd == 6 and {row.cost_usd for row in others} == {3}


def test_cap_holds_for_a_service_that_never_says_what_it_counted() -> None:
    def silent(handler: Handler, request: dict[str, Any], attempt: int) -> None:
        message = {"role": "assistant", "content": "a"}
        handler.reply(200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    with serving(silent) as service:
        budget = Budget(cap_usd=20.0)
        generator = RemoteGenerator("m", Endpoint(service.url, "", price_output=1e6, concurrency=1), budget)
        with pytest.raises(CapReached):
            answers(generator, chats(5))
    assert len(service.requests) == 2 and budget.spent_usd == 18


def test_what_a_lost_request_may_have_cost_is_remembered_after_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    from core.evaluate.job import spent_usd

    def lost_once(handler: Handler, request: dict[str, Any], attempt: int) -> None:
        handler.reply(200, b"{not json") if "1000" in json.dumps(request["messages"]) else kind(
            handler, request, attempt
        )

    with answering(monkeypatch, lost_once, price_output="1000000"):
        experiment = made(sorting_dataset(test=3), "base")
        run(experiment)
    assert spent_usd(experiment.id) == 6 + 3 + 3


def test_nothing_more_is_sent_after_a_stop_though_money_was_waited_for() -> None:
    stop = threading.Event()

    def slow(handler: Handler, request: dict[str, Any], attempt: int) -> None:
        stop.set()
        time.sleep(0.2)
        echo(handler, request, attempt)

    with serving(slow) as service:
        endpoint = Endpoint(service.url, "", price_output=1e6, concurrency=4)
        list(RemoteGenerator("m", endpoint, Budget(12.0)).answer(chats(4), SAMPLING, stop=stop.is_set))
    assert len(service.requests) == 1


def test_closing_waits_for_no_turn_of_a_paced_service() -> None:
    with serving(echo) as service:
        work = RemoteGenerator("m", Endpoint(service.url, "", requests_per_minute=1)).answer(chats(5), SAMPLING)
        next(work)
        started = time.monotonic()
        work.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 5 and len(service.requests) == 1


def test_key_and_page_of_a_refusal_stay_out_of_the_records() -> None:
    def repeating(handler: Handler, request: dict[str, Any], attempt: int) -> None:
        handler.refuse(401, f"unknown: {handler.headers['Authorization']} {'x' * 100_000}")

    with serving(repeating) as service:
        endpoint = Endpoint(service.url, "sk-secret")
        (refused,) = answers(RemoteGenerator("m", endpoint), chats(1))
    assert "unknown: Bearer [key]" in str(refused.error) and len(str(refused.error)) < 1000
    gone = RemoteGenerator("m", Endpoint(service.url.replace("//", "//me:hunter2@"), "", retries=0))
    (unreachable,) = answers(gone, chats(1))
    assert f"{service.url} could not be reached" in str(unreachable.error)
    assert "sk-secret" not in repr(endpoint)


# Files


@pytest.mark.parametrize(
    "text",
    [
        "answers: &a [*a]",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
        "a: &a {k: v}\nb: &b {<<: [*a, *a]}\nc: {<<: [*b, *b]}",
    ],
)
def test_alias_that_would_never_end_is_refused(text: str) -> None:
    found: list[str] = []

    def read() -> None:
        with pytest.raises(UserError) as raised:
            read_yaml(text, "x.yaml", ExperimentFile, example="")
        found.append(str(raised.value))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(5)
    assert found and "x.yaml, line 1" in found[0] and "alias" in found[0]


@pytest.mark.parametrize(
    "text",
    [
        "seed: 99999999999999999999",
        "rungs: ['lora#99999999999999999999']",
        "adapter: 99999999999999999999",
        "shot_ids: [99999999999999999999]",
        "rag_adapter_id: 99999999999999999999",
        "spending_cap_usd: .inf",
        "retrieval: {min_score: .nan}",
    ],
)
def test_number_that_no_database_holds_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(UserError, match=r"x\.yaml, line 1"):
        read_experiment(text, "x.yaml")


def test_adapter_is_trained_on_the_model_it_is_asked_on() -> None:
    dataset = sorting_dataset()
    trained: list[dict[str, Any]] = []

    def submit(kind: str, spec: dict[str, Any], *args: Any) -> int:
        trained.append(spec)
        raise InterruptedError

    file = read_experiment("model: org/A\nrungs: [base, lora]\nrecipe: {epochs: 1}", "x.yaml")
    with pytest.raises(InterruptedError):
        climb(file.climb(dataset, None), submit)
    assert trained[0]["recipe"]["model"] == "org/A"
    file = read_experiment("model: org/A\nrungs: [lora]\nrecipe: {model: org/B}", "x.yaml")
    with pytest.raises(UserError, match="trained on org/B, and asked on org/A"):
        climb(file.climb(dataset, None), submit)


# Adapters, indexes and models that are not what they were


def test_adapter_that_is_gone_is_never_replaced_by_one_that_was_brought_along(home: Path) -> None:
    (home / "adapters" / "x").mkdir(parents=True)
    with session() as db:
        db.add(Adapter(name="brought", base_model="B", method="lora", path="adapters/x", job_id=None))
    experiment = Experiment(name="e", dataset_id=1, model="A", metric="exact_match", delta=0.02, seed=0)
    with pytest.raises(UserError, match="adapter of lora is gone"):
        adapter_folder(Rung(adapter=True), experiment, Plan())


def test_index_that_is_gone_fails_the_rungs_that_need_it_alone(tiny_model: Path) -> None:
    index = local.pears()
    experiment = local.made(tiny_model, sorting_dataset(test=2), "base", "rag", index_id=index.id)
    delete_index(index.id)
    run_experiment(experiment.id, open_generator)
    rows = [(row.rung, row.error) for row in stored(experiment.id)]
    assert sorted(rows, key=str) == [("base", None)] * 2 + [("rag", "The documents of this experiment are gone.")] * 2


def test_adapter_whose_files_cannot_be_read_fails_alone_and_names_no_path(tiny_model: Path, home: Path) -> None:
    broken, sound = (local.random_adapter(tiny_model, home, number) for number in (1, 2))
    (home / broken.path / "more.safetensors").symlink_to(home / "nowhere")
    names = ["base", f"lora#{broken.id}", f"lora#{sound.id}"]
    experiment = local.made(tiny_model, sorting_dataset(test=2), *names)
    run_experiment(experiment.id, open_generator)
    errors = {row.rung: row.error for row in stored(experiment.id)}
    assert errors.pop(names[1]) == "The files of the model or the adapter cannot be read: No such file or directory."
    assert errors == {"base": None, names[2]: None}


@pytest.mark.parametrize("damage", ["cut", "empty", "kind", "no configuration"])
def test_damaged_adapter_fails_its_own_requests_alone(tiny_model: Path, home: Path, damage: str) -> None:
    damaged, sound = (home / local.random_adapter(tiny_model, home, number).path for number in (1, 2))
    weights, config = damaged / "adapter_model.safetensors", damaged / "adapter_config.json"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:200])
    elif damage == "empty":
        weights.write_bytes(b"")
    elif damage == "kind":
        config.write_text('{"peft_type": "NOPE"}')
    else:
        config.unlink()
    (question,) = chats(1)

    def asked(*adapters: Path | None) -> list[Completion]:
        generator = LocalGenerator(load_model(str(tiny_model)))
        return answers(generator, [Request(question.chat, adapter) for adapter in adapters])

    base, tuned = asked(None)[0].text, asked(sound)[0].text
    for order in ([damaged, None, sound], [sound, damaged, None]):
        found = dict(zip(order, asked(*order), strict=True))
        assert (found[None].text, found[sound].text) == (base, tuned) and base != tuned
        error = str(found[damaged].error)
        assert "The adapter in 1" in error and str(home) not in error


def test_chat_that_the_template_refuses_fails_alone(tiny_model: Path) -> None:
    generator = LocalGenerator(load_model(str(tiny_model)))
    generator.loaded.tokenizer.chat_template = (
        "{% for m in messages %}{% if '1' in m.content %}{{ raise_exception('roles must alternate') }}{% endif %}"
        "{{ m.content }}{% endfor %}"
    )
    first, second, third = answers(generator, chats(3))
    assert first.error is None and third.error is None
    assert "refuses this conversation: roles must alternate" in str(second.error)


def test_answers_of_a_newer_revision_are_kept_under_its_own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a model of the hub may bring a newer revision of it than the one that was there."""
    marks = iter(["old", "new", "new"])
    monkeypatch.setattr(running, "fingerprint", lambda model: next(marks))
    with answering(monkeypatch) as service:
        dataset = sorting_dataset(test=3)
        run(made(dataset, "base"))
        run(second := made(dataset, "base"))
    assert len(service.requests) == 3 and all(row.reused for row in stored(second.id))


def test_newest_of_several_answers_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    words = iter("abc")
    with answering(monkeypatch, lambda handler, request, attempt: handler.answer(request, next(words))):
        dataset = sorting_dataset(test=1)
        for fresh in (True, True, True, False):
            run(experiment := made(dataset, "base", fresh=fresh))
    assert [row.output for row in stored(experiment.id)] == ["c"]


@pytest.fixture(autouse=True)
def forget_settings() -> Iterator[None]:
    yield
    get_settings.cache_clear()
