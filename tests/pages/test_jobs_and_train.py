"""Jobs say what happened; Train says what will."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core.errors import UserError
from core.jobs import queue
from core.jobs.kinds import HANDLERS
from core.store.database import session
from core.store.tables import Job
from tests.pages.furnish import Furnished, ended
from tests.pages.looking import Open, texts


def test_failed_job_says_why_and_what_to_do(open_page: Open, furnished: Furnished) -> None:
    app = open_page("jobs")
    assert "The memory was not enough" in texts(app)
    assert "Make the batch smaller" in texts(app)
    assert any(expander.label.startswith("Traceback") for expander in app.expander)


def test_job_is_deleted_only_after_the_second_button(open_page: Open, furnished: Furnished) -> None:
    app = open_page("jobs")
    app.button(key=f"jobs_delete_{furnished.failed_job}").click().run()
    assert not app.exception
    with pytest.raises(UserError):
        queue.get(furnished.failed_job)


def test_waiting_job_is_stopped_from_the_page(open_page: Open, furnished: Furnished, monkeypatch) -> None:
    monkeypatch.setattr(queue, "dispatch", list)
    waiting = queue.submit("index", {"index_id": furnished.index}, title="Index: later", start=False)
    app = open_page("jobs")
    app.button(key=f"jobs_stop_{waiting}").click().run()
    assert queue.get(waiting).status == "stopped"


@pytest.fixture
def held_device() -> Iterator[int]:
    """A training that runs in this very process, so that all other jobs of its device wait."""
    job_id = queue.submit("train", {"recipe": {}}, title="Train now", start=False, reserve=True)
    assert queue.claim(job_id)
    yield job_id
    with session() as db:
        db.get_one(Job, job_id).status = "stopped"


def test_waiting_jobs_change_places_and_leave_the_queue(open_page: Open, held_device: int) -> None:
    a, b, c = (queue.submit("train", {}, title=f"Train {name}") for name in "abc")
    app = open_page("jobs")
    assert app.button(key=f"jobs_first_{a}").disabled and app.button(key=f"jobs_later_{c}").disabled
    app.button(key=f"jobs_sooner_{c}").click().run()
    assert [job.id for job in queue.waiting("cpu")] == [a, c, b]
    app.button(key=f"jobs_later_{a}").click().run()
    assert [job.id for job in queue.waiting("cpu")] == [c, a, b]
    app.button(key=f"jobs_first_{b}").click().run()
    assert [job.id for job in queue.waiting("cpu")] == [b, c, a]
    assert [text.value for text in app.markdown if "Train " in text.value] == [
        f"**Train {name}**" for name in ("now", "b", "c", "a")
    ]
    app.button(key=f"jobs_stop_{c}").click().run()
    assert [job.id for job in queue.waiting("cpu")] == [b, a] and queue.get(c).status == "stopped"


def test_running_training_can_be_paused_kept_or_discarded(open_page: Open, held_device: int) -> None:
    app = open_page("jobs")
    for key, then in (("stop", ""), ("keep", "keep"), ("discard", "discard")):
        app.button(key=f"jobs_{key}_{held_device}").click().run()
        job = queue.get(held_device)
        assert job.stop_requested_at is not None and job.stop_then == then


def test_training_that_ended_early_offers_what_it_saved(open_page: Open, furnished: Furnished) -> None:
    paused, discarded = (
        ended("train", {}, "Train: early", status="stopped", stop_then=then) for then in ("", "discard")
    )
    for job_id in (paused, discarded):
        checkpoint = queue.folder(job_id) / "checkpoint-30"
        checkpoint.mkdir()
        (checkpoint / "trainer_state.json").write_text("{}")
    app = open_page("jobs")
    labels = {button.key: button.label for button in app.button}
    assert labels[f"jobs_resume_{paused}"] == "Resume" and labels[f"jobs_keep_{paused}"] == "Keep what it learned"
    assert "step 30" in app.button(key=f"jobs_resume_{paused}").help
    assert labels[f"jobs_resume_{discarded}"] == "Start again" and f"jobs_keep_{discarded}" not in labels
    assert labels[f"jobs_resume_{furnished.failed_job}"] == "Start again"  # it had saved nothing
    said = [bar.proto.text for bar in app.get("progress")]
    assert any(text.startswith("Paused at 100") for text in said)
    assert any(text.startswith("Discarded at 100") for text in said)


def test_every_kind_of_job_has_a_name_and_those_of_training_lead_there(open_page: Open, furnished: Furnished) -> None:
    ended("preflight", {}, "Pre-flight: Tickets")
    ended("forgetting", {"adapter_id": furnished.adapter}, "Forgetting check: Tickets")
    app = open_page("jobs")
    assert "Pre-flight · cpu" in texts(app) and "Forgetting check · cpu" in texts(app)
    assert not any(f"· {kind} ·" in texts(app) for kind in HANDLERS)
    links = [link.proto for link in app.get("page_link")]
    assert sum(link.label == "Open on Train" for link in links) == 4


def test_finished_run_shows_its_adapter_and_charts(open_page: Open, furnished: Furnished) -> None:
    app = open_page("train", run=furnished.train_job)
    assert len(app.get("plotly_chart")) == 6
    assert any(metric.label == "Evaluation loss" and metric.value == "0.200" for metric in app.metric)


def test_steps_and_time_are_said_before_the_start(open_page: Open, furnished: Furnished) -> None:
    app = open_page("train", new=1)
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["Training examples"] == "54"
    assert shown["Optimiser steps"] == "28"
    app.number_input(key="train_epochs").set_value(8.0).run()
    assert {m.label: m.value for m in app.metric}["Optimiser steps"] == "56"


def test_start_training_queues_the_recipe_on_screen(open_page: Open, furnished: Furnished, monkeypatch) -> None:
    monkeypatch.setattr(queue, "dispatch", list)
    app = open_page("train", new=1)
    app.number_input(key="train_rank").set_value(4).run()
    app.button(key="start_training").click().run()
    assert not app.exception
    job = queue.jobs("train")[0]
    assert job.spec["recipe"]["rank"] == 4
    assert job.spec["dataset_id"] == furnished.dataset


def test_demo_is_started_once(open_page: Open, monkeypatch) -> None:
    monkeypatch.setattr(queue, "dispatch", list)
    app = open_page("home")
    app.button(key="start_demo").click().run()
    assert not app.exception
    assert [job.kind for job in reversed(queue.jobs())] == ["index", *["train", "compare"] * 3]
    assert "Running on this machine" in texts(app)
    assert not any(button.key == "start_demo" for button in app.button)
