"""The decision record says what was decided, in both formats, whatever people wrote."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from jinja2 import StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.token import Token

from core.decide.answers import Answer, read_answers
from core.decide.decision import Decision, decide
from core.decide.diagnosis import Diagnosis
from core.decide.record import Measured, as_html, as_markdown, write_record
from core.decide.record import _environment as environment
from core.decide.rulebook import rulebook
from core.decide.second_opinion import Opinion
from core.errors import UserError

TODAY = dt.date(2026, 11, 21)
TRAIN: dict[str, Answer] = {"prompt_tried": "exhausted", "gap": "behavior"}
BOTH: dict[str, Answer] = {"prompt_tried": "exhausted", "gap": "both"}
# Answers that lead to each rung.
WAYS: dict[str, dict[str, Answer]] = {
    "prompt": {"prompt_tried": "no", "gap": "behavior"},
    "long-context": {"gap": "knowledge", "corpus_tokens": 50_000, "changes_often": False},
    "rag": {"gap": "knowledge", "changes_often": True},
    "lora": {**TRAIN, "budget_usd": 50},
    "qlora": {**TRAIN, "gpu_gb": 12},
    "rag+lora": {**BOTH, "gpu_gb": 24},
    "rag+qlora": {**BOTH, "gpu_gb": 12, "data_may_leave": False},
    "managed": {**TRAIN, "budget_usd": 5000, "managed_access": "other"},
    "rag+managed": {**BOTH, "budget_usd": 5000, "managed_access": "other"},
}
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</p></blockquote><h1>mine</h1>",
    "| a | b |",
    "|---|---|",
    "# x",
    "===",
    "---",
    "- item",
    "+ item",
    "1. item",
    "2) item",
    "> quoted",
    "    indented",
    "```",
    "~~~",
    "[x](javascript:alert(1))",
    "![x](http://evil.example/x.png)",
    "<http://evil.example>",
    "http://evil.example and www.evil.example, me@evil.example",
    "[x]: http://evil.example",
    "*a* **b** _c_ __d__ `e` ~~f~~ $g$ &lt;h&gt; i\\",
    "{{ 7 * 7 }} {% raw %} {# gone #}",
    "a\\| b",
    "snake_case_name",
]
# Each with the lines it is shown as. What nobody can see, or only see askew, is left out, and a surrogate alone is no
# character; white space is one space.
SHOWN = {text: [text.strip()] for text in HOSTILE} | {
    "\x00\x1b[31mred\x85next \u202etxet": ["[31mred", "next txet"],
    "\ud800 alone": ["? alone"],
}
SHOWN["\n".join(SHOWN)] = [line for lines in SHOWN.values() for line in lines]

LADDER_RUNGS = ("base", "prompt", "rag", "lora", "rag+lora")


def decision_for(rung: str, **more: Any) -> Decision:
    return decide(read_answers(WAYS[rung]), today=TODAY, **more)


def described(text: str) -> Decision:
    chances = {"prompt": 0.1, "rag": 0.1, "fine-tune": 0.7, "both": 0.1}
    read: dict[str, Answer] = {"prompt_tried": "exhausted", "gap": "behavior"}
    diagnosis = Diagnosis(text, "fine-tune", chances, read, (), (), (f"A note: {text}",))
    opinion = Opinion(text, "rag", text)
    return decide({"needs_citations": True}, diagnosis=diagnosis, opinion=opinion, today=TODAY)


def measured(rung: str | None, outcome: str = "better", text: str = "Ticket answers", day: int = 20) -> Measured:
    return Measured(text, rung, outcome, "It scores 81%.", 60, dt.date(2026, 11, day), LADDER_RUNGS)


class Page(HTMLParser):
    """What a browser would make of it: tags with attributes, texts, tables as rows of cells."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.quoted: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
        elif tag == "p" and "blockquote" in self.open:
            self.quoted.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if {"th", "td"} & set(self.open):
            self.tables[-1][-1][-1] += data
        elif "blockquote" in self.open and "p" in self.open:
            self.quoted[-1] += data


def markdown(text: str) -> list[Token]:
    """As GitHub would read it, but for bare addresses."""
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text)


def inline(tokens: list[Token]) -> list[Token]:
    return [child for token in tokens for child in token.children or []]


