"""What the form of a new comparison offers, says and starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from streamlit.testing.v1 import AppTest

from core.data.dataset import File, create_dataset, examples_of
from core.evaluate.experiment import create_experiment
from core.evaluate.plan import JudgePlan, MetricChoice, Plan, PromptTemplate, RetrieverChoice
from core.evaluate.rungs import CUBE, names_of
from core.jobs import queue
from core.models.services import Service, save
from core.store.database import session
from core.store.lists import experiments
from core.store.tables import Document, Example, Experiment, Index
from tests.factories import chat, jsonl, sorting
from tests.pages.furnish import Furnished
from tests.pages.looking import Open, texts


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are queued, and none begins."""
    monkeypatch.setattr(queue, "dispatch", list)


def start(app: AppTest) -> Experiment:
    """Press the button; the experiment that comes of it."""
    before = {experiment.id for experiment in experiments()}
    assert not app.button(key="start_comparing").disabled, texts(app)
    app.button(key="start_comparing").click().run()
    assert not app.exception
    (new,) = [experiment for experiment in experiments() if experiment.id not in before]
    return new


def plan_of(experiment: Experiment) -> Plan:
    return Plan.model_validate(experiment.spec)


def test_retrieval_without_documents_is_refused_before_anything_starts(open_page: Open, furnished: Furnished) -> None:
    app = open_page("compare", new=1)
    app.selectbox(key="compare_index").set_value(0).run()
    assert "documents to retrieve from" in texts(app)
    assert app.button(key="start_comparing").disabled


def test_what_it_shows_and_takes_is_said_before(open_page: Open, furnished: Furnished) -> None:
    app = open_page("compare", new=1)
    said = texts(app)
    assert "With 40 test examples" in said
    assert "all 10 pairs of rungs are compared" in said
    figures = {metric.label: metric.value for metric in app.metric}
    assert figures["Rough time"] != "unknown"
    assert figures["Bill of services"] == "none"
    assert "200 answers and one training" in said
    assert "No test prompt is also a training prompt" in said
    by_rung = next(table.value for table in app.dataframe if "tokens read" in table.value)
    assert by_rung["rung"].tolist() == ["base", "prompt", "rag", "lora", "rag+lora"]
    more = next(table.value for table in app.dataframe if "test examples" in table.value)
    assert more["test examples"].tolist() == ["40 (now)", "80", "160", "320", "640"]


def test_start_with_an_existing_adapter_queues_one_comparison(
    open_page: Open, furnished: Furnished, waiting: None
) -> None:
    app = open_page("compare", new=1, adapter=furnished.adapter)
    before = len(queue.jobs())
    newest = start(app)
    assert newest.adapter_id == furnished.adapter
    assert [job.kind for job in queue.jobs()[: len(queue.jobs()) - before]] == ["compare"]


def test_unfinished_index_is_built_first(open_page: Open, furnished: Furnished, waiting: None) -> None:
    with session() as db:
        db.execute(update(Document).where(Document.index_id == furnished.index).values(chunk_count=0))
        assert db.get(Index, furnished.index)
    start(open_page("compare", new=1))
    compare, train, index = queue.jobs()[:3]
    assert (compare.kind, train.kind, index.kind) == ("compare", "train", "index")
    assert set(compare.after) == {index.id, train.id}


def test_a_preset_chooses_its_rungs_and_they_can_be_changed_one_by_one(
    open_page: Open, furnished: Furnished, waiting: None
) -> None:
    app = open_page("compare", new=1)
    assert app.session_state["compare_preset"] == "The ladder"
    app.segmented_control(key="compare_preset").set_value("All eight (2 x 2 x 2)").run()
    assert set(app.session_state["compare_rungs"]) == set(names_of(CUBE))
    app.segmented_control(key="compare_preset").set_value("RAG against LoRA").run()
    assert app.session_state["compare_rungs"] == ["base", "rag", "lora", "rag+lora"]
    app.pills(key="compare_rungs").set_value(["base", "prompt+rag"]).run()
    assert app.session_state["compare_preset"] is None
    assert names_of(plan_of(start(app)).ladder) == ["base", "prompt+rag"]


def test_without_documents_a_preset_leaves_out_what_needs_them(open_page: Open, furnished: Furnished) -> None:
    app = open_page("compare", new=1)
    app.selectbox(key="compare_index").set_value(0).run()
    app.segmented_control(key="compare_preset").set_value("All eight (2 x 2 x 2)").run()
    assert app.session_state["compare_rungs"] == ["base", "prompt", "lora", "prompt+lora"]
    assert not app.button(key="start_comparing").disabled


