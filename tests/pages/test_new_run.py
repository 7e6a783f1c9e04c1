"""A new run is prepared, checked and queued from one form, whose every field can be taken from a file or a run."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from streamlit.testing.v1 import AppTest

from core.data.dataset import datasets
from core.errors import UserError
from core.jobs import queue
from core.models.devices import ThisDevice
from core.models.estimate import Memory
from core.store.database import session
from core.store.tables import Document, Job
from core.train.recipe import Passages, Recipe
from core.train.recipe_file import RecipeFile, write_recipe
from pages.widgets.estimate_view import memory_figure
from pages.widgets.recipe_io import differences
from pages.widgets.recipe_state import TITLES, TRACKERS, as_recipe, as_state
from tests.factories import sorting_dataset
from tests.pages.furnish import NASTY, Furnished, ended
from tests.pages.looking import Open, texts

UNUSUAL = Recipe(
    method="dora",
    rank=4,
    alpha=9,
    dropout=0.1,
    targets=["q_proj", "v_proj"],
    learning_rate=3e-5,
    schedule="linear",
    warmup=0.1,
    weight_decay=0.2,
    max_grad_norm=0.5,
    epochs=1.5,
    max_steps=77,
    batch_size=3,
    accumulation=2,
    max_length=320,
    answers_only=False,
    packing=True,
    passages=Passages(count=5, without_source=0.4),
    evaluations=7,
    patience=2,
    samples=1,
    seed=11,
    report_to=["tensorboard", "mlflow"],
)


PASSED = {
    "preflight": [
        {"name": "model", "title": "Licence and access of the base model", "state": "ok", "detail": "x", "data": {}},
        {
            "name": "supervision",
            "title": "Something to learn",
            "state": "ok",
            "detail": "12 of 30 tokens",
            "data": {
                "examples": 1,
                "learned_tokens": 12,
                "tokens": 30,
                "cut": 0,
                "rendered": [[f"<|im_start|>user\n{NASTY}", False], ["<|im_start|>assistant\n", False], [NASTY, True]],
            },
        },
    ],
    "measured": {"memory_gb": 1.7, "seconds_per_step": 1.25, "expected_s": 42.0},
}


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs wait: what they do is tested elsewhere."""
    monkeypatch.setattr(queue, "dispatch", list)


@pytest.mark.parametrize("recipe", [Recipe(), UNUSUAL, Recipe(method="full", patience=3)])
def test_every_recipe_goes_into_the_form_and_comes_out_again(recipe: Recipe) -> None:
    assert as_recipe(recipe.model, as_state(recipe)) == recipe
    assert set(as_state(recipe)) == set(TITLES)


def test_a_layer_that_is_no_name_is_refused_by_the_fields_title() -> None:
    with pytest.raises(UserError, match="Layers"):
        as_recipe("m", as_state(Recipe()) | {"targets": ["q proj; import os"]})


def test_only_differing_fields_are_listed() -> None:
    rows = differences(Recipe(), Recipe(rank=4, passages=Passages()))
    assert [row["field"] for row in rows] == ["rank", "passages"]
    assert rows[0]["in the form"] == "16" and rows[0]["in the file"] == "4"


def number(app: AppTest, field: str) -> float:
    return float(app.number_input(key=f"train_{field}").value)


def queued(kind: str) -> list[Job]:
    """Jobs of a kind, the first one first."""
    return [job for job in reversed(queue.jobs(kind)) if job.status == "queued"]


def test_fields_start_from_the_data_with_the_reason_beside_them(open_page: Open, furnished: Furnished) -> None:
    app = open_page("train", new=1)
    assert number(app, "epochs") == 4.0
    assert number(app, "batch_size") == 8
    assert "54 examples" in texts(app)
    assert "54 training examples · 6 for validation · 40 kept for the test" in texts(app)
    assert {field.key for field in app.number_input} >= {"train_rank", "train_seed", "train_max_length"}
    # Every field explains itself.
    assert not [field.key for field in app.number_input if not field.help]


