"""What the curves of a run say, in plain words.

The loss of one batch jumps about, so levels are medians over several steps, and a change counts only where it stands
out from the jumps. The evaluation loss is measured on the same examples each time and jumps far less, but is known at a
few steps only: the fewer they are, the larger a rise must be to count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

State = Literal["too_early", "improving", "flat", "overfitting", "diverged", "done"]
Points = Sequence[Sequence[float | None]]
"""(step, loss) by rising step, or an array of shape (n, 2). None stands for a loss that was not a number."""

# Below this many steps the jumps from batch to batch hide everything.
FEW_STEPS = 20
# How far the evaluation loss must have risen above its lowest, as a share of it, when one, two, or more evaluations
# since say so. Among three numbers that only jump by 1 %, some rise of 2 % is common.
RISES = (0.05, 0.03, 0.02)
# A smaller change of a loss is none that anyone would act on.
NOTABLE = 0.01
# Shares of a loss below this, in nats, are no shares that matter: 0.002 is as good as 0.001.
SMALL_LOSS = 0.1
# The median of this many steps, at most, is a level.
WINDOW = 25
# A line through more points than this takes long to find and says the same.
LINE_POINTS = 200


@dataclass(frozen=True)
class Reading:
    """`since` is the step at which the state began, where it has one; `text` is a paragraph for anyone."""

    state: State
    since: int | None
    text: str


def read(loss: Points, eval_loss: Points, total_steps: int) -> Reading:
    """Read the training loss and the evaluation loss of a run of `total_steps` (0: not known)."""
    train, held_out = _Curve(loss), _Curve(eval_loss).finite()
    if blown := _diverged(train):
        return blown
    steps = [int(curve.steps[-1]) for curve in (train, held_out) if len(curve)]
    ended = total_steps > 0 and max(steps, default=0) >= total_steps
    # One evaluation is a number; from two on they are a curve.
    found = _by_evaluation(train.finite(), held_out, ended) if len(held_out) > 1 else _by_training(train)
    return _closing(found, train, held_out) if ended and found.state != "overfitting" else found


class _Curve:
    """Points as two arrays of the same length: `steps` and `values`."""

    def __init__(self, points: Points | np.ndarray) -> None:
        import numpy as np

        table = np.asarray(points, dtype=float).reshape(-1, 2)
        self.steps, self.values = table[:, 0], table[:, 1]

    def __len__(self) -> int:
        return len(self.steps)

    def finite(self) -> _Curve:
        import numpy as np

        table = np.column_stack([self.steps, self.values])
        return _Curve(table[np.isfinite(self.values)])

    @property
    def jumps(self) -> float:
        """Standard deviation of the jumps around whatever curve there is, from third differences; robust."""
        import numpy as np

        # A smooth curve has next to none of these; of independent jumps they have 20 times the variance.
        return float(1.4826 * np.median(np.abs(np.diff(self.values, n=3))) / math.sqrt(20)) if len(self) > 3 else 0.0

    def level(self, where: Any) -> float:
        import numpy as np

        return float(np.median(self.values[where]))


def _diverged(train: _Curve) -> Reading | None:
    """The loss is no number any more, or has lost half of what it had gained and stays up there."""
    import numpy as np
    from scipy.ndimage import median_filter

    if len(train) and not np.isfinite(train.values[-1]):
        good = np.flatnonzero(np.isfinite(train.values))
        step = int(train.steps[good[-1] + 1 if len(good) else 0])
        return Reading(
            "diverged",
            step,
            f"Diverged at step {step}: the training loss stopped being a number. Nothing that follows can be used; "
            "start again with a lower learning rate, a third of this one for a start.",
        )
    curve = train.finite()
    if len(curve) < FEW_STEPS:
        return None
    width = min(WINDOW, len(curve) // 4)
    margin = width // 2  # no full window has its middle there
    levels = median_filter(curve.values, size=width)[margin : len(curve) - margin]
    lowest = int(np.argmin(levels))
    low, now, first = float(levels[lowest]), curve.level(slice(-width, None)), curve.level(slice(width))
    # The median of some jumps spreads as their mean does, and a quarter more; there are two of them here.
    doubt = 4 * 1.25 * curve.jumps * math.sqrt(2 / width)
    needed = max(0.5 * (first - low), 0.25 * low, SMALL_LOSS, doubt)
    if now - low < needed:
        return None
    since = int(curve.steps[margin + lowest + int(np.argmax(levels[lowest:] > low + needed / 2))])
    return Reading(
        "diverged",
        since,
        f"Diverged at about step {since}: the training loss had come down to {_figure(low)} and has jumped to "
        f"{_figure(now)} since. Stop it, and start again with a lower learning rate, a third of this one for a start.",
    )


def _by_evaluation(train: _Curve, held_out: _Curve, ended: bool) -> Reading:
    """What at least two evaluations say."""
    import numpy as np

    values, steps = held_out.values, held_out.steps.astype(int)
    best = int(np.argmin(values))
    step, low = int(steps[best]), float(values[best])
    after = values[best + 1 :]
    if len(after):
        rise = (float(np.median(after[-3:])) - low) / max(low, SMALL_LOSS)
        confirmed = np.all((after[-3:] - low) / max(low, SMALL_LOSS) > RISES[min(len(after), len(RISES)) - 1])
        # The lowest of n numbers that only jump lies about sqrt(2 ln n) jumps below the others. With a handful of
        # evaluations what looks like jumps is mostly the curve itself.
        doubt = (2 + math.sqrt(2 * math.log(len(values)))) * held_out.jumps / max(low, SMALL_LOSS)
        doubt = doubt if len(values) > 5 else 0.0
        if confirmed and rise > doubt:
            return Reading("overfitting", step, _overfitting(train, held_out, best, ended))
    width = max(1, len(values) // 3)
    if len(values) == 2 and abs(values[1] - values[0]) < NOTABLE * max(low, SMALL_LOSS):
        return Reading("too_early", None, "Too early to say: the first two evaluations hardly differ.")
    earlier, latest = float(values[-2 * width : -width].mean()), float(values[-width:].mean())
    fallen = (earlier - latest) / max(latest, SMALL_LOSS)
    doubt = 2 * held_out.jumps * math.sqrt(2 / width) / max(latest, SMALL_LOSS) if len(values) > 5 else 0.0
    if fallen > max(NOTABLE, doubt):
        return Reading(
            "improving",
            None,
            f"Still improving: the loss on unseen examples has fallen from {_figure(values[0])} to "
            f"{_figure(latest)} so far, by {_percent(earlier, latest)} of late.",
        )
    if len(values) == 2:
        return Reading("too_early", None, "Too early to say: the loss on unseen examples has been measured only twice.")
    near = values <= low + max(NOTABLE * max(low, SMALL_LOSS), doubt * low)
    since = int(steps[int(np.argmax(near))])
    return Reading(
        "flat",
        since,
        f"Levelled off: the loss on unseen examples has stayed near {_figure(low)} since step {since}. More of the "
        "same will hardly change it.",
    )


def _by_training(train: _Curve) -> Reading:
    """What the training loss alone says: the robust line (Theil 1950; Sen 1968) through its last half."""
    import numpy as np
    from scipy.stats import theilslopes

    if len(train) < FEW_STEPS:
        return Reading("too_early", None, "Too early to say: the curves need a few more steps.")
    curve = train.finite()
    half = slice(len(curve) // 2, None)
    # The line looks at every pair of points, so a long half is cut into pieces with one level each.
    pieces = np.array_split(np.arange(len(curve))[half], min(LINE_POINTS, len(curve) - half.start))
    steps, values = (np.array([np.median(of[piece]) for piece in pieces]) for of in (curve.steps, curve.values))
    line, span, level = theilslopes(values, steps, alpha=0.99), steps[-1] - steps[0], curve.level(half)
    change, least, most = (slope * span / max(level, SMALL_LOSS) for slope in (line[0], line[2], line[3]))
    unseen = "How it does on unseen examples will show at the evaluations, if the data has validation examples."
    if change < -NOTABLE and most < 0:
        width = min(WINDOW, len(curve) // 4)
        start, now = curve.level(slice(width)), curve.level(slice(-width, None))
        text = f"Still improving: the training loss has fallen from about {_figure(start)} to {_figure(now)}."
        return Reading("improving", None, f"{text} {unseen}")
    if most - least > 0.2:
        return Reading(
            "too_early",
            None,
            "Too early to say: the training loss jumps so much from step to step that no trend can be told yet.",
        )
    since = int(steps[0])
    return Reading(
        "flat",
        since,
        f"Levelled off: the training loss has stayed near {_figure(level)} since step {since} or so. {unseen}",
    )


def _overfitting(train: _Curve, held_out: _Curve, best: int, ended: bool) -> str:
    step, low, now = int(held_out.steps[best]), float(held_out.values[best]), float(held_out.values[-1])
    before, after = train.steps <= step, train.steps > step
    falls = False
    if before.any() and after.any():
        width = min(WINDOW, int(before.sum()), int(after.sum()))
        then, late = train.values[before][-width:], train.values[after][-width:]
        falls = float(sorted(late)[width // 2]) < float(sorted(then)[width // 2])
    learning = "the training loss still falls, but " if falls and not ended else ""
    learning = "the training loss went on falling, but " if falls and ended else learning
    risen = f"the loss on unseen examples has risen by {_percent(low, now)} since"
    kept = f"The checkpoint of step {step} is the one that {'is' if ended else 'will be'} kept."
    advice = "Fewer epochs, a lower rank or more examples help." if ended else "You can stop it now and keep that one."
    return f"Overfitting since step {step}: {learning}{risen}. {kept} {advice}"


def _closing(found: Reading, train: _Curve, held_out: _Curve) -> Reading:
    """The reading of a run that has taken its last step without harm."""
    import numpy as np

    if len(held_out) == 0:
        values = train.finite().values
        width = min(WINDOW, max(1, len(values) // 4))
        first, last = float(np.median(values[:width])), float(np.median(values[-width:]))
        text = f"Finished: the training loss went from {_figure(first)} to {_figure(last)}."
        return Reading("done", None, f"{text} Nothing was held out, so nobody knows how it does on unseen examples.")
    best = int(np.argmin(held_out.values))
    step, low = int(held_out.steps[best]), float(held_out.values[best])
    first = float(held_out.values[0])
    text = f"Finished: the loss on unseen examples went from {_figure(first)} to {_figure(low)} at step {step}, "
    text += "the checkpoint that is kept."
    if found.state == "improving":
        text += " It was still improving at the end: more epochs may gain more."
    elif found.state == "flat":
        text += f" It has hardly changed since step {found.since}: more epochs would gain little."
    return Reading("done", None, text)


def _figure(value: float) -> str:
    """Three digits: 2.31, 0.0452."""
    return f"{value:.3g}"


def _percent(start: float, end: float) -> str:
    share = abs(end - start) / start if start else math.inf
    return f"{100 * share:.0f}%" if 0.01 <= share < 10 else f"{abs(end - start):.2g} nats"