def markdown_tables(tokens: list[Token]) -> list[list[list[str]]]:
    tables: list[list[list[str]]] = []
    for i, token in enumerate(tokens):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type in ("th_open", "td_open"):
            tables[-1][-1].append("".join(child.content for child in tokens[i + 1].children or []))
    return tables


def headings(tokens: list[Token]) -> list[str]:
    return [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]


@pytest.mark.parametrize("rung", WAYS)
def test_every_rung_has_a_record(rung: str) -> None:
    assert list(WAYS) == rulebook().rungs
    decision = decision_for(rung)
    assert decision.advice.rung == rung
    text = rulebook().texts.rungs[rung]
    tokens, page = markdown(as_markdown(decision)), Page(as_html(decision))
    shown = "".join(child.content for child in inline(tokens))
    for told in (shown, page.text):
        assert f"Decision: {text.title} ({rung}), 2026-11-21" in told
        assert "not measured yet" in told
        assert f"{decision.advice.confidence_word} ({100 * decision.advice.confidence:.0f} %)" in told
        assert text.meaning in told
        assert rulebook().texts.full_fine_tuning.text in told
        assert all(reason.rule in told and reason.text in told for reason in decision.advice.reasons)
        assert all(flip.text in told for flip in decision.advice.flips)
        assert all(other.instead in told for name, other in rulebook().texts.rungs.items() if name != rung)
        assert ("Hit rate" in told) == ("rag" in rung)
        assert ("Forgetting:" in told) == (rung not in ("prompt", "long-context", "rag"))
        assert ("judges it by" in told) == (rung in ("managed", "rag+managed"))
        assert ("Compare does not run" in told) == (rung in ("long-context", "managed", "rag+managed"))
    sections = [tag for tag, _ in page.tags if tag == "h2"]
    assert "\n\n\n" not in as_markdown(decision)
    assert len(headings(tokens)) == 1 + len(sections) == 13


@pytest.mark.parametrize("rung", WAYS)
def test_numbers_are_those_of_the_decision(rung: str) -> None:
    decision = decision_for(rung)
    columns = ("setup_usd", "setup_hours", "usd_per_1000", "latency_s", "memory_gb")
    in_markdown = markdown_tables(markdown(as_markdown(decision)))[1][1:]
    in_html = Page(as_html(decision)).tables[1][1:]
    assert in_markdown == in_html
    told = decision.as_dict()["costs"]
    assert [row[0] for row in in_html] == list(told)
    for row in in_html:
        for cell, column in zip(row[1:6], columns, strict=True):
            exact = told[row[0]][column]
            if cell == "<0.01":
                assert 0 < exact < 0.01
            else:
                assert float(cell.replace(",", "")) == pytest.approx(exact, rel=5e-3)
        assert told[row[0]]["note"] in row[6]
        assert row[6].startswith("Not available") == (not told[row[0]]["available"])


def test_answers_are_told_apart_from_assumptions() -> None:
    rows = {row[0]: row[1:] for row in Page(as_html(described("It forgets our tone."))).tables[0]}
    assert rows["What is wrong with the answers?"][1] == "as in the description"
    assert rows["Must an answer name its source?"] == ["Yes", "answered"]
    assert rows["Does the wanted form change every few weeks?"] == ["No", "assumed"]
    assert rows["How many examples of good answers do you have?"] == ["", "open; it may still matter"]
    assert "How much text is it, all documents together?" not in rows
    page = Page(as_html(described("x")))
    assert "Not asked, since the answer would not change the advice:" in page.text
    assert "Corpus" in page.text


@pytest.mark.parametrize(("rung", "place"), [("rag", "rag"), ("qlora", "lora"), ("managed", "lora")])
def test_a_measurement_confirms_or_overturns(rung: str, place: str) -> None:
    decision = decision_for(rung)
    for write in (as_markdown, as_html):
        assert "Advice, confirmed by measurement" in write(decision, [measured(place)])
        assert "Advice, overturned by measurement: prompt" in write(decision, [measured("prompt", "equivalent")])
        assert "overturned by measurement: no rung reached" in write(decision, [measured(None, "below target")])
        assert "measured without a clear result" in write(decision, [measured(place, "cannot tell yet")])
        assert ("was measured in its place" in write(decision, [measured(place)])) == (rung == "managed")
        # What is still to be measured shrinks once something was.
        assert "Run base, " in write(decision)
        assert "Run base, " not in write(decision, [measured(place)])


