"""What is asked of the live engine, and what comes back: an answer in pieces, readable from any thread."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.models.constraint import Shape

# Within Token the name is taken.
Bytes = bytes
Finish = Literal["stop", "length", "error", "cancelled"]
# What clients hear of an error that nobody foresaw: its own words may name folders.
FAILED = "The model failed while it answered. The log says more."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """One answer asked of the engine: `prompt` as token ids, `adapter` a LoRA folder or a whole tuned model.

    `stop`: texts that end the answer and are no part of it. `logprobs`: None for none, else how many of the likeliest
    tokens are wanted beside each chosen one. `shape`: what the answer must look like. `strip`: blanks around the
    answer go, as everywhere else in the product.
    """

    prompt: Sequence[int]
    adapter: Path | None = None
    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    shape: Shape | None = None
    strip: bool = True


@dataclass(frozen=True)
class Token:
    """A token of the answer. `logprob` is the model's own, before temperature, `top_p` and shape; `top` the likeliest.

    `bytes` may be a part of a character, and `text` then shows that it cannot be read.
    """

    id: int
    text: str
    bytes: Bytes
    logprob: float
    top: tuple[tuple[int, str, Bytes, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """The next stretch of an answer: whole characters, and nothing that may yet turn out to be a stop text.

    `tokens` is filled where logprobs were asked for. The last piece alone has a `finish_reason`; `error` is a sentence.
    """

    text: str = ""
    tokens: tuple[Token, ...] = ()
    finish_reason: Finish | None = None
    error: str | None = None


class Answer:
    """One answer on its way. Iterate over it, or let it call back; not both.

    `reused_tokens` of the prompt were not read again; times are seconds since it was asked.
    """

    def __init__(self, input_tokens: int, wake: Callable[[], None]) -> None:
        self.input_tokens = input_tokens
        self.output_tokens = 0
        self.reused_tokens = 0
        self.first_token_s: float | None = None
        self.cancelled = False
        self._asked = time.perf_counter()
        self._ended: float | None = None
        self._wake = wake
        self._pieces: deque[Piece] = deque()
        self._callback: Callable[[Piece], None] | None = None
        self._changed = threading.Condition(threading.RLock())

    @property
    def seconds(self) -> float:
        """From asking to the last piece, or until now."""
        return (self._ended or time.perf_counter()) - self._asked

    def __iter__(self) -> Iterator[Piece]:
        while True:
            with self._changed:
                while not self._pieces:
                    self._changed.wait()
                piece = self._pieces.popleft()
            yield piece
            if piece.finish_reason:
                return

    def on_piece(self, callback: Callable[[Piece], None]) -> None:
        """Call `callback` with every piece, in the engine's thread; with those that came already at once, in this one.

        It must be quick. One that raises cancels the answer: whoever wanted it is gone.
        """
        with self._changed:
            self._callback = callback
            while self._pieces:
                self._call(self._pieces.popleft())

    def cancel(self) -> None:
        """Nobody wants the rest; it is not written."""
        self.cancelled = True
        self._wake()

    def tell(self, piece: Piece) -> None:
        """The engine's: hand over the next piece."""
        with self._changed:
            if piece.finish_reason:
                self._ended = time.perf_counter()
            if self._callback:
                self._call(piece)
            else:
                self._pieces.append(piece)
                self._changed.notify()

    def count_token(self) -> None:
        """The engine's: one more token is written."""
        self.output_tokens += 1
        if self.first_token_s is None:
            self.first_token_s = time.perf_counter() - self._asked

    def _call(self, piece: Piece) -> None:
        assert self._callback
        try:
            self._callback(piece)
        except Exception:
            log.info("The reader of an answer is gone.", exc_info=True)
            self.cancel()
