"""Jobs say what happened; Train says what will."""

from __future__ import annotations

import pytest

from core.errors import UserError
from core.jobs import queue
from tests.pages.furnish import Furnished
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


def test_finished_run_shows_its_adapter_and_charts(open_page: Open, furnished: Furnished) -> None:
    app = open_page("train", run=furnished.train_job)
    assert len(app.get("plotly_chart")) == 5
    assert any(metric.label == "Evaluation loss" and metric.value == "0.200" for metric in app.metric)


def test_steps_and_time_are_said_before_the_start(open_page: Open, furnished: Furnished) -> None:
    app = open_page("train", new=1)
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["Training examples"] == "54"
    assert shown["Optimiser steps"] == "14"
    app.number_input(key="train_epochs").set_value(4.0).run()
    assert {m.label: m.value for m in app.metric}["Optimiser steps"] == "28"


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
