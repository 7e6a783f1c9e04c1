"""Watching a run: its curves in words, its charts, its answers over time, and what it left."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sqlalchemy import update
from streamlit.testing.v1 import AppTest

from core.jobs import queue
from core.store.database import session
from core.store.tables import Job, Metric
from core.train.measured import Measured
from pages.widgets import curves_view
from pages.widgets.charts import Line, line_figure, smooth, thin
from pages.widgets.live_figures import packed
from pages.widgets.run import measurements_csv
from tests.pages.furnish import Furnished, measure
from tests.pages.looking import Open, texts


def record(job_id: int, name: str, steps: list[int], values: list[float | None]) -> None:
    with session() as db:
        db.add_all(
            Metric(job_id=job_id, step=step, name=name, value=value, time=float(step))
            for step, value in zip(steps, values, strict=True)
        )


@pytest.fixture
def job_id(home) -> int:
    return queue.submit("train", {}, start=False)


def test_only_new_rows_are_read_and_nothing_old_is_lost(job_id: int) -> None:
    found = Measured(job_id)
    record(job_id, "loss", [1, 2, 3], [3.0, 2.0, 1.0])
    found.update()
    record(job_id, "loss", [4, 5], [0.5, None])
    found.update()
    steps, values = found.points("loss")
    assert steps.tolist() == [1, 2, 3, 4, 5]
    assert values[:4].tolist() == [3.0, 2.0, 1.0, 0.5] and np.isnan(values[4])
    before = found.last
    found.update()
    assert found.last == before


@pytest.mark.parametrize("at_once", [True, False])
def test_steps_taken_again_replace_the_abandoned_ones(job_id: int, at_once: bool) -> None:
    found = Measured(job_id)
    record(job_id, "loss", [1, 2, 3, 4, 5, 6], [1.0] * 6)
    record(job_id, "eval_loss", [2, 4, 6], [1.0] * 3)
    if not at_once:
        found.update()
    record(job_id, "loss", [4, 5], [9.0, 9.0])
    found.update()
    assert found.points("loss")[0].tolist() == [1, 2, 3, 4, 5]
    assert found.points("loss")[1].tolist() == [1.0, 1.0, 1.0, 9.0, 9.0]
    assert found.points("eval_loss")[0].tolist() == [2, 4]


def test_a_run_begun_anew_forgets_what_was_deleted(job_id: int) -> None:
    found = Measured(job_id)
    record(job_id, "loss", [1, 2, 3], [1.0] * 3)
    record(job_id, "gpu_percent", [1, 2, 3], [1.0] * 3)
    found.update()
    with session() as db:
        db.query(Metric).delete()
    record(job_id, "loss", [1], [5.0])
    found.update()
    assert found.names == {"loss"} and found.points("loss")[1].tolist() == [5.0]


def test_steps_find_their_place_on_every_axis(job_id: int) -> None:
    steps = [1, 2, 3, 4]
    record(job_id, "epoch", steps, [0.25, 0.5, 0.75, 1.0])
    record(job_id, "tokens", steps, [100.0, 200.0, 100.0, 200.0])
    record(job_id, "tokens_per_s", steps, [10.0, 10.0, 5.0, 5.0])
    record(job_id, "eval_loss", [2, 4], [1.0, 0.5])
    found = Measured(job_id)
    found.update()
    assert found.points("eval_loss", "epoch")[0].tolist() == [0.5, 1.0]
    assert found.points("eval_loss", "tokens")[0].tolist() == [300.0, 600.0]
    assert found.points("eval_loss", "time")[0].tolist() == pytest.approx([0.5, 1.5])
    assert found.axes() == ["step", "epoch", "tokens", "time"]


def test_thinning_keeps_the_spike_and_both_ends() -> None:
    ys = np.zeros(1_000_000)
    ys[[0, 4321, 777_777, -1]] = 1.0, 9.0, -9.0, 2.0
    xs, kept = thin(np.arange(len(ys)), ys)
    assert len(xs) <= 1600
    assert (xs[0], xs[-1], kept.max(), kept.min()) == (0, 999_999, 9.0, -9.0)
    assert (kept[0], kept[-1]) == (1.0, 2.0)


def test_smoothing_leaves_no_bias_and_passes_over_what_is_no_number() -> None:
    assert smooth(np.array([3.0, 1.0]), 0.0).tolist() == [3.0, 1.0]
    assert smooth(np.full(5, 2.0), 0.9).tolist() == pytest.approx([2.0] * 5)
    # 1 weighs half of what 2 does, as it came before it.
    assert smooth(np.array([1.0, np.nan, 2.0, np.inf]), 0.5)[2] == pytest.approx((0.5 * 1 + 2) / 1.5)


def test_what_was_evaluated_is_never_smoothed(furnished: Furnished) -> None:
    found = Measured(furnished.train_job)
    found.update()
    how = curves_view.Shown(smoothing=0.9)
    data = curves_view._loss(found, queue.get(furnished.train_job), how)[0]
    (evaluated,) = [trace["y"] for trace in data if trace["name"] == "evaluation loss"]
    assert evaluated.tolist() == pytest.approx(found.points("eval_loss")[1].tolist(), rel=1e-6)
    (smoothed,) = [trace["y"] for trace in data if trace["name"] == "training loss (smoothed)"]
    assert np.diff(smoothed).std() < np.diff(found.points("loss")[1]).std() / 2


def test_pushed_points_survive_what_json_does_not_know() -> None:
    figure = line_figure("Loss", "nats", {"a": Line(np.arange(3), np.array([1.0, np.nan, np.inf]))}, ".3f")
    told = json.loads(packed({"loss_1": {"data": [{"y": figure.data[0].y}], "layout": {}}}))
    assert told["loss_1"]["data"][0]["y"] == [1.0, None, None]


def test_a_run_shows_its_charts_answers_events_and_checks(open_page: Open, furnished: Furnished) -> None:
    app = open_page("train", run=furnished.train_job)
    charts = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    assert [chart["layout"]["title"]["text"] for chart in charts] == [
        *("Loss", "Learning rate", "Gradient norm", "Speed", "Memory", "Use")
    ]
    names = {trace["name"]: trace for trace in charts[0]["data"]}
    assert {"training loss (smoothed)", "evaluation loss", "best", "events"} <= set(names)
    assert names["best"]["x"] == [120] and names["events"]["x"] == [40, 60]
    # The event's text came from outside: no tag of it may reach the chart.
    assert "<b>" not in names["events"]["text"][0]
    said = texts(app)
    assert "Finished" in said and "Base model" in said and "as expected" in said
    assert "Resumed from the checkpoint of step 60" in said
    assert any(fold.label == "Pre-flight: passed" for fold in app.expander)


def test_the_axis_and_the_scale_are_chosen(open_page: Open, furnished: Furnished) -> None:
    app = open_page("train", run=furnished.train_job)
    app.session_state["curves_by"] = "tokens"
    app.session_state["curves_scale"] = "Log"
    app.run()
    layout = json.loads(app.get("plotly_chart")[0].proto.spec)["layout"]
    assert layout["xaxis"]["title"]["text"] == "tokens learned from"
    assert layout["yaxis"]["type"] == "log"


def test_steps_of_the_answers_are_chosen(open_page: Open, furnished: Furnished) -> None:
    app = open_page("train", run=furnished.train_job)
    assert "Step 60" in texts(app) and "Step 30" not in [caption.value for caption in app.caption]
    app.session_state[f"samples_steps_{furnished.train_job}"] = [30]
    app.run()
    shown = [caption.value for caption in app.caption]
    assert "Step 30" in shown and "Step 60" not in shown


def test_new_points_are_handed_to_the_charts_that_are_there(open_page: Open, furnished: Furnished) -> None:
    """A running job, looked at twice: the chart on the page is the same one, and the new step is among the points."""
    job_id = furnished.train_job
    with session() as db:
        db.execute(update(Job).where(Job.id == job_id).values(status="running", result={}, total=200))
    app = open_page("train", run=job_id)
    assert _pushed(app, job_id)["x"][-1] == 120
    measure(job_id, [121], 200)
    app.run()
    assert _pushed(app, job_id)["x"][-1] == 121


def _pushed(app: AppTest, job_id: int) -> dict:
    (component,) = app.get("bidi_component")
    loss = json.loads(json.loads(component.proto.json)["figures"])[f"loss_{job_id}"]
    return next(trace for trace in loss["data"] if "training loss" in trace["name"])


def test_a_run_that_waits_says_so(open_page: Open, furnished: Furnished, monkeypatch) -> None:
    monkeypatch.setattr(queue, "dispatch", list)
    spec = queue.get(furnished.train_job).spec
    waiting = queue.submit("train", spec, title="Train: later", start=False)
    app = open_page("train", run=waiting)
    assert "The charts begin with the first step" in texts(app)


def test_a_paused_run_says_what_can_be_done(open_page: Open, furnished: Furnished) -> None:
    with session() as db:
        values = {"status": "stopped", "result": {}, "done": 60}
        db.execute(update(Job).where(Job.id == furnished.train_job).values(**values))
    checkpoint = queue.folder(furnished.train_job) / "checkpoint-60"
    app = open_page("train", run=furnished.train_job)
    assert "begins anew" in texts(app)
    checkpoint.mkdir()
    (checkpoint / "trainer_state.json").write_text('{"global_step": 60, "log_history": []}')
    app.run()
    assert "Stopped at step 60 of 120" in texts(app)
    assert any(button.key == f"train_resume_{furnished.train_job}" for button in app.button)


def test_a_failed_run_says_why(open_page: Open, furnished: Furnished) -> None:
    app = open_page("train", run=furnished.failed_job)
    assert "The memory was not enough" in texts(app) and "Make the batch smaller" in texts(app)


def test_measurements_leave_as_a_table(furnished: Furnished) -> None:
    lines = measurements_csv(furnished.train_job).decode("utf-8-sig").splitlines()
    assert lines[0] == "step,name,value,time"
    assert lines[1].startswith("1,loss,")
    assert len(lines) == 1 + 120 * 8 + 4
