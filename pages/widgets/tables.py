"""Tables that pages share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from core.data.example import Problem
from core.export import FORMULA_STARTS, safe_csv
from pages.widgets.words import points, span


def shown(value: Any) -> Any:
    """A cell for `st.dataframe`. Its toolbar exports CSV as it is, so a formula is disarmed by an invisible joint."""
    return f"\u2060{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def table(rows: Sequence[Mapping[str, Any]], alt: str, **options: Any) -> Any:
    """Rows of plain values as a table without Markdown; returns what `st.dataframe` does: the selection, if asked."""
    frame = pd.DataFrame([{name: shown(value) for name, value in row.items()} for row in rows])
    return st.dataframe(frame, hide_index=True, alt=alt, **options)


def csv_button(rows: Sequence[Mapping[str, Any]], file_name: str, label: str, key: str) -> None:
    """A download whose cells no spreadsheet runs as formulas."""
    st.download_button(
        label, safe_csv(rows), file_name, "text/csv", key=key, icon=":material/download:", on_click="ignore"
    )


def problem_rows(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """One row per problem; the heading of the place is what the file is made of: line, row or item."""
    units = {problem.unit for problem in problems}
    columns = any(problem.column for problem in problems)
    return [
        {
            # Broken JSON has a line, what is wrong within a list has an item: then each names its own.
            **(
                {problem.unit: problem.line or None} if len(units) == 1 else {"place": f"{problem.unit} {problem.line}"}
            ),
            **({"column": str(problem.column or "")} if columns else {}),
            "field": problem.field,
            "what is wrong": problem.message,
            "what to do": problem.remedy,
            "kind": problem.code.replace("_", " "),
            "file": problem.file,
        }
        for problem in problems
    ]


def score_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per rung: its score, what became of its answers, and what they took, with units in the headings."""
    priced = any(row["usd_per_1000"] for row in report["rungs"])
    return [
        {
            "rung": row["rung"],
            "score, %": None if row["score"] is None else round(100 * row["score"], 1),
            "95% interval": "" if row["interval"] is None else span(row["interval"]),
            "scored": f"{row['scored']} of {row['of']}",
            "failed": row["failed"],
            "empty": row["empty"],
            "cut short": row["cut"],
            "s per answer": _rounded(row["latency_p50_s"]),
            "slowest 5 %, s": _rounded(row["latency_p95_s"]),
            "tokens in": row["input_tokens"],
            "tokens out": row["output_tokens"],
            **({"US$ spent": row["cost_usd"], "US$ per 1,000": row["usd_per_1000"]} if priced else {}),
            "set-up, s": round(row["setup_s"]),
        }
        for row in report["rungs"]
    ]


def metric_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per rung, per metric a column with the score and its interval in percent; the deciding one first."""
    others = [metric for metric in report["metrics"] if not metric["deciding"]]
    return [
        {"rung": row["rung"], f"{report['metric_title']} (decides)": _with_interval(row)}
        | {metric["title"]: _with_interval(row["other_metrics"].get(metric["identity"])) for metric in others}
        for row in report["rungs"]
    ]


def pair_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per pair of rungs, told as the second against the first."""
    return [
        {
            "rung": pair["b"],
            "against": pair["a"],
            "difference": points(pair["effect"]),
            "95% interval": span(pair["interval"], signed=True),
            "p": p_value(pair["p"]),
            "p adjusted": p_value(pair["p_adjusted"]),
            "outcome": pair["outcome"],
            "more examples needed": pair.get("more"),
        }
        for pair in report["comparisons"]
    ]


def pair_figures(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The same as numbers, for programs and spreadsheets: points and p as they were reckoned."""
    return [
        {
            "rung": pair["b"],
            "against": pair["a"],
            "difference_points": round(100 * pair["effect"], 4),
            "low_95_points": round(100 * pair["interval"][0], 4),
            "high_95_points": round(100 * pair["interval"][1], 4),
            "p": pair["p"],
            "p_adjusted": pair["p_adjusted"],
            "outcome": pair["outcome"],
            "more_examples_needed": pair.get("more"),
        }
        for pair in report["comparisons"]
    ]


def score_figures(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per rung as numbers: each metric in percent with its interval, and all that was counted."""
    counted = ("scored", "of", "failed", "empty", "cut", "latency_p50_s", "latency_p95_s", "input_tokens")
    more = ("output_tokens", "cost_usd", "usd_per_1000", "setup_s")
    rows = []
    for row in report["rungs"]:
        figures: dict[str, Any] = {"rung": row["rung"], "model": row["model"]}
        found = {report["metric"]: row, **row["other_metrics"]}
        for metric in report["metrics"]:
            value = found.get(metric["identity"])
            low, high = (value and value["interval"]) or (None, None)
            for name, number in (("", value and value["score"]), ("low_95_", low), ("high_95_", high)):
                figures[f"{name}{metric['identity']}_percent"] = None if number is None else round(100 * number, 4)
        rows.append(figures | {name: row[name] for name in (*counted, *more)})
    return rows


def p_value(value: float | None) -> str:
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _with_interval(scored: Mapping[str, Any] | None) -> str:
    """A metric that does not apply to a rung, such as passages found by one that looks for none, has no score."""
    if scored is None or scored["score"] is None:
        return "does not apply"
    return f"{100 * scored['score']:.1f} ({span(scored['interval'])})"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
