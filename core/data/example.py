"""What one example is, whatever file it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.models.prompt import Message


@dataclass(frozen=True)
class Example:
    """The turns before the answer, and the answer we expect.

    `group` names the source this example shares with others (document, template, conversation); it never straddles
    splits and is the cluster for statistics. `label` is the class, where the file names one.
    """

    messages: tuple[Message, ...]
    reference: str
    group: str
    label: str | None = None
    context: str | None = None


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a file: where, what, and what to do. An error blocks the import, a warning does not."""

    file: str
    line: int
    field: str
    code: str
    message: str
    remedy: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        where = f"{self.file}, line {self.line}" if self.line else self.file
        return f"{where}: {self.message} {self.remedy}"


@dataclass(frozen=True)
class ReadResult:
    """Everything found in one file. `examples` is complete only when no problem is an error."""

    examples: tuple[Example, ...]
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.severity == "error"]
