"""Parts of a test, cost against quality, and two experiments held against each other."""

from __future__ import annotations

from typing import Any

import pytest

from core.data.dataset import File, create_dataset
from core.errors import UserError
from core.evaluate import changes, frontier, slices
from core.evaluate.reading import read_scores
from core.store.database import session
from core.store.tables import Prediction
from tests.evaluate.made import answered_experiment
from tests.factories import chat, jsonl, sorting


def mixed(count: int = 40) -> Any:
    """Examples with two labels, four to a group, and prompts of three lengths."""
    records = [
        chat(
            "word " * (1 + i % 3 * 20) + f"no. {i}",
            f"answer {i}",
            label="fact" if i < 30 else "sum",
            group=f"g{i // 4}",
        )
        for i in range(count)
    ]
    return create_dataset("mixed", File("a", jsonl(sorting(12))), File("b", jsonl(records)))


def test_slices_by_label_group_and_length_hold_every_example_once() -> None:
    scores = read_scores(answered_experiment({"base": 10, "lora": 36}, 40, dataset=mixed()).id)
    labels = slices.by(scores, "exact_match", "label")
    assert [(row["slice"], row["n"]) for row in labels] == [("fact", 30), ("sum", 10)]
    assert labels[0]["rungs"]["base"]["score"] == pytest.approx(10 / 30)
    assert labels[1]["rungs"]["base"]["score"] == 0
    assert labels[1]["rungs"]["lora"]["score"] == 0.6
    low, high = labels[1]["rungs"]["lora"]["interval"]
    assert low < 0.6 < high
    groups = slices.by(scores, "exact_match", "group")
    assert (len(groups), sum(row["n"] for row in groups)) == (10, 40)
    lengths = slices.by(scores, "exact_match", "length")
    assert [row["slice"].split(":")[0] for row in lengths] == ["short", "medium", "long"]
    assert sum(row["n"] for row in lengths) == 40


def test_nothing_to_slice_by_gives_no_slices() -> None:
    scores = read_scores(answered_experiment({"base": 1}, 3).id)
    assert slices.by(scores, "exact_match", "label") == []
    assert slices.by(scores, "exact_match", "group") == []
    assert slices.by(scores, "exact_match", "length") == []


def test_the_smallest_of_many_groups_are_told_together() -> None:
    records = [chat(f"Question {i}", "yes", group=f"g{i // 2}") for i in range(140)]
    dataset = create_dataset("many", File("a", jsonl(sorting(12))), File("b", jsonl(records)))
    rows = slices.by(read_scores(answered_experiment({"base": 70}, 140, dataset=dataset).id), "exact_match", "group")
    assert len(rows) == slices.MOST_SLICES
    assert (rows[-1]["slice"], sum(row["n"] for row in rows)) == ("21 others", 140)


def row(rung: str, score: float, usd: float, setup: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"rung": rung, "score": score, "usd_per_1000": usd, "setup_usd": setup, **more}


def test_only_rungs_that_none_beats_on_both_are_on_the_front() -> None:
    rows = [row("base", 0.2, 1), row("prompt", 0.5, 3), row("rag", 0.4, 4), row("lora", 0.9, 3), row("none", 0.9, 3)]
    assert frontier.pareto(rows) == {"base", "lora", "none"}
    assert frontier.pareto([{**rows[0], "score": None}]) == set()


def test_break_even_by_hand() -> None:
    """120 dollars of set-up over 12 months against 1 dollar saved per 1,000 requests: 10,000 a month."""
    rows = [row("prompt", 0.5, 3), row("lora", 0.9, 2, 120), row("dear", 0.9, 5, 1), row("gift", 0.5, 1)]
    assert frontier.break_even(rows, "lora", "prompt") == pytest.approx(10_000)
    assert frontier.break_even(rows, "prompt", "lora") is None
    assert frontier.break_even(rows, "dear", "prompt") is None
    assert frontier.break_even(rows, "gift", "prompt") == 0
    drawn = frontier.curves(rows, [0, 10_000])
    assert drawn["prompt"] == [0, 30] and drawn["lora"] == [10, 30]


def test_local_rungs_cost_the_machines_time() -> None:
    report = {
        "rungs": [
            {"rung": "base", "remote": False, "seconds_per_answer": 0.36, "usd_per_1000": 0.0, "setup_s": 0.0},
            {"rung": "lora", "remote": False, "seconds_per_answer": None, "usd_per_1000": None, "setup_s": 7200},
            {"rung": "big", "remote": True, "seconds_per_answer": 9.0, "usd_per_1000": 1.5, "setup_s": 0.0},
        ]
    }
    rows = frontier.priced(report, 2.0)
    assert [r["usd_per_1000"] for r in rows] == [pytest.approx(0.2), None, 1.5]
    assert [r["setup_usd"] for r in rows] == [0, 4, 0]


def test_changes_name_every_example_gained_lost_and_reworded() -> None:
    dataset = mixed()
    earlier = answered_experiment({"base": 10, "prompt": 4, "rag": 5}, 40, dataset=dataset)
    later = answered_experiment({"base": 10, "prompt": 40, "lora": 5}, 40, dataset=dataset)
    with session() as db:
        worse = db.query(Prediction).filter_by(experiment_id=later.id, rung="base").all()[-1]
        worse.output = "wrong in other words"
        reworded = worse.example_id
    found = changes.between(earlier.id, later.id)
    assert (found.n, found.only_earlier, found.only_later) == (40, ["rag"], ["lora"])
    base, prompt = found.rungs
    assert (base.gained, base.lost, base.reworded, base.same) == ([], [], [reworded], 39)
    assert (len(prompt.gained), prompt.lost, prompt.outcome) == (36, [], "better")
    assert prompt.effect == pytest.approx(36 / 40) and prompt.interval.low > 0
    assert found.examples == sorted({*prompt.gained, reworded})
    back = changes.between(later.id, earlier.id)
    assert back.rungs[1].lost == prompt.gained and back.rungs[1].outcome == "worse"
    assert base.outcome == "cannot tell yet"
    assert {rung.outcome for rung in changes.between(later.id, later.id).rungs} == {"unchanged"}


def test_what_cannot_be_compared_over_time_is_refused() -> None:
    earlier, other = answered_experiment({"base": 1}, 3), answered_experiment({"base": 1}, 4)
    with pytest.raises(UserError, match="different datasets"):
        changes.between(earlier.id, other.id)
    with pytest.raises(UserError, match="does not exist"):
        changes.between(earlier.id, 10**9)
    with pytest.raises(UserError, match="not measured in both"):
        changes.between(earlier.id, earlier.id, "token_f1")
