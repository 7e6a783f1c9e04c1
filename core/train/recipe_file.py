"""A recipe as a file: YAML that a person can read, change, share and run again."""

from __future__ import annotations

import textwrap
from typing import Any

from pydantic import Field

from core.sources import Sources
from core.strict_yaml import dump_yaml, read_yaml
from core.train.recipe import Recipe


class RecipeFile(Recipe):
    """A recipe and the data it was, or shall be, run on."""

    data: Sources = Field(default_factory=Sources, description="What it learns from.")

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
