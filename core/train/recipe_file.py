"""A recipe as a file: YAML that a person can read, change, share and run again."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from core.strict_yaml import dump_yaml, read_yaml
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
        blocks.append(f"{textwrap.indent(comment, '# ')}\n{dump_yaml({name: value})}")
    return "\n\n".join(blocks) + "\n"


def read_recipe(text: str, name: str) -> RecipeFile:
    """The recipe in `text`; `name` is the file's, for errors. Raises UserError that names line and field."""
    return read_yaml(
        text,
        name,
        RecipeFile,
        example="A recipe has fields such as `rank: 16`. Export one on the Train page to see what it looks like.",
    )
