"""What is known before anything is sent: rules, tokens, price, dates; and that nothing starts without a yes."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import httpx2
import openai as openai_sdk
import pytest

from core.data.dataset import File, create_dataset
from core.decide.prices import prices
from core.errors import UserError
from core.jobs import queue
from core.managed import calls
from core.managed.calendar import notices, openai_notice, switched_off, training_not_available
from core.managed.calls import Refused
from core.managed.eligibility import eligibility
from core.managed.outgoing import lines
from core.managed.plan import Prepared, TuneSettings, prepare, start
from core.managed.providers import base_models, client_of, kind_of, known_model, on_this_machine, rules, this_machine
from core.managed.tokens import tokens_of, usual_epochs
from core.models import services
from core.models.services import Service
from core.store.database import session
from core.store.tables import Example
from tests.factories import chat, jsonl, sorting, sorting_dataset
from tests.managed.provider import MODEL, Provider

TODAY = dt.date(2026, 11, 22)
OPENAI = Service(name="openai", url="https://api.openai.com/v1")
AZURE = Service(name="azure", url="https://acme.openai.azure.com/openai/v1")


@pytest.fixture
def openai(home: Path) -> str:
    services.save(OPENAI, "sk-none")
    return "openai"


def test_kind_is_told_from_the_address() -> None:
    kinds = {
        "https://api.openai.com/v1": "openai",
        "https://eu.api.openai.com/v1": "openai",
        "https://acme.openai.azure.com/openai/v1": "azure",
        "https://acme.cognitiveservices.azure.com": "azure",
        "https://gateway.example/openai?api-version=2024-10-21": "azure",
        "http://127.0.0.1:8000/v1": "compatible",
        "https://api.openai.com.evil.example/v1": "compatible",
    }
    assert {url: kind_of(Service(name="x", url=url)) for url in kinds} == kinds
    assert on_this_machine(Service(name="x", url="http://localhost:1/v1"))
    assert not on_this_machine(OPENAI)


def test_azure_clients_go_where_azure_listens(home: Path) -> None:
    newer, older = (
        client_of(Service(name="a", url=url))
        for url in ("https://acme.openai.azure.com", "https://acme.openai.azure.com?api-version=2024-10-21")
    )
    assert str(newer.base_url) == "https://acme.openai.azure.com/openai/v1/"
    assert str(older.base_url) == "https://acme.openai.azure.com/openai/"
    assert older.default_query == {"api-version": "2024-10-21"}
    assert newer.max_retries == older.max_retries == 0


def test_tokens_are_those_of_the_cookbook() -> None:
    record = {
        "messages": [
            {"role": "system", "content": "Sort."},
            {"role": "user", "content": "Which kind is apple?"},
            {"role": "assistant", "content": "fruit"},
        ]
    }
    # 3 around each message, 1 for its role, 2 + 5 + 1 of text, 3 at the end.
    assert tokens_of(record, "o200k_base") == 3 * (3 + 1) + 2 + 5 + 1 + 3
    long = {"messages": [{"role": "user", "content": "word " * 300_000}]}
    assert 300_000 <= tokens_of(long, "cl100k_base") <= 300_100


def test_marks_of_the_tokenizer_in_a_text_are_counted_as_text() -> None:
    assert tokens_of({"messages": [{"role": "user", "content": "<|endoftext|>"}]}, "o200k_base") > 8


@pytest.mark.parametrize(("examples", "epochs"), [(10, 10), (1, 25), (33, 3), (100, 3), (10_000, 2), (50_000, 1)])
def test_usual_epochs_are_the_published_rule(examples: int, epochs: int) -> None:
    assert usual_epochs(examples) == epochs


def test_price_is_tokens_times_epochs_times_the_printed_price(openai: str) -> None:
    found = prepare(openai, MODEL, sorting_dataset().id, TuneSettings(epochs=2), today=TODAY)
    assert (found.exact, found.epochs_fixed, found.errors) == (True, True, 0)
    assert found.price_usd == pytest.approx(found.tokens * 2 * 5.00 / 1e6)
    assert "developers.openai.com" in found.price_source and "2026-09-03" in found.price_source
    assert found.billed_tokens == 2 * found.tokens
    assert found.startable


def test_unknown_price_is_said_and_can_be_typed(home: Path) -> None:
    services.save(Service(name="other", url="https://tuner.example/v1"))
    dataset = sorting_dataset().id
    found = prepare("other", "their-model", dataset)
    assert (found.price_usd, found.exact) == (None, False)
    assert any("not known here" in notice.what for notice in found.notices)
    typed = prepare("other", "their-model", dataset, TuneSettings(price_training=2.0))
    assert typed.price_usd == pytest.approx(typed.billed_tokens * 2.0 / 1e6)
    # Another price is not another model.
    assert typed.key == found.key


def test_own_server_costs_nothing(home: Path) -> None:
    name = this_machine("http://127.0.0.1:8000/v1/")
    assert services.service(name).url == "http://127.0.0.1:8000/v1"
    found = prepare(name, "smollm2-135m", sorting_dataset().id)
    assert found.price_usd == 0.0 and found.startable
    assert this_machine("http://127.0.0.1:9000/v1") == name
    assert [each.url for each in services.services()] == ["http://127.0.0.1:9000/v1"]


def test_nothing_starts_unconfirmed(openai: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "dispatch", list)
    found = prepare(openai, "gpt-4.1-2025-04-14", sorting_dataset(100).id, TuneSettings(epochs=50), today=TODAY)
    assert found.price_usd is not None and found.price_usd > 1
    for confirmed in (None, 0.0, found.price_usd - 0.01):
        with pytest.raises(UserError, match="nobody has confirmed"):
            start(found, confirmed)
    assert not queue.jobs("managed")
    job = queue.get(start(found, round(found.price_usd, 2)))
    assert job.status == "queued" and job.spec["confirmed_usd"] == round(found.price_usd, 2)
    assert "sk-none" not in json.dumps(job.spec)


def test_too_few_examples_are_not_sent(openai: str) -> None:
    few = create_dataset("few", File("few.jsonl", jsonl(sorting(9))))
    found = prepare(openai, MODEL, few.id, today=TODAY)
    assert not found.startable and "1 problem" in found.why_not
    assert "10 at least" in found.problems[0].message
    with pytest.raises(UserError):
        start(found, found.price_usd)


def test_problems_name_the_line_of_the_file(openai: str) -> None:
    dataset = sorting_dataset()
    with session() as db:
        row = db.query(Example).filter_by(dataset_id=dataset.id, split="train", position=4).one()
        row.messages = [{"role": "robot", "content": "Which?", "mood": "good"}]
    found = prepare(openai, MODEL, dataset.id, today=TODAY)
    assert not found.startable and found.errors == 2
    assert {(problem.file, problem.line) for problem in found.problems} == {("train.jsonl", 5)}
    assert {problem.field for problem in found.problems} == {"messages[0].role", "messages[0].mood"}


def test_every_line_sent_passes_the_api_s_rules(openai: str) -> None:
    dataset = sorting_dataset(30)
    for _, line in lines(dataset.id, "train"):
        assert set(json.loads(line)) == {"messages"}


def test_examples_that_would_be_cut_are_counted(openai: str) -> None:
    records = [*sorting(12), chat("word " * 70_000, "long")]
    dataset = create_dataset("long", File("a.jsonl", jsonl(records)), File("t.jsonl", jsonl(sorting(3, 900))))
    found = prepare(openai, MODEL, dataset.id, today=TODAY)
    assert any("1 example is longer" in notice.what for notice in found.notices)
    assert found.validation is not None
    # What is cut off is not paid for.
    assert 65_536 < found.tokens + found.validation.tokens < 68_000


@pytest.mark.parametrize(
    ("day", "level", "says"),
    [
        (dt.date(2026, 5, 6), "warning", "in 245 days."),
        (dt.date(2026, 5, 7), "warning", "never fine-tuned"),
        (dt.date(2026, 7, 2), "warning", "last 60 days"),
        (dt.date(2027, 1, 5), "warning", "in 1 day."),
        (dt.date(2027, 1, 6), "error", "no more fine-tuning jobs"),
    ],
)
def test_openai_s_end_is_told_day_by_day(day: dt.date, level: str, says: str) -> None:
    notice = openai_notice(day)
    assert notice.level == level and says in notice.what
    assert notice.source.startswith("https://") and "this machine" in notice.remedy


def test_base_models_are_told_until_their_last_day(openai: str) -> None:
    assert switched_off(MODEL, dt.date(2027, 1, 14), dt.date(2027, 1, 13)).level == "warning"
    assert switched_off(MODEL, dt.date(2027, 1, 14), dt.date(2027, 1, 14)).level == "error"
    now, later = (prepare(openai, MODEL, sorting_dataset().id, today=day) for day in (TODAY, dt.date(2027, 1, 20)))
    assert now.startable and any("14 January 2027" in notice.what for notice in now.notices)
    assert not later.startable
    nano = [notice.level for notice in notices(OPENAI, "gpt-4.1-nano", TODAY)]
    assert nano == ["warning", "error"]
    assert [offer.id for offer in base_models(openai, TODAY)][:2] == ["gpt-4.1-2025-04-14", MODEL]
    assert not base_models(openai, dt.date(2027, 2, 1))


def test_refusal_is_explained_by_the_day() -> None:
    what, remedy = training_not_available(TODAY)
    assert "7 May 2026" in what and "Nothing was charged" in remedy
    assert "6 January 2027" in training_not_available(dt.date(2027, 1, 6))[0]


def test_azure_s_own_dates_are_not_openai_s() -> None:
    assert [notice.level for notice in notices(AZURE, MODEL, dt.date(2027, 2, 1))] == ["info"]


def test_dates_agree_with_the_price_table() -> None:
    closing = rules().openai
    for model in rules().models:
        if price := model.tuned_price:
            assert (price.closed_to_new, price.training_ends) == (closing.closed_to_new, closing.training_ends)
            assert price.shuts_down == model.shuts_down
    assert {entry.id for entry in prices().tuned if entry.provider == "OpenAI"} <= {m.price for m in rules().models}


def test_models_are_known_by_all_their_names() -> None:
    for name in ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", "ft:gpt-4o-mini-2024-07-18:acme::abc"):
        assert known_model(name) == known_model("gpt-4o-mini-2024-07-18") is not None
    assert known_model("gpt-35-turbo-0125") == known_model("gpt-3.5-turbo") is not None
    assert known_model("ft:") is None and known_model("llama") is None


def test_other_services_offer_what_they_list(there: str, provider: Provider) -> None:
    assert {offer.id for offer in base_models(there)} == {MODEL, "gpt-4o-mini-2024-07-18", "open-model-1b"}
    assert all(offer.shuts_down is None for offer in base_models(there))


def test_eligibility_is_asked_of_the_provider(there: str, provider: Provider) -> None:
    assert eligibility(there).level == "info"
    provider.shutdown_dates[MODEL] = "2026-11-01"
    assert eligibility(there, MODEL, TODAY).level == "error"
    provider.shutdown_dates[MODEL] = "2027-01-14"
    assert "14 January 2027" in eligibility(there, MODEL, TODAY).what
    provider.misbehave("list_jobs", 403)
    assert eligibility(there).level == "error"
    provider.lists_jobs = False
    assert "no fine-tuning at this address" in eligibility(there).what


def test_after_the_last_day_openai_is_not_even_asked(openai: str) -> None:
    assert eligibility(openai, today=dt.date(2027, 1, 6)).level == "error"


def test_test_split_changes_nothing_about_the_key(prepared: Prepared) -> None:
    same = prepare("there", MODEL, prepared.dataset_id, prepared.settings)
    assert same.key == prepared.key
    for change in ({"seed": 5}, {"epochs": 4}, {"suffix": "x"}, {"validation": False}):
        other = prepare("there", MODEL, prepared.dataset_id, prepared.settings.model_copy(update=change))
        assert other.key != prepared.key


def test_openai_s_refusal_comes_with_its_reason(home: Path) -> None:
    body = {"message": "Not available.", "code": "training_not_available", "param": None}
    response = httpx2.Response(403, request=httpx2.Request("POST", OPENAI.url))
    refusal = openai_sdk.PermissionDeniedError("Not available.", response=response, body=body)

    def refuse(_: object) -> None:
        raise refusal

    with pytest.raises(Refused) as caught:
        calls.Provider(OPENAI).once(refuse)
    assert caught.value.code == "training_not_available"
    assert "your organisation" in caught.value.what and "on your own hardware" in caught.value.remedy