def test_no_rung_is_refused(open_page: Open, furnished: Furnished) -> None:
    app = open_page("compare", new=1)
    app.pills(key="compare_rungs").set_value([]).run()
    assert not app.exception
    assert app.button(key="start_comparing").disabled


def test_a_bought_fine_tune_and_another_model_stand_beside_the_ladder(
    open_page: Open, furnished: Furnished, waiting: None
) -> None:
    save(Service(name="shop", url="http://127.0.0.1:9/v1", price_input=2.0, price_output=8.0))
    app = open_page("compare", new=1, adapter=furnished.adapter)
    app.session_state["services_listed"] = {"shop": ["remote:shop/large", "remote:shop/our-tune"]}
    app.button(key="compare_add_row").click().run()
    assert not app.button(key="start_comparing").disabled  # without a model, the row is none yet
    app.selectbox(key="compare_row_1_model").set_value("remote:shop/our-tune").run()
    app.checkbox(key="compare_row_1_tuned").check().run()
    app.button(key="compare_add_row").click().run()
    app.selectbox(key="compare_row_2_model").set_value("remote:shop/large").run()
    app.pills(key="compare_row_2_shown").set_value(["Worked examples", "Passages"]).run()
    assert "$" in next(metric.value for metric in app.metric if metric.label == "Bill of services")
    app.number_input(key="compare_cap").set_value(0.01).run()
    assert "the cap may end it early" in texts(app)
    plan = plan_of(start(app))
    assert names_of(plan.ladder)[-1] == "managed@remote:shop/our-tune"
    assert "prompt+rag@remote:shop/large" in names_of(plan.ladder)
    assert plan.spending_cap_usd == 0.01


def test_a_row_is_removed_and_the_same_rung_twice_is_refused(open_page: Open, furnished: Furnished) -> None:
    app = open_page("compare", new=1)
    app.button(key="compare_add_row").click().run()
    app.selectbox(key="compare_row_1_model").set_value("").run()
    assert "the rung base is there twice" in texts(app)
    assert app.button(key="start_comparing").disabled
    app.button(key="compare_row_1_remove").click().run()
    assert not app.button(key="start_comparing").disabled


def test_an_unknown_service_is_said_before_the_start(open_page: Open, furnished: Furnished) -> None:
    plan = Plan(rungs=["base", "base@remote:gone/x"])
    earlier = create_experiment("Before", furnished.dataset, metrics=["exact_match"], plan=plan)
    assert "There is no service called gone" in texts(open_page("compare", again=earlier.id))


def test_the_form_says_the_plan_of_an_experiment_run_again(
    open_page: Open, furnished: Furnished, waiting: None
) -> None:
    train = [row_id for row_id, _ in examples_of(furnished.dataset, "train")[:3]]
    rungs = ["base", "prompt", "rag", "lora", "rag+lora", f"lora#{furnished.adapter}", "base@remote/x"]
    plan = Plan(
        rungs=rungs,
        shot_choice="chosen",
        shot_ids=[train[2], train[0]],
        passages=4,
        retrieval=RetrieverChoice(mode="hybrid", dense_weight=0.7, min_score=0.2),
        template=PromptTemplate(system="Be brief.", question="Q: {question}", passages="{passages}\n\n{question}"),
        max_new_tokens=40,
        temperature=0.5,
        top_p=0.9,
        samples=3,
        seed=5,
        spending_cap_usd=2.5,
        minimums={"base": 0.1, "lora": 0.6},
        judge=JudgePlan(model="remote/judge", rubric="The shorter one.", pairs="all", examples=7),
    )
    metrics = [MetricChoice(name="token_f1"), MetricChoice(name="exact_match")]
    adapter = {"index_id": furnished.index, "adapter_id": furnished.adapter}
    earlier = create_experiment(
        "Before", furnished.dataset, metrics=metrics, plan=plan, target=0.8, delta=0.03, **adapter
    )
    app = open_page("compare", again=earlier.id)
    assert "again" not in app.query_params
    assert app.text_input(key="compare_name").value == "Before"
    with pytest.MonkeyPatch.context() as patch:
        started: list[Any] = []
        patch.setattr("pages.widgets.compare_form._start", lambda wanted: started.append(wanted) or earlier)
        app.button(key="start_comparing").click().run()
    (wanted,) = started
    assert names_of(wanted.plan.ladder) == names_of(plan.ladder)
    assert wanted.plan.model_dump(exclude={"rungs"}) == plan.model_dump(exclude={"rungs"})
    assert wanted.metrics == tuple(metrics)
    assert wanted.rerun_of == earlier.id
    assert (wanted.target, wanted.delta) == (0.8, pytest.approx(0.03))
    assert (wanted.dataset_id, wanted.index_id, wanted.adapter_id) == (
        furnished.dataset,
        furnished.index,
        furnished.adapter,
    )


