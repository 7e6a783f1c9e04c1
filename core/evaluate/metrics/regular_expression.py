"""Regular expression: the answer has a form that can be written down."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from pydantic import Field, field_validator

from core.evaluate.metrics.registry import Answer, Scored, answer_metric
from core.evaluate.metrics.settings import MetricSettings

# A sound pattern takes microseconds; one that runs away would take years on a single answer.
LONGEST_S = 0.5


class RegexSettings(MetricSettings):
    """The pattern, and where it must match."""

    pattern: str = Field(
        r"\S", title="Pattern", description=r"Such as ^\d{4}-\d{2}-\d{2}$ for a date. The usual one: anything at all."
    )
    where: Literal["anywhere", "whole"] = Field(
        "anywhere", title="Must match", description="Somewhere in the answer, or the answer as a whole."
    )
    ignore_case: bool = Field(False, title="Ignore case", description="Whether a also means A.")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        import regex

        try:
            regex.compile(pattern)
        except (regex.error, RecursionError) as error:
            raise ValueError(f"it is no regular expression: {error}") from error
        return pattern


@answer_metric("regex", title="Pattern matched", kind="binary", family="format", settings=RegexSettings)
def matches(answer: Answer, settings: RegexSettings) -> Scored:
    """1 if the answer matches your regular expression; white space at both ends is left out.

    A pattern that takes longer than half a second on an answer has not matched it; the notes say `too_slow`.
    """
    pattern = compiled(settings.pattern, settings.ignore_case)
    search = pattern.fullmatch if settings.where == "whole" else pattern.search
    try:
        return Scored(float(search(answer.output.strip(), timeout=LONGEST_S) is not None))
    except TimeoutError:
        return Scored(0.0, {"too_slow": True})


@lru_cache(maxsize=64)
def compiled(pattern: str, ignore_case: bool = False) -> Any:
    """The pattern of the regex package, whose searches take a `timeout` in seconds."""
    import regex

    return regex.compile(pattern, regex.IGNORECASE if ignore_case else 0)
