"""Quality against cost: the rungs worth considering at all, and from what volume a costly set-up pays.

Everything is reckoned from what the experiment measured. A local answer costs the machine's time that it took while
others were answered beside it, so it is the cost of a machine kept busy; a paid one costs its tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

Cost = Literal["usd_per_1000", "latency_p50_s"]
HOUR = 3600
# Over which a set-up is spread unless somebody says otherwise.
MONTHS = 12
# Costs closer than this are one: a difference of a thousandth is how the clock went, and pays at no volume.
SAME = 1e-3


def priced(report: Mapping[str, Any], machine_usd_per_hour: float = 0.0) -> list[dict[str, Any]]:
    """The report's rungs with `usd_per_1000` and `setup_usd` at a price for this machine's time.

    `setup_usd` is the machine's time for index and training, not people's work.
    """
    rows = []
    for row in report["rungs"]:
        usd = row["usd_per_1000"]
        if not row["remote"] and row["seconds_per_answer"] is not None:
            usd = 1000 * row["seconds_per_answer"] / HOUR * machine_usd_per_hour
        rows.append({**row, "usd_per_1000": usd, "setup_usd": row["setup_s"] / HOUR * machine_usd_per_hour})
    return rows


def pareto(rows: Sequence[Mapping[str, Any]], cost: Cost = "usd_per_1000") -> set[str]:
    """Names of the rungs that no other one beats on score and cost at once. By what was measured, chance included."""
    known = [row for row in rows if row["score"] is not None and row[cost] is not None]

    def beats(other: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
        as_good = other["score"] >= row["score"] and other[cost] <= row[cost]
        return bool(as_good and (other["score"] > row["score"] or other[cost] < row[cost]))

    return {row["rung"] for row in known if not any(beats(other, row) for other in known)}


def break_even(
    rows: Sequence[Mapping[str, Any]], cheaper_later: str, dearer_later: str, months: float = MONTHS
) -> float | None:
    """Requests a month from which the first rung costs less than the second, set-up spread over `months`.

    0 if it always does, None if it never does or a cost is unknown. `rows` as from `priced`.
    """
    first, second = (next(row for row in rows if row["rung"] == name) for name in (cheaper_later, dearer_later))
    if first["usd_per_1000"] is None or second["usd_per_1000"] is None:
        return None
    saved = (second["usd_per_1000"] - first["usd_per_1000"]) / 1000
    if abs(saved) < SAME * second["usd_per_1000"] / 1000:
        saved = 0.0
    extra = (first["setup_usd"] - second["setup_usd"]) / months
    if saved <= 0:
        return 0.0 if saved == 0 and extra < 0 else None
    return max(0.0, float(extra / saved))


def curves(
    rows: Sequence[Mapping[str, Any]], volumes: Iterable[float], months: float = MONTHS
) -> dict[str, list[float]]:
    """By rung US dollars a month at each volume (requests a month), set-up spread over `months`."""
    listed = list(volumes)
    return {
        row["rung"]: [row["setup_usd"] / months + row["usd_per_1000"] / 1000 * volume for volume in listed]
        for row in rows
        if row["usd_per_1000"] is not None
    }
