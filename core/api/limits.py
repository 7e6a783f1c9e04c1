"""How much one key may ask for in a minute, and how large a request may be."""

from __future__ import annotations

import math
import time
from functools import cache
from typing import TYPE_CHECKING

from core.api.errors import ApiError
from core.settings import get_settings
from core.store.tables import ApiKey

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.strategies import RateLimiter

# What is sent besides files may have this share of the largest file: questions and settings, no data.
SHARE_OF_BODIES = 1 / 50
UPLOADS = "/v1/files"
# The form around an uploaded file.
FORM_BYTES = 64 * 1024


def most_bytes(method: str, path: str) -> int:
    """The largest body of a request: of one that brings a file, or of any other."""
    file = get_settings().upload_limit_mb * 1e6
    return int(file) + FORM_BYTES if (method, path) == ("POST", UPLOADS) else int(file * SHARE_OF_BODIES)


def count_request(key: ApiKey | None) -> None:
    """Count a request. Raises ApiError 429 once the key has had its share of the last minute."""
    if key is not None and key.requests_per_minute is not None:
        item = _per_minute(key.requests_per_minute)
        if not _strategies()[0].hit(item, "requests", str(key.id)):
            raise _limited(key, "requests", item, _strategies()[0])


def take_tokens(key: ApiKey | None, wanted: int) -> None:
    """Count the `wanted` tokens of a prompt. Raises ApiError 429 when there is no room for them now, or never.

    Counted at once, or many requests that begin together would all be let in on what is left for one.
    """
    if key is None or key.tokens_per_minute is None:
        return
    if wanted > key.tokens_per_minute:
        raise ApiError(
            429,
            f"Request too large for the key {key.name} on tokens per min (TPM): Limit {key.tokens_per_minute}, "
            f"Requested {wanted}. The prompt must be shorter.",
            type="tokens",
            code="rate_limit_exceeded",
        )
    item = _per_minute(key.tokens_per_minute)
    if not _strategies()[1].hit(item, "tokens", str(key.id), cost=wanted):
        raise _limited(key, "tokens", item, _strategies()[1])


def spend_tokens(key: ApiKey | None, tokens: int) -> None:
    """Count the tokens of an answer. One that has begun is finished, so this refuses nothing."""
    if key is None or key.tokens_per_minute is None or tokens <= 0:
        return
    item, strategy = _per_minute(key.tokens_per_minute), _strategies()[1]
    # What goes beyond the limit fills it up: a debt into the minute after would punish an answer's length twice.
    left = strategy.get_window_stats(item, "tokens", str(key.id)).remaining
    strategy.hit(item, "tokens", str(key.id), cost=min(tokens, left))


def _limited(key: ApiKey, what: str, item: RateLimitItem, strategy: RateLimiter) -> ApiError:
    reset = strategy.get_window_stats(item, what, str(key.id)).reset_time
    wait = max(1, math.ceil(reset - time.time()))
    short = {"requests": "RPM", "tokens": "TPM"}[what]
    return ApiError(
        429,
        f"Rate limit reached for the key {key.name} on {what} per min ({short}): Limit {item.amount}. "
        f"Please try again in {wait}s.",
        type=what,
        code="rate_limit_exceeded",
        headers={"Retry-After": str(wait)},
    )


def _per_minute(amount: int) -> RateLimitItem:
    from limits import RateLimitItemPerMinute

    return RateLimitItemPerMinute(amount)


@cache
def _strategies() -> tuple[RateLimiter, RateLimiter]:
    """For requests the exact moments are kept; for tokens, which are many, two counters stand for the last minute."""
    from limits.storage import MemoryStorage
    from limits.strategies import MovingWindowRateLimiter, SlidingWindowCounterRateLimiter

    storage = MemoryStorage()
    return MovingWindowRateLimiter(storage), SlidingWindowCounterRateLimiter(storage)
