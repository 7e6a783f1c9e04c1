"""The figures of the last minute."""

from __future__ import annotations

import time

import pytest

from core.api.stats import Stats


def test_figures_are_those_of_the_last_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stats = Stats()
    now = 1100.0
    stats.answered(10, 100, 5.0, 10.0)
    now = 1170.0
    for first in (0.1, 0.2, 0.3):
        stats.answered(10, 60, first, 2.0)
    stats.answered(10, 0, None, 1.0)
    now = 1180.0
    found = stats.last_minute()
    # The first one is 80 seconds old; the cancelled one counts as a request, and has no first token.
    assert found["requests_per_min"] == 4
    assert found["tokens_per_s"] == pytest.approx(3.0)
    assert found["first_token_ms_p50"] == pytest.approx(200)
    assert found["first_token_ms_p95"] == pytest.approx(290)
    assert (stats.requests, stats.output_tokens) == (5, 280)


def test_tokens_written_before_the_minute_are_not_this_minute_s(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stats = Stats()
    now = 120.0
    stats.answered(1, 1200, 0.5, 120.0)
    assert stats.last_minute()["tokens_per_s"] == pytest.approx(10)


def test_without_answers_there_is_no_first_token() -> None:
    assert Stats().last_minute() == {"requests_per_min": 0.0, "tokens_per_s": 0.0}