def test_only_untouched_fields_follow_another_data_set(open_page: Open, furnished: Furnished) -> None:
    many = sorting_dataset(330, 20).id
    app = open_page("train", new=1, dataset=furnished.dataset)
    app.number_input(key="train_rank").set_value(4).run()
    app.selectbox(key="train_dataset").set_value(many).run()
    assert number(app, "epochs") == 2.0
    assert number(app, "rank") == 4
    app.button(key="train_suggested").click().run()
    assert number(app, "rank") == 16


def test_method_brings_what_it_needs_unless_a_person_said_otherwise(open_page: Open, furnished: Furnished) -> None:
    app = open_page("train", new=1)
    method = "train_method"
    app.segmented_control(key=method).set_value("rslora").run()
    assert number(app, "alpha") == 16
    app.segmented_control(key=method).set_value("full").run()
    assert number(app, "learning_rate") == 2e-5
    app.segmented_control(key=method).set_value("lora").run()
    app.number_input(key="train_alpha").set_value(50).run()
    app.segmented_control(key=method).set_value("rslora").run()
    assert number(app, "alpha") == 50


def test_run_in_steps_is_a_recipe_in_steps(open_page: Open, furnished: Furnished) -> None:
    app = open_page("train", new=1)
    app.segmented_control(key="train_by").set_value("Steps").run()
    app.number_input(key="train_max_steps").set_value(30).run()
    assert {m.label: m.value for m in app.metric}["Optimiser steps"] == "30"
    app.button(key="start_training").click().run()
    assert queued("train")[0].spec["recipe"]["max_steps"] == 30


def test_forgetting_is_checked_after_the_training(open_page: Open, furnished: Furnished) -> None:
    app = open_page("train", new=1)
    app.button(key="start_training").click().run()
    (run,), (check,) = queued("train"), queued("forgetting")
    assert check.spec == {"train_job_id": run.id} and check.after == [run.id]
    assert "unexpected problem" not in texts(open_page("jobs"))


def test_on_a_busy_device_the_form_stays_and_says_the_place_in_line(open_page: Open, furnished: Furnished) -> None:
    app = open_page("train", new=1)
    app.checkbox(key="train_forgetting").uncheck().run()
    app.button(key="start_training").click().run()
    assert "run" in app.query_params
    with session() as db:
        db.execute(update(Job).where(Job.status == "queued").values(status="running", started_at=time.time()))
    app = open_page("train", new=1)
    assert app.button(key="start_training").label == "Queue another"
    app.checkbox(key="train_forgetting").uncheck().run()
    app.number_input(key="train_rank").set_value(4).run()
    app.button(key="start_training").click().run()
    assert [job.spec["recipe"]["rank"] for job in queued("train")] == [4]
    assert number(app, "rank") == 4
    assert "place 2" in texts(app)


def test_preflight_is_a_job_whose_list_is_found_again(open_page: Open, furnished: Furnished) -> None:
    app = open_page("train", new=1)
    app.button(key="train_preflight").click().run()
    (job,) = queued("preflight")
    assert job.spec["dataset_id"] == furnished.dataset and job.spec["recipe"]["rank"] == 16
    assert app.button(key="train_preflight").disabled
    _end(job.id, PASSED)
    app = open_page("train", new=1)
    said = texts(app)
    assert "Licence and access" in said and "12 of 30 tokens" in said
    assert {m.label: m.value for m in app.metric}["The whole run"] == "42 s"
    # Another recipe was not checked.
    app.number_input(key="train_rank").set_value(4).run()
    assert "Licence and access" not in texts(app)


def test_rendered_example_is_data_and_never_markup(open_page: Open, furnished: Furnished) -> None:
    app = open_page("train", new=1)
    app.button(key="train_preflight").click().run()
    _end(queued("preflight")[0].id, PASSED)
    app = open_page("train", new=1)
    shown = next(m.value for m in app.markdown if "im\\_start" in m.value)
    assert ":green-background[**" in shown
    assert "\\<b\\>" in shown and "<b>" not in shown
    assert "\\[link\\]" in shown and "www.example" not in shown


