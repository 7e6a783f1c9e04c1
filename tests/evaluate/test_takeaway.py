"""What is taken away: complete, self-contained, and harmless whatever stands in questions and answers."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from bs4 import BeautifulSoup

from core.data.dataset import File, create_dataset
from core.errors import UserError
from core.evaluate import takeaway
from core.evaluate.takeaway.charts import COLOURS
from core.evaluate.takeaway.rows import LONGEST_CELL
from core.export import safe_csv
from core.store.database import session
from core.store.tables import Experiment
from tests.evaluate.made import answered_experiment
from tests.factories import chat, jsonl, sorting

NASTY = (
    '<script>alert(1)</script><img src="http://evil.example/x.png" onerror=alert(1)> =1+1 | [a](http://b) `c` {{ 7*7 }}'
)
LADDER = {"base": 4, "prompt": 10, "rag": 12, "lora": 20, "rag+lora": 27}


def nasty_experiment() -> Experiment:
    records = [chat(f"{NASTY} {i}", f"answer {i}", label=NASTY if i % 2 else "plain", group=f"g{i}") for i in range(30)]
    dataset = create_dataset(NASTY[:60], File("a", jsonl(sorting(12))), File("b", jsonl(records)))
    experiment = answered_experiment(LADDER, 30, dataset=dataset, wrong=NASTY, metrics=["exact_match", "token_f1"])
    with session() as db:
        db.get_one(Experiment, experiment.id).name = NASTY
    return experiment


def test_html_needs_nothing_else_and_runs_nothing() -> None:
    page = takeaway.html(nasty_experiment().id)
    soup = BeautifulSoup(page, "html.parser")
    assert not soup.find_all(["script", "img", "link", "iframe", "object", "a", "form"])
    assert not [tag for tag in soup.find_all(True) if any(name.startswith("on") for name in tag.attrs)]
    assert not [tag for tag in soup.find_all(True) if {"src", "href", "action"} & set(tag.attrs)]
    policy = soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"})
    assert policy is not None and str(policy["content"]).startswith("default-src 'none'")
    assert "url(" not in page and "@import" not in page
    assert "<script>alert(1)</script>" in soup.get_text(), "shown letter by letter"
    assert "{{ 7*7 }}" in soup.get_text()
    assert "prefers-color-scheme: dark" in page


def test_html_begins_with_the_verdict_and_holds_the_evidence() -> None:
    experiment = nasty_experiment()
    report = experiment.report or {}
    text = BeautifulSoup(takeaway.html(experiment.id), "html.parser").get_text()
    assert (
        text.index(report["verdict"]["reason"][:60])
        < text.index("What each switch bought")
        < text.index("Pair by pair")
    )
    for effect in report["effects"]:
        assert effect["text"] in text
    for heading in ("By label", "By length", "Where the rungs differ", "How this was measured"):
        assert heading in text
    charts = BeautifulSoup(takeaway.html(experiment.id), "html.parser").find_all("svg")
    assert len(charts) == 3 and all(chart["aria-label"] for chart in charts)


def test_markdown_tables_are_whole_and_nothing_in_them_is_markup() -> None:
    text = takeaway.markdown(nasty_experiment().id)
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert not re.search(r"(?<!\\)\[a\]", text)
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) >= 5
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table


def test_spreadsheet_cells_are_safe_and_fit() -> None:
    experiment = answered_experiment({"base": 1, "lora": 2}, 3, wrong="=cmd|' /C calc'!A0" + "x" * 100_000)
    rows = list(csv.DictReader(io.StringIO(safe_csv(takeaway.csv_rows(experiment.id)).decode("utf-8-sig"))))
    assert len(rows) == 6
    assert [row["exact_match"] for row in rows] == ["1.0", "1.0", "0.0", "1.0", "0.0", "0.0"]
    for row in rows:
        for cell in row.values():
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
            assert len(cell) < LONGEST_CELL + 100
    assert "100,018 characters, cut" in rows[2]["output"]


def test_jsonl_holds_every_answer_whole() -> None:
    experiment = nasty_experiment()
    lines = [json.loads(line) for line in takeaway.jsonl(experiment.id)]
    assert len(lines) == 5 * 30
    assert [line["rung"] for line in lines[:5]] == list(LADDER)
    assert lines[-5]["output"] == NASTY and lines[-5]["scores"].keys() == {"exact_match", "token_f1"}
    assert lines[-5]["score"] == lines[-5]["scores"]["exact_match"]


def test_one_example_and_failures_can_be_taken_away() -> None:
    experiment = answered_experiment({"base": 1}, 1, failed=1)
    assert "Failed: It broke." in takeaway.html(experiment.id)
    assert "Failed: It broke." in takeaway.markdown(experiment.id)


def test_no_report_is_said() -> None:
    experiment = answered_experiment({"base": 1}, 2, ready=False)
    with pytest.raises(UserError, match="no report yet"):
        takeaway.html(experiment.id)


def test_colours_are_those_of_the_screens() -> None:
    from pages.widgets.ladder import MORE_COLOURS, RUNG_COLOURS

    assert COLOURS == RUNG_COLOURS | MORE_COLOURS
