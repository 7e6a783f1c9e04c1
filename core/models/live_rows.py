"""An answer on its way through the live engine, and how its next token is chosen."""

from __future__ import annotations

import random
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from core.errors import UserError
from core.models.constraint import Matcher
from core.models.generation import Sampling
from core.models.live_answer import Answer, Asked, Finish, Piece, Token
from core.models.live_text import Speech
from core.models.rows import choose

if TYPE_CHECKING:
    import torch

Describe = Callable[[int, float], Token]


class Row:
    """A prompt and what has been written after it, as tokens; the first `read` of them are in a cache.

    The last token of a prompt is read by the step that writes the first one of the answer.
    """

    def __init__(self, asked: Asked, answer: Answer, tokenizer: Any, matcher: Matcher | None) -> None:
        self.asked = asked
        self.answer = answer
        self.tokens = array("i", asked.prompt)
        self.read = 0
        self.born = time.perf_counter()
        # How many younger ones were let in before it.
        self.overtaken = 0
        # The cache of a network whose memory cannot be cut into slots.
        self.cache: Any = None
        self.dice = random.Random(asked.seed)
        self.matcher = matcher
        self._speech = Speech(tokenizer, asked.stop, asked.strip)

    @property
    def to_read(self) -> int:
        """How many tokens are to be read before it can be written on."""
        return len(self.tokens) - 1 - self.read

    @property
    def expected(self) -> int:
        """The tokens it has and those it may still get, as far as can be said: most answers end before they must."""
        return len(self.tokens) + min(self.asked.max_new_tokens - self.answer.output_tokens, EXPECTED)

    def add(self, token: int, details: Token | None, ends: frozenset[int]) -> Piece | None:
        """Take the next token and tell what can be told. Returns the last piece, which is not told yet."""
        self.tokens.append(token)
        self.answer.count_token()
        finish: Finish | None = None
        if token in ends:
            finish = "stop"
        else:
            self._speech.add(token, details)
            complete = self.matcher is not None and self.matcher.add(token)
            if complete or self._speech.stopped:
                finish = "stop"
            elif self.answer.output_tokens == self.asked.max_new_tokens:
                finish = "length"
        text, tokens = self._speech.tell(end=finish is not None)
        if finish:
            return Piece(text, tokens, finish)
        if text or tokens:
            self.answer.tell(Piece(text, tokens))
        return None

    def give_up(self, finish: Finish, error: str | None = None) -> None:
        """Tell what there is, and that no more will come."""
        text, tokens = self._speech.tell(end=True)
        self.answer.tell(Piece(text, tokens, finish, error))


# Tokens an answer is taken to need when room is looked for. One that needs more moves, or waits for room again.
EXPECTED = 128


def next_tokens(
    logits: torch.Tensor, rows: Sequence[Row], describe: Describe
) -> list[tuple[int, Token | None] | UserError]:
    """For each row the token chosen from its `logits` (rows, vocabulary), described where that was asked for.

    A row whose shape cannot be followed any longer gets the reason instead.
    """
    logprobs = {i: logits[i].float().log_softmax(-1) for i, row in enumerate(rows) if row.asked.logprobs is not None}
    failed: dict[int, UserError] = {}
    alike: dict[tuple[float, float], list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        if row.matcher:
            try:
                row.matcher.rule_out(logits[i])
            except UserError as error:
                failed[i] = error
                continue
        alike[row.asked.temperature, row.asked.top_p].append(i)
    chosen: dict[int, int] = {}
    for (temperature, top_p), group in alike.items():
        sampling = Sampling(temperature=temperature, top_p=top_p)
        dice: list[Any] = [rows[i] for i in group]
        picked = logits if len(group) == len(rows) else logits[group]
        chosen.update(zip(group, choose(picked, dice, sampling), strict=True))
    return [
        failed[i] if i in failed else (chosen[i], _described(chosen[i], logprobs.get(i), row, describe))
        for i, row in enumerate(rows)
    ]


def _described(token: int, logprobs: torch.Tensor | None, row: Row, describe: Describe) -> Token | None:
    if logprobs is None:
        return None
    values, ids = logprobs.topk(row.asked.logprobs or 0)
    likeliest = [describe(id, value) for id, value in zip(ids.tolist(), values.tolist(), strict=True)]
    top = tuple((each.id, each.text, each.bytes, each.logprob) for each in likeliest)
    return replace(describe(token, float(logprobs[token])), top=top)
