"""After a run: its adapter's figures, what it forgot, the way to the trash and back, and runs beside each other."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from core.errors import UserError
from core.jobs import queue
from core.store.database import session
from core.store.lists import adapter as stored
from core.store.lists import adapters
from core.store.tables import Adapter, Job
from core.train import adapters as kept
from core.train.recipe import Recipe
from pages.widgets.forgetting_view import rows_of
from pages.widgets.runs_compare import differences, incomparable, settings_of
from pages.widgets.trash import resting_on
from tests.pages.furnish import NASTY, Furnished, an_adapter, ended, trained
from tests.pages.looking import Open, texts

FORGETTING = {
    "before": {"right": 21, "of": 40, "nll": 2.1},
    "after": {"right": 17, "of": 40, "nll": 2.62},
    "changed": ["Spell cat."],
    "text": "Cannot tell with 40 questions whether it forgot.",
    "questions": [
        {"prompt": "1 + 1?", "before": "2", "after": "2", "right_before": True, "right_after": True},
        {"prompt": "2 + 2?", "before": "It is 4", "after": "4", "right_before": True, "right_after": True},
        {"prompt": "Opposite of hot?", "before": "hot", "after": "cold", "right_before": False, "right_after": True},
        {"prompt": "Spell cat.", "before": "c-a-t", "after": NASTY, "right_before": True, "right_after": False},
    ],
}


def after_run(job_id: int) -> AppTest:
    """What a page shows below the charts of a run that is done."""

    def script(job_id: int) -> None:
        from core.jobs import queue
        from core.train.job import adapter_of_job
        from pages.widgets import adapter_view
        from pages.widgets.trash import recently_deleted

        adapter_view.draw(adapter_of_job(job_id), queue.get(job_id))
        recently_deleted("train")

    app = AppTest.from_function(script, args=(job_id,), default_timeout=30).run()
    assert not app.exception
    return app


def compared() -> AppTest:
    def script() -> None:
        from core.jobs import queue
        from pages.widgets import runs_compare

        runs_compare.draw(queue.jobs("train"))

    app = AppTest.from_function(script, default_timeout=30).run()
    assert not app.exception
    return app


def note(adapter_id: int, **notes: Any) -> None:
    with session() as db:
        row = db.get_one(Adapter, adapter_id)
        row.notes = row.notes | notes


def run_again(furnished: Furnished, name: str, dataset_id: int | None = None, **recipe: Any) -> int:
    """Another run that is done, on the same data unless said otherwise."""
    job_id = trained(dataset_id or furnished.dataset)
    with session() as db:
        job = db.get_one(Job, job_id)
        job.spec = job.spec | {"name": name, "recipe": Recipe(**recipe).model_dump()}
    return job_id


def test_figures_say_which_checkpoint_was_kept(furnished: Furnished) -> None:
    note(furnished.adapter, step=90, steps=120, memory_gb=2.125, train_loss=0.12, seconds=180.0)
    shown = {metric.label: metric.value for metric in after_run(furnished.train_job).metric}
    assert shown["Evaluation loss"] == "0.200"
    assert shown["Step kept"] == "90 of 120"
    assert (shown["Time"], shown["Memory"]) == ("3 min 0 s", "2.12 GB")
    assert shown["Size on disk"].endswith("bytes")


def test_deleted_adapter_comes_back_by_undo(furnished: Furnished) -> None:
    app = after_run(furnished.train_job)
    app.button(key=f"run_delete_{furnished.adapter}").click().run()
    assert not adapters()
    assert "was deleted just now" in texts(app)
    assert any(fold.label == "Recently deleted: 1 adapter" for fold in app.expander)
    app.button(key=f"adapter_undo_{furnished.adapter}").click().run()
    assert [adapter.id for adapter in adapters()] == [furnished.adapter]
    assert any(metric.label == "Evaluation loss" for metric in app.metric)


def test_what_rests_on_an_adapter_is_said_before_it_is_deleted(furnished: Furnished) -> None:
    said = texts(after_run(furnished.train_job))
    assert "cannot be finished without it" in said
    assert "its results stay" in said
    alone = stored(an_adapter(run_again(furnished, "Alone"), furnished.dataset))
    assert resting_on(alone) == []


def test_clearing_away_ends_the_way_back(furnished: Furnished) -> None:
    alone = an_adapter(run_again(furnished, "Alone"), furnished.dataset)
    kept.delete(alone)
    app = after_run(furnished.train_job)
    app.button(key="train_clear").click().run()
    assert kept.deleted() == []
    with pytest.raises(UserError):
        kept.restore(alone)


def test_adapter_is_renamed(furnished: Furnished) -> None:
    app = after_run(furnished.train_job)
    app.text_input(key=f"rename_{furnished.adapter}").set_value(f" New {NASTY}")
    next(button for button in app.button if button.label == "Rename").click().run()
    assert not app.exception
    assert stored(furnished.adapter).name == f"New {NASTY}"


def test_forgetting_check_is_queued_for_this_adapter_and_followed(furnished: Furnished, monkeypatch) -> None:
    monkeypatch.setattr(queue, "dispatch", list)
    app = after_run(furnished.train_job)
    app.session_state[f"adapter_tabs_{furnished.adapter}"] = ":material/psychology_alt: What it forgot"
    app.run()
    app.button(key=f"forgetting_{furnished.adapter}").click().run()
    assert not app.exception
    job = queue.jobs("forgetting")[0]
    assert job.spec == {"adapter_id": furnished.adapter}
    assert any(button.key == f"forgetting_stop_{job.id}" for button in app.button)
    assert not any(button.key == f"forgetting_{furnished.adapter}" for button in app.button)


def test_what_was_forgotten_stands_first(furnished: Furnished) -> None:
    note(furnished.adapter, forgetting=FORGETTING)
    app = after_run(furnished.train_job)
    app.session_state[f"adapter_tabs_{furnished.adapter}"] = ":material/psychology_alt: What it forgot"
    app.run()
    assert not app.exception
    assert "Cannot tell with 40 questions" in texts(app)
    shown = {metric.label: (metric.value, metric.delta) for metric in app.metric}
    assert shown["Right after"] == ("17 of 40", "-4")
    assert shown["Surprise after"] == ("2.620 nats", "+0.520")
    assert app.dataframe[0].value["change"].tolist() == ["lost", "gained", "other words", ""]
    assert rows_of(FORGETTING["questions"])[0]["question"] == "Spell cat."


def test_failed_forgetting_check_says_why(furnished: Furnished) -> None:
    spec = {"train_job_id": furnished.train_job}
    ended(
        "forgetting", spec, "Forgetting check", status="failed", error="The memory was not enough.", remedy="Free it."
    )
    app = after_run(furnished.train_job)
    app.session_state[f"adapter_tabs_{furnished.adapter}"] = ":material/psychology_alt: What it forgot"
    app.run()
    assert "The memory was not enough" in texts(app)
    assert app.button(key=f"forgetting_{furnished.adapter}").label == "Check what it forgot"


def test_last_runs_on_the_same_data_are_compared_at_first(furnished: Furnished) -> None:
    second = run_again(furnished, "Second", learning_rate=1e-3, passages={"count": 3, "without_source": 0.2})
    third = run_again(furnished, f"Third {NASTY}", rank=4)
    app = compared()
    assert app.multiselect(key="compared_runs").value == [furnished.failed_job, second, third]
    app.multiselect(key="compared_runs").set_value([furnished.train_job, third]).run()
    assert not app.exception
    assert app.query_params["runs"] == f"{furnished.train_job},{third}"
    assert len(app.get("plotly_chart")) == 2
    figures, differing, equal = (frame.value for frame in app.dataframe)
    assert figures["steps"].tolist() == [120, 120]
    assert figures["at step"].tolist() == [120, 120]
    assert figures["adapter"].tolist() == [f"Tickets (adapter {furnished.adapter})", "none"]
    assert differing.index.tolist() == ["rank"]
    assert differing.iloc[0].tolist() == ["16", "4"]
    assert "learning rate" in equal.index


def test_runs_named_in_the_address_are_compared(furnished: Furnished) -> None:
    second = run_again(furnished, "Second")

    def script() -> None:
        from core.jobs import queue
        from pages.widgets import runs_compare

        runs_compare.draw(queue.jobs("train"))

    app = AppTest.from_function(script, default_timeout=30)
    app.query_params["runs"] = f"{second},{furnished.train_job},999"
    app.run()
    assert app.multiselect(key="compared_runs").value == [second, furnished.train_job]
    assert "Nothing: recipe and data are the same" in texts(app)


def test_losses_on_other_data_are_not_ranked() -> None:
    def run(number: int, dataset: int, **recipe: Any) -> Job:
        return Job(id=number, kind="train", spec={"dataset_id": dataset, "recipe": Recipe(**recipe).model_dump()})

    names = {1: "One", 2: "Two"}
    same = [settings_of(run(i, 1, seed=i), None, names) for i in (1, 2)]
    other = settings_of(run(3, 2), None, names)
    questions = settings_of(run(4, 1, answers_only=False), None, names)
    assert incomparable(same) == []
    assert incomparable([same[0], other]) == ["Their data sets differ"]
    assert len(incomparable([same[0], questions])) == 1
    edited = [settings_of(run(5, 1), Adapter(notes={"data_hash": digest}), names) for digest in ("aaaa", "bbbb")]
    assert incomparable(edited) == ["The data was changed between them"]
    # Nobody knows the content that a run without an adapter learned from; that is no difference.
    assert incomparable([same[0], edited[0]]) == []


def test_settings_that_differ_are_told_from_those_that_do_not() -> None:
    settings = {"A": {"rank": "16", "seed": "0"}, "B": {"rank": "4", "seed": "0"}}
    assert differences(settings) == (
        [{"setting": "rank", "A": "16", "B": "4"}],
        [{"setting": "seed", "A": "0", "B": "0"}],
    )


def test_one_run_is_not_compared(home, open_page: Open) -> None:
    app = compared()
    assert "Train a second time" in texts(app)
