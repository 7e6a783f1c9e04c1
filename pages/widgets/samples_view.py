"""What the model in training answers to a few fixed questions, side by side over time."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.store.tables import Job, Sample
from core.train.samples import of_job
from pages.widgets.errors import plain

# The base model and the latest: more columns than this leave no room for an answer.
LATEST = 3


def draw(job: Job) -> None:
    """One row per question: what is expected, then the answer of each step that is shown."""
    samples = of_job(job.id)
    if not samples:
        return
    st.subheader("Sample answers", anchor=False)
    st.caption("The same questions at every evaluation, answered as Compare and Serve would answer them.")
    steps = _steps(job, sorted({sample.step for sample in samples}))
    for position in sorted({sample.position for sample in samples}):
        _question([sample for sample in samples if sample.position == position], steps)


def _steps(job: Job, steps: list[int]) -> list[int]:
    """Those that a person chooses; until then the first and the latest, whichever these are by now."""
    usual = steps if len(steps) <= LATEST + 1 else [steps[0], *steps[-LATEST:]]
    if len(steps) < 2:
        return usual
    chosen = st.pills(
        "Steps shown",
        steps,
        selection_mode="multi",
        format_func=said,
        key=f"samples_steps_{job.id}",
        help=f"With none chosen, the first and the latest {LATEST} are shown.",
    )
    return sorted(chosen) if chosen else usual


def said(step: int) -> str:
    return "Base model" if step == 0 else f"Step {step:,}"


def _question(answers: Sequence[Sample], steps: Sequence[int]) -> None:
    first = answers[0]
    by_step = {answer.step: answer.output for answer in answers}
    with st.container(border=True):
        st.markdown(f"**{plain(first.prompt, 600)}**")
        with st.grid(len(steps) + 1, min_column_width=180) as cells:
            with cells.cell():
                st.caption(":material/flag: Expected")
                st.text(first.reference)
            for step in steps:
                with cells.cell():
                    output = by_step.get(step)
                    right = output is not None and output.strip() == first.reference.strip()
                    st.caption(f":green[:material/check:] {said(step)}, as expected" if right else said(step))
                    st.text("No answer was recorded." if output is None else output or "(nothing)")
