"""Citation correctness: the answer names the document that it is really from."""

from __future__ import annotations

from pydantic import Field

from core.evaluate.metrics.registry import Answer, Scored, answer_metric
from core.evaluate.metrics.settings import MetricSettings
from core.evaluate.metrics.sources import expected_sources, fold, named_sources, names_of, same_source


class CitationSettings(MetricSettings):
    """Where the source is named, and what makes it right."""

    field: str = Field(
        "source",
        title="Source field",
        description="Key that names the source, where the answer is JSON. In other texts titles stand in [brackets].",
    )
    retrieved: bool = Field(
        True,
        title="Must be among the passages",
        description="A source that the model was not shown is made up, even if it is the right one by luck.",
    )


@answer_metric("citation", title="Citation correct", kind="binary", family="retrieval", settings=CitationSettings)
def citation(answer: Answer, settings: CitationSettings) -> Scored:
    """1 if the sources that the answer names are those of the reference, and were retrieved.

    Names are compared without case, hyphens and underscores; a file may be named by its title or file name. Naming
    none, a wrong one beside the right one, or one that was not retrieved scores 0. Where the example names no source,
    a retrieved one is right.
    """
    named = named_sources(answer.output, settings.field)
    expected = expected_sources(answer, settings.field)
    if not named:
        return Scored(0.0, {"named": [], "reason": "no source is named"})
    notes = {"named": [name[:200] for name in named]}
    shown = [name for name in named if any(same_source(name, passage) for passage in answer.passages)]
    if settings.retrieved and len(shown) < len(named):
        return Scored(0.0, {**notes, "reason": "not among the passages"})
    if expected and not all(_is_one_of(name, expected, answer) for name in named):
        return Scored(0.0, {**notes, "reason": "not the reference's source"})
    if not expected and not shown:
        return Scored(0.0, {**notes, "reason": "nobody can tell: no source in the example, none retrieved"})
    return Scored(1.0, notes)


def _is_one_of(name: str, expected: list[str], answer: Answer) -> bool:
    """Whether a name means one of the expected sources, maybe the one by title and the other by file."""
    meant = {fold(name)}
    for passage in answer.passages:
        if same_source(name, passage):
            meant |= {fold(known) for known in names_of(passage)}
    return any(fold(other) in meant for other in expected)
