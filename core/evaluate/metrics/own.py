"""Metrics of one's own: Python files in the `metrics` folder of the home folder.

A file defines functions decorated with `@metric` (or `@answer_metric`, `@batch_metric`) from
`core.evaluate.metrics.registry`, or plainly `score(prediction, reference)`, which is then called like the file. They
run with all rights of the app, so they come from that folder alone: nothing that is uploaded is ever run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from core.errors import UserError
from core.evaluate.metrics.registry import REGISTERED, Answer, Metric, Scored, Value, metric
from core.settings import get_settings

FOLDER = "metrics"
_LOCK = threading.Lock()


@dataclass(frozen=True)
class _File:
    """What a file gave, at one state of it: its metrics, or what is wrong."""

    state: tuple[int, int]
    metrics: tuple[Metric, ...] = ()
    problem: UserError | None = None


_LOADED: dict[Path, _File] = {}


def own_metrics() -> dict[str, Metric]:
    """One's own metrics by name. Files that cannot be read are left out; `own_problems` says why."""
    return {found.name: found for file in _files() for found in file.metrics}


def own_problems() -> list[UserError]:
    """What is wrong with files of the folder, each naming its file and line."""
    return [file.problem for file in _files() if file.problem is not None]


def _files() -> list[_File]:
    """Every file in order of name, read again when it has changed."""
    folder = get_settings().home / FOLDER
    # The registry is borrowed while a file is read, so one at a time.
    with _LOCK:
        files: list[_File] = []
        for path in sorted(folder.glob("*.py")):
            stat = path.stat()
            state = stat.st_mtime_ns, stat.st_size
            if path not in _LOADED or _LOADED[path].state != state:
                _LOADED[path] = _load(path, state)
            files.append(_LOADED[path])
    return _without_doubles(files)


def _without_doubles(files: list[_File]) -> list[_File]:
    taken: set[str] = set()
    kept = []
    for file in files:
        doubled = next((found for found in file.metrics if found.name in taken), None)
        if doubled is not None:
            where = UserError(f"Two files in {FOLDER} define the metric {doubled.name}.", "Rename one of them.")
            file = replace(file, metrics=(), problem=where)
        taken |= {found.name for found in file.metrics}
        kept.append(file)
    return kept


def _load(path: Path, state: tuple[int, int]) -> _File:
    before = dict(REGISTERED)
    try:
        content = path.read_bytes()
        module = _run(path, content)
        found = {name: new for name, new in REGISTERED.items() if before.get(name) is not new}
        score = getattr(module, "score", None)
        if not found and callable(score):
            metric(path.stem, title=path.stem.replace("_", " ").capitalize(), kind="continuous")(score)
            found = {path.stem: REGISTERED[path.stem]}
        taken = sorted(found.keys() & before.keys())
        if taken:
            raise UserError(f"{path.name}: there is a metric {taken[0]} already.", "Give yours another name.")
        if not found:
            raise UserError(
                f"{path.name} defines no metric.",
                "Write a function score(prediction, reference) that gives a number from 0 to 1.",
            )
        version = hashlib.sha256(content).hexdigest()
        return _File(state, tuple(_guarded(one, path, version) for one in found.values()))
    except UserError as error:
        return _File(state, problem=error)
    except SyntaxError as error:
        problem = UserError(f"{path.name}, line {error.lineno}: {error.msg}.", "Correct the file.")
        return _File(state, problem=problem)
    # Whatever a person's file may do at import, leaving included, is told as what it is.
    except (Exception, SystemExit) as error:
        return _File(state, problem=_explained(path, error))
    finally:
        # Never emptied, since other sessions look things up in it meanwhile.
        for name in [name for name, new in REGISTERED.items() if before.get(name) is not new]:
            del REGISTERED[name]
        REGISTERED.update(before)


class _Source(SourceFileLoader):
    """Reads the very bytes that were hashed, and leaves no compiled copy that could outlive a change."""

    def __init__(self, name: str, path: str, content: bytes) -> None:
        super().__init__(name, path)
        self.content = content

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.content, self.path)


def _run(path: Path, content: bytes) -> Any:
    name = f"lowest_rung_own_{path.stem}"
    spec = importlib.util.spec_from_loader(name, _Source(name, str(path), content), origin=str(path))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses and pydantic look up the names in annotations.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _guarded(found: Metric, path: Path, version: str) -> Metric:
    explanation = found.explanation or f"Your own function in {FOLDER}/{path.name}."
    run = partial(_score, found, path)
    return replace(found, family="own", version=version, run=run, explanation=explanation)


def _score(found: Metric, path: Path, answers: Sequence[Answer], settings: Any) -> list[Value]:
    """The values, each a share. Raises UserError naming file and line."""
    try:
        given = list(found.run(answers, settings))
    except (Exception, SystemExit) as error:
        raise _explained(path, error) from error
    if len(given) != len(answers):
        raise UserError(f"{path.name}: {len(answers)} answers got {len(given)} scores.", "Give one for each answer.")
    return [_share(value, found, path) for value in given]


def _share(value: Any, found: Metric, path: Path) -> Value:
    plain: Any = value.value if isinstance(value, Scored) else value
    # "Does not apply" is said with Scored(None); a bare None is a forgotten return.
    if isinstance(value, Scored) and plain is None:
        return value
    try:
        number = float(plain) if not isinstance(plain, str) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    allowed = number in (0.0, 1.0) if found.kind == "binary" else 0 <= number <= 1
    if not allowed:
        wanted = "0 or 1, as it is binary" if found.kind == "binary" else "a number from 0 to 1"
        raise UserError(
            f"{path.name}: {found.name} gave {repr(plain)[:80]}.",
            f"A score is {wanted}. Correct the file, then start the comparison again: nothing is asked twice.",
        )
    return replace(value, value=number) if isinstance(value, Scored) else number


def _explained(path: Path, error: BaseException) -> UserError:
    """The error with the last line of the person's own file that led to it."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f"{path.name}, line {lines[-1]}" if lines else path.name
    said = str(error).splitlines()[0][:300] if str(error) else "no message"
    return UserError(f"{where}: {type(error).__name__}: {said}", "Correct the file, then try again.")
