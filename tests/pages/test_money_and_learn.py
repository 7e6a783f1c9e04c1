"""What the money and the explainer show is what the cost model says, and an edited assumption is in the address."""

from __future__ import annotations

import csv
import datetime as dt
import io
import time
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from core.decide.assumptions import Assumptions, assumptions_from, open_models
from core.decide.costs import RUNGS, break_even, costs, curves, monthly
from core.decide.prices import prices
from core.export import safe_csv
from core.models.estimate import training_hours, training_memory
from pages.widgets.assumptions import FIELDS, LISTED
from pages.widgets.break_even import LEAST_USD, about, break_even_figure, pays_off
from pages.widgets.learn import METHODS, texts, way_rows
from pages.widgets.money import money_rows
from tests.pages.looking import texts as said

TODAY = dt.date(2026, 11, 21)
FORM = {"prompt_tried": "no", "gap": "behavior"}
# What few can have and nobody may break: the ends of what the wizard lets one say.
EXTREMES: list[dict[str, Any]] = [
    {"requests_per_day": 0},
    {"requests_per_day": 1e9},
    {"corpus_tokens": 0},
    {"corpus_tokens": 1e12},
    {"prompt_tokens": 0},
    {"prompt_tokens": 1e7},
    {"examples": 1e9},
    {"gpu_gb": 4},
    {"gpu_gb": 80},
    {"data_may_leave": False},
    {"data_may_leave": False, "gpu_gb": 24, "corpus_tokens": 150_000},
]


# The source of these two becomes a script of its own, so they name only what they import or builtins.
def _money(answers: dict, rung: str, today: object) -> None:
    from pages.widgets.money import draw_money

    draw_money(answers, rung, today)


def _learn(model: str | None) -> None:
    from pages.widgets.learn import draw_learn

    draw_learn(model)


def money(answers: dict[str, Any], rung: str = "prompt", today: dt.date = TODAY, **address: str) -> AppTest:
    app = AppTest.from_function(_money, default_timeout=30, args=(answers, rung, today))
    for field, words in address.items():
        app.query_params[f"cost.{field}"] = words
    return opened(app)