def test_the_newest_clear_measurement_decides() -> None:
    seen = [measured("rag", day=1), measured("prompt", day=3), measured("rag", "cannot tell yet", day=5)]
    told = as_markdown(decision_for("rag"), seen)
    assert "overturned by measurement: prompt" in told
    assert told.index("Not settled") < told.index("Overturned") < told.index("Confirmed")


def test_conflicts_and_stale_prices_are_named() -> None:
    conflicted = decide(read_answers({**TRAIN, "needs_citations": True}), today=TODAY)
    assert "facts_beside_form" in as_markdown(conflicted)
    assert "out of date" in as_html(conflicted)
    later = replace(conflicted, today=dt.date(2027, 12, 1))
    for write in (as_markdown, as_html):
        told = write(later)
        assert told.count("look it up again after") == 5  # the table, two models, an embedder, one GPU for both uses
        assert "None of those used here" not in told


@pytest.mark.parametrize("text", SHOWN)
def test_html_shows_hostile_text_as_text(text: str) -> None:
    page = Page(as_html(described(text), [measured("rag", text=text)]))
    plain = Page(as_html(described("words"), [measured("rag", text="words")]))
    count = [tag for tag, _ in page.tags].count
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in plain.tags}
    assert count("h1") == 1
    assert not {"script", "a", "img", "link", "iframe", "object", "form", "base"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("href", "src", "style", "action")
            assert "//" not in (value or "")
            assert tag == "meta" or name != "http-equiv"
    assert page.quoted == SHOWN[text]


@pytest.mark.parametrize("text", SHOWN)
def test_markdown_shows_hostile_text_as_text(text: str) -> None:
    source = as_markdown(described(text), [measured("rag", text=text)])
    tokens = markdown(source)
    plain = markdown(as_markdown(described("words"), [measured("rag", text="words")]))
    assert not {"html_block", "fence", "code_block"} & {token.type for token in tokens}
    assert not {"html_inline", "link_open", "image", "em_open", "s_open"} & {token.type for token in inline(tokens)}
    assert headings(tokens) == headings(plain)
    assert [len(table) for table in markdown_tables(tokens)] == [len(table) for table in markdown_tables(plain)]
    assert {len(row) for table in markdown_tables(tokens) for row in table} == {3, 7}
    # Besides the lines quoted, not one block more.
    outside = [token.type for token in tokens if token.level == 0]
    assert outside == [token.type for token in plain if token.level == 0]
    start = next(i for i, token in enumerate(tokens) if token.type == "blockquote_open")
    end = next(i for i, token in enumerate(tokens) if token.type == "blockquote_close")
    assert {token.type for token in tokens[start + 1 : end]} == {"paragraph_open", "inline", "paragraph_close"}
    quoted = [
        "".join(child.content for child in token.children or []).replace("\u2060", "")
        for token in tokens[start:end]
        if token.type == "inline"
    ]
    assert quoted == SHOWN[text]
    # GitHub links these wherever they stand, escaped or not.
    for address in ("http:", "www.", "me@"):
        assert address not in source


def test_an_empty_description_and_name_break_nothing() -> None:
    for text in ("", " \n\t"):
        for write in (as_markdown, as_html):
            assert "Nothing was described in words" in write(described(text), [measured("rag", text=text)])


def test_templates_refuse_what_is_not_there() -> None:
    for kind, suffix in product(("html", "markdown"), ("html", "md")):
        assert environment(kind).undefined is StrictUndefined
        assert environment(kind).get_template(f"record.{suffix}.j2")


def test_records_are_written_by_suffix(tmp_path: Path) -> None:
    decision = decision_for("rag")
    write_record(decision, tmp_path / "a.md")
    write_record(decision, tmp_path / "a.HTML", [measured("rag")])
    assert (tmp_path / "a.md").read_text(encoding="utf-8") == as_markdown(decision)
    assert (tmp_path / "a.HTML").read_text(encoding="utf-8") == as_html(decision, [measured("rag")])


def test_other_suffixes_and_places_are_refused(tmp_path: Path) -> None:
    decision = decision_for("rag")
    with pytest.raises(UserError, match=r"a\.pdf is no name") as refused:
        write_record(decision, tmp_path / "a.pdf")
    assert ".md or .html" in refused.value.remedy
    with pytest.raises(UserError, match="cannot be written") as failed:
        write_record(decision, tmp_path / "missing" / "a.md")
    assert str(tmp_path) not in str(failed.value)
    assert not list(tmp_path.glob("**/a.*"))
