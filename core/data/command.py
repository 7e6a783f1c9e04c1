"""`python -m core check`: what the Data page says about a file, for a terminal or a program."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from core.data.check import MAX_LISTED, Report
from core.data.check import check as checked
from core.data.example import Problem
from core.data.files import File
from core.data.layouts import LAYOUTS
from core.data.layouts.layout import quote
from core.data.layouts.mapped import MAPPED_FIELDS
from core.data.reading import detect
from core.errors import UserError

# A terminal shows the first of them; --json lists more.
SHOWN_WARNINGS = 20
SHOWN_COLUMNS = 20


class Profile(StrEnum):
    """Whose rules apply besides our own."""

    openai = "openai"


def check(
    file: Annotated[Path, typer.Argument(help="Examples: JSONL, JSON, CSV, TSV, Parquet or Excel, plain or gzip.")],
    profile: Annotated[Profile | None, typer.Option(help="Whose rules to judge by; default: what can be read.")] = None,
    layout: Annotated[str, typer.Option(help=f"One of {', '.join(LAYOUTS)}; default: detected.")] = "",
    columns: Annotated[
        str, typer.Option("--map", help="Which columns hold what: prompt=COLUMN,answer=COLUMN; also system, group ...")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")] = False,
) -> None:
    """Say what is wrong with a file of examples; exit status 0 if it can be imported, 1 if not."""
    if layout and layout not in LAYOUTS:
        raise UserError(f'There is no layout "{layout}".', f"Choose one of {', '.join(LAYOUTS)}.")
    report = _report(file, profile, layout, _mapping(columns))
    if as_json:
        sys.stdout.write(json.dumps(report.as_dict(), indent=1) + "\n")
    else:
        _print(report, str(file))
    if not report.importable:
        raise typer.Exit(1)


def _mapping(columns: str) -> dict[str, str]:
    """Fields to columns, as --map names them; a column's own name may hold commas. Raises UserError."""
    pairs = [part.partition("=") for part in re.split(rf",(?=(?:{'|'.join(MAPPED_FIELDS)})=)", columns) if part]
    mapping = {field: column for field, _, column in pairs if column}
    if pairs and (len(mapping) < len(pairs) or not {"prompt", "answer"} <= mapping.keys() <= set(MAPPED_FIELDS)):
        told = f"--map does not say which columns are what: {columns}."
        fields = ", ".join(MAPPED_FIELDS[2:])
        raise UserError(told, f"Write prompt=COLUMN,answer=COLUMN, each once; after these you may name {fields}.")
    return mapping


def _report(path: Path, profile: Profile | None, layout: str, mapping: dict[str, str]) -> Report:
    name = path.name.encode("utf-8", "replace").decode()  # Names of files may be no text.
    try:
        if path.is_dir():
            raise UserError("This is a folder.", "Name a file in it.")
        if path.exists() and not path.is_file():
            raise UserError("This is a pipe or a device.", "Write its content into a file first.")
        file = File(name, path=path)
        found = detect(file)
        reading = replace(found.reading, layout=layout) if layout else found.reading
        columns = list(dict.fromkeys([*found.columns, *(key for record in found.sample for key in record)]))
        if mapping:
            _refuse_unknown(mapping, columns)
            reading = replace(reading, layout="mapped", mapping=mapping)
        return _with_columns(checked(file, reading, profile="openai" if profile else ""), columns)
    except OSError as error:
        what, remedy = f"The file cannot be read: {error.strerror or error}.", "Check the path."
    except UserError as error:
        what, remedy = error.what, error.remedy
    problem = Problem(name, 0, "", "unreadable", what, remedy)
    return Report(name, None, 0, 0, 1, 0, [problem], {problem.code: 1}, {}, profile or "")


def _refuse_unknown(mapping: dict[str, str], columns: list[str]) -> None:
    """Raise UserError if a column is named that the first records do not have; a file without any says so itself."""
    unknown = [column for column in mapping.values() if column not in columns]
    if columns and unknown:
        raise UserError(f"No column is called {quote(unknown[0])}.", f"The columns are {_listed(columns)}.")


def _with_columns(report: Report, columns: list[str]) -> Report:
    """Where columns have to be chosen, the report says how here, and between which."""
    remedy = "The first records have none."
    if columns:
        remedy = f"Choose them with --map prompt=COLUMN,answer=COLUMN; the columns are {_listed(columns)}."
    problems = [replace(found, remedy=remedy) if found.code == "mapping" else found for found in report.problems]
    return replace(report, problems=problems)


def _listed(columns: list[str]) -> str:
    return ", ".join(map(quote, columns[:SHOWN_COLUMNS])) + (" and others" if len(columns) > SHOWN_COLUMNS else "")


def _print(report: Report, path: str) -> None:
    """One problem a line, as a compiler does: file:line:column, so that editors jump there. A row or an item is no line
    of the file, and is named in words."""
    if report.format:
        _say(f"{path}: {report.format}")
    errors = [problem for problem in report.problems if problem.severity == "error"]
    warnings = [problem for problem in report.problems if problem.severity == "warning"]
    for problem in errors + warnings[:SHOWN_WARNINGS]:
        _say(_line(problem, path))
    hidden_errors, hidden = report.errors - len(errors), report.warnings - len(warnings[:SHOWN_WARNINGS])
    if hidden_errors:
        _say(f"... and {hidden_errors:,} more errors; the first {MAX_LISTED:,} are listed.")
    if hidden:
        _say(f"... and {hidden:,} more warnings; --json lists more.")
    for code, count in report.by_code.items():
        _say(f"  {count:>9,}  {code}")
    if report.fixes:
        mended = ", ".join(f"{key} ({count:,})" for key, count in report.fixes.items())
        _say(f"Can be mended on the Data page: {mended}")
    verdict = "can be imported" if report.importable else "cannot be imported"
    counts = [(report.examples, "example"), (report.errors, "error"), (report.warnings, "warning")]
    said = ", ".join(f"{count:,} {noun}{'' if count == 1 else 's'}" for count, noun in counts)
    _say(f"{path} {verdict}: {said}.")


def _line(problem: Problem, path: str) -> str:
    place = path
    if problem.line:
        place += f":{problem.line}" if problem.unit == "line" else f": {problem.unit} {problem.line}"
    if problem.column:
        place += f":{problem.column}"
    about = f" {problem.field}:" if problem.field else ""
    return f"{place}: {problem.severity}:{about} {problem.message} {problem.remedy} [{problem.code}]"


def _say(text: str) -> None:
    """One line on standard output. What could steer a terminal or cannot be shown there is replaced."""
    plain = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(plain.encode(encoding, "replace").decode(encoding) + "\n")
