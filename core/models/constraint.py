"""Answers that must have a shape: JSON, JSON of a schema, or what a regular expression matches.

llguidance says which tokens may come next; all others are ruled out before one is chosen. So an answer that ends by
itself always has its shape, and one that is cut off by its longest length is the beginning of one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from core.errors import UserError

if TYPE_CHECKING:
    import torch
    from llguidance import LLMatcher, LLTokenizer

# Between the parts of JSON: nothing, a blank, or a new line and its indentation. Free white space would let a small
# model write blanks for ever.
BLANKS = r"(\n[ \t]{0,32}| )?"
# Compiled shapes that are kept; a server sees the same few again and again.
MOST_COMPILED = 64


class ShapeRefused(UserError):
    """A schema or a regular expression that answers cannot be held to."""


@dataclass(frozen=True)
class Shape:
    """What an answer must look like; `text` is a JSON schema or a regular expression."""

    kind: Literal["schema", "regex"]
    text: str

    @classmethod
    def json(cls) -> Shape:
        """Any JSON object."""
        return cls.schema({"type": "object"})

    @classmethod
    def schema(cls, schema: dict[str, Any]) -> Shape:
        """JSON that `schema` accepts, its properties in the order in which they stand there."""
        try:
            return cls("schema", json.dumps(schema))
        except RecursionError as error:
            raise ShapeRefused("The JSON schema is nested too deeply.", "Define its parts under $defs.") from error

    @classmethod
    def regex(cls, pattern: str) -> Shape:
        """What `pattern` matches from beginning to end."""
        return cls("regex", pattern)


class Compiler:
    """Shapes for one tokenizer; `vocabulary` is the width of the model's logits, `ends` the tokens that close it."""

    def __init__(self, tokenizer: Any, vocabulary: int, ends: frozenset[int]) -> None:
        from llguidance.hf import from_tokenizer

        known = [end for end in sorted(ends) if end < vocabulary]
        width = max(vocabulary, len(tokenizer))
        self.tokenizer = tokenizer
        self._ours: LLTokenizer = from_tokenizer(tokenizer, n_vocab=width, eos_token=known or None)
        self._compile = lru_cache(MOST_COMPILED)(self._compiled)

    def matcher(self, shape: Shape) -> Matcher:
        """Raises ShapeRefused saying what of the shape is not supported."""
        return Matcher(self._compile(shape).deep_copy())

    def bytes_of(self, token: int) -> bytes:
        """What a token stands for; of most languages' letters it is only a part."""
        return self._ours.decode_bytes([token])

    def _compiled(self, shape: Shape) -> LLMatcher:
        from llguidance import LLMatcher

        try:
            if shape.kind == "regex":
                grammar = LLMatcher.grammar_from_regex(shape.text)
            else:
                grammar = LLMatcher.grammar_from_json_schema(shape.text, overrides={"whitespace_pattern": BLANKS})
        except ValueError as error:  # nested too deeply
            raise _refused(shape, str(error)) from error
        matcher = LLMatcher(self._ours, grammar, log_level=0)
        if not matcher.is_error():
            # Some turn out to be endless, or too large, at their first token only.
            tried = matcher.deep_copy()
            tried.compute_bitmask()
            matcher = tried if tried.is_error() else matcher
        if matcher.is_error():
            raise _refused(shape, matcher.get_error())
        return matcher


class Matcher:
    """What one answer has been so far, and what may come next."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def rule_out(self, logits: torch.Tensor) -> None:
        """Set the `logits` (vocabulary) of tokens that may not come next to minus infinity.

        Raises UserError when the shape has become too large to follow.
        """
        import numpy as np
        import torch

        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            raise UserError(
                f"The answer could not be held to its shape any longer: {_reason(self._matcher.get_error())}.",
                "Ask for something simpler.",
            )
        allowed = torch.from_numpy(np.unpackbits(bits, count=len(logits), bitorder="little"))
        logits.masked_fill_(allowed.to(logits.device) == 0, float("-inf"))

    def add(self, token: int) -> bool:
        """Take the chosen token; whether the answer is complete now, and nothing more could come.

        A shape that became too large by this token is none that is complete: `rule_out` says so.
        """
        self._matcher.consume_token(token)
        return self._matcher.is_stopped() and not self._matcher.is_error()


def _refused(shape: Shape, error: str) -> ShapeRefused:
    what = "regular expression" if shape.kind == "regex" else "JSON schema"
    return ShapeRefused(
        f"The {what} cannot be held to: {_reason(error)}.", "Leave that part out, or check it in the answer yourself."
    )


def _reason(error: str) -> str:
    """The library's message without its drawing of the place."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    said = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), lines[0])
    return said.rstrip(".")
