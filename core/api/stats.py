"""How the server is doing: requests, first tokens and speed over the last minute, for the Serve page's charts."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

WINDOW_S = 60.0
# More than any machine answers in a minute; what is older than the newest so many is not missed in a median.
MOST_KEPT = 20_000


@dataclass(frozen=True)
class _Answer:
    at: float
    output_tokens: int
    first_token_s: float | None
    seconds: float

    def tokens_since(self, moment: float) -> float:
        """Of the tokens, which came evenly, those that came after a moment."""
        late = self.at - max(moment, self.at - self.seconds)
        return self.output_tokens * (late / self.seconds if self.seconds > 0 else 1.0)


class Stats:
    """Counts what was answered; any thread may tell and ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: deque[_Answer] = deque(maxlen=MOST_KEPT)
        self._began = time.monotonic()
        self.requests = 0
        self.input_tokens = 0
        self.output_tokens = 0

    def answered(self, input_tokens: int, output_tokens: int, first_token_s: float | None, seconds: float) -> None:
        """An answer has ended; `first_token_s` is None when it was cancelled before it began."""
        with self._lock:
            self._answers.append(_Answer(time.monotonic(), output_tokens, first_token_s, seconds))
            self.requests += 1
            self.input_tokens += input_tokens
            self.output_tokens += output_tokens

    def last_minute(self) -> dict[str, float]:
        """`requests_per_min`, `tokens_per_s`; once there are answers, `first_token_ms_p50` and `first_token_ms_p95`."""
        import numpy as np

        now = time.monotonic()
        with self._lock:
            recent = [answer for answer in self._answers if now - answer.at <= WINDOW_S]
        # A server that began ten seconds ago has had ten seconds to answer.
        window = min(WINDOW_S, max(now - self._began, 1.0))
        found = {
            "requests_per_min": len(recent) * 60 / window,
            "tokens_per_s": sum(answer.tokens_since(now - window) for answer in recent) / window,
        }
        firsts = [answer.first_token_s for answer in recent if answer.first_token_s is not None]
        if firsts:
            p50, p95 = np.percentile(firsts, (50, 95))
            found |= {"first_token_ms_p50": float(p50) * 1000, "first_token_ms_p95": float(p95) * 1000}
        return found
