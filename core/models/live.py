"""An engine that answers many requests at once, on one base network with any adapters, while others come and go.

One thread does it in turns. A turn reads a piece of one prompt, or of a few short ones, and then writes one token for
every answer under way (live_work.py). So nobody waits for a long prompt or a long answer longer than a turn.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from core.errors import UserError
from core.models.constraint import Compiler
from core.models.live_answer import FAILED, Answer, Asked, Piece, Token
from core.models.live_rows import Row
from core.models.loading import LoadedModel
from core.models.local import LocalGenerator
from core.models.networks import check_files, is_whole_model
from core.models.prompt import Message

__all__ = ["Answer", "Asked", "Busy", "Engine", "Figures", "Piece", "Token"]

log = logging.getLogger(__name__)

# Requests that may wait; more would wait longer than anybody does.
MOST_WAITING = 512
# Seconds that the figure of tokens per second looks back.
WINDOW_S = 10.0
# Tokens whose text is remembered.
MOST_DESCRIBED = 10_000
CLOSED, AGAIN = "The model was taken off the server.", "Ask again in a moment."


class Busy(UserError):
    """Not now: too many requests wait already, or the model is just being taken off the server."""


@dataclass(frozen=True)
class Figures:
    """What the engine is doing. `tokens_per_s`: written, over the last ten seconds; `bytes`: memory for all chats."""

    running: int
    waiting: int
    tokens_per_s: float
    adapters: int
    bytes: int


class Engine:
    """Answers from one base model, its LoRA adapters and its whole tuned models; safe to use from any thread."""

    def __init__(self, loaded: LoadedModel) -> None:
        from core.models.live_work import Work

        self.model = loaded.id
        self.loaded = loaded
        chats = LocalGenerator(loaded)
        self._tokenize, self._ends = chats.tokenize, chats.ends
        self._describe = lru_cache(MOST_DESCRIBED)(self._described)
        self._changed = threading.Condition()
        self._woken = self._closed = False
        self._asked: deque[Row] = deque()
        self._to_open: deque[tuple[Path, Future[bool]]] = deque()
        self._written: deque[tuple[float, int]] = deque()
        self._compiling = threading.Lock()
        self._made: Compiler | None = None
        self._work = Work(loaded, self._ends, self._token, self._wake)
        self._thread = threading.Thread(target=self._run, name=f"engine {loaded.id}", daemon=True)
        self._thread.start()

    @property
    def longest(self) -> int:
        """The most tokens of a prompt and its answer: what the model reads, or what the memory holds."""
        return self._work.longest

    @cached_property
    def longest_token(self) -> int:
        """The most characters that one token stands for."""
        return max(map(len, self.loaded.tokenizer.get_vocab()))

    def tokenize(self, chat: Sequence[Message]) -> list[int]:
        """The chat as every rung puts it to the model. Raises UserError where its template has no place for a turn."""
        return self._tokenize(chat)

    def ask(self, asked: Asked) -> Answer:
        """Begin an answer. An adapter that is not in memory, or a new shape, is opened first: up to seconds.

        Raises UserError when it cannot be answered, and Busy when it cannot now.
        """
        if not asked.prompt:
            raise UserError("The prompt is empty.", "Write something to go on from.")
        if len(asked.prompt) + asked.max_new_tokens > self.longest:
            raise UserError(
                f"The prompt has {len(asked.prompt)} tokens and the answer may take {asked.max_new_tokens}, but the "
                f"model reads {self.longest} at most.",
                "Shorten the conversation, or ask for a shorter answer.",
            )
        self._check_waiting()
        # Made here for logprobs too: the engine's thread, which needs it for them, has others to serve.
        compiler = self._compiler() if asked.shape or asked.logprobs is not None else None
        matcher = compiler.matcher(asked.shape) if compiler and asked.shape else None
        if asked.adapter:
            self._open(asked.adapter)
        answer = Answer(len(asked.prompt), self._wake)
        with self._changed:
            self._check_waiting()
            self._asked.append(Row(asked, answer, self.loaded.tokenizer, matcher))
        self._wake()
        return answer

    def figures(self) -> Figures:
        with self._changed:
            since = time.perf_counter() - WINDOW_S
            written = sum(tokens for moment, tokens in self._written if moment >= since)
        work = self._work
        return Figures(work.running, self._waiting, written / WINDOW_S, work.adapters, work.bytes)

    def close(self) -> None:
        """End the answers that are not done, and the thread."""
        with self._changed:
            self._closed = True
        self._wake()
        self._thread.join()

    @property
    def _waiting(self) -> int:
        return len(self._asked) + len(self._work.waiting)

    def _check_waiting(self) -> None:
        if self._closed:
            raise Busy(CLOSED, AGAIN)
        if self._waiting >= MOST_WAITING:
            raise Busy(f"{MOST_WAITING} requests wait for this model already.", "Try again in a while.")

    def _open(self, adapter: Path) -> None:
        if is_whole_model(adapter):
            return
        check_files(adapter)
        opened: Future[bool] = Future()
        with self._changed:
            if self._closed:
                raise Busy(CLOSED, AGAIN)
            self._to_open.append((adapter, opened))
        self._wake()
        opened.result()

    def _wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def _run(self) -> None:
        busy = False
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._woken or busy)  # noqa: B023
                    self._woken = False
                    if self._closed:
                        return
                    self._work.waiting.extend(self._asked)
                    self._asked.clear()
                    to_open = list(self._to_open)
                    self._to_open.clear()
                self._open_all(to_open)
                written = self._turn()
                busy = written is not None
                self._count(written or 0)
        finally:
            self._end()

    def _turn(self) -> int | None:
        """A turn. One that fails outside the passes, which guard themselves, costs its answers and not the engine."""
        try:
            return self._work.turn()
        except Exception:
            log.exception("A turn failed.")
            self._work.end_all(FAILED)
            return None

    def _open_all(self, wanted: Sequence[tuple[Path, Future[bool]]]) -> None:
        for adapter, opened in wanted:
            try:
                opened.set_result(self._work.open(adapter))
            except Exception as error:
                opened.set_exception(error)

    def _count(self, tokens: int) -> None:
        with self._changed:
            now = time.perf_counter()
            self._written.append((now, tokens))
            while self._written[0][0] < now - WINDOW_S:
                self._written.popleft()

    def _end(self) -> None:
        with self._changed:
            self._closed = True
            self._work.waiting.extend(self._asked)
            self._asked.clear()
            for _, opened in self._to_open:
                opened.set_exception(Busy(CLOSED, AGAIN))
            self._to_open.clear()
        self._work.close(CLOSED)

    def _compiler(self) -> Compiler:
        """Made when first needed, since it takes a while."""
        with self._compiling:
            if self._made is None:
                self._made = Compiler(self.loaded.tokenizer, self.loaded.model.config.vocab_size, self._ends)
        return self._made

    def _token(self, id: int, logprob: float) -> Token:
        text, written = self._describe(id)
        return Token(id, text, written, logprob)

    def _described(self, id: int) -> tuple[str, bytes]:
        return str(self.loaded.tokenizer.decode([id])), self._compiler().bytes_of(id)
