"""An experiment as a record: what can be measured is checked before it is stored, and it can be measured again."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sqlalchemy import delete

from core.data.dataset import MIN_TEST_EXAMPLES, count_of
from core.errors import UserError
from core.evaluate.metrics import metric_named
from core.evaluate.plan import MetricChoice, Plan, metrics_of
from core.evaluate.questions import chosen_shots
from core.evaluate.rungs import Rung
from core.evaluate.statistics import DELTA, detectable_effect
from core.models.catalogue import BUNDLED_MODEL
from core.models.open import is_remote
from core.store import lists
from core.store.database import session
from core.store.tables import Dataset, Experiment, Job


def check_measurable(
    dataset_id: int,
    *,
    plan: Plan,
    metrics: Sequence[MetricChoice | str],
    model: str,
    documents: bool,
    adapter: bool,
    target: float | None,
) -> None:
    """Everything about an experiment that can be wrong before anything starts. Raises UserError.

    `documents` and `adapter` say whether there is an index, and an adapter or the training of one. Metrics may still be
    open.
    """
    rungs = plan.ladder
    if not rungs:
        raise UserError("No rung was chosen.", "Choose at least one.")
    if metrics:
        _check_metrics(_choices(metrics), rungs)
    _check_shares(plan, target)
    retrieving = [rung.name for rung in rungs if rung.retrieval]
    if retrieving and not documents:
        verb = "needs" if len(retrieving) == 1 else "need"
        raise UserError(
            f"{_listed(retrieving)} {verb} documents to retrieve from, but there are none.",
            "Add documents, or leave these rungs out.",
        )
    _check_adapters(plan, model, adapter=adapter)
    if count_of(dataset_id, "test") == 0:
        raise UserError("The dataset has no test examples.", "Import it with a test file.")
    _check_shots(plan, dataset_id)


def create_experiment(
    name: str,
    dataset_id: int,
    *,
    metrics: Sequence[MetricChoice | str],
    plan: Plan,
    model: str = BUNDLED_MODEL,
    index_id: int | None = None,
    adapter_id: int | None = None,
    train_job_id: int | None = None,
    target: float | None = None,
    delta: float = DELTA,
    rerun_of: int | None = None,
) -> Experiment:
    """Record an experiment. Raises UserError when a rung could not be measured as things are; nothing is stored then.

    The first of `metrics` decides; a text is the name of one with its usual settings. `train_job_id` names a training
    that may still be waiting; its adapter is used once it is there.
    """
    check_measurable(
        dataset_id,
        plan=plan,
        metrics=metrics,
        model=model,
        documents=index_id is not None,
        adapter=adapter_id is not None or train_job_id is not None,
        target=target,
    )
    choices = _some(metrics)
    needs_index = any(rung.retrieval for rung in plan.ladder)
    needs_adapter = any(rung.adapter and rung.adapter_id is None for rung in plan.ladder)
    if needs_adapter and adapter_id is not None:
        _check_base(adapter_id, model)
    experiment = Experiment(
        name=name,
        dataset_id=dataset_id,
        index_id=index_id if needs_index else None,
        adapter_id=adapter_id if needs_adapter else None,
        train_job_id=train_job_id if needs_adapter else None,
        model=model,
        metric=choices[0].identity,
        metrics=[choice.model_dump() for choice in choices],
        target=target,
        delta=delta,
        spec=plan.model_dump(),
        rerun_of=rerun_of,
    )
    with session() as db:
        dataset = db.get(Dataset, dataset_id)
        if dataset is None:
            raise UserError(f"Dataset {dataset_id} does not exist any more.", "Import it again on the Data page.")
        experiment.seed = dataset.seed if plan.seed is None else plan.seed
        db.add(experiment)
    return experiment


def rerun(experiment_id: int, fresh: bool = False) -> Experiment:
    """The same experiment once more, still to be submitted. Raises UserError if it cannot be measured any more.

    Answers that nothing has changed about are taken over; failed ones are asked again. `fresh` asks all of them.
    """
    earlier = lists.experiment(experiment_id)
    plan = Plan.model_validate(earlier.spec).model_copy(update={"fresh": fresh})
    return create_experiment(
        earlier.name,
        earlier.dataset_id,
        metrics=metrics_of(earlier),
        plan=plan,
        model=earlier.model,
        index_id=earlier.index_id,
        adapter_id=earlier.adapter_id,
        train_job_id=earlier.train_job_id,
        target=earlier.target,
        delta=earlier.delta,
        rerun_of=experiment_id,
    )


def change_metrics(experiment_id: int, metrics: Sequence[MetricChoice | str]) -> Experiment:
    """Judge the same answers by other metrics, the first of which decides; still to be submitted again.

    Nothing is asked anew, and scores that are there stay. Raises UserError while the experiment is being measured.
    """
    choices = _some(metrics)
    with session() as db:
        experiment = db.get_one(Experiment, experiment_id)
        _check_metrics(choices, Plan.model_validate(experiment.spec).ladder)
        job = db.get(Job, experiment.job_id) if experiment.job_id is not None else None
        if job is not None and job.status in ("queued", "running"):
            raise UserError("The experiment is being measured.", "Stop it first, or let it finish.")
        experiment.metric = choices[0].identity
        experiment.metrics = [choice.model_dump() for choice in choices]
        experiment.report = None
    return experiment


def change_cap(experiment_id: int, spending_cap_usd: float | None) -> None:
    """Let an experiment cost more, or less, from its next attempt on; None takes the cap away."""
    with session() as db:
        experiment = db.get_one(Experiment, experiment_id)
        plan = Plan.model_validate(experiment.spec | {"spending_cap_usd": spending_cap_usd})
        experiment.spec = plan.model_dump()


def delete_experiment(experiment_id: int) -> None:
    """Remove an experiment with its predictions, scores, votes and judgements."""
    with session() as db:
        db.execute(delete(Experiment).where(Experiment.id == experiment_id))


def small_test_warning(n: int) -> str | None:
    """What to say when the test set is too small to tell much; None when it is not."""
    if n >= MIN_TEST_EXAMPLES:
        return None
    seen = detectable_effect(n, "binary")
    shown = (
        f"only a difference of about {100 * seen:.0f} points or more"
        if math.isfinite(seen)
        else "no difference, however large,"
    )
    few = "One test example is" if n == 1 else f"{n} test examples are"
    return f"{few} few: {shown} would be noticed. Collect at least {MIN_TEST_EXAMPLES}."


def _choices(metrics: Sequence[MetricChoice | str]) -> list[MetricChoice]:
    return [MetricChoice(name=metric) if isinstance(metric, str) else metric for metric in metrics]


def _some(metrics: Sequence[MetricChoice | str]) -> list[MetricChoice]:
    if not metrics:
        raise UserError("No metric was chosen.", "Choose the one that decides.")
    return _choices(metrics)


def _check_metrics(choices: Sequence[MetricChoice], rungs: Sequence[Rung]) -> None:
    identities = [choice.identity for choice in choices]
    twice = next((choice for choice in choices if identities.count(choice.identity) > 1), None)
    if twice is not None:
        raise UserError(f"The metric {twice.title} is chosen twice with the same settings.", "Leave one of them out.")
    without = [rung.name for rung in rungs if not rung.retrieval]
    needs = metric_named(choices[0].name).needs
    if without and "passages" in needs and "context" not in needs:
        raise UserError(
            f"{choices[0].title} judges passages, which {_listed(without)} do without: it cannot decide between them.",
            "Let another metric decide, and have this one beside it.",
        )


def _check_shares(plan: Plan, target: float | None) -> None:
    if target is not None and not 0 < target <= 1:
        raise UserError(f"The target {target} is not a share.", "Give a number above 0 and up to 1.")
    names = [rung.name for rung in plan.ladder]
    for rung, minimum in plan.minimums.items():
        if rung not in names:
            raise UserError(f"A minimum is set for {rung}, which is not measured.", f"Choose from {_listed(names)}.")
        if not 0 <= minimum <= 1:
            raise UserError(f"The minimum {minimum} for {rung} is not a share.", "Give a number from 0 to 1.")


def _check_adapters(plan: Plan, model: str, *, adapter: bool) -> None:
    tuned = [rung for rung in plan.ladder if rung.adapter]
    lacking = [rung.name for rung in tuned if rung.adapter_id is None and not adapter]
    if lacking:
        raise UserError(
            f"{_listed(lacking)} need a trained adapter, but there is none.",
            "Train one first, or leave these rungs out.",
        )
    for rung in tuned:
        asked = rung.model or model
        if is_remote(asked):
            raise UserError(
                f"{rung.name} cannot be measured on the remote model {asked}.",
                "Leave this rung out, or choose the local model the adapter was trained on.",
            )
        if rung.adapter_id is not None:
            _check_base(rung.adapter_id, asked)
        elif asked != model:
            raise UserError(
                f"{rung.name} would put the adapter of {model} on another model.",
                f"Name an adapter that was trained on {asked}.",
            )
    if plan.rag_adapter_id is not None:
        _check_base(plan.rag_adapter_id, model)


def _check_base(adapter_id: int, model: str) -> None:
    adapter = lists.adapter(adapter_id)
    if adapter.base_model != model:
        raise UserError(
            f'The adapter "{adapter.name}" was trained on {adapter.base_model}, which is not {model}.',
            "Choose one of the same base model.",
        )


def _check_shots(plan: Plan, dataset_id: int) -> None:
    showing = [rung.name for rung in plan.ladder if rung.shots]
    if not showing:
        return
    if plan.shot_choice == "chosen":
        chosen_shots(dataset_id, plan.shot_ids)
    elif count_of(dataset_id, "train") == 0:
        raise UserError(
            f"{_listed(showing)} need worked examples, but the dataset has no training examples.",
            "Import it with some, or leave these rungs out.",
        )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names)
