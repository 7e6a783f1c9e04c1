"""The demo project: three tasks of a fictional company, whose right answers differ. Real runs, no stored results."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select

from core.data.dataset import File, create_dataset
from core.decide.answers import read_answers
from core.decide.engine import rung_of
from core.documents.index import create_index
from core.documents.reading import read_folder
from core.evaluate.plan import MetricChoice
from core.ladder import Climb, Submit, climb, submit_index
from core.store.database import session
from core.store.tables import Dataset, Experiment

FOLDER = Path(__file__).resolve().parents[1] / "assets" / "demo"


class DemoTask(BaseModel):
    """One question a product manager would ask, and what the rule of thumb expects before anything is measured.

    `answers` are what a reader of the task would tell the wizard.
    """

    model_config = ConfigDict(extra="forbid")

    key: str
    title: str
    question: str
    expectation: str
    metric: str
    target: float | None
    answers: dict[str, bool | float | str]

    @property
    def advised(self) -> str:
        """The rung that the wizard advises from these answers."""
        return rung_of(read_answers(self.answers))


class Demo(BaseModel):
    """assets/demo/demo.yaml. `documents` is a folder beside it."""

    model_config = ConfigDict(extra="forbid")

    company: str
    documents: str
    tasks: list[DemoTask]


def load_demo() -> Demo:
    return Demo.model_validate(yaml.safe_load((FOLDER / "demo.yaml").read_text(encoding="utf-8")))


def start_demo(submit: Submit) -> list[Experiment]:
    """Import the demo's data and submit everything: one index, then training and comparison of each task."""
    demo = load_demo()
    index = create_index("Demo documents", read_folder(FOLDER / demo.documents))
    index_job = submit_index(index.id, "Demo documents", submit)
    experiments = []
    for task in demo.tasks:
        train, test = (
            File(f"{task.key}/{split}.jsonl", (FOLDER / task.key / f"{split}.jsonl").read_bytes())
            for split in ("train", "test")
        )
        dataset = create_dataset(f"Demo: {task.title}", train, test)
        wanted = Climb(
            name=f"Demo: {task.title}",
            dataset_id=dataset.id,
            index_id=index.id,
            metrics=(MetricChoice(name=task.metric),),
            target=task.target,
        )
        experiment = climb(wanted, submit, index_job=index_job)
        with session() as db:
            stored = db.get_one(Dataset, dataset.id)
            stored.notes = {**stored.notes, "demo": task.key, "demo_experiment": experiment.id}
        experiments.append(experiment)
    return experiments


def demo_experiments() -> dict[str, Experiment]:
    """The newest experiment of each demo task, by the task's key; empty before the demo was started."""
    found: dict[str, Experiment] = {}
    with session(read_only=True) as db:
        for dataset in db.scalars(select(Dataset).order_by(Dataset.id)):
            experiment = db.get(Experiment, dataset.notes.get("demo_experiment", 0))
            if experiment is not None:
                found[dataset.notes["demo"]] = experiment
    return found
