"""Numbers and times as people say them."""

from __future__ import annotations

import time
from collections.abc import Sequence


def duration(seconds: float | None) -> str:
    """ "48 s", "3 min 20 s", "2 h 5 min"; "unknown" for None."""
    if seconds is None:
        return "unknown"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{round(whole / 60)} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def ago(moment: float | None) -> str:
    """How long ago `moment` (seconds since the epoch) was."""
    if moment is None:
        return ""
    passed = max(0.0, time.time() - moment)
    if passed < 60:
        return "just now"
    if passed < 86400:
        return f"{duration(passed // 60 * 60 if passed < 3600 else passed // 3600 * 3600).removesuffix(' 0 s')} ago"
    return time.strftime("%Y-%m-%d", time.localtime(moment))


def clock(moment: float | None) -> str:
    return "" if moment is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def percent(share: float) -> str:
    """A score from 0 to 1 as "61.7 %"."""
    return f"{100 * share:.1f} %"


def span(interval: Sequence[float], signed: bool = False) -> str:
    """An interval of scores (0 to 1) as "48.9 to 73.1"; signed for differences."""
    form = "+.1f" if signed else ".1f"
    return " to ".join(format(100 * end, form).replace("-", "\u2212") for end in interval)


def points(effect: float) -> str:
    """A difference of scores as "+12.5 points"."""
    # Adding zero turns the -0.0 that rounding leaves into 0.0.
    return f"{round(100 * effect, 1) + 0.0:+.1f} points".replace("-", "\u2212")


def many(count: int, noun: str) -> str:
    """ "1 chunk", "3 chunks"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
