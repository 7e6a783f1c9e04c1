"""The report as a document: one HTML page that needs nothing else, or Markdown for a repository or a wiki.

The templates in assets/compare carry the words; this module prepares what they name. Every value that a template
prints passes `flat` and autoescaping, or `for_markdown`; answers of models are data and never markup.
"""

from __future__ import annotations

import datetime as dt
from functools import cache
from typing import Any

from jinja2 import Environment

from core.errors import UserError
from core.evaluate import frontier, votes
from core.evaluate.plan import Plan
from core.evaluate.reading import Scores, read_example, read_scores
from core.evaluate.takeaway.charts import effects_chart, frontier_chart, scores_chart
from core.evaluate.words import figure, percent, points, tests
from core.models.prompt import last_question
from core.settings import REPOSITORY
from core.store.database import session
from core.store.tables import Dataset, Experiment
from core.templates import Format, environment

FOLDER = REPOSITORY / "assets" / "compare"
# Enough to see what kind of answers each rung gives; all of them are in the JSONL.
SHOWN = 6
LONGEST_TEXT = 600
# A larger matrix, or a longer table of groups, is not read on paper.
MOST_CLASSES = 20
MOST_SLICES = 12


def html(experiment_id: int) -> str:
    """The report as one page without scripts or outside requests. Raises UserError before there is a report."""
    return _environment("html").get_template("report.html.j2").render(_facts(experiment_id))


def markdown(experiment_id: int) -> str:
    """The report as Markdown with tables. Raises UserError before there is a report."""
    return _environment("markdown").get_template("report.md.j2").render(_facts(experiment_id))


def _facts(experiment_id: int) -> dict[str, Any]:
    """Everything the templates name."""
    with session(read_only=True) as db:
        experiment = db.get_one(Experiment, experiment_id)
        dataset = db.get_one(Dataset, experiment.dataset_id)
    report = experiment.report
    if report is None:
        raise UserError(f"{experiment.name} has no report yet.", "Let the comparison finish first.")
    seen, rows, verdict = read_scores(experiment_id), report["rungs"], report["verdict"]
    cost: frontier.Cost = "usd_per_1000" if any(row["usd_per_1000"] for row in rows) else "latency_p50_s"
    unit = "US$ per 1,000 answers" if cost == "usd_per_1000" else "seconds per answer, median"
    front = frontier.pareto(rows, cost)
    title = report["metric_title"]
    return {
        "experiment": experiment,
        "dataset": dataset,
        "plan": Plan.model_validate(experiment.spec),
        "report": report,
        "verdict": verdict,
        "date": dt.datetime.fromtimestamp(experiment.created_at, dt.UTC).date(),
        "others": [metric for metric in report["metrics"] if not metric["deciding"]],
        "front": front,
        "scores_chart": scores_chart(rows, f"{title} of each rung", verdict["rung"], report["target"]),
        "effects_chart": effects_chart(report["effects"], "What each switch bought") if report["effects"] else "",
        "frontier_chart": frontier_chart(rows, cost, unit, f"{title} against cost", front),
        "unit": unit,
        "slices": report["slices"],
        "votes": votes.results(experiment_id),
        "most_classes": MOST_CLASSES,
        "most_slices": MOST_SLICES,
        "examples": list(_examples(experiment_id, seen, report)),
    }


def _examples(experiment_id: int, seen: Scores, report: dict[str, Any]) -> Any:
    """Some examples on which rungs differ most, spread over the test, with every rung's answer."""
    columns = [seen.values[report["metric"]][rung] for rung in seen.rungs]
    # Where the metric does not apply to a rung there is no value, and no difference either.
    known = [[value for value in values if value == value] or [0.0] for values in zip(*columns, strict=True)]
    order = sorted(range(seen.n), key=lambda i: (min(known[i]) - max(known[i]), i))
    for row in sorted(order[:SHOWN]):
        asked = read_example(experiment_id, int(seen.examples[row]))
        yield {
            "number": asked.example.position + 1,
            "question": _cut(last_question(asked.example.messages)),
            "reference": _cut(asked.example.reference),
            "answers": [
                {
                    "rung": rung,
                    "output": _cut(given[0].output),
                    "error": _cut(given[0].error or ""),
                    "score": None if columns[k][row] != columns[k][row] else float(columns[k][row]),
                }
                for k, rung in enumerate(seen.rungs)
                if (given := asked.predictions.get(rung))
            ],
        }


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} … ({len(text):,} characters)"


def _money(usd: float | None) -> str:
    """US dollars with three digits; nothing paid is "0"."""
    if usd is None:
        return "–"
    return f"{usd:.3g}" if usd < 100 else f"{usd:,.0f}"


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _points(difference: float) -> str:
    return f"{'+' if difference > 0 else ''}{figure(difference)}"


@cache
def _environment(kind: Format) -> Environment:
    filters = {
        "percent": percent,
        "points": _points,
        "in_points": points,
        "tests": tests,
        "money": _money,
        "p": _p,
        "seconds": lambda s: "–" if s is None else f"{s:.3g}",
        "span": lambda ends: f"{figure(ends[0])} to {figure(ends[1])}",
        "signed": lambda ends: f"{_points(ends[0])} to {_points(ends[1])}",
    }
    return environment(FOLDER, kind, filters)
