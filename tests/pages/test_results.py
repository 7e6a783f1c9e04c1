"""What Compare says of a finished comparison: the verdict first, then the evidence that is asked for."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from sqlalchemy import func, insert, select, update

from core.data.dataset import File, create_dataset, examples_of
from core.evaluate.experiment import create_experiment, rerun
from core.evaluate.plan import Plan
from core.evaluate.report import build_report, store_report
from core.evaluate.rungs import ORDER, RungChoice
from core.evaluate.scoring import ensure_scores
from core.jobs import queue
from core.store.database import session
from core.store.lists import experiment as stored
from core.store.lists import experiments
from core.store.tables import Experiment, Job, Prediction
from pages.widgets.effects_view import effects_figure
from pages.widgets.frontier_view import pays_off
from pages.widgets.ladder import Mark, colour_of, label, ladder_figure, looks, meaning
from pages.widgets.pairs_view import matrix_figure
from pages.widgets.result import EVIDENCE
from tests.factories import jsonl, sorting, sorting_dataset
from tests.pages.furnish import NASTY, Furnished, ended
from tests.pages.looking import Open, texts

Output = Callable[[str, int, str], str | None]


def measured(dataset_id: int, rungs: list[str], output: Output, beside: str = "token_f1", **options: Any) -> int:
    """A finished experiment; `output(rung, i, reference)` is the answer to test example i, None for a failure."""
    plan = Plan(rungs=[RungChoice.model_validate(rung) for rung in rungs])
    experiment = create_experiment("Sorting", dataset_id, metrics=["exact_match", beside], plan=plan, **options)
    return answered(experiment.id, output)


def answered(experiment_id: int, output: Output) -> int:
    experiment = stored(experiment_id)
    rows = []
    for rung in Plan.model_validate(experiment.spec).ladder:
        for i, (example_id, example) in enumerate(examples_of(experiment.dataset_id, "test")):
            said = output(rung.name, i, example.reference)
            rows.append(
                {
                    "experiment_id": experiment.id,
                    "rung": rung.name,
                    "example_id": example_id,
                    "output": said or "",
                    "error": "The service hung up." if said is None else None,
                    "finish_reason": "error" if said is None else "stop",
                    "input_tokens": 50,
                    "output_tokens": 5,
                    "latency_s": 0.2 if rung.name == "base" else 0.6,
                    "retrieved": [],
                }
            )
    job_id = ended("compare", {"experiment_id": experiment_id}, "Compare: Sorting")
    with session() as db:
        db.execute(insert(Prediction), rows)
        db.get_one(Experiment, experiment_id).job_id = job_id
    ensure_scores(experiment_id)
    store_report(experiment_id, build_report(experiment_id))
    return experiment_id


def mostly(share: Mapping[str, float]) -> Output:
    """Right as often as `share` says, by chance but the same each time."""
    noise = {rung: random.Random(rung) for rung in share}
    return lambda rung, i, reference: reference if noise[rung].random() < share[rung] else f"no idea {NASTY}"


def test_verdict_stands_first_in_one_paragraph_with_its_numbers(open_page: Open, furnished: Furnished) -> None:
    app = open_page("compare", experiment=furnished.finished)
    assert app.header[0].value == "lora"
    said = texts(app)
    assert "better" in said
    reason = stored(furnished.finished).report["verdict"]["reason"]  # type: ignore[index]
    assert reason.split(".")[0] in said.replace("\\", "")
    numbers = {metric.label: metric.value for metric in app.metric}
    assert numbers["Score"] == "100.0 %"
    assert numbers["Answered"] == "40 of 40"
    assert "How this is reached" in {popover.proto.popover.label for popover in app.get("popover")}


def test_every_kind_of_evidence_opens(open_page: Open, furnished: Furnished) -> None:
    app = open_page("compare", experiment=furnished.finished, evidence=EVIDENCE[0])
    expected = (
        "Tuning bought 86",
        "Failed and empty answers score 0",
        "pairs** can be told apart",
        "Macro-F1",
        "Worth considering",
        "Nobody has voted yet",
    )
    for shown, words in zip(EVIDENCE, expected, strict=True):
        app.session_state["evidence"] = shown
        app.run()
        assert not app.error
        assert words in texts(app)


def test_failures_are_counted_and_pairs_told_in_both_directions(open_page: Open, furnished: Furnished) -> None:
    app = open_page("compare", experiment=furnished.finished, evidence="All scores")
    metrics, rows = app.dataframe[0].value, app.dataframe[1].value
    assert rows["rung"].tolist() == ["base", "prompt", "rag", "lora", "rag+lora"]
    assert rows["scored"].tolist()[0] == "39 of 40"
    assert rows["failed"].tolist() == [1, 0, 0, 0, 0]
    assert "Exact match (decides)" in metrics.columns
    assert "base 1 of 40" in texts(app)
    app.session_state["evidence"] = "Pair by pair"
    app.run()
    assert len(app.dataframe[0].value) == 10
    assert {"difference", "p adjusted", "outcome"} <= set(app.dataframe[0].value.columns)
    report = stored(furnished.finished).report
    assert report is not None
    squares = matrix_figure(report).data[0]
    for i in range(5):
        assert squares.z[i][i] is None
        for j in range(i):
            assert squares.z[i][j] == pytest.approx(-squares.z[j][i])
    names = [row["rung"] for row in report["rungs"]]
    assert squares.text[names.index("lora")][names.index("base")].startswith("▲")


def test_effects_are_drawn_where_they_were_measured() -> None:
    effect = {"factor": "retrieval x adapter", "kind": "interaction", "effect": -0.2, "interval": [-0.4, 0.1]}
    figure = effects_figure([effect | {"outcome": "cannot tell yet"}])
    assert figure.data[0].x[0] == pytest.approx(-20)
    assert figure.data[0].error_x.array[0] == pytest.approx(30)
    assert figure.data[0].marker.symbol == "diamond"


def test_break_even_in_words() -> None:
    cheap = {"rung": "prompt", "score": 0.5, "usd_per_1000": 1.0, "setup_usd": 0.0}
    tuned = {"rung": "lora", "score": 0.8, "usd_per_1000": 0.5, "setup_usd": 120.0}
    dear = {"rung": "rag", "score": 0.4, "usd_per_1000": 2.0, "setup_usd": 240.0}
    rows = [cheap, tuned, dear]
    # 120 dollars over 12 months at half a dollar saved per thousand.
    assert pays_off(rows, tuned, cheap, 12) == "lora costs less than prompt from about 20,000 requests a month."
    assert pays_off(rows, cheap, tuned, 12) == "prompt costs less than lora up to about 20,000 requests a month."
    assert pays_off(rows, cheap, dear, 12) == "prompt costs less than rag at any volume."
    assert pays_off(rows, dear, cheap, 12) == "rag costs more than prompt at any volume."


def test_an_older_report_is_built_anew_once(open_page: Open, furnished: Furnished) -> None:
    with session() as db:
        db.get_one(Experiment, furnished.finished).report = {"verdict": {"rung": "lora"}, "rungs": []}
    app = open_page("compare", experiment=furnished.finished)
    assert app.header[0].value == "lora"
    report = stored(furnished.finished).report
    assert report is not None and report["effects"]


def test_running_shows_every_rung_and_the_scores_so_far(open_page: Open, furnished: Furnished) -> None:
    job_id = stored(furnished.stopped).job_id
    notes = {
        "base": {"done": 25, "total": 40, "state": "running", "reused": 3},
        "prompt": {"done": 0, "total": 40, "state": "waiting", "reused": 0},
    }
    with session() as db:
        db.execute(update(Job).where(Job.id == job_id).values(notes={"rungs": notes}))
    app = open_page("compare", experiment=furnished.stopped)
    assert "Preliminary" in texts(app)
    assert any(button.label == "Resume" for button in app.button)
    progress = app.dataframe[0].value
    assert progress["answers"].tolist() == ["25 of 40", "0 of 40"]
    assert progress["taken over"].tolist() == [3, 0]
    later = open_page("compare", experiment=furnished.stopped, part="Take away")
    assert "as soon as every rung has answered" in texts(later)


def test_over_time_names_the_examples_that_were_lost(open_page: Open, furnished: Furnished) -> None:
    again = rerun(furnished.finished)
    with session(read_only=True) as db:
        before = {
            (p.rung, p.example_id): p
            for p in db.scalars(select(Prediction).where(Prediction.experiment_id == furnished.finished))
        }
    ids = [example_id for example_id, _ in examples_of(furnished.dataset, "test")]

    def spoilt(rung: str, i: int, reference: str) -> str:
        return "lost" if rung == "lora" and i < 9 else before[rung, ids[i]].output

    answered(again.id, spoilt)
    app = open_page("compare", experiment=again.id, part="Over time")
    runs, changed, listed = (app.dataframe[i].value for i in range(3))
    assert runs["number"].tolist() == [again.id, furnished.finished]
    lora = changed[changed["rung"] == "lora"].iloc[0]
    assert (lora["lost"], lora["gained"], lora["same"], lora["outcome"]) == (9, 0, 31, "worse")
    assert "**0** got better and **1** worse" in texts(app)
    assert listed["change"].tolist() == ["lost"] * 9


def test_run_again_queues_the_same_experiment_and_shows_it(
    open_page: Open, furnished: Furnished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "dispatch", list)
    app = open_page("compare", experiment=furnished.finished, part="Over time")
    app.radio(key="rerun_how").set_value("Ask everything afresh").run()
    app.button(key="rerun").click().run()
    assert not app.exception
    newest = experiments()[0]
    assert newest.rerun_of == furnished.finished
    assert newest.spec["fresh"] is True
    assert queue.jobs()[0].spec == {"experiment_id": newest.id}
    assert app.selectbox(key="choose_experiment").value == newest.id
    assert any(button.label == "Cancel" for button in app.button)


def test_other_metrics_ask_nothing_again(
    open_page: Open, furnished: Furnished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "dispatch", list)
    count = select(func.count(Prediction.id), func.max(Prediction.id))
    with session(read_only=True) as db:
        before = tuple(db.execute(count).one())
    app = open_page("compare", experiment=furnished.finished)
    app.button(key="change_metrics").click().run()
    next(box for box in app.selectbox if box.label == "Metric").set_value("token_f1")
    # AppTest draws the whole page each time, in which the dialog stays only as long as its button is pressed.
    app.button(key="change_metrics").click()
    app.button(key="score_anew").click().run()
    assert not app.exception
    changed = stored(furnished.finished)
    assert changed.metric == "token_f1"
    assert changed.report is None
    assert queue.jobs()[0].spec == {"experiment_id": furnished.finished}
    with session(read_only=True) as db:
        assert tuple(db.execute(count).one()) == before


def test_every_file_to_take_away_can_be_made(
    open_page: Open, furnished: Furnished, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, str] = {}
    drawn = st.download_button

    def noting(title: str, data: Any, name: str, *more: Any, **options: Any) -> bool:
        content = data()
        made[name] = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        return drawn(title, data, name, *more, **options)

    monkeypatch.setattr(st, "download_button", noting)
    app = open_page("compare", experiment=furnished.finished, part="Take away")
    assert "unexpected problem" not in texts(app)
    stem = f"comparison-{furnished.finished}"
    assert {Path(name).suffix for name in made} == {".html", ".md", ".csv", ".jsonl", ".json", ".yaml"}
    assert "<script" not in made[f"{stem}.html"] and "<b>b</b>" not in made[f"{stem}.html"]
    assert json.loads(made["report.json"])["verdict"]["rung"] == "lora"
    lines = made[f"{stem}-answers.jsonl"].splitlines()
    assert len(lines) == 200 and all(json.loads(line)["example"] >= 0 for line in lines)
    assert made[f"{stem}-scores.csv"].count("\n") == 6
    # Numbers, which a spreadsheet can reckon with; only texts are kept from being formulas.
    first = made[f"{stem}-pairs.csv"].splitlines()[1].split(",")
    assert first[:2] == ["prompt", "base"] and float(first[3]) <= float(first[2]) <= float(first[4])


@pytest.mark.parametrize(
    ("tests", "rungs", "output"),
    [
        pytest.param(1, ["base", "prompt"], lambda rung, i, reference: reference, id="one test example"),
        pytest.param(12, ["base", "prompt"], lambda rung, i, reference: reference, id="all scores equal"),
        pytest.param(12, ["base", "prompt"], lambda rung, i, reference: None, id="every answer failed"),
        pytest.param(12, ["base", "prompt"], lambda rung, i, reference: "", id="every answer empty"),
        pytest.param(12, ["base"], lambda rung, i, reference: "fruit", id="one rung"),
        pytest.param(12, ["base", "prompt"], lambda rung, i, reference: NASTY * 1500, id="long and hostile answers"),
    ],
)
def test_extremes_have_a_defined_outcome_in_every_view(
    tests: int, rungs: list[str], output: Output, open_page: Open
) -> None:
    experiment_id = measured(sorting_dataset(14, tests).id, rungs, output)
    app = open_page("compare", experiment=experiment_id)
    assert app.header[0].value.removeprefix("Meanwhile: ") in {*rungs, "No rung yet"}
    for shown in EVIDENCE[1:]:
        app.session_state["evidence"] = shown
        app.run()
        assert not app.exception
        assert "unexpected problem" not in texts(app), shown
        assert f"{tests} test example" in texts(app).replace("\\", "")


def test_a_metric_that_does_not_apply_to_a_rung_says_so(open_page: Open, furnished: Furnished) -> None:
    output = mostly({"base": 0.3, "rag": 0.9})
    experiment_id = measured(
        furnished.dataset, ["base", "rag"], output, beside="retrieval_recall", index_id=furnished.index
    )
    app = open_page("compare", experiment=experiment_id, evidence="All scores")
    assert app.dataframe[0].value.iloc[0, 2] == "does not apply"
    assert app.dataframe[0].value.iloc[1, 2] != "does not apply"


def test_labels_have_a_confusion_matrix_and_a_score_each(open_page: Open) -> None:
    records = [record | {"label": "even" if i % 2 else "odd"} for i, record in enumerate(sorting(60, 1000))]
    dataset = create_dataset("Kinds", File("train.jsonl", jsonl(sorting(14))), File("test.jsonl", jsonl(records)))
    experiment_id = measured(dataset.id, ["base", "prompt"], mostly({"base": 0.3, "prompt": 0.9}))
    app = open_page("compare", experiment=experiment_id, evidence="By kind of question")
    said = texts(app)
    assert "unexpected problem" not in said
    by_label = app.dataframe[0].value
    assert set(by_label["label"]) == {"even", "odd"}
    assert by_label["examples"].sum() == 60
    assert "accuracy, %" in app.dataframe[1].value.columns


def test_rungs_of_other_models_share_a_colour_and_not_a_marker() -> None:
    found = looks(["rag", "rag@remote/big", "rag#7", "lora#7"])
    assert len({look.colour for look in found.values()}) == 2
    assert len({(look.symbol, look.dash) for rung, look in found.items() if rung.startswith("rag")}) == 3
    assert found["rag#7"].symbol == found["lora#7"].symbol
    assert len({colour_of(rung) for rung in ORDER}) == len(ORDER)
    assert all(meaning(f"{rung}#3@remote/x").endswith(".") for rung in ORDER)


def test_names_of_models_are_no_markup_in_charts() -> None:
    name = "rag@remote/<b onclick=x>%{y}</b>"
    assert "<b onclick" not in label(name) and "%{" not in label(name)
    figure = ladder_figure([Mark(name, 0.5, (0.4, 0.6))], "Scores")
    assert all("<b onclick" not in str(note.text) for note in figure.layout.annotations)
    assert all("<b onclick" not in str(trace.text) for trace in figure.data)
