"""A recipe as a file: YAML that a person can read, change, share and run again."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import UserError
from core.train.recipe import Recipe


class Data(BaseModel):
    """What a run learns from: a data set of this home by number, or files; paths are relative to the recipe's folder.

    `hash` is the data set's content hash: a run of the same recipe on other data would be another run.
    """

    model_config = ConfigDict(extra="forbid")

    dataset: int | None = Field(None, ge=1, description="Number of a data set in this home.")
    name: str = Field("", description="Its name, for people.")
    hash: str = Field("", description="Hash of its content; a run on other data is refused.")
    train: Path | None = Field(
        None, description="File of examples instead of a data set; parts for validation and test are held back."
    )
    index: int | None = Field(None, ge=1, description="Number of the index that passages come from.")
    documents: Path | None = Field(None, description="Folder of documents to index for passages, instead of an index.")


class RecipeFile(Recipe):
    """A recipe and the data it was, or shall be, run on."""

    data: Data = Field(default_factory=Data, description="What it learns from.")

    @property
    def recipe(self) -> Recipe:
        return Recipe.model_validate(self.model_dump(exclude={"data"}))

    @classmethod
    def of(cls, recipe: Recipe, **data: Any) -> RecipeFile:
        return cls.model_validate({**recipe.model_dump(), "data": data})


def write_recipe(file: RecipeFile) -> str:
    """YAML with every field, each under a comment that says what it does."""
    written = file.model_dump(mode="json")
    data = {name: value for name, value in written.pop("data").items() if value not in (None, "")}
    blocks = ["# A training recipe of Lowest Rung: python -m core train THIS_FILE"]
    for name, value in (*written.items(), ("data", data)):
        comment = textwrap.fill(RecipeFile.model_fields[name].description or "", 116)
        blocks.append(f"{textwrap.indent(comment, '# ')}\n{_yaml({name: value})}")
    return "\n\n".join(blocks) + "\n"


def read_recipe(text: str, name: str) -> RecipeFile:
    """The recipe in `text`; `name` is the file's, for errors. Raises UserError that names line and field."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        found = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{name}{where}: this is not YAML: {error.problem}.", "Correct it there.") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"{name} is not YAML: {str(error).splitlines()[0]}", "A recipe is a text file.") from error
    if not isinstance(found, dict):
        raise UserError(
            f"{name} holds no recipe: it should be a list of fields such as `rank: 16`.",
            "Export a recipe on the Train page to see what one looks like.",
        )
    _refuse_repeated(root, name)
    try:
        return RecipeFile.model_validate(found)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        # A list of layers that is wrong is not all-linear either, which needs no saying.
        listed = any(problem["loc"][0] == "targets" and problem["type"] != "literal_error" for problem in problems)
        told = [p for p in problems if not (listed and p["loc"][0] == "targets" and p["type"] == "literal_error")]
        lines = [_in_words(problem, root, name) for problem in sorted(told, key=lambda p: _line(root, _place(p)))]
        raise UserError("\n".join(lines), f"Fields: {', '.join(RecipeFile.model_fields)}.") from error


def _refuse_repeated(root: Any, name: str) -> None:
    """YAML's reader lets the last of two equal fields win in silence."""
    lines: dict[str, int] = {}
    for key, _ in root.value:
        if key.value in lines:
            raise UserError(
                f"{name}, line {key.start_mark.line + 1}: {key.value} is said twice, first in line {lines[key.value]}.",
                "Keep one of them.",
            )
        lines[key.value] = key.start_mark.line + 1


def _place(problem: Any) -> list[str]:
    """The field's path. pydantic names the branch of a choice too, such as list[constrained-str]."""
    return [str(part) for part in problem["loc"] if "[" not in str(part)]


def _in_words(problem: Any, root: Any, name: str) -> str:
    place = _place(problem)
    line = _line(root, place)
    field = ".".join(place)
    if problem["type"] == "extra_forbidden":
        return f"{name}, line {line}: there is no field {field}."
    return f"{name}, line {line}: {field}: {problem['msg']}."


def _line(node: Any, place: list[str]) -> int:
    """The line, from 1, of the deepest part of `place` that the file has."""
    line = int(node.start_mark.line) + 1
    for part in place:
        if not isinstance(node, yaml.MappingNode):
            break
        found = next(((key, value) for key, value in node.value if key.value == part), None)
        if found is None:
            break
        line, node = int(found[0].start_mark.line) + 1, found[1]
    return line


def _yaml(value: dict[str, Any]) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=116).rstrip()
