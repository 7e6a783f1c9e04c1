"""What one example is, whatever file it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from core.models.prompt import Message


@dataclass(frozen=True)
class Example:
    """The turns before the answer, and the answer we expect.

    `group` names the source this example shares with others (document, template, conversation); it never straddles
    splits and is the cluster for statistics. `label` is the class, where the file names one. `tools` are the functions
    the answer may call; `calls` are the answer's own tool calls, and `reference` is then their text.
    """

    messages: tuple[Message, ...]
    reference: str
    group: str
    label: str | None = None
    context: str | None = None
    tools: list[dict[str, Any]] | None = None
    calls: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a file: where, what, and what to do. An error blocks the import, a warning does not.

    `line` counts from 1 in whatever the file is made of, which `unit` names; 0 means the file as a whole. `column`
    is the character within a line of text, from 1, where that is known. `fix` names the repair that mends it, if any.
    """

    file: str
    line: int
    field: str
    code: str
    message: str
    remedy: str
    severity: Literal["error", "warning"] = "error"
    column: int | None = None
    unit: Literal["line", "row", "item"] = "line"
    fix: str = ""

    def __str__(self) -> str:
        place = f", column {self.column}" if self.column else ""
        where = f"{self.file}, {self.unit} {self.line}{place}" if self.line else self.file
        return f"{where}: {self.message} {self.remedy}"


@dataclass(frozen=True)
class Read:
    """What one record of a file gave: its examples (none when an error is among the problems), and its problems."""

    line: int
    examples: tuple[Example, ...] = field(default=())
    problems: tuple[Problem, ...] = field(default=())
