"""Labelling tasks: which class was taken for which, accuracy and macro-F1 of each rung."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import select

from core.evaluate.metrics.classes import OTHER, Classes, classes_of, confusion
from core.evaluate.statistics import intervals
from core.evaluate.statistics.classes import macro_f1
from core.store.database import session
from core.store.tables import Example, Prediction


def label_report(experiment_id: int, rungs: Sequence[str], example_ids: np.ndarray, seed: int) -> dict[str, Any] | None:
    """The report's "labels", and under "actual" the class of each example; None where references are no short list.

    Of several samples the first counts. A failed or missing answer names no class.
    """
    first, last = (int(example_ids.min()), int(example_ids.max())) if len(example_ids) else (0, -1)
    with session(read_only=True) as db:
        examples = {
            example_id: texts
            for example_id, *texts in db.execute(
                select(Example.id, Example.reference, Example.group, Example.label).where(
                    Example.id.between(first, last)
                )
            )
        }
        references, groups, labels = (
            zip(*(examples[int(i)] for i in example_ids), strict=True) if examples else ((), (), ())
        )
        classes = classes_of(references, labels)
        if classes is None or len(classes.names) < 2:
            return None
        given = db.execute(
            select(Prediction.rung, Prediction.example_id, Prediction.output).where(
                Prediction.experiment_id == experiment_id, Prediction.sample == 0, Prediction.error.is_(None)
            )
        ).all()
    actual = _named(classes, references)
    row_of = {int(example): row for row, example in enumerate(example_ids)}
    known = _named(classes, [output for _, _, output in given])
    named = {rung: [OTHER] * len(row_of) for rung in rungs}
    for (rung, example_id, _), name in zip(given, known, strict=True):
        if rung in named and example_id in row_of:
            named[rung][row_of[example_id]] = name
    number = {name: position for position, name in enumerate(classes.names)}
    coded = {rung: np.array([number.get(name, -1) for name in names]) for rung, names in named.items()}
    # An example whose reference is empty has no class, not even that of an answer which names none: all are wrong.
    truth = np.array([number.get(name, -2) for name in actual])
    right = {rung: (codes == truth) * 1.0 for rung, codes in coded.items()}
    f1 = macro_f1(truth, coded, groups, seed)
    spans = intervals(right, groups, "binary", seed)
    return {
        "classes": list(classes.names),
        "actual": actual,
        "rungs": {
            rung: {
                "accuracy": float(right[rung].mean()),
                "accuracy_interval": [spans[rung].low, spans[rung].high],
                "macro_f1": f1[rung][0],
                "macro_f1_interval": [f1[rung][1].low, f1[rung][1].high],
                "confusion": {
                    "classes": [*classes.names, OTHER],
                    "counts": confusion(actual, named[rung], classes.names),
                },
            }
            for rung in rungs
        },
    }


def _named(classes: Classes, texts: Sequence[str]) -> list[str]:
    """The class of each text; equal texts, which are the rule here, are read once."""
    known = {text: classes.of(text) for text in set(texts)}
    return [known[text] for text in texts]