def test_failed_preflight_says_what_to_do(open_page: Open, furnished: Furnished) -> None:
    app = open_page("train", new=1)
    app.button(key="train_preflight").click().run()
    checks = [PASSED["preflight"][0], {"name": "disk", "title": "Room", "state": "fail", "detail": "Full.", "data": {}}]
    _end(
        queued("preflight")[0].id, {"preflight": checks}, status="failed", error="The disk is full", remedy="Free some."
    )
    app = open_page("train", new=1)
    assert "The disk is full" in texts(app) and "Free some" in texts(app)
    assert not app.button(key="train_preflight").disabled


def test_earlier_run_fills_the_form(open_page: Open, furnished: Furnished) -> None:
    recipe = UNUSUAL.model_copy(update={"passages": None, "report_to": []})
    spec = {"dataset_id": furnished.dataset, "recipe": recipe.model_dump(), "name": "Second try"}
    earlier = ended("train", spec, "Train: Second try")
    app = open_page("train", recipe_of=earlier)
    assert app.text_input(key="train_name").value == "Second try"
    app.button(key="start_training").click().run()
    assert queued("train")[0].spec == spec


def test_run_again_leads_from_a_run_to_its_recipe(open_page: Open, furnished: Furnished) -> None:
    app = open_page("train", run=furnished.train_job)
    app.button(key="run_again").click().run()
    assert app.text_input(key="train_name").value == "Tickets"
    assert number(app, "epochs") == 2.0


def test_recipe_of_nothing_is_said(open_page: Open, furnished: Furnished) -> None:
    assert "There is no job 999" in texts(open_page("train", recipe_of=999))


def test_recipe_file_shows_what_it_changes_and_fills_the_form(open_page: Open, furnished: Furnished) -> None:
    dataset = next(d for d in datasets() if d.id == furnished.dataset)
    file = RecipeFile.of(Recipe(rank=5, epochs=3.0), dataset=77, name=dataset.name, hash=dataset.hash)
    app = open_page("train", new=1)
    app.file_uploader(key="train_recipe_file_0").upload("mine.yaml", write_recipe(file).encode()).run()
    said = [caption.value.replace("\\", "") for caption in app.caption if "→" in caption.value]
    changes = {text.partition(":")[0]: text for text in said}
    assert {"rank", "epochs"} <= set(changes) and changes["rank"].endswith("→ 5")
    assert "Its data set is here" in texts(app)
    app.button(key="train_use_recipe").click().run()
    assert number(app, "rank") == 5 and number(app, "epochs") == 3.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"rank: 16\nbatchsize: 8\n", "mine\\.yaml, line 2"),
        (b"rank: 0\n", "rank"),
        (b"\xff\xfe\x00", "not a text file"),
        (b"rank: [", "not YAML"),
    ],
)
def test_recipe_file_that_is_wrong_is_refused_with_its_place(
    text: bytes, said: str, open_page: Open, furnished: Furnished
) -> None:
    app = open_page("train", new=1)
    app.file_uploader(key="train_recipe_file_0").upload("mine.yaml", text).run()
    assert not app.exception
    assert said in texts(app)
    assert not any(button.key == "train_use_recipe" for button in app.button)


def test_too_few_examples_are_refused_before_the_start(open_page: Open, home: Path) -> None:
    sorting_dataset(6, 20)
    app = open_page("train", new=1)
    assert "too few to learn from" in texts(app)
    assert app.button(key="start_training").disabled and app.button(key="train_preflight").disabled


def test_folder_that_is_no_model_is_refused_before_the_start(
    open_page: Open, furnished: Furnished, tmp_path: Path
) -> None:
    # AppTest's select box takes no typed model, so it comes with an earlier run.
    spec = {"dataset_id": furnished.dataset, "recipe": Recipe(model=str(tmp_path)).model_dump(), "name": "Gone"}
    app = open_page("train", recipe_of=ended("train", spec, "Train: Gone"))
    assert "is not a model" in texts(app)
    assert app.button(key="start_training").disabled
    assert "unexpected problem" not in texts(app)


