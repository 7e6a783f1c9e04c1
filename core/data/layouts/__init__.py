"""How a record says prompt and answer: one layout per file, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Each registers its layout; where two fit equally well, the first is taken.
# isort: off
from core.data.layouts import chat, sharegpt, prompt_completion, alpaca, question_answer, text, slots, mapped  # noqa: F401

# isort: on
from core.data.layouts.layout import LAYOUTS, Enough, Layout, Notes, Talk

__all__ = ["LAYOUTS", "Enough", "Layout", "Notes", "Talk", "detect_layout"]


def detect_layout(values: Sequence[dict[str, Any]]) -> str | None:
    """The layout that fits most of the records, if it fits half of them: some may be broken, which is no reason."""
    fitting = {key: sum(layout.fits(value) for value in values) for key, layout in LAYOUTS.items()}
    best = max(fitting, key=lambda key: fitting[key])
    return best if values and 2 * fitting[best] >= len(values) else None
