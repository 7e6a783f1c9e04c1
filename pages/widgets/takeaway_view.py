"""Everything of a comparison as files: for people, for spreadsheets, for programs, and to run it again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from core.evaluate.takeaway import csv_rows, html, jsonl, markdown
from core.experiment_file import experiment_yaml
from core.export import safe_csv
from core.store.tables import Experiment
from pages.widgets.tables import pair_figures, score_figures

Content = Callable[[], str | bytes]


def take_away(experiment: Experiment, report: Mapping[str, Any]) -> None:
    """A file is made when it is asked for, so that opening this costs nothing."""
    number, stem = experiment.id, f"comparison-{experiment.id}"
    st.subheader("To read and to send", anchor=False)
    with st.grid(2, min_column_width=300, border=True) as grid:
        _file(
            grid,
            "Report (HTML)",
            "One page with verdict, charts and tables. Opens anywhere, loads nothing from elsewhere.",
            lambda: html(number),
            f"{stem}.html",
            "text/html",
            primary=True,
        )
        _file(
            grid,
            "Report (Markdown)",
            "The same in words and tables, for a wiki or a pull request.",
            lambda: markdown(number),
            f"{stem}.md",
            "text/markdown",
        )
    st.subheader("To work with", anchor=False)
    with st.grid(3, min_column_width=300, border=True) as grid:
        _file(
            grid,
            "Answers (CSV)",
            "One row per answer with its scores. No cell of it is run as a formula by a spreadsheet.",
            lambda: safe_csv(csv_rows(number)),
            f"{stem}-answers.csv",
            "text/csv",
        )
        _file(
            grid,
            "Scores (CSV)",
            "One row per rung: every metric, failures, tokens, time.",
            lambda: safe_csv(score_figures(report)),
            f"{stem}-scores.csv",
            "text/csv",
        )
        _file(
            grid,
            "Pairs (CSV)",
            "One row per pair of rungs: difference, interval, p, outcome.",
            lambda: safe_csv(pair_figures(report)),
            f"{stem}-pairs.csv",
            "text/csv",
        )
        _file(
            grid,
            "Answers (JSONL)",
            "One line per answer: prompt, reference, output, passages, scores, tokens, time.",
            lambda: "".join(jsonl(number)),
            f"{stem}-answers.jsonl",
            "application/jsonl",
        )
        _file(
            grid,
            "Figures (JSON)",
            "The report as data, as `python -m core compare` writes it.",
            lambda: json.dumps(report, indent=2, ensure_ascii=False) + "\n",
            "report.json",
            "application/json",
        )
        _file(
            grid,
            "Experiment file (YAML)",
            "Runs it again without a screen: `python -m core compare FILE --out FOLDER`.",
            lambda: experiment_yaml(number),
            f"{stem}.yaml",
            "application/yaml",
        )


def _file(grid: Any, title: str, what: str, content: Content, name: str, kind: str, primary: bool = False) -> None:
    with grid.cell():
        st.markdown(what)
        st.download_button(
            title,
            content,
            name,
            kind,
            icon=":material/download:",
            on_click="ignore",
            key=f"download_{title}",
            type="primary" if primary else "secondary",
        )
