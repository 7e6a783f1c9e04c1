"""Form: rules on how an answer begins, ends and is marked up."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.evaluate.metrics.registry import Answer, Scored, answer_metric
from core.evaluate.metrics.settings import MetricSettings

# Markup shows early; reading 100,000 characters for it would only take time.
READ_CHARACTERS = 20_000


class FormSettings(MetricSettings):
    """The rules; empty ones do not hold."""

    markdown: Literal["forbidden", "allowed"] = Field(
        "forbidden", title="Markdown", description="Headings, lists, bold, code, links, tables and HTML."
    )
    starts_with: str = Field("", title="Begins with", description="The first characters, as they are written.")
    ends_with: str = Field("", title="Ends with", description="The last characters, such as a full stop.")
    required: tuple[str, ...] = Field((), title="Must contain", description="Each of these, in any case.")
    forbidden: tuple[str, ...] = Field(
        (), title="Must not contain", description="None of these, in any case, such as “as an AI”."
    )


@answer_metric("form", title="Form rules kept", kind="binary", family="format", settings=FormSettings)
def form(answer: Answer, settings: FormSettings) -> Scored:
    """1 if the answer keeps to all rules of form: beginning, ending, required and forbidden words, plain text.

    White space at both ends is left out. An empty answer has no form and scores 0.
    """
    text = answer.output.strip()
    folded = text.casefold()
    broken = [
        rule
        for rule, kept in {
            "empty": bool(text),
            "starts_with": text.startswith(settings.starts_with),
            "ends_with": text.endswith(settings.ends_with),
            "required": all(words.casefold() in folded for words in settings.required),
            "forbidden": not any(words and words.casefold() in folded for words in settings.forbidden),
            "markdown": settings.markdown == "allowed" or not _marked_up(text[:READ_CHARACTERS]),
        }.items()
        if not kept
    ]
    return Scored(float(not broken), {"broken": broken})


def _marked_up(text: str) -> bool:
    """Whether a Markdown reader finds anything but paragraphs of plain text."""
    from markdown_it import MarkdownIt

    plain = {"paragraph_open", "paragraph_close", "inline", "text", "softbreak", "hardbreak", "text_special"}
    # Indented text is no code here: models indent for looks, and nobody would call that Markdown.
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"]).disable("code")
    return any(
        token.type not in plain or any(child.type not in plain for child in token.children or ())
        for token in parser.parse(text)
    )
