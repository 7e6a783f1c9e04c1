"""Training at a provider: the trainings there are, a new one, and bringing one here that was made elsewhere."""

from __future__ import annotations

from core.jobs import queue
from core.managed.runs import runs
from pages.widgets.choose import choose, view
from pages.widgets.errors import guard
from pages.widgets.managed_bring import bring_one
from pages.widgets.managed_form import new_training
from pages.widgets.managed_parts import BRING, NEW, RUN_PARAM, TRAININGS, VIEW
from pages.widgets.managed_run import watch
from pages.widgets.progress import first_active


def at_provider() -> None:
    """The whole view."""
    listed = runs()
    part = view(VIEW, [TRAININGS, NEW, BRING] if listed else [NEW, BRING], "Part")
    if part == NEW:
        new_training()
    elif part == BRING:
        bring_one()
    else:
        busy = first_active([run.job for run in listed])
        names = {run.job_id: f"{run.job.title.removeprefix('Fine-tune: ')} (job {run.job_id})" for run in listed}
        chosen = choose(RUN_PARAM, "Training", names, preferred=busy.id if busy else None)
        if chosen is not None:
            with guard():
                watch(queue.get(chosen))
