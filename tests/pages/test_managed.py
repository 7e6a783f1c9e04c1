"""Training at a provider on screen: the check, the price and its confirmation, the training, and what comes of it."""

from __future__ import annotations

import datetime as dt
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from core.api import serve_job
from core.jobs import launcher, queue, run
from core.managed import calls
from core.managed import job as managed_job
from core.managed.providers import THIS_MACHINE
from core.managed.reached import Reached
from core.models import services
from core.models.services import Service
from core.store.database import session
from core.store.lists import experiments
from core.store.tables import Dataset, Job
from core.train.recipe import Recipe
from pages.widgets.managed_form import PENDING, Filled
from tests.factories import sorting_dataset
from tests.managed.provider import MODEL, Provider, providing
from tests.pages.looking import Open, texts

NEW_AT_PROVIDER = {"at": "new-at-provider"}


@pytest.fixture
def provider() -> Iterator[Provider]:
    with providing() as provider:
        yield provider


@pytest.fixture
def there(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> str:
    """The provider among the services; jobs wait until a test does their work."""
    monkeypatch.setattr(queue, "dispatch", list)
    monkeypatch.setattr(calls, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(calls, "LOOK_S", 0.02)
    monkeypatch.setattr(managed_job, "NEAR_S", 0.02)
    services.save(Service(name="there", url=provider.url, timeout_s=2), provider.key)
    return "there"


@pytest.fixture
def dataset(home: Any) -> Dataset:
    return sorting_dataset()


def work(job_id: int) -> Job:
    """Do a waiting job in this process, to its end."""
    with session() as db:
        job = db.get_one(Job, job_id)
        assert job.status == "queued"
        job.status, job.pid, job.process_started = "running", os.getpid(), launcher.start_time(os.getpid())
    run.execute(job_id)
    return queue.get(job_id)


def form(open_page: Open, model: str = MODEL, price: float | None = 5.0) -> AppTest:
    """The form, filled as far as the price."""
    app = open_page("train", **NEW_AT_PROVIDER)
    app.selectbox(key="managed_model").set_value(model).run()
    app.number_input(key="managed_epochs").set_value(3)
    if price is not None:
        app.number_input(key="managed_price_training").set_value(price)
    app.run()
    assert not app.exception
    return app


def started(app: AppTest) -> Job:
    app.button(key="managed_start").click().run()
    assert not app.exception
    return queue.jobs("managed")[0]


def labels(app: AppTest) -> list[str]:
    return [str(button.label) for button in app.button]


def figures(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def test_without_a_service_there_is_a_way_to_one(open_page: Open, home: Any) -> None:
    app = open_page("train", **NEW_AT_PROVIDER)
    assert "No provider yet" in texts(app)
    assert {"Services", "Use this machine"} <= set(labels(app))


def test_price_is_shown_and_the_sum_is_confirmed_before_anything_is_sent(
    open_page: Open, there: str, dataset: Dataset, provider: Provider
) -> None:
    app = form(open_page)
    shown = figures(app)
    assert shown["Training examples"] == "13" and shown["Epochs"] == "3"
    tokens = int(shown["Tokens trained on"].replace(",", ""))
    assert shown["Price"] == f"${tokens * 5 / 1e6 + 0.004999:.2f}"
    assert f"Yes, upload and start for about \\{shown['Price']}".replace(".", r"\.") in labels(app)
    assert not provider.uploads
    job = started(app)
    assert job.spec["confirmed_usd"] == pytest.approx(tokens * 5 / 1e6)
    assert job.spec["settings"]["epochs"] == 3


def test_unknown_price_must_be_accepted(open_page: Open, there: str, dataset: Dataset) -> None:
    services.save(Service(name="far", url="http://tuning.example/v1"), "key")
    services.delete("there")
    app = open_page("train", **NEW_AT_PROVIDER)
    assert "List its models" in labels(app)  # nobody is asked unasked
    # What is typed is no option yet, and AppTest chooses among options only.
    app.session_state[PENDING] = Filled(model="open-model-1b")
    app.run()
    assert figures(app)["Price"] == "unknown"
    assert app.button(key="managed_start").disabled
    app.checkbox(key="managed_agree").check().run()
    assert not app.button(key="managed_start").disabled


def test_openai_says_what_closes_when_and_nothing_can_be_started_after_it(
    open_page: Open, there: str, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.save(Service(name="openai", url="https://api.openai.com/v1"), "key")
    services.delete("there")
    app = open_page("train", **NEW_AT_PROVIDER)
    app.selectbox(key="managed_model").set_value("gpt-4.1-mini-2025-04-14").run()
    said = texts(app)
    assert "6 January 2027" in said and "14 January 2027" in said and "developers.openai.com" in said.replace("\\", "")
    assert figures(app)["Price"].startswith("$")

    monkeypatch.setattr("pages.widgets.managed_parts.today", lambda: dt.date(2027, 1, 7))
    app.run()
    assert "takes no more fine" in texts(app).replace("\\", "")
    assert app.button(key="managed_start").disabled
    assert "Start it on the local server" in labels(app)


def test_problems_are_shown_line_by_line(open_page: Open, there: str, home: Any) -> None:
    sorting_dataset(6, 3)
    app = form(open_page)
    assert "OpenAI takes 10 at least" in app.dataframe[0].value["what is wrong"].iloc[0]
    assert app.button(key="managed_start").disabled


def test_training_is_followed_to_its_model_and_the_model_is_used(
    open_page: Open, there: str, dataset: Dataset, provider: Provider
) -> None:
    job = work(started(form(open_page)).id)
    assert job.status == "done", job.error
    app = open_page("train", managed=job.id)
    assert job.result["fine_tuned_model"] in [code.value for code in app.code]
    assert figures(app)["Step"] == "6 of 6"
    assert [chart.proto.id for chart in app.get("plotly_chart")]
    assert "has successfully completed" in texts(app)
    app.button(key=f"managed_compare_{job.id}").click().run()
    assert not app.exception
    assert app.selectbox(key="compare_row_1_model").value == job.result["model_id"]
    assert app.checkbox(key="compare_row_1_tuned").value
    assert app.selectbox(key="compare_dataset").value == dataset.id


def test_answer_of_the_model_stands_beside_the_reference(
    open_page: Open, there: str, dataset: Dataset, provider: Provider
) -> None:
    job = work(started(form(open_page)).id)
    app = open_page("train", managed=job.id)
    app.session_state[f"managed_ask_{job.id}"] = True
    app.run()
    app.button(key="managed_ask_send").click().run()
    assert not app.exception
    assert provider.asked[0]["model"] == job.result["fine_tuned_model"]
    assert [code.value for code in app.code][-2:] == ["fruit", "fruit"]


@pytest.mark.parametrize("button", ["stop", "cancel"])
def test_following_ends_here_and_cancelling_ends_there(
    button: str, open_page: Open, there: str, dataset: Dataset, provider: Provider
) -> None:
    provider.looks = 1_000
    job_id = started(form(open_page)).id
    with session() as db:
        job = db.get_one(Job, job_id)
        job.status, job.pid, job.process_started = "running", os.getpid(), launcher.start_time(os.getpid())
    app = open_page("jobs")
    assert "Managed fine\\-tune" in texts(app) or "Managed fine-tune" in texts(app)
    app.button(key=f"jobs_{button}_{job_id}").click().run()
    assert not app.exception
    asked = queue.get(job_id)
    assert asked.stop_requested_at is not None and asked.stop_then == ("discard" if button == "cancel" else "")
    assert any(bar.proto.text for bar in app.get("progress"))


def test_what_is_not_followed_can_still_be_cancelled_there(
    open_page: Open, there: str, dataset: Dataset, provider: Provider
) -> None:
    job = work(started(form(open_page)).id)
    remote = job.notes["remote_job_id"]
    provider.jobs[remote]["status"] = "running"
    with session() as db:
        found = db.get_one(Job, job.id)
        found.status, found.result = "stopped", {}
        found.notes = {key: value for key, value in job.notes.items() if key != "fine_tuned_model"} | {
            "remote_status": "running"
        }
    Reached(job.spec["key"], lambda **_: None).note(remote_status="running")
    app = open_page("train", managed=job.id)
    assert "It goes on at the provider" in texts(app)
    assert "Follow again" in labels(app)
    app.button(key=f"managed_cancel_{job.id}").click().run()
    assert not app.exception
    assert provider.jobs[remote]["status"] == "cancelled"


def test_refusal_says_why_and_shows_the_way_out(
    open_page: Open, there: str, dataset: Dataset, provider: Provider
) -> None:
    provider.misbehave("create", 403, code="training_not_available")
    job = work(started(form(open_page)).id)
    app = open_page("train", managed=job.id)
    assert "training_not_available" in texts(app).replace("\\", "")
    assert "Try again" in labels(app)
    app.button(key=f"managed_{job.id}_recipe").click().run()
    assert not app.exception
    assert app.number_input(key="train_epochs").value == 3
    assert app.selectbox(key="train_dataset").value == dataset.id


def test_same_job_is_started_on_the_local_server_by_one_click(
    open_page: Open, there: str, dataset: Dataset, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pages.widgets.managed_local.our_server", lambda: there)
    app = form(open_page)
    app.selectbox(key="managed_new_open").select_index(0)
    app.button(key="managed_new_here").click().run()
    assert not app.exception
    job = queue.jobs("managed")[0]
    assert job.spec["model"] == Recipe().model
    assert job.spec["settings"]["epochs"] == 3 and job.spec["settings"]["price_training"] is None


def test_settings_are_filled_in_again_to_be_changed(
    open_page: Open, there: str, dataset: Dataset, provider: Provider
) -> None:
    job = work(started(form(open_page)).id)
    app = open_page("train", managed=job.id)
    app.button(key=f"managed_again_{job.id}").click().run()
    assert app.selectbox(key="managed_model").value == MODEL
    assert app.number_input(key="managed_epochs").value == 3
    assert "It is not made twice" in texts(app)
    app.text_input(key="managed_suffix").set_value("not a suffix!").run()
    assert "use letters, digits and dashes only" in texts(app)


def test_fine_tune_is_brought_here_and_its_twin_trained_and_compared(
    open_page: Open, there: str, dataset: Dataset, provider: Provider
) -> None:
    job = work(started(form(open_page)).id)
    app = open_page("train", at="bring")
    app.button(key="bring_list").click().run()
    assert job.result["fine_tuned_model"] in str(app.selectbox(key="bring_tune").options[0])
    assert figures(app)["Epochs"] == "3" and "tuned on gpt" in texts(app)
    app.button(key="bring_go").click().run()
    assert not app.exception
    assert "12 training examples, 1 test example" in texts(app)
    app.button(key="bring_both").click().run()
    assert not app.exception
    assert [waiting.kind for waiting in queue.jobs()[:2]] == ["compare", "train"]
    rungs = experiments()[0].spec["rungs"]
    assert [rung["model"] for rung in rungs if rung["tuned"]] == [job.result["model_id"]]
    assert queue.jobs("train")[0].spec["recipe"]["epochs"] == 3


def test_decide_says_what_is_open_what_there_is_and_the_way_out(
    open_page: Open, there: str, dataset: Dataset, provider: Provider
) -> None:
    job = work(started(form(open_page)).id)
    said = {"prompt_tried": "exhausted", "gap": "behavior", "data_may_leave": "true", "budget_usd": "100000"}
    app = open_page("decide", **said, managed_access="openai")
    assert "Try managed first" in texts(app) or "So far: managed" in texts(app)
    assert "OpenAI ends fine" in texts(app)
    assert "1 model that a provider has tuned" in texts(app)
    links = [link.proto.label for link in app.get("page_link")]
    assert "Train the same on this machine" in links and "Compare it" in links
    app.button(key="decide_test").click().run()
    assert not app.exception
    assert app.selectbox(key="compare_row_1_model").value == job.result["model_id"]
    assert "managed" in texts(app)


def test_compare_knows_a_tuned_model_as_one(open_page: Open, there: str, dataset: Dataset, provider: Provider) -> None:
    job = work(started(form(open_page)).id)
    app = open_page("compare", new=1)
    app.button(key="compare_add_row").click().run()
    app.selectbox(key="compare_row_1_model").set_value(job.result["model_id"]).run()
    assert app.checkbox(key="compare_row_1_tuned").value
    app.checkbox(key="compare_row_1_tuned").uncheck().run()
    assert not app.checkbox(key="compare_row_1_tuned").value


@pytest.mark.integration
def test_this_machine_becomes_a_provider_by_one_click(open_page: Open, bundled: Path, dataset: Dataset) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    app = open_page("train", **NEW_AT_PROVIDER)
    app.session_state["serve_port"] = port
    app.button(key="managed_use_here").click().run(timeout=120)
    assert not app.exception
    try:
        assert app.selectbox(key="managed_service").value == THIS_MACHINE
        assert "smollm2-135m" in app.selectbox(key="managed_model").options
        app.selectbox(key="managed_model").set_value("smollm2-135m").run(timeout=60)
        assert figures(app)["Price"] == "no bill"
        assert "Yes, upload and start, no bill" in labels(app)
    finally:
        found = serve_job.running()
        assert found is not None
        serve_job.stop(found.job.id)
        until = time.monotonic() + 60
        while queue.get(found.job.id).status in queue.ACTIVE and time.monotonic() < until:
            queue.dispatch()
            time.sleep(0.2)
