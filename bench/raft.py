"""What training with passages gains the rag+lora rung, on short facts over 48 articles: about half an hour alone.

    python -m bench.raft --train FILE --test FILE --documents DIR [--count 3] [--without-source 0.2 0] [--seeds 0]

One adapter is trained on the bare questions and one per share with the passages that retrieval finds, all else being
the default recipe. Each then answers every test question behind the same passages (rag+lora) and without any (lora).
Prints the scores with 95% intervals, and for rag+lora the difference from the plain adapter on the same questions.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from bench.machine import describe
from core.data.dataset import File, create_dataset, examples_of
from core.documents.index import build_index, create_index
from core.documents.reading import read_folder
from core.evaluate.experiment import create_experiment
from core.evaluate.metrics import metric_named
from core.evaluate.metrics.registry import Metric
from core.evaluate.plan import Plan
from core.evaluate.reading import read_scores
from core.evaluate.report import build_report
from core.evaluate.rungs import RungChoice
from core.evaluate.running import run_experiment
from core.evaluate.statistics import compare
from core.evaluate.suggest import suggest_metric
from core.jobs.run import run_foreground
from core.models.loading import bundled_folder
from core.models.open import open_generator
from core.settings import get_settings
from core.store.tables import Dataset, Index
from core.train.recipe import Passages, Recipe

RUNGS = [RungChoice(adapter=True), RungChoice(retrieval=True, adapter=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--documents", type=Path, required=True)
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--without-source", type=float, nargs="*", default=[0.2, 0.0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    print(describe())
    with tempfile.TemporaryDirectory() as home:
        # A home of its own, but the model converted once for all.
        converted = bundled_folder()
        os.environ["LOWEST_RUNG_HOME"] = home
        get_settings.cache_clear()
        (Path(home) / "models").mkdir(parents=True)
        (Path(home) / "models" / converted.name).symlink_to(converted)
        files = [File(path.name, path.read_bytes()) for path in (options.train, options.test)]
        dataset = create_dataset("facts", *files)
        index = create_index("articles", read_folder(options.documents))
        build_index(index.id)
        metric = metric_named(suggest_metric([e.reference for _, e in examples_of(dataset.id, "train")])[0])
        for seed in options.seeds:
            plain = _measure(f"plain, seed {seed}", Recipe(seed=seed), dataset, index, metric, options.count)
            for share in options.without_source:
                wanted = Passages(count=options.count, without_source=share)
                name = f"with passages, {share:.0%} without their source, seed {seed}"
                trained = _measure(name, Recipe(seed=seed, passages=wanted), dataset, index, metric, options.count)
                _compare(plain, trained, metric)


def _measure(name: str, recipe: Recipe, dataset: Dataset, index: Index, metric: Metric, count: int) -> int:
    """Train an adapter and ask it; returns the experiment's id."""
    spec = {"dataset_id": dataset.id, "recipe": recipe.model_dump(), "name": name, "index_id": index.id}
    job = run_foreground("train", spec)
    assert job.result is not None, job.error
    experiment = create_experiment(
        name,
        dataset.id,
        metrics=[metric.name],
        plan=Plan(rungs=RUNGS, passages=count),
        index_id=index.id,
        adapter_id=job.result["adapter_id"],
    )
    run_experiment(experiment.id, open_generator)
    found = [
        "{rung} {score:.3f} ({low:.3f}-{high:.3f})".format(low=row["interval"][0], high=row["interval"][1], **row)
        for row in build_report(experiment.id)["rungs"]
    ]
    print(f"{name}: {', '.join(found)} {metric.name}, trained in {job.result['seconds']:.0f} s", flush=True)
    return experiment.id


def _compare(plain: int, trained: int, metric: Metric) -> None:
    read = [read_scores(experiment_id) for experiment_id in (plain, trained)]
    before, after = (scores.values[metric.name]["rag+lora"] for scores in read)
    found = compare(before, after, read[0].groups, metric.kind)
    print(
        f"  rag+lora with passages / plain: {after.mean() / before.mean():.2f}; {found.effect:+.3f} "
        f"({found.interval.low:+.3f} to {found.interval.high:+.3f}), p {found.p:.3f}, {found.outcome}",
        flush=True,
    )


if __name__ == "__main__":
    main()
