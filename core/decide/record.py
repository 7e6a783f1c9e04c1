"""The decision record: what was decided, why, and what would change it, as a Markdown or HTML file to keep.

The templates in assets/decide carry the words; this module prepares what they name. Whatever comes from people or
models is shown letter by letter: every value that a template prints passes `_for_html` or `for_markdown` first, and
only what the template itself marks as `safe` does not.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment

from core.decide.answers import in_words
from core.decide.assumptions import Assumptions
from core.decide.costs import RUNGS
from core.decide.decision import Decision
from core.decide.engine import open_questions, texts_for
from core.decide.prices import prices, stale
from core.decide.rulebook import FOLDER, rulebook
from core.decide.schema import Question
from core.errors import UserError
from core.markdown import flat
from core.templates import Format, environment

Judgement = Literal["confirmed", "overturned", "open"]

# Steps that are told; the rest of a plan depends on what these bring to light.
FIRST_STEPS = 3


@dataclass(frozen=True)
class Measured:
    """The verdict of an experiment.

    `rung`, `outcome` and `reason` as in core.evaluate.verdict; `n` test examples were scored on each of `rungs`.
    """

    name: str
    rung: str | None
    outcome: str
    reason: str
    n: int
    date: dt.date
    rungs: tuple[str, ...]


@dataclass(frozen=True)
class _Judged:
    measured: Measured
    says: Judgement


def as_markdown(decision: Decision, measured: Sequence[Measured] = ()) -> str:
    """The record as Markdown with tables, for a repository or a wiki."""
    return _environment("markdown").get_template("record.md.j2").render(_facts(decision, measured))


def as_html(decision: Decision, measured: Sequence[Measured] = ()) -> str:
    """The record as one HTML page that needs nothing else, for a browser or a printer."""
    return _environment("html").get_template("record.html.j2").render(_facts(decision, measured))


def write_record(decision: Decision, path: Path, measured: Sequence[Measured] = ()) -> None:
    """Write the record in the format that the suffix names. Raises UserError if that or the path will not do."""
    formats: dict[str, Callable[[Decision, Sequence[Measured]], str]] = {".md": as_markdown, ".html": as_html}
    if path.suffix.lower() not in formats:
        raise UserError(f"{path.name} is no name for a decision record.", "Let it end in .md or .html.")
    text = formats[path.suffix.lower()](decision, measured)
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise UserError(
            f"{path.name} cannot be written: {error.strerror}.",
            "Choose a folder that exists and that you may write to.",
        ) from error


def judge(rung: str, measured: Measured) -> Judgement:
    """What an experiment says about the advice to try `rung` first."""
    stand_in = rulebook().texts.rungs[rung].stand_in
    if measured.outcome == "cannot tell yet" or stand_in not in measured.rungs:
        return "open"
    return "confirmed" if measured.rung == stand_in else "overturned"


def _facts(decision: Decision, measured: Sequence[Measured]) -> dict[str, Any]:
    """Everything the templates name."""
    advice, texts, asked = decision.advice, rulebook().texts, rulebook().questions
    newest_first = sorted(measured, key=lambda one: one.date, reverse=True)
    judged = [_Judged(one, judge(advice.rung, one)) for one in newest_first]
    # The newest experiment that settled something decides; all are listed.
    settled = next((one for one in judged if one.says != "open"), None)
    return {
        "decision": decision,
        "advice": advice,
        "rung": advice.rung,
        "text": texts.rungs[advice.rung],
        "rungs": texts.rungs,
        "full_fine_tuning": texts.full_fine_tuning,
        "stand_in": texts.rungs[advice.rung].stand_in,
        "judged": judged,
        "settled": settled,
        "description": _lines(decision.diagnosis.text) if decision.diagnosis is not None else [],
        "answered": [(question, *told) for question in asked if (told := _answer(question, decision)) is not None],
        "not_asked": [question.short for question in asked if _answer(question, decision) is None],
        "alternatives": [rung for rung in texts.rungs if rung != advice.rung],
        "flips": {
            rung: [flip.text for flip in advice.flips if flip.rung == rung]
            for rung in texts.rungs
            if any(flip.rung == rung for flip in advice.flips)
        },
        "risks": texts_for(advice.rung, "risks", decision.answers),
        "data": [text for _, text in texts_for(advice.rung, "data", decision.answers)],
        "steps": [text for _, text in texts_for(advice.rung, "steps", decision.answers)][:FIRST_STEPS],
        "assumptions": list(_assumed(decision.assumptions)),
        "prices_as_of": prices().as_of,
        "stale": _stale(decision.assumptions, decision.today),
        "to_measure": list(_to_measure(advice.rung, settled)),
    }


def _answer(question: Question, decision: Decision) -> tuple[str, str] | None:
    """The answer in words and its origin: given, read (in a text), presumed or open. None if it changes nothing."""
    if question.id in decision.answers:
        value = decision.answers[question.id]
        read = decision.diagnosis is not None and decision.diagnosis.answers.get(question.id) == value
        return in_words(question.id, value), "read" if read else "given"
    if all(question.id != still.id for still in open_questions(decision.answers, decision.today)):
        return None
    return ("", "open") if question.presume is None else (in_words(question.id, question.presume), "presumed")


def _assumed(assumptions: Assumptions) -> Iterator[dict[str, Any]]:
    """Each assumption with its value and its reason; `default` is None where it was kept."""
    for name, field in Assumptions.model_fields.items():
        unit = field.json_schema_extra["unit"] if isinstance(field.json_schema_extra, dict) else ""
        value = getattr(assumptions, name)
        yield {
            "title": field.title,
            "value": f"{_plainly(value)} {unit}".strip(),
            "default": None if value == field.default else f"{_plainly(field.default)} {unit}".strip(),
            "why": field.description,
        }


def _plainly(value: str | bool | float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else f"{value:,.10g}"


def _stale(a: Assumptions, today: dt.date) -> list[str]:
    """Sentences on what is old of the prices that the costs rest on."""
    table = prices()
    used = (
        table,
        table.model(a.api_model),
        table.tuned_model(a.managed_model),
        table.embedder(a.embedding_model),
        table.gpu(a.train_gpu),
        table.gpu(a.serve_gpu),
    )
    # As the keys of a dict each sentence stands once, in this order: one GPU may both train and serve.
    return list(dict.fromkeys(sentence for entry in used if (sentence := stale(entry, today))))


def _to_measure(rung: str, settled: _Judged | None) -> Iterator[str]:
    """What is still only believed of a rung; the templates have a sentence for each."""
    retrieval, method = RUNGS[rung]
    if settled is None:
        yield "rungs"
    if rulebook().texts.rungs[rung].stand_in != rulebook().texts.rungs[rung].ladder:
        yield "stand_in"
    if retrieval:
        yield "retrieval"
    if rung == "long-context":
        yield "middle"
    if method is not None:
        yield from ("forgetting", "facts")
    if retrieval and method is not None:
        yield "parts"
    yield "bill"


def _figure(number: float) -> str:
    """Three digits of a number that is not negative, as a person would write it: "0", "<0.01", "0.159", "1,234"."""
    if 0 < number < 0.01:
        return "<0.01"
    return f"{number:.3g}" if number < 100 else f"{number:,.0f}"


def _lines(text: str) -> list[str]:
    """The lines of a text that show something."""
    return [line for line in map(flat, text.splitlines()) if line]


@cache
def _environment(kind: Format) -> Environment:
    filters: Mapping[str, Callable[[float], str]] = {"figure": _figure, "percent": lambda share: f"{100 * share:.0f} %"}
    return environment(FOLDER, kind, filters)
