"""Answers as they come from a file, a link or a form: checked against the questions, with every problem named."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from pathlib import Path

from core.decide.rulebook import rulebook
from core.decide.schema import Question
from core.errors import UserError

Answer = str | bool | float
# An answer that says nothing, as opposed to a question that was not put. Rules treat both alike.
UNSURE = "unsure"


def read_answers(raw: object) -> dict[str, Answer]:
    """Answers to the questions, in the order given. `null` and "unsure" leave a question open.

    Raises UserError that lists every unknown key and every value that cannot be meant.
    """
    if not isinstance(raw, dict):
        raise UserError("The answers are not an object.", 'Write them as {"gap": "knowledge", "changes_often": true}.')
    problems: list[str] = []
    answers: dict[str, Answer] = {}
    known = {question.id: question for question in rulebook().questions}
    for key, value in raw.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
            problems.append(f'There is no question "{str(key)[:80]}"; {hint}')
        elif value is None:
            continue
        elif value == UNSURE:
            answers[key] = UNSURE
        else:
            wrong = problem(known[key], value)
            if wrong:
                problems.append(f"{key}: {wrong}")
            else:
                answers[key] = value
    if problems:
        raise UserError(" ".join(problems), "Correct or leave out what is named; every question is optional.")
    return answers


def read_answers_file(path: Path) -> dict[str, Answer]:
    """Answers from a JSON file. Raises UserError with file, line and column of what is wrong."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.", "Give a JSON file in UTF-8.") from error
    try:
        return read_answers(json.loads(text, object_pairs_hook=_once))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}, line {error.lineno}, column {error.colno}: {error.msg}.", "Correct the JSON there."
        ) from error
    except RecursionError as error:
        raise UserError(f"{path} is nested too deeply.", "Write one flat object.") from error
    except ValueError as error:  # an integer of more digits than Python reads
        raise UserError(f"{path} holds a number that is too long.", "Correct it.") from error


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object in which no key stands twice, since one of the two answers would be lost."""
    keys = [key for key, _ in pairs]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise UserError(f'"{twice[:80]}" is answered twice.', "Keep one of the answers.")
    return dict(pairs)


def from_link(parameters: Mapping[str, str]) -> tuple[dict[str, Answer], list[str]]:
    """Answers from the address of the page, and a sentence for each that was not understood."""
    answers: dict[str, Answer] = {}
    problems = []
    for key, words in parameters.items():
        question = next((q for q in rulebook().questions if q.id == key), None)
        if question is None:
            continue
        try:
            answers |= read_answers({key: _from_words(question, words)})
        except UserError as error:
            problems.append(error.what)
    return answers, problems


def to_link(answers: Mapping[str, Answer]) -> dict[str, str]:
    """The same answers as parameters of an address."""
    return {key: _to_words(value) for key, value in answers.items()}


def in_words(key: str, value: Answer) -> str:
    """An answer as a person would say it: "Yes", "200 requests a day", "They lack facts"."""
    question = rulebook().question(key)
    if value == UNSURE:
        return "Not sure"
    if question.kind == "choice":
        return question.options[str(value)]
    if question.kind == "yes_no":
        return "Yes" if value else "No"
    return f"{float(value):,.13g} {question.unit}"


def settled(answers: Mapping[str, Answer]) -> dict[str, Answer]:
    """The answers that say something."""
    return {key: value for key, value in answers.items() if value != UNSURE}


def problem(question: Question, value: object) -> str:
    """What is wrong with a value as an answer to a question; an empty text if nothing is."""
    shown = json.dumps(value, ensure_ascii=False, default=str)[:80]
    if question.kind == "choice":
        listed = ", ".join(question.options)
        return "" if isinstance(value, str) and value in question.options else f"{shown} is none of {listed}, unsure."
    if question.kind == "yes_no":
        return "" if isinstance(value, bool) else f"{shown} is neither true nor false."
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"{shown} is not a number."
    if not -math.inf < value < math.inf:
        return f"{shown} is not a finite number."
    if not 0 <= value <= question.most:
        return f"{shown} {question.unit} is outside 0 to {question.most:,.13g}, which cannot be meant."
    return ""


def _from_words(question: Question, words: str) -> object:
    if words == UNSURE or question.kind == "choice":
        return words
    if question.kind == "yes_no":
        return {"true": True, "false": False}.get(words, words)
    try:
        return float(words)
    except ValueError:
        return words


def _to_words(value: Answer) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value).removesuffix(".0")
