"""`python -m core decide`: what the Decide page says, for a terminal or a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from core.decide.answers import read_answers_file
from core.decide.decision import Decision
from core.decide.decision import decide as decision
from core.decide.diagnosis import diagnose
from core.decide.record import write_record
from core.decide.second_opinion import ask as ask_model
from core.errors import UserError


def decide(
    answers: Annotated[Path | None, typer.Option(help="JSON file with answers to the wizard's questions.")] = None,
    text: Annotated[str | None, typer.Option(help="What is wrong with the answers, in a sentence or two.")] = None,
    texts: Annotated[
        Path | None, typer.Option(help='JSONL with the key "text"; prints one line of JSON for each.')
    ] = None,
    ask: Annotated[str | None, typer.Option(help="A language model to ask as well, such as remote/NAME.")] = None,
    record: Annotated[Path | None, typer.Option(help="File for the decision record, .md or .html.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")] = False,
) -> None:
    """Which rung to try first, why, what would change it, and what each rung costs."""
    given = read_answers_file(answers) if answers is not None else {}
    if texts is not None:
        if text is not None or ask is not None or record is not None:
            raise UserError("--texts goes with --answers alone.", "Leave --text, --ask and --record out.")
        _decide_each(texts, given)
        return
    if answers is None and text is None:
        raise UserError("There is nothing to decide from.", "Give --answers FILE, --text, or --texts FILE.")
    found = _decide(text, given, ask)
    if record is not None:
        write_record(found, record)
    if as_json:
        _print_json(found.as_dict())
        return
    advice = found.advice
    if found.diagnosis is not None:
        told = ", ".join(f"{name} {p:.0%}" for name, p in found.diagnosis.probabilities.items())
        _say(f"Diagnosis: {found.diagnosis.diagnosis} ({told})")
        for note in found.diagnosis.notes:
            _say(f"Note: {note}")
    if found.opinion is not None:
        _say(f"{found.opinion.model} says: {found.opinion.diagnosis}. {found.opinion.reason}")
    _say(f"Try first: {advice.rung} (confidence {advice.confidence_word}, {advice.confidence:.0%})", style="bold")
    for reason in advice.reasons:
        _say(f"- {reason.text}{' (assumed)' if reason.assumed else ''} [{reason.rule}]")
    for conflict in advice.conflicts:
        _say(f"! {conflict.text} [{conflict.rule}]")
    for flip in advice.flips:
        _say(f"Would change it: {flip.text} -> {flip.rung}")
    if advice.next:
        _say(f"Next to climb to: {', '.join(advice.next)}")


def _decide(text: str | None, given: Mapping[str, Any], ask: str | None = None) -> Decision:
    diagnosis = diagnose(text) if text is not None else None
    opinion = None
    if ask is not None:
        if text is None:
            raise UserError("A language model is asked about a text, and there is none.", "Add --text.")
        opinion = ask_model(text, ask)
    return decision(given, diagnosis=diagnosis, opinion=opinion)


def _decide_each(path: Path, given: Mapping[str, Any]) -> None:
    """One line of JSON per line of the file; a line that cannot be read gets one with `error`, and the rest go on."""
    failed = 0
    try:
        lines = path.read_bytes().decode("utf-8-sig", "replace").split("\n")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            told = _decide(_text_of(line), given).as_dict()
        except UserError as error:
            failed += 1
            told = {"error": f"Line {number}: {error.what}", "remedy": error.remedy}
        _print_json(told)
    if failed:
        lines_failed = "1 line" if failed == 1 else f"{failed} lines"
        raise UserError(f"{lines_failed} could not be read.", "Each says so in its place.")


def _text_of(line: str) -> str:
    try:
        text = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError('This is no JSON object with the key "text".', 'Write lines like {"text": "..."}.') from error
    if not isinstance(text, str):
        raise UserError('"text" is not a text.', "Put the description in quotation marks.")
    return text


def _print_json(told: Mapping[str, Any]) -> None:
    # In ASCII: a pipe may have any encoding.
    sys.stdout.write(json.dumps(told) + "\n")


def _say(text: str, style: str = "") -> None:
    typer.secho(text, bold=style == "bold")
