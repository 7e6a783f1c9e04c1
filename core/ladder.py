"""The whole journey: data and documents in, every rung built, measured and compared.

The same plan is run by the demo button and the Compare page (as background jobs that wait for each other) and by the
command line (one job after the other, in the foreground).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select

from core.data.dataset import count_of, examples_of
from core.errors import UserError
from core.evaluate.experiment import check_measurable, create_experiment
from core.evaluate.plan import MetricChoice, Plan
from core.evaluate.rungs import LADDER, RungChoice
from core.evaluate.statistics import DELTA
from core.evaluate.suggest import suggest_metric
from core.forecast import comparison_seconds, index_seconds, training_seconds
from core.models.catalogue import BUNDLED_MODEL
from core.store.database import session
from core.store.tables import Document, Experiment
from core.train.recipe import MIN_EXAMPLES, Recipe

# So many answers of a split tell what kind they are.
ENOUGH_TO_SUGGEST = 5_000
# How a stage becomes a job: (kind, spec, title, after, expected seconds) -> job id.
Submit = Callable[[str, dict[str, Any], str, Sequence[int], float], int]


@dataclass(frozen=True)
class Climb:
    """What to measure: one dataset, the rungs of a plan, maybe an index.

    `metrics`: the deciding one first; empty for what suits the data. `adapter_id`: the adapter of rungs that name none
    of their own; None to train one by `recipe`. `rerun_of`: the experiment that this one changes and repeats.
    """

    name: str
    dataset_id: int
    plan: Plan = field(default_factory=Plan)
    index_id: int | None = None
    metrics: tuple[MetricChoice, ...] = ()
    adapter_id: int | None = None
    target: float | None = None
    delta: float = DELTA
    model: str = BUNDLED_MODEL
    recipe: Recipe | None = None
    rerun_of: int | None = None

    @property
    def trains(self) -> bool:
        """Whether an adapter must be trained first."""
        return self.adapter_id is None and any(rung.adapter and rung.adapter_id is None for rung in self.plan.ladder)


def default_rungs(with_documents: bool) -> list[RungChoice]:
    """All rungs that can be measured: those with retrieval need documents."""
    return [RungChoice(**vars(rung)) for rung in LADDER if with_documents or not rung.retrieval]


def check(climb: Climb) -> None:
    """Everything that can be known before anything starts. Raises UserError."""
    check_measurable(
        climb.dataset_id,
        plan=climb.plan,
        metrics=climb.metrics,
        model=climb.model,
        documents=climb.index_id is not None,
        adapter=climb.trains or climb.adapter_id is not None,
        target=climb.target,
    )
    if climb.trains:
        if climb.recipe is not None and climb.recipe.model != climb.model:
            raise UserError(
                f"The adapter would be trained on {climb.recipe.model}, and asked on {climb.model}.",
                "Name the same model for the training and for the comparison.",
            )
        training = count_of(climb.dataset_id, "train")
        if training < MIN_EXAMPLES:
            raise UserError(
                f"{training} training examples are too few to learn from.",
                f"Collect at least {MIN_EXAMPLES}, or leave out the rungs with an adapter.",
            )


def climb(wanted: Climb, submit: Submit, index_job: int | None = None) -> Experiment:
    """Submit what is missing, in order: index, training, comparison. Returns the experiment that will hold the result.

    `index_job` is a job that already fills the index, if there is one.
    """
    check(wanted)
    after: list[int] = [index_job] if index_job is not None else []
    if wanted.index_id is not None and index_job is None and _waiting_documents(wanted.index_id):
        after.append(submit_index(wanted.index_id, wanted.name, submit))
    train_job = None
    if wanted.trains:
        recipe = wanted.recipe or Recipe(model=wanted.model)
        # With passages, it learns from what the index finds.
        needed = after[:] if recipe.passages is not None else ()
        train_job = submit_training(wanted.dataset_id, recipe, wanted.name, submit, wanted.index_id, after=needed)
        after.append(train_job)
    experiment = create_experiment(
        wanted.name,
        wanted.dataset_id,
        metrics=wanted.metrics or (suggested_metric(wanted.dataset_id),),
        plan=wanted.plan,
        model=wanted.model,
        index_id=wanted.index_id,
        adapter_id=wanted.adapter_id,
        train_job_id=train_job,
        target=wanted.target,
        delta=wanted.delta,
        rerun_of=wanted.rerun_of,
    )
    submit_comparison(experiment, submit, after)
    return experiment


def suggested_metric(dataset_id: int) -> MetricChoice:
    """The metric that suits the answers of a dataset."""
    return MetricChoice(name=suggest_metric(_references(dataset_id))[0])


def submit_index(index_id: int, name: str, submit: Submit) -> int:
    """Queue the filling of an index."""
    with session(read_only=True) as db:
        count = db.scalar(select(func.count()).where(Document.index_id == index_id)) or 0
    return submit("index", {"index_id": index_id}, f"Index: {name}", (), index_seconds(count))


def submit_training(
    dataset_id: int,
    recipe: Recipe,
    name: str,
    submit: Submit,
    index_id: int | None = None,
    *,
    after: Sequence[int] = (),
) -> int:
    """Queue a training run; a recipe with passages takes them from the index."""
    spec = {"dataset_id": dataset_id, "recipe": recipe.model_dump(), "name": name}
    if recipe.passages is not None:
        spec["index_id"] = index_id
    return submit("train", spec, f"Train: {name}", after, training_seconds(dataset_id, recipe))


def submit_comparison(experiment: Experiment, submit: Submit, after: Sequence[int] = ()) -> int:
    """Queue the measuring of an experiment."""
    n = count_of(experiment.dataset_id, "test")
    expected = comparison_seconds(n, Plan.model_validate(experiment.spec).ladder)
    job_id = submit("compare", {"experiment_id": experiment.id}, f"Compare: {experiment.name}", after, expected)
    with session() as db:
        db.get_one(Experiment, experiment.id).job_id = job_id
    experiment.job_id = job_id
    return job_id


def _references(dataset_id: int) -> list[str]:
    splits = (examples_of(dataset_id, split, ENOUGH_TO_SUGGEST) for split in ("train", "test"))
    return [example.reference for examples in splits for _, example in examples]


def _waiting_documents(index_id: int) -> int:
    with session(read_only=True) as db:
        query = select(func.count()).where(Document.index_id == index_id, Document.chunk_count == 0)
        return db.scalar(query) or 0
