"""Is the verdict the true one? Three real tasks, five seeds each, against what all five show together.

    python -m bench.verdicts [--tasks tickets-json ...] [--seeds 0 1 2 3 4] [--home FOLDER] [--train-only]

For each task and seed the five rungs are built as `python -m core ladder` builds them: the seed is that of the
training, of the worked examples and of the statistics. Where the documents hold the answers, the adapter learns with
passages beside the questions (RAFT), as the Train page offers for the rung rag+lora. The truth is what the rungs
score on average over all seeds: the lowest rung that no other beats by the margin or more. The test questions are the
same each time, so this tells whether training and examples sway the verdict, and whether it can be reached at this
size. Prints each verdict, the truth, and how often they agree. Everything is kept in the home folder, so that an
interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from bench.machine import describe

READY = Path(__file__).resolve().parents[2] / "shared" / "data" / "ready"
TASKS = {"tickets-json": "exact_match", "xquad-facts": "token_f1", "xquad-cited": "json_match"}
# Their documents hold the answers, so that an adapter should learn to read.
KNOWLEDGE = ("xquad-facts", "xquad-cited")
# Passages beside their questions, in training and after: half the tokens of two, and retrieval mostly finds it first.
SHOWN = 1
# Where a task has no documents of its own: nothing there helps, as a product's help pages would not.
OTHER_DOCUMENTS = Path(__file__).resolve().parents[1] / "assets" / "demo" / "documents"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--home", type=Path, default=Path("lowest-rung-verdicts"))
    parser.add_argument("--train-only", action="store_true")
    options = parser.parse_args()
    os.environ["LOWEST_RUNG_HOME"] = str(options.home.resolve())
    os.environ["HF_HUB_OFFLINE"] = "1"
    print(describe())
    for task in options.tasks:
        for seed in options.seeds:
            _train(task, seed)
        if not options.train_only:
            _say(task, [_compare(task, seed) for seed in options.seeds])


def _train(task: str, seed: int) -> int:
    """The adapter of that seed, trained unless it is there; its id."""
    from sqlalchemy import select

    from core.data.dataset import create_dataset, datasets
    from core.data.files import File
    from core.ladder import submit_training
    from core.models.catalogue import BUNDLED_MODEL
    from core.store.database import session
    from core.store.tables import Adapter
    from core.terminal import in_foreground
    from core.train.recipe import Passages, Recipe

    name = f"{task} {seed}"
    with session(read_only=True) as db:
        found = db.scalar(select(Adapter.id).where(Adapter.name == name))
    if found is not None:
        return found
    dataset = next((d for d in datasets() if d.name == name), None)
    if dataset is None:
        train, test = (File(f"{split}.jsonl", path=READY / task / f"{split}.jsonl") for split in ("train", "test"))
        dataset = create_dataset(name, train, test, seed=seed)
    recipe = Recipe(model=BUNDLED_MODEL, seed=seed)
    if task in KNOWLEDGE:
        recipe = recipe.model_copy(update={"passages": Passages(count=SHOWN), "epochs": 1.0})
    index_id = _index(task) if recipe.passages is not None else None
    submit_training(dataset.id, recipe, name, in_foreground, index_id)
    return _train(task, seed)


def _compare(task: str, seed: int) -> dict[str, Any]:
    """The report of that task and seed, measured unless it is there."""
    from core.data.dataset import datasets
    from core.evaluate.plan import MetricChoice, Plan
    from core.ladder import Climb, climb
    from core.store.lists import experiments
    from core.terminal import in_foreground

    name = f"{task} {seed}"
    found = next((e.report for e in experiments() if e.name == name and e.report), None)
    if found is not None:
        return found
    dataset = next(d for d in datasets() if d.name == name)
    wanted = Climb(
        name=name,
        dataset_id=dataset.id,
        plan=Plan(seed=seed, passages=SHOWN) if task in KNOWLEDGE else Plan(seed=seed),
        index_id=_index(task),
        metrics=(MetricChoice(name=TASKS[task]),),
        adapter_id=_train(task, seed),
    )
    climb(wanted, in_foreground)
    return _compare(task, seed)


def _index(task: str) -> int:
    from core.documents.index import create_index
    from core.documents.reading import read_folder
    from core.ladder import submit_index
    from core.store.lists import indexes
    from core.terminal import in_foreground

    own = READY / task / "docs"
    cited = READY / "xquad-facts" / "docs"
    folder = own if own.is_dir() else cited if task.startswith("xquad") else OTHER_DOCUMENTS
    found = next((s.index.id for s in indexes() if s.index.name == folder.parent.name and s.ready), None)
    if found is None:
        found = create_index(folder.parent.name, read_folder(folder)).id
        submit_index(found, folder.parent.name, in_foreground)
    return found


def _say(task: str, reports: list[dict[str, Any]]) -> None:
    names = [row["rung"] for row in reports[0]["rungs"]]
    delta = reports[0]["delta"]
    means = {
        name: sum(row["score"] for report in reports for row in report["rungs"] if row["rung"] == name) / len(reports)
        for name in names
    }
    best = max(means.values())
    true = next(name for name in names if best - means[name] < delta)
    print(f"{task}: mean scores " + ", ".join(f"{name} {mean:.3f}" for name, mean in means.items()))
    right = 0
    for number, report in enumerate(reports):
        verdict = report["verdict"]
        right += verdict["rung"] == true and verdict["outcome"] != "cannot tell yet"
        print(f"  run {number}: {verdict['rung']} ({verdict['outcome']})")
    print(f"{task}: true rung {true}; the verdict says so in {right} of {len(reports)} runs")


if __name__ == "__main__":
    main()
