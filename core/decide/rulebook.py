"""The wizard's files (assets/decide), read, checked and kept."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml
from pydantic import ValidationError

from core.decide.checks import check
from core.decide.schema import Rulebook
from core.errors import UserError
from core.settings import REPOSITORY

FOLDER = REPOSITORY / "assets" / "decide"


def read_rulebook(folder: Path | None = None) -> Rulebook:
    """Read and check the four files. Raises UserError naming the place that is wrong."""
    parts = {}
    for name in ("questions", "thresholds", "rules", "texts"):
        path = (folder or FOLDER) / f"{name}.yaml"
        try:
            parts[name] = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise UserError(f"{path.name} cannot be read: {why}", "Correct the file in assets/decide.") from error
    try:
        book = Rulebook.model_validate(parts)
        check(book)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise UserError(*_inconsistent(f"{where}: {first['msg']}")) from error
    except ValueError as error:
        raise UserError(*_inconsistent(str(error))) from error
    return book


def _inconsistent(what: str) -> tuple[str, str]:
    return f"The wizard's files do not fit together: {what}.", "Correct the file in assets/decide."


@cache
def rulebook() -> Rulebook:
    """The rulebook of the product, read once."""
    return read_rulebook()