def test_a_link_to_run_again_what_is_gone_says_so(open_page: Open, furnished: Furnished) -> None:
    assert "Experiment 999 does not exist any more" in texts(open_page("compare", again=999)).replace("\\", "")
    assert "names no comparison" in texts(open_page("compare", again="x"))


def test_what_is_sent_is_shown_and_follows_the_template(open_page: Open, furnished: Furnished) -> None:
    app = open_page("compare", new=1, rungs="base,prompt")
    app.text_area(key="compare_question").set_value("Sort this: {question}").run()
    app.toggle(key="compare_preview").set_value(True).run()
    said = texts(app)
    assert "Sort this: Message 60" in said
    assert said.count("Sort this: ") == 9  # eight worked examples in the same words
    app.selectbox(key="compare_preview_rung").set_value("base").run()
    assert texts(app).count("Sort this: ") == 1


def test_a_template_that_asks_nothing_is_refused(open_page: Open, furnished: Furnished) -> None:
    app = open_page("compare", new=1)
    app.text_area(key="compare_question").set_value("Say something.").run()
    assert not app.exception
    assert "must hold {question}" in texts(app).replace("\\", "")
    assert app.button(key="start_comparing").disabled


def test_worked_examples_are_picked_by_hand(open_page: Open, furnished: Furnished, waiting: None) -> None:
    app = open_page("compare", new=1, rungs="base,prompt")
    app.segmented_control(key="compare_shot_choice").set_value("chosen").run()
    assert "No worked example was chosen" in texts(app)
    app.text_input(key="compare_shot_search").set_value("message 17:").run()
    with session(read_only=True) as db:
        wanted = db.scalar(select(Example.id).where(Example.split == "train", Example.folded.contains("message 17:")))
    app.multiselect(key="compare_shot_ids").set_value([wanted]).run()
    app.text_input(key="compare_shot_search").set_value("message 3:").run()
    assert app.session_state["compare_shot_ids"] == [wanted]
    plan = plan_of(start(app))
    assert (plan.shot_choice, plan.shot_ids) == ("chosen", [wanted])


def test_repeated_answers_need_a_temperature(open_page: Open, furnished: Furnished, waiting: None) -> None:
    app = open_page("compare", new=1, rungs="base,prompt")
    assert app.number_input(key="compare_samples").disabled
    app.number_input(key="compare_temperature").set_value(0.7).run()
    app.number_input(key="compare_samples").set_value(3).run()
    assert "240 answers" in texts(app)
    assert plan_of(start(app)).samples == 3


def test_metrics_beside_the_deciding_one_go_into_the_experiment(
    open_page: Open, furnished: Furnished, waiting: None
) -> None:
    app = open_page("compare", new=1, rungs="base,prompt")
    metric = next(box for box in app.selectbox if box.label == "Metric")
    metric.set_value("json_match").run()
    beside = next(box for box in app.multiselect if box.label == "Measured beside it")
    beside.set_value(["exact_match", "json_valid"]).run()
    newest = start(app)
    assert newest.metric == "json_match"
    assert [choice["name"] for choice in newest.metrics] == ["json_match", "exact_match", "json_valid"]


def test_a_test_that_leaks_is_said_with_a_way_to_see_it(open_page: Open, home: Path) -> None:
    about = "the red tractor behind the old barn by the river, which nobody has driven since the flood of last spring"
    train = [*sorting(20), chat(f"Who owns {about}, and why?", "Ada")]
    test = [chat(f"Who owns {about}, or why?", "Ada"), chat("Which kind is something new, number 77?", "tool")]
    create_dataset("leaky", File("train.jsonl", jsonl(train)), File("test.jsonl", jsonl(test)))
    app = open_page("compare", new=1)
    assert "1 test example of 2 nearly repeats training examples" in texts(app)


def test_the_comparison_can_be_taken_along_as_a_file(open_page: Open, furnished: Furnished) -> None:
    app = open_page("compare", new=1, rungs="base,prompt")
    (written,) = [code.value for code in app.code if "rungs" in code.value]
    assert "prompt" in written and "python -m core compare" in texts(app)


def test_choice_is_kept_when_one_comes_back(open_page: Open, furnished: Furnished) -> None:
    app = open_page("compare", new=1)
    app.text_area(key="compare_system").set_value("Be brief.").run()
    app.pills(key="compare_rungs").set_value(["base", "prompt"]).run()
    app.switch_page("pages/jobs.py").run()
    app.switch_page("pages/compare.py").run()
    assert app.text_area(key="compare_system").value == "Be brief."
    assert app.session_state["compare_rungs"] == ["base", "prompt"]