def opened(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception
    return app


def after(widget: Any) -> AppTest:
    """The page after a change of one of its widgets."""
    app: AppTest = widget.run()
    assert not app.exception
    return app


def same_as(app: AppTest, assumed: Assumptions, rung: str, today: dt.date = TODAY) -> None:
    """The table says what the cost model says, to the last digit."""
    frame = app.dataframe[0].value
    found = costs(assumed, today)
    assert [name.lstrip("★✕ ") for name in frame["rung"]] == sorted(found, key=lambda name: not found[name].available)
    for row in frame.to_dict("records"):
        name = row["rung"].lstrip("★✕ ")
        assert row["US$ a month"] == monthly(assumed, name, assumed.requests_per_day)
        assert row["set-up bills, US$"] == found[name].setup_usd
        assert row["set-up work, hours"] == found[name].setup_hours
        assert row["US$ per 1,000 requests"] == found[name].usd_per_1000
        assert row["answer, s"] == found[name].latency_s
        memory = row["GPU memory, GB"]
        assert memory == found[name].memory_gb or (memory != memory and not found[name].memory_gb)
        assert ("★" in row["rung"]) == (name == rung)
        assert ("✕" in row["rung"]) == (not found[name].available)
        if not found[name].available:
            captions = [caption.value.replace("\\", "") for caption in app.caption]
            assert any(name in caption and found[name].note in caption for caption in captions)


@pytest.mark.parametrize("rung", RUNGS)
def test_every_rung_is_drawn_with_the_figures_of_the_cost_model(rung: str) -> None:
    app = money(FORM, rung)
    same_as(app, Assumptions(), rung)


@pytest.mark.parametrize("answers", EXTREMES)
def test_answers_at_the_ends_are_drawn(answers: dict[str, Any]) -> None:
    same_as(money(answers, "rag+qlora"), assumptions_from(answers), "rag+qlora")


def test_the_headline_tells_the_break_even() -> None:
    app = money(FORM, api_model="gpt-4.1-mini")
    volume = break_even(Assumptions(api_model="gpt-4.1-mini"), "lora", "prompt")
    assert volume is not None
    assert f"from about {about(volume)} requests a day; you have 1,000" in said(app).replace("\\", "")


def test_a_break_even_is_told_as_it_is() -> None:
    usual = Assumptions()
    assert "within 10 million requests a day" in pays_off(usual, "lora", "prompt")
    assert pays_off(usual, "rag", "long-context").endswith("at any volume.")
    dear = Assumptions(api_model="gpt-4.1-mini", requests_per_day=50_000)
    assert pays_off(dear, "lora", "prompt").endswith("you have 50,000, so it does.")
    own_gpu = Assumptions(gpu_gb=12, train_gpu="t4", serve_gpu="t4")
    assert break_even(own_gpu, "qlora", "prompt") is None
    assert "costs less than the long prompt at your 1,000 requests a day, but" in pays_off(own_gpu, "qlora", "prompt")


def test_an_edited_assumption_changes_the_table_and_the_address() -> None:
    app = money(FORM)
    after(app.number_input(key="edit_requests_per_day").set_value(20_000.0))
    after(app.selectbox(key="edit_api_model").select("claude-sonnet-5-5"))
    after(app.toggle(key="edit_data_may_leave").set_value(False))
    after(app.number_input(key="edit_concurrent").set_value(4))
    assert dict(app.query_params) == {
        "cost.requests_per_day": "20000",
        "cost.api_model": "claude-sonnet-5-5",
        "cost.data_may_leave": "false",
        "cost.concurrent": "4",
    }
    edited = Assumptions(requests_per_day=20_000, api_model="claude-sonnet-5-5", data_may_leave=False, concurrent=4)
    same_as(app, edited, "prompt")


def test_a_link_brings_edited_assumptions_back() -> None:
    app = money(FORM, requests_per_day="20000", train_gpu="h100-80gb", data_may_leave="false")
    same_as(app, Assumptions(requests_per_day=20_000, train_gpu="h100-80gb", data_may_leave=False), "prompt")
    assert app.number_input(key="edit_requests_per_day").value == 20_000
    assert app.selectbox(key="edit_train_gpu").value == "h100-80gb"
    assert "changed" in app.number_input(key="edit_requests_per_day").label
    assert "changed" not in app.number_input(key="edit_months").label


def test_changed_assumptions_are_set_back_singly_and_together() -> None:
    app = money({"requests_per_day": 3_000}, requests_per_day="20000", months="24", epochs="5")
    after(app.button(key="reset_requests_per_day").click())
    assert set(app.query_params) == {"cost.months", "cost.epochs"}
    same_as(app, Assumptions(requests_per_day=3_000, months=24, epochs=5), "prompt")
    after(app.button(key="reset_costs").click())
    assert not app.query_params
    same_as(app, Assumptions(requests_per_day=3_000), "prompt")
    assert not [button for button in app.button if str(button.key).startswith("reset_")]


def test_an_assumption_put_back_by_hand_leaves_the_address() -> None:
    app = money(FORM, months="24")
    after(app.number_input(key="edit_months").set_value(12.0))
    assert not app.query_params


def test_unedited_assumptions_follow_the_answers() -> None:
    answers = {"requests_per_day": 10}
    app = money(answers)
    answers["requests_per_day"] = 70
    assert opened(app).number_input(key="edit_requests_per_day").value == 70


@pytest.mark.parametrize("words", ["abc", "nan", "inf", "-5", "", "1e99", "**bold** <b>"])
def test_garbage_in_the_address_is_ignored_in_one_sentence(words: str) -> None:
    app = money(FORM, requests_per_day=words, nonsense=words, api_model=words, months="6")
    assert len(app.warning) == 1
    warning = app.warning[0].value.replace("\\", "")
    assert all(f"cost.{name}" in warning for name in ("requests_per_day", "nonsense", "api_model"))
    assert "<b>" not in app.warning[0].value and "**bold" not in app.warning[0].value
    same_as(app, Assumptions(months=6), "prompt")
    after(app.number_input(key="edit_months").set_value(7.0))
    assert not app.warning
    assert set(app.query_params) == {"cost.months"}


def test_every_assumption_can_be_edited_within_its_bounds() -> None:
    app = money(FORM)
    for field, schema in FIELDS.items():
        default = Assumptions.model_fields[field].default
        if field in LISTED:
            box = app.selectbox(key=f"edit_{field}")
            assert box.value == default and len(box.options) > 1
        elif isinstance(default, bool):
            assert app.toggle(key=f"edit_{field}").value == default
        else:
            number = app.number_input(key=f"edit_{field}")
            assert (number.value, number.min, number.max) == (default, schema["minimum"], schema["maximum"])
            assert schema["title"] in number.label and number.help == schema["description"]


def test_a_closed_service_and_old_prices_are_said() -> None:
    late = dt.date(2027, 2, 1)
    app = money(FORM, "managed", late, managed_model="gpt-4.1-mini")
    same_as(app, Assumptions(managed_model="gpt-4.1-mini"), "managed", late)
    words = said(app).replace("\\", "")
    assert "As assumed it cannot be had. OpenAI has started no trainings of gpt-4.1-mini since 2027-01-06" in words
    assert ":orange-badge[stale]" in words and "look it up again after 120 days" in words
    assert "stale" in app.expander[1].label


def test_a_closing_service_is_said() -> None:
    words = said(money(FORM, "managed", managed_model="gpt-4.1-mini")).replace("\\", "")
    assert "closed to new customers since 2026-05-07" in words and "cannot be had." not in words


def test_a_warm_step_is_drawn_in_a_tenth_of_a_second() -> None:
    apps = money(FORM), opened(AppTest.from_function(_learn, default_timeout=30, args=(None,)))
    for app in apps:
        seconds = []
        for _ in range(6):
            start = time.perf_counter()
            opened(app)
            seconds.append(time.perf_counter() - start)
        # The quickest of several, and with what AppTest itself takes, since the machine has other work too.
        assert min(seconds) < 0.2


def test_every_price_used_has_its_source_and_date() -> None:
    words = said(money(FORM)).replace("\\", "")
    table, usual = prices(), Assumptions()
    for entry in (table.model(usual.api_model), table.tuned_model(usual.managed_model)):
        assert entry.source in words and f"read on {entry.read}" in words
    assert table.gpu(usual.train_gpu).price_source in words


def test_the_sheet_holds_every_figure_and_no_formula() -> None:
    found = costs(Assumptions(), TODAY)
    rows = list(csv.DictReader(io.StringIO(safe_csv(money_rows(Assumptions(), found, "rag")).decode("utf-8-sig"))))
    assert [row["rung"] for row in rows] == list(RUNGS)
    assert float(rows[3]["US$ per 1,000 requests"]) == found["lora"].usd_per_1000


@pytest.mark.parametrize("rung", ["long-context", "qlora", "rag+managed"])
@pytest.mark.parametrize("answers", EXTREMES)
def test_the_chart_draws_the_curves_of_the_cost_model(rung: str, answers: dict[str, Any]) -> None:
    assumed = assumptions_from(answers)
    found = costs(assumed, TODAY)
    figure, points = break_even_figure(assumed, found, rung)
    *lines, you, marks = figure.data
    assert rung in {line.name.removeprefix("★ ") for line in lines}
    for line in lines:
        expected = curves(assumed, [line.name.removeprefix("★ ")], line.x)[line.name.removeprefix("★ ")]
        assert [max(LEAST_USD, value) for value in expected] == pytest.approx(list(line.y))
    assert set(you.x) == {assumed.requests_per_day}
    low, high = figure.layout.xaxis.range
    assert len(marks.x) == points
    assert all(10**low <= volume <= 10**high for volume in (*marks.x, assumed.requests_per_day))


@pytest.mark.parametrize("model", [None, *open_models(), "gone/from-the-catalogue"])
def test_the_explainer_shows_the_estimates(model: str | None) -> None:
    app = opened(AppTest.from_function(_learn, default_timeout=30, args=(model,)))
    shape = open_models()[app.selectbox(key="learn_model").value].shape
    assert shape is not None
    table = app.table[1].value.set_index("")
    gpu = prices().gpu("rtx-4090")
    for title, method in zip(("Full", "LoRA", "QLoRA"), METHODS, strict=True):
        total = training_memory(shape, method, sequence=1024, batch=1).total
        assert table[title]["GPU memory"] == f"{total:,.1f} GB"
        assert table[title]["Fits 24 GB"] == ("yes" if total <= 24 else "no")
        usd = training_hours(shape, method, 3 * 500 * 512, gpu.device) * gpu.usd_per_hour
        assert table[title]["Bill"] == f"\\${usd:,.2f}"


def test_the_explainer_follows_its_choices() -> None:
    app = opened(AppTest.from_function(_learn, default_timeout=30, args=(None,)))
    app.selectbox(key="learn_model").select("meta-llama/Llama-3.3-70B-Instruct")
    app.selectbox(key="learn_gpu").select("h100-80gb")
    app.selectbox(key="learn_length").select(4096)
    after(app.number_input(key="learn_examples").set_value(10_000))
    words = said(app).replace("\\", "")
    assert "fits on none of the GPUs listed" in words and "10,000 examples" in words
    shape = open_models()["meta-llama/Llama-3.3-70B-Instruct"].shape
    assert shape is not None
    memories = {method: training_memory(shape, method, sequence=4096, batch=1) for method in METHODS}
    rows = way_rows(shape, memories, prices().gpu("h100-80gb"), 3 * 10_000 * 2048)
    assert app.table[1].value.to_numpy().tolist() == rows


def test_the_explainer_has_what_it_promises() -> None:
    found = texts()
    assert all(len(row) == 3 for row in found["versus"])
    for study in found["evidence"]:
        assert all(len(row) == len(study["columns"]) for row in study["rows"])
    app = opened(AppTest.from_function(_learn, default_timeout=30, args=(None,)))
    words = said(app)
    for promised in (found["rule"], "They compose", "doctor sent to school", "full fine-tuning right", "Ovadia"):
        assert promised in words
