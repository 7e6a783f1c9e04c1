"""Costs that can be checked by hand, and the prices they rest on."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from core.decide import costs as costs_module
from core.decide.costs import (
    RUNGS,
    Assumptions,
    assumptions_from,
    break_even,
    costs,
    curves,
    monthly,
    running,
)
from core.decide.prices import FILE, age_days, open_services, prices, read_prices, stale
from core.decide.rulebook import rulebook
from core.errors import UserError

TODAY = dt.date(2026, 11, 21)
DAYS = 365 / 12
LOCAL = ("lora", "qlora", "rag+lora", "rag+qlora")
# A hand's price table: input 0.40, cached 0.10, output 1.60 a million.
MINI = Assumptions(api_model="gpt-4.1-mini")


def test_rungs_are_those_of_the_wizard_in_its_order() -> None:
    assert list(RUNGS) == rulebook().rungs


def test_prompt_costs_its_tokens() -> None:
    # 1500 instructions, 80% cached: 1200 x 0.10 + 300 x 0.40 = 240; question 100 x 0.40 = 40; answer 200 x 1.60 = 320.
    # Together 600 millionths of a dollar a request, 0.60 a thousand; 1000 a day are 0.60 x 365 / 12 a month.
    cost = costs(MINI, TODAY)["prompt"]
    assert cost.usd_per_1000 == pytest.approx(0.60)
    assert monthly(MINI, "prompt", 1000) == pytest.approx(0.60 * DAYS)
    assert (cost.setup_usd, cost.setup_hours, cost.machine_hours, cost.memory_gb) == (0, 8, 0, 0)
    # 0.5 s to the first token, 400 uncached tokens at 20,000 a second, 200 written at 80 a second.
    assert cost.latency_s == pytest.approx(0.5 + 0.02 + 2.5)


def test_long_context_pays_the_corpus_with_every_request() -> None:
    # 51,500 repeated: 41,200 x 0.10 + 10,300 x 0.40 = 8,240; with question and answer 8,600 millionths.
    assert costs(MINI, TODAY)["long-context"].usd_per_1000 == pytest.approx(8.60)


def test_rag_pays_passages_and_embeddings() -> None:
    # 600 as for the prompt, passages 1000 x 0.40 = 400, the question embedded 100 x 0.02 = 2.
    cost = costs(MINI, TODAY)["rag"]
    assert cost.usd_per_1000 == pytest.approx(1.002)
    assert cost.setup_usd == pytest.approx(50_000 * 0.02 / 1e6)
    assert cost.setup_hours == 8 + 24


def test_managed_pays_training_and_use_by_the_token() -> None:
    # Trained on 3 runs x 3 epochs x 500 x 400 = 1.8 million tokens, at 0.44. Used: 200 x 0.195 + 200 x 0.60 = 159.
    cost = costs(Assumptions(), TODAY)["managed"]
    assert cost.setup_usd == pytest.approx(1.8 * 0.44)
    assert cost.usd_per_1000 == pytest.approx(0.159)
    assert cost.setup_hours == 8 + 8 + 500 * 3 / 60


def test_lora_pays_a_gpu_however_little_it_is_used() -> None:
    # 0.74 an hour, 24 hours, 365 / 12 days = 540.20 a month, for one request a day as for many.
    assert monthly(Assumptions(), "lora", 1) == pytest.approx(540.20)
    assert monthly(Assumptions(), "lora", 50_000) == pytest.approx(540.20)
    # 6 operations for each of 7.505 billion parameters, 1.8 million tokens, at .56 of 165.2 TFLOP/s: 876 s.
    cost = costs(Assumptions(), TODAY)["lora"]
    assert cost.machine_hours == pytest.approx(6 * 7.5046e9 * 1.8e6 / (0.56 * 165.2e12) / 3600, rel=1e-3)
    assert cost.setup_usd == pytest.approx(cost.machine_hours * 0.74)
    assert cost.setup_hours == 8 + 16 + 500 * 3 / 60


def test_gpus_are_added_for_the_peak() -> None:
    one = running(Assumptions(), "lora").requests_per_gpu
    assert monthly(Assumptions(), "lora", 1.01 * one) == pytest.approx(2 * 540.20)
    assert monthly(Assumptions(), "lora", 2.01 * one) == pytest.approx(3 * 540.20)
    assert running(Assumptions(peak_factor=6), "lora").requests_per_gpu == pytest.approx(one / 2)
    # Half the hours serve half the requests and cost half.
    half = running(Assumptions(gpu_hours_per_day=12), "lora")
    assert half.requests_per_gpu == pytest.approx(one / 2)
    assert half.gpu_usd_per_month == pytest.approx(270.10)


def test_a_gpu_at_hand_is_free_and_the_second_is_not() -> None:
    owner = Assumptions(gpu_gb=24)
    cost = costs(owner, TODAY)["lora"]
    assert (cost.setup_usd, cost.usd_per_1000) == (0, 0)
    assert cost.machine_hours > 0
    assert monthly(owner, "lora", 1.5 * running(owner, "lora").requests_per_gpu) == pytest.approx(540.20)


def test_a_service_without_token_prices_is_served_on_a_dedicated_gpu() -> None:
    fireworks = Assumptions(managed_model="fireworks-up-to-16b-lora")
    assert monthly(fireworks, "managed", 100) == pytest.approx(8 * 24 * DAYS)
    assert costs(fireworks, TODAY)["managed"].memory_gb == 0


@pytest.mark.parametrize("rung", ["prompt", "long-context", "rag", "managed", "rag+managed"])
def test_cost_is_linear_in_prices(rung: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = monthly(Assumptions(), rung, 1000)
    table = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    for part in ("models", "tuned", "embedding"):
        for entry in table[part]:
            for key in {"input", "cached_input", "output", "training"} & set(entry):
                entry[key] = entry[key] and 3 * entry[key]
    (tmp_path / "prices.yaml").write_text(yaml.safe_dump(table), encoding="utf-8")
    tripled = read_prices(tmp_path / "prices.yaml")
    monkeypatch.setattr(costs_module, "prices", lambda: tripled)
    assert monthly(Assumptions(), rung, 1000) == pytest.approx(3 * before)


@pytest.mark.parametrize("rung", RUNGS)
def test_a_month_never_gets_cheaper_with_more_requests_or_longer_answers(rung: str) -> None:
    volumes = [10**k for k in range(8)]
    by_volume = curves(Assumptions(), [rung], volumes)[rung]
    assert by_volume == sorted(by_volume)
    for field in ("output_tokens", "question_tokens"):
        by_tokens = [monthly(Assumptions(**{field: n}), rung, 1e6) for n in (50, 200, 800, 3200)]
        assert by_tokens == sorted(by_tokens)
        assert by_tokens[-1] > by_tokens[0]


def test_curves_spread_the_set_up_over_the_horizon() -> None:
    a = Assumptions(months=6)
    drawn = curves(a, ["managed"], [0, 1000])["managed"]
    assert drawn[0] == pytest.approx(1.8 * 0.44 / 6)
    assert drawn[1] == pytest.approx(1.8 * 0.44 / 6 + monthly(a, "managed", 1000))


def test_break_even_of_two_prices_by_the_token() -> None:
    # Managed 0.792 / 12 = 0.066 a month and 159 millionths a request, rag 0.001 / 12 and 254:
    # (0.066 - 0.000083) / (95e-6 x 365 / 12) = 22.8 requests a day.
    assert break_even(Assumptions(), "managed", "rag") == pytest.approx(22.8, abs=0.1)


@pytest.mark.parametrize(("later", "sooner"), [("lora", "long-context"), ("qlora", "prompt"), ("lora", "rag+managed")])
@pytest.mark.parametrize("model", ["gpt-6-luna", "gpt-4.1-mini", "claude-sonnet-5-5"])
def test_break_even_is_where_the_curves_cross_for_good(later: str, sooner: str, model: str) -> None:
    a = Assumptions(api_model=model, months=3)
    point = break_even(a, later, sooner)
    assert point is not None
    above = [point * (1 + 1e-6)] + [point + (1e7 - point) * k / 3000 for k in range(1, 3001)]
    both = curves(a, [later, sooner], above)
    assert all(x < y for x, y in zip(both[later], both[sooner], strict=True))
    below = curves(a, [later, sooner], [point * (1 - 1e-6)])
    assert below[later][0] >= below[sooner][0]


def test_break_even_knows_always_and_never() -> None:
    assert break_even(Assumptions(), "prompt", "long-context") == 0
    assert break_even(Assumptions(), "long-context", "prompt") is None
    assert break_even(Assumptions(), "prompt", "prompt") is None


def test_openai_can_be_had_until_its_training_ends() -> None:
    a = Assumptions(managed_model="gpt-4.1-mini")
    last_day = costs(a, dt.date(2027, 1, 5))
    assert last_day["managed"].available
    assert "2027-01-14" in last_day["managed"].note
    for rung in ("managed", "rag+managed"):
        closed = costs(a, dt.date(2027, 1, 6))[rung]
        assert not closed.available
        assert "2027-01-06" in closed.note
    assert costs(Assumptions(), dt.date(2027, 1, 6))["managed"].available


def test_long_context_ends_at_the_threshold_of_the_rules() -> None:
    limit = rulebook().threshold("corpus_fits_tokens")
    assert costs(Assumptions(corpus_tokens=limit - 1), TODAY)["long-context"].available  # type: ignore[operator]
    over = costs(Assumptions(corpus_tokens=limit), TODAY)["long-context"]
    assert not over.available
    assert "200,000" in over.note
    assert over.usd_per_1000 > 0


def test_without_documents_nothing_can_be_looked_up() -> None:
    found = costs(Assumptions(corpus_tokens=0), TODAY)
    assert {rung for rung, cost in found.items() if not cost.available} == {
        "long-context", "rag", "rag+lora", "rag+qlora", "rag+managed",
    }  # fmt: skip


def test_a_gpu_that_is_too_small_is_told_with_one_that_would_do() -> None:
    small = costs(Assumptions(train_gpu="t4", serve_gpu="t4"), TODAY)
    assert not small["lora"].available
    assert small["lora"].note.startswith("Training takes 18")
    assert "NVIDIA L4 with 24 GB would do" in small["lora"].note
    assert small["qlora"].available
    # Trained on a large card, it must still be served on one.
    served = costs(Assumptions(train_gpu="a100-80gb", serve_gpu="t4"), TODAY)["lora"]
    assert served.note.startswith("Serving takes 17")


def test_a_70b_model_needs_a_data_centre_card_and_four_bits() -> None:
    large = Assumptions(base_model="meta-llama/Llama-3.3-70B-Instruct", train_gpu="h100-80gb", serve_gpu="h100-80gb")
    found = costs(large, TODAY)
    assert found["qlora"].available
    assert found["lora"].note.endswith("No single listed GPU is large enough.")


def test_where_data_may_not_leave_the_open_model_answers_everything() -> None:
    found = costs(Assumptions(data_may_leave=False), TODAY)
    assert not found["managed"].available
    assert not found["rag+managed"].available
    for rung in ("prompt", "long-context", "rag", *LOCAL):
        assert found[rung].available
        assert found[rung].memory_gb > 0
        assert running(Assumptions(data_may_leave=False), rung).usd_per_request == 0
    # Its context is shorter than that of hosted models.
    assert (
        "131,072 tokens" in costs(Assumptions(data_may_leave=False, corpus_tokens=150_000), TODAY)["long-context"].note
    )


def test_answers_become_assumptions() -> None:
    a = assumptions_from(
        {
            "gap": "behavior", "requests_per_day": 0, "prompt_tokens": 6000.0, "corpus_tokens": 7e6, "examples": 12,
            "gpu_gb": 40, "data_may_leave": False, "budget_usd": "unsure",
        }
    )  # fmt: skip
    assert (a.requests_per_day, a.instruction_tokens, a.corpus_tokens) == (1, 6000, 7e6)
    # 500 is what texts.yaml says an unnamed kind of form needs; 12 of them need not be written.
    assert (a.examples, a.examples_at_hand) == (500, 12)
    assert costs(a, TODAY)["lora"].setup_hours == pytest.approx(8 + 16 + 488 * 3 / 60)
    # The page says "collect about 2,000", and so do the costs.
    assert assumptions_from({"behavior_kind": "language"}).examples == 2_000
    assert (a.gpu_owned, a.gpu_gb, a.train_gpu, a.serve_gpu, a.data_may_leave) == (
        True, 40, "a100-80gb", "a100-80gb", False,
    )  # fmt: skip
    assert assumptions_from({"gpu_gb": 1000}).serve_gpu == "h200-141gb"
    assert assumptions_from({"gpu_gb": 0, "examples": "unsure", "data_may_leave": True}) == Assumptions()


def test_any_answer_the_wizard_takes_makes_assumptions() -> None:
    for most in (True, False):
        answers = {q.id: q.most if most else 0.0 for q in rulebook().questions if q.kind == "number"}
        assert set(costs(assumptions_from(answers), TODAY)) == set(RUNGS)


def test_what_is_at_hand_is_judged_by_its_own_memory() -> None:
    """Not by that of the listed GPU whose speed and price stand for it."""
    assert not costs(Assumptions(gpu_gb=6), TODAY)["qlora"].available
    assert costs(Assumptions(gpu_gb=12), TODAY)["qlora"].available


@pytest.mark.parametrize("gb", [2, 4, 6, 8, 12, 16, 24, 80, 1000])
def test_the_model_assumed_is_one_that_the_gpu_at_hand_can_train(gb: float) -> None:
    assumed = assumptions_from({"gpu_gb": gb})
    assert costs(assumed, TODAY)["rag+qlora"].available
    assert assumed.base.parameters <= Assumptions().base.parameters
    assert (gb < 12) == (assumed.base_model != Assumptions().base_model)


# Where a knob is not turned on its own, it needs this beside it to matter.
BESIDE: dict[str, dict[str, Any]] = {"dedicated_usd_per_hour": {"managed_model": "fireworks-up-to-16b-lora"}}
OTHER: dict[str, Any] = {
    "train_gpu": "h100-80gb", "serve_gpu": "h100-80gb", "api_model": "claude-opus-5-5", "managed_model": "gpt-4.1",
    "base_model": "google/gemma-2-2b-it", "embedding_model": "gemini-embedding-2", "data_may_leave": False,
    "gpu_gb": 24, "examples_at_hand": 100, "cached_share": 0.2, "concurrent": 4, "gpu_hours_per_day": 10,
}  # fmt: skip


@pytest.mark.parametrize("name", Assumptions.model_fields)
def test_no_knob_is_dead(name: str) -> None:
    beside = BESIDE.get(name, {})
    default = Assumptions(**beside)
    value = OTHER[name] if name in OTHER else 2 * getattr(default, name)
    turned = Assumptions(**{**beside, name: value})

    def numbers(a: Assumptions) -> object:
        return costs(a, TODAY), curves(a, RUNGS, [1000, 1e6])

    assert numbers(turned) != numbers(default)


@pytest.mark.parametrize("name", Assumptions.model_fields)
def test_every_knob_can_be_drawn(name: str) -> None:
    schema = Assumptions.model_json_schema()["properties"][name]
    assert schema["title"]
    assert schema["description"].endswith(".")
    assert schema["group"] in ("Requests", "Training", "Models and prices", "Serving")
    assert "unit" in schema
    assert "default" in schema
    if schema["type"] in ("number", "integer"):
        assert schema["minimum"] <= schema["default"] <= schema["maximum"]


def test_assumptions_refuse_what_cannot_be_meant() -> None:
    for wrong in ({"cached_share": 1.2}, {"request_per_day": 5}, {"gpu_hours_per_day": 0}, {"months": float("nan")}):
        with pytest.raises(ValidationError):
            Assumptions(**wrong)
    for field in ("base_model", "api_model", "managed_model", "embedding_model", "train_gpu", "serve_gpu"):
        default = str(Assumptions.model_fields[field].default)
        with pytest.raises(UserError, match=default):
            Assumptions(**{field: "no-such-thing"})


def test_the_default_service_takes_new_customers_and_sells_by_the_token() -> None:
    usable = [e for e in open_services(TODAY) if e.token_price and e.closed_to_new is None]
    assert Assumptions().managed_model == usable[0].id


def test_the_table_and_the_rules_agree_on_the_end_of_openai_training() -> None:
    ends = {entry.training_ends for entry in prices().tuned if entry.provider == "OpenAI"}
    assert ends == {rulebook().threshold("openai_training_ends")}
    (last,) = ends
    assert isinstance(last, dt.date)
    assert any(entry.provider == "OpenAI" for entry in open_services(last - dt.timedelta(days=1)))
    assert not any(entry.provider == "OpenAI" for entry in open_services(last))


def test_old_prices_say_so() -> None:
    assert age_days(dt.date(2026, 9, 22), TODAY) == 60
    luna = prices().model("gpt-6-luna")
    assert stale(luna, dt.date(2026, 9, 22) + dt.timedelta(days=120)) == ""
    said = stale(luna, dt.date(2026, 9, 22) + dt.timedelta(days=121))
    assert said == "The price of gpt-6-luna was read on 2026-09-22, 121 days ago; look it up again after 120 days."
    assert "NVIDIA T4" in stale(prices().gpu("t4"), TODAY)
    assert stale(prices(), TODAY) == ""
    assert stale(prices(), dt.date(2027, 6, 1)).startswith("The price table was read on 2026-11-21")


@pytest.mark.parametrize(
    ("part", "change", "named"),
    [
        ("models", {"output": -1}, r"models, gpt-6-luna, output"),
        ("models", {"outptu": 1}, r"models, gpt-6-luna, outptu"),
        ("tuned", {"training": None}, r"tuned, gpt-4.1-mini, training"),
        ("gpus", {"usd_per_hour": "free"}, r"gpus, t4, usd_per_hour"),
        ("gpus", {"id": "l4"}, r"lists l4 twice"),
    ],
)
def test_a_wrong_price_table_names_the_entry(tmp_path: Path, part: str, change: dict[str, Any], named: str) -> None:
    table = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    table[part][0] |= change
    path = tmp_path / "prices.yaml"
    path.write_text(yaml.safe_dump(table), encoding="utf-8")
    with pytest.raises(UserError, match=named):
        read_prices(path)


def test_a_price_table_that_is_no_yaml_is_told(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    shutil.copy(FILE, path)
    path.write_text(path.read_text(encoding="utf-8") + "\n  - {", encoding="utf-8")
    with pytest.raises(UserError, match=r"prices.yaml cannot be read"):
        read_prices(path)
    with pytest.raises(UserError, match="No such file"):
        read_prices(tmp_path / "none.yaml")
