"""An experiment as a file: YAML that a person can read, change, keep beside their code, and run again."""

from __future__ import annotations

import textwrap
from typing import Any

from pydantic import Field, field_validator

from core.errors import UserError
from core.evaluate.plan import MetricChoice, Plan, metrics_of
from core.evaluate.rungs import RecordId
from core.evaluate.statistics import DELTA
from core.ladder import Climb
from core.models.catalogue import BUNDLED_MODEL
from core.sources import Sources
from core.store import lists
from core.store.database import session
from core.store.tables import Dataset, Job
from core.strict_yaml import dump_yaml, read_yaml
from core.train.recipe import Recipe

ABOUT = "# An experiment of Lowest Rung: python -m core compare THIS_FILE --out FOLDER"


class ExperimentFile(Plan):
    """A plan, what it is asked about and how it is scored."""

    name: str = Field("", description="Name of the experiment; empty: that of its data.")
    data: Sources = Field(
        default_factory=Sources, description="The examples, and the documents for rungs with retrieval."
    )
    model: str = Field(BUNDLED_MODEL, description="Model of all rungs that name none of their own.")
    adapter: RecordId | None = Field(
        None, description="Number of the adapter of rungs that name none of their own; empty: one is trained."
    )
    recipe: Recipe | None = Field(None, description="How that one is trained; empty: as suits the model.")
    metrics: list[MetricChoice] = Field(
        default_factory=list, description="How answers are scored, the deciding metric first; empty: as suits the data."
    )
    target: float | None = Field(None, gt=0, le=1, description="The score that is good enough, from 0 to 1.")
    delta: float = Field(DELTA, gt=0, lt=1, description="A gain smaller than this is not worth a costlier rung.")

    @field_validator("metrics", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [{"name": entry} if isinstance(entry, str) else entry for entry in value]
        return value

    @property
    def plan(self) -> Plan:
        return Plan.model_validate({name: getattr(self, name) for name in Plan.model_fields})

    def climb(self, dataset: Dataset, index_id: int | None) -> Climb:
        """What to measure, on data that are there. A recipe that names no model is for the experiment's."""
        recipe = self.recipe
        if recipe is not None and "model" not in recipe.model_fields_set:
            recipe = recipe.model_copy(update={"model": self.model})
        return Climb(
            name=self.name or dataset.name,
            dataset_id=dataset.id,
            plan=self.plan,
            index_id=index_id,
            metrics=tuple(self.metrics),
            adapter_id=self.adapter,
            target=self.target,
            delta=self.delta,
            model=self.model,
            recipe=recipe,
        )


def read_experiment(text: str, name: str) -> ExperimentFile:
    """The experiment in `text`; `name` is the file's, for errors. Raises UserError that names line and field."""
    found = read_yaml(
        text,
        name,
        ExperimentFile,
        example="An experiment has fields such as `rungs: [base, rag]`. Export one on the Compare page to see more.",
    )
    for choice in found.metrics:
        _ = choice.identity  # reads the settings
    known = {rung.name for rung in found.plan.ladder}
    for rung in found.minimums:
        if rung not in known:
            raise UserError(
                f"{name}: minimums.{rung}: no such rung is measured.", f"Its rungs are {', '.join(sorted(known))}."
            )
    return found


def write_experiment(file: ExperimentFile) -> str:
    """YAML, each field under a comment that says what it does; what is as usual is left out."""
    written = file.model_dump(mode="json", exclude_defaults=True, exclude={"answers"})
    written["rungs"] = [choice.rung.name for choice in file.rungs]
    if file.metrics:
        written["metrics"] = [m.model_dump(mode="json") if m.settings else m.name for m in file.metrics]
    first = ["name", "data", "model", "rungs", "metrics"]
    blocks = [ABOUT]
    for name in [*first, *(field for field in written if field not in first)]:
        if name not in written:
            continue
        comment = textwrap.fill(ExperimentFile.model_fields[name].description or "", 116)
        blocks.append(f"{textwrap.indent(comment, '# ')}\n{dump_yaml({name: written[name]})}".lstrip())
    return "\n\n".join(blocks) + "\n"


def experiment_yaml(experiment_id: int) -> str:
    """The file that runs a stored experiment again. Raises UserError when it is gone."""
    stored = lists.experiment(experiment_id)
    recipe = None
    if stored.train_job_id is not None:
        with session(read_only=True) as db:
            job = db.get(Job, stored.train_job_id)
            recipe = Recipe.model_validate(job.spec["recipe"]) if job else None
    return yaml_of(
        Climb(
            name=stored.name,
            dataset_id=stored.dataset_id,
            plan=Plan.model_validate(stored.spec),
            index_id=stored.index_id,
            metrics=tuple(metrics_of(stored)),
            adapter_id=stored.adapter_id,
            target=stored.target,
            delta=stored.delta,
            model=stored.model,
            recipe=recipe,
        )
    )


def yaml_of(wanted: Climb) -> str:
    """The file of a climb that may not have been started."""
    with session(read_only=True) as db:
        dataset = db.get(Dataset, wanted.dataset_id)
    if dataset is None:
        raise UserError(f"Dataset {wanted.dataset_id} does not exist any more.", "Import it again on the Data page.")
    return write_experiment(
        ExperimentFile(
            **{name: getattr(wanted.plan, name) for name in Plan.model_fields},
            name=wanted.name,
            data=Sources(dataset=dataset.id, name=dataset.name, hash=dataset.hash, index=wanted.index_id),
            model=wanted.model,
            adapter=wanted.adapter_id,
            recipe=wanted.recipe if wanted.trains else None,
            metrics=list(wanted.metrics),
            target=wanted.target,
            delta=wanted.delta,
        )
    )
