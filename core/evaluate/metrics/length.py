"""Length: the answer fits where it has to go."""

from __future__ import annotations

from pydantic import Field, model_validator

from core.evaluate.metrics.registry import Answer, Scored, answer_metric
from core.evaluate.metrics.settings import MetricSettings

Limit = int | None


class LengthSettings(MetricSettings):
    """The limits, both ends included; empty ones do not hold."""

    min_words: Limit = Field(1, ge=0, title="Words, at least", description="Texts between white space.")
    max_words: Limit = Field(100, ge=0, title="Words, at most", description="100 is a paragraph.")
    min_characters: Limit = Field(None, ge=0, title="Characters, at least", description="Spaces count.")
    max_characters: Limit = Field(None, ge=0, title="Characters, at most", description="160 is one text message.")
    min_lines: Limit = Field(None, ge=0, title="Lines, at least", description="Empty lines do not count.")
    max_lines: Limit = Field(None, ge=0, title="Lines, at most", description="Empty lines do not count.")

    @model_validator(mode="after")
    def _possible(self) -> LengthSettings:
        for unit in ("words", "characters", "lines"):
            least, most = getattr(self, f"min_{unit}"), getattr(self, f"max_{unit}")
            if least is not None and most is not None and least > most:
                raise ValueError(f"at least {least} and at most {most} {unit} cannot both hold")
        return self


@answer_metric("length", title="Length within limits", kind="binary", family="format", settings=LengthSettings)
def length(answer: Answer, settings: LengthSettings) -> Scored:
    """1 if the answer keeps to all limits of length: words, characters, lines.

    White space at both ends is left out. In scripts without spaces, limit the characters.
    """
    text = answer.output.strip()
    counts = {
        "words": len(text.split()),
        "characters": len(text),
        "lines": sum(1 for line in text.splitlines() if line.strip()),
    }
    broken = [
        unit
        for unit, count in counts.items()
        if not _above(count, getattr(settings, f"min_{unit}")) or not _below(count, getattr(settings, f"max_{unit}"))
    ]
    return Scored(float(not broken), {**counts, "broken": broken})


def _above(count: int, least: Limit) -> bool:
    return least is None or count >= least


def _below(count: int, most: Limit) -> bool:
    return most is None or count <= most