def test_model_far_too_large_is_refused_and_a_device_that_would_do_is_named(
    open_page: Open, furnished: Furnished
) -> None:
    app = open_page("train", new=1)
    app.selectbox(key="train_model").set_value("meta-llama/Llama-3.3-70B-Instruct").run()
    assert app.button(key="start_training").disabled
    assert "takes at least" in texts(app)
    assert "unexpected problem" not in texts(app)


def test_change_that_makes_it_fit_is_a_button_away(
    open_page: Open, furnished: Furnished, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ThisDevice("a small GPU", 2.2, 10.0, 100.0, "cuda", 2.2)
    monkeypatch.setattr("core.forecast.training.this_device", lambda: small)
    monkeypatch.setattr("core.train.estimate.this_device", lambda: small)
    app = open_page("train", new=1)
    app.segmented_control(key="train_method").set_value("full").run()
    assert app.button(key="start_training").disabled
    button = next(b for b in app.button if b.key.startswith("train_advice") and "method to lora" in b.label)
    button.click().run()
    assert app.segmented_control(key="train_method").value == "lora"
    assert not app.button(key="start_training").disabled


def test_passages_need_an_index(open_page: Open, home: Path) -> None:
    sorting_dataset(40, 20)
    app = open_page("train", new=1)
    assert app.toggle(key="train_raft").disabled
    assert "no index" in texts(app)


def test_passages_name_their_index_in_the_job(open_page: Open, furnished: Furnished) -> None:
    app = open_page("train", new=1)
    app.toggle(key="train_raft").set_value(True).run()
    app.number_input(key="train_count").set_value(5).run()
    app.button(key="start_training").click().run()
    spec = queued("train")[0].spec
    assert spec["index_id"] == furnished.index
    assert spec["recipe"]["passages"]["count"] == 5


def test_room_for_the_passages_is_suggested(open_page: Open, furnished: Furnished) -> None:
    app = open_page("train", new=1)
    without = number(app, "max_length")
    app.toggle(key="train_raft").set_value(True).run()
    assert number(app, "max_length") >= without + 3 * 100
    app.toggle(key="train_raft").set_value(False).run()
    assert number(app, "max_length") == without


def test_training_waits_for_documents_that_are_not_searchable_yet(open_page: Open, furnished: Furnished) -> None:
    with session() as db:
        db.execute(update(Document).values(chunk_count=0))
    app = open_page("train", new=1)
    app.toggle(key="train_raft").set_value(True).run()
    assert "not searchable yet" in texts(app)
    app.button(key="start_training").click().run()
    assert queued("train")[0].after == [job.id for job in queued("index")] != []


def test_trackers_that_are_not_installed_cannot_be_chosen(open_page: Open, furnished: Furnished) -> None:
    app = open_page("train", new=1)
    for name in TRACKERS:
        assert app.checkbox(key=f"train_report_{name}").disabled == (find_spec(name) is None)


def test_memory_is_one_bar_whose_parts_add_up() -> None:
    memory = Memory(weights=3.0, adapter=0.2, gradients=0.2, optimiser=0.4, activations=1.0, logits=0.7, overhead=1.0)
    figure = memory_figure(memory, 6.0)
    assert sum(bar.x[0] for bar in figure.data) == pytest.approx(memory.total)
    # The device's own memory is drawn where it is near, and does not squeeze the bar where it is not.
    assert figure.layout.shapes[0].x0 == 6.0
    assert not memory_figure(memory, 80.0).layout.shapes


def _end(job_id: int, notes: dict[str, Any], status: str = "done", **columns: object) -> None:
    with session() as db:
        values = {"status": status, "notes": notes, "started_at": 1.0, "finished_at": 2.0} | columns
        db.execute(update(Job).where(Job.id == job_id).values(**values))
