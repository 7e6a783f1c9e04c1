"""`python -m core check`: what the Data page says about a file, for a terminal or a program."""

from __future__ import annotations

import json
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
from core.data.reading import Reading, detect
from core.errors import UserError

# A terminal shows the first of them; --json lists more.
SHOWN_WARNINGS = 20


class Profile(StrEnum):
    """Whose rules apply besides our own."""

    openai = "openai"


def check(
    file: Annotated[Path, typer.Argument(help="Examples: JSONL, JSON, CSV, TSV, Parquet or Excel, plain or gzip.")],
    profile: Annotated[Profile | None, typer.Option(help="Whose rules to judge by; default: what can be read.")] = None,
    layout: Annotated[str, typer.Option(help=f"One of {', '.join(LAYOUTS)}; default: detected.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")] = False,
) -> None:
    """Say what is wrong with a file of examples; exit status 0 if it can be imported, 1 if not."""
    if layout and layout not in LAYOUTS:
        raise UserError(f'There is no layout "{layout}".', f"Choose one of {', '.join(LAYOUTS)}.")
    report = _report(file, profile, layout)
    if as_json:
        sys.stdout.write(json.dumps(report.as_dict(), indent=1) + "\n")
    else:
        _print(report, str(file))
    if not report.importable:
        raise typer.Exit(1)


def _report(path: Path, profile: Profile | None, layout: str) -> Report:
    try:
        if path.is_dir():
            raise UserError("This is a folder.", "Name a file in it.")
        file = File(path.name, path=path)
        with file.open():
            pass
        reading: Reading | None = None
        if layout:
            reading = replace(detect(file).reading, layout=layout)
        return checked(file, reading, profile="openai" if profile else "")
    except OSError as error:
        what, remedy = f"The file cannot be read: {error.strerror or error}.", "Check the path."
    except UserError as error:
        what, remedy = error.what, error.remedy
    problem = Problem(path.name, 0, "", "unreadable", what, remedy)
    return Report(path.name, None, 0, 0, 1, 0, [problem], {problem.code: 1}, {}, profile or "")


def _print(report: Report, path: str) -> None:
    """One problem a line, as a compiler does: file:line:column, so that editors jump there."""
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
    place = [path, *([str(problem.line)] if problem.line else []), *([str(problem.column)] if problem.column else [])]
    about = f" {problem.field}:" if problem.field else ""
    return f"{':'.join(place)}: {problem.severity}:{about} {problem.message} {problem.remedy} [{problem.code}]"


def _say(text: str) -> None:
    """One line on standard output. What could steer a terminal or cannot be shown there is replaced."""
    plain = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(plain.encode(encoding, "replace").decode(encoding) + "\n")
