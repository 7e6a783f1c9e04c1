"""Functions of one's own, from the home folder and nowhere else."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from core.errors import UserError
from core.evaluate.metrics import metric_named, metrics
from core.evaluate.metrics.own import own_problems
from core.evaluate.metrics.registry import REGISTERED, Answer, Scored, identity_of

PLAIN = '''"""Polite answers."""

def score(prediction, reference):
    """1 if it says please."""
    return float("please" in prediction.lower())
'''
DECORATED = '''
from core.evaluate.metrics.registry import Scored, answer_metric, metric

@metric("shouting", title="Shouting", kind="binary")
def shouting(prediction: str, reference: str) -> float:
    """1 if it is all in capitals."""
    return float(prediction.isupper())

@answer_metric("thrifty", title="Thrifty", kind="continuous", family="format")
def thrifty(answer):
    """More for fewer tokens; says nothing of an empty answer."""
    return Scored(1 / answer.output_tokens, {"tokens": answer.output_tokens}) if answer.output else Scored(None)
'''


def write(home: Path, name: str, text: str | bytes) -> Path:
    folder = home / "metrics"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_plain_function_is_a_metric_called_like_its_file(home: Path) -> None:
    write(home, "polite_words.py", PLAIN)
    own = metric_named("polite_words")
    assert (own.title, own.family, own.explanation) == ("Polite words", "own", "1 if it says please.")
    assert own in metrics() and "polite_words" not in REGISTERED
    answers = [Answer("Please wait", ""), Answer("Wait", "")]
    assert [scored.value for scored in own.score_all(answers)] == [1, 0]


def test_decorated_functions_keep_their_names_and_notes(home: Path) -> None:
    write(home, "several.py", DECORATED)
    assert metric_named("shouting").kind == "binary" and metric_named("shouting").score("NO", "") == 1
    values = metric_named("thrifty").score_all([Answer("x", "", output_tokens=4), Answer("", "")])
    assert values == [Scored(0.25, {"tokens": 4}), Scored(None)]


def test_its_identity_changes_with_its_code(home: Path) -> None:
    path = write(home, "polite.py", PLAIN)
    before = identity_of(metric_named("polite"), {})
    assert before.startswith("polite:") and before == identity_of(metric_named("polite"), {})
    path.write_text(PLAIN.replace('"please"', '"thanks"'), encoding="utf-8")
    assert identity_of(metric_named("polite"), {}) != before
    assert metric_named("polite").score("Thanks", "") == 1
    assert not list(path.parent.rglob("*.pyc"))
    path.unlink()
    with pytest.raises(UserError, match="no metric called polite"):
        metric_named("polite")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def score(prediction, reference:\n    return 1\n", r"bad\.py, line 1: "),
        ("import os\nimport no_such_module_at_all\n", r"bad\.py, line 2: ModuleNotFoundError: .*no_such_module"),
        ("x = 1\n\ny = x / 0\n", r"bad\.py, line 3: ZeroDivisionError"),
        ("import sys\nsys.exit('bye')\n", r"bad\.py, line 2: SystemExit: bye"),
        ("def rate(a, b):\n    return 1\n", r"bad\.py defines no metric"),
        (DECORATED.replace('"shouting"', '"exact_match"'), r"bad\.py: there is a metric exact_match already"),
        (b"\xff\xfe\x00", r"bad\.py"),
        ("\x00", r"bad\.py"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_with_its_line_and_harms_no_other(
    home: Path, text: str | bytes, reason: str
) -> None:
    built_in = dict(REGISTERED)
    write(home, "bad.py", text)
    write(home, "polite.py", PLAIN)
    assert metric_named("polite").score("please", "") == 1
    [problem] = own_problems()
    assert problem.remedy
    with pytest.raises(UserError, match=reason):
        raise problem
    with pytest.raises(UserError, match=f"no metric called bad.*{reason}"):
        metric_named("bad")
    assert built_in == REGISTERED


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return 1.5", r"own\.py: own gave 1\.5"),
        ("return -0.1", r"own gave -0\.1"),
        ("return float('nan')", "own gave nan"),
        ("return '1'", "own gave '1'"),
        ("return None", "own gave None"),
        ("return [1] * 1000", r"own gave \[1, 1"),
        ("return len(prediction) / len(reference)", r"own\.py, line 2: ZeroDivisionError: division by zero"),
        ("return prediction.nothing", r"own\.py, line 2: AttributeError"),
        ("raise SystemExit", r"own\.py, line 2: SystemExit: no message"),
        ("return float(__import__('json').loads('{')['a'])", r"own\.py, line 2: JSONDecodeError"),
    ],
)
def test_a_wrong_score_is_an_error_that_names_the_place(home: Path, body: str, reason: str) -> None:
    write(home, "own.py", f"def score(prediction, reference):\n    {body}\n")
    with pytest.raises(UserError, match=reason):
        metric_named("own").score_all([Answer("text", "")])


def test_a_function_that_takes_other_arguments_is_told_so(home: Path) -> None:
    write(home, "own.py", "def score(prediction):\n    return 1\n")
    with pytest.raises(UserError, match=r"own\.py: TypeError: .*2 were given"):
        metric_named("own").score("a", "b")


def test_true_and_false_are_scores(home: Path) -> None:
    write(home, "own.py", "def score(prediction, reference):\n    return prediction == reference\n")
    assert metric_named("own").score("a", "a") == 1


def test_two_files_with_the_same_name_for_a_metric(home: Path) -> None:
    write(home, "a.py", DECORATED)
    write(home, "b.py", DECORATED)
    assert metric_named("shouting").score("NO", "") == 1
    assert "Two files in metrics define the metric shouting" in own_problems()[0].what


def test_only_files_of_the_folder_itself_are_run(home: Path) -> None:
    marker = "import sys\nsys.lowest_rung_was_run = True\n" + PLAIN
    write(home, "notes.txt", marker)
    (home / "metrics" / "deeper").mkdir()
    (home / "metrics" / "deeper" / "polite.py").write_text(marker, encoding="utf-8")
    (home / "uploads").mkdir()
    (home / "uploads" / "polite.py").write_text(marker, encoding="utf-8")
    with pytest.raises(UserError):
        metric_named("polite")
    with pytest.raises(UserError):
        metric_named("../uploads/polite")
    assert not hasattr(sys, "lowest_rung_was_run")


def test_many_sessions_may_look_at_once(home: Path) -> None:
    for number in range(5):
        write(home, f"polite{number}.py", PLAIN)
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.append(len(metrics()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(seen) == {len(REGISTERED) + 5}
