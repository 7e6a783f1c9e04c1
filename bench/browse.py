"""How long the server works for each interaction on Compare, on a finished comparison of 5 rungs and 5,000 examples.

    python -m bench.browse [--examples 5000]

Examples, answers, scores and report are real rows in a temporary home; no model is asked. Each interaction is done
three times through Streamlit's AppTest, which draws the whole page although a browser would draw again only the part
that changes; printed are the first time (nothing remembered) and the median of the others.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

from bench.machine import describe

RUNGS = {"base": 0.3, "prompt": 0.5, "rag": 0.7, "lora": 0.8, "rag+lora": 0.85}
METRICS = ("token_f1", "exact_match", "contains")
WORDS = 60
# How long a reader looks at the page before anything else, at least.
LOOK_S = 4.0
PARTS = ("Blind vote", "Over time", "Take away", "Verdict", "Side by side")
APP = Path(__file__).resolve().parents[1] / "app.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=5_000)
    examples = parser.parse_args().examples
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LOWEST_RUNG_HOME"] = folder
        began = time.perf_counter()
        experiment_id = _measured(examples)
        print(f"{len(RUNGS)} rungs, {examples:,} examples, made in {time.perf_counter() - began:.0f} s")
        _parts(experiment_id)
        worst = _browse(experiment_id)
        print(f"slowest once remembered: {1000 * worst:.0f} ms")


def _measured(count: int) -> int:
    """A finished comparison, run twice: answers of random words, right as often as RUNGS says, two passages each.

    Returns the id of the second run.
    """
    from sqlalchemy import insert

    from core.data.dataset import File, create_dataset, examples_of
    from core.documents.index import create_index
    from core.documents.reading import SourceDocument
    from core.evaluate.experiment import create_experiment, rerun
    from core.evaluate.plan import Plan
    from core.evaluate.report import build_report, store_report
    from core.evaluate.rungs import RungChoice
    from core.evaluate.scoring import ensure_scores
    from core.models.catalogue import BUNDLED_MODEL
    from core.store.database import session
    from core.store.tables import Adapter, Prediction

    noise = random.Random(0)
    words = ["".join(noise.choices("abcdefghijklmnop", k=7)) for _ in range(5_000)]

    def text(length: int = WORDS) -> str:
        return " ".join(noise.choices(words, k=length))

    def lines(start: int, many: int) -> bytes:
        rows = (
            {
                "messages": [
                    {"role": "system", "content": "Answer briefly."},
                    {"role": "user", "content": f"Question {i}: {text()}"},
                    {"role": "assistant", "content": text(10)},
                ],
                "group": f"group {i // 5}",
                "label": f"label {i % 7}",
            }
            for i in range(start, start + many)
        )
        return "\n".join(map(json.dumps, rows)).encode()

    dataset = create_dataset("bench", File("train.jsonl", lines(0, 200)), File("test.jsonl", lines(1_000, count)))
    index = create_index("bench", [SourceDocument("a.md", "A", text())])
    with session() as db:
        db.add(
            adapter := Adapter(
                name="bench", dataset_id=dataset.id, base_model=BUNDLED_MODEL, method="lora", path="adapters/1"
            )
        )
    plan = Plan(rungs=[RungChoice.model_validate(rung) for rung in RUNGS])
    experiment = create_experiment(
        "bench", dataset.id, metrics=list(METRICS), plan=plan, index_id=index.id, adapter_id=adapter.id
    )
    passages = [
        {
            "chunk_id": i,
            "document_id": 1,
            "source": "a.md",
            "title": "A",
            "text": text(120),
            "section": "",
            "page": None,
        }
        | {"start": 0, "end": 100, "score": 0.5}
        for i in range(2)
    ]
    for each in (experiment, rerun(experiment.id)):
        rows: list[dict[str, Any]] = [
            {
                "experiment_id": each.id,
                "rung": rung,
                "example_id": example_id,
                "output": example.reference if noise.random() < share else text(),
                "error": None,
                "finish_reason": "stop",
                "latency_s": noise.random(),
                "input_tokens": 200,
                "output_tokens": 40,
                "retrieved": passages if "rag" in rung else [],
            }
            for rung, share in RUNGS.items()
            for example_id, example in examples_of(dataset.id, "test")
        ]
        with session() as db:
            db.execute(insert(Prediction), rows)
        ensure_scores(each.id)
        began = time.perf_counter()
        report = build_report(each.id)
        print(f"report built in {time.perf_counter() - began:.1f} s")
        store_report(each.id, report)
    return each.id


def _parts(experiment_id: int) -> None:
    """What the view is made of, without the screen."""
    from core.evaluate.browsing import Looking, rows_of, state
    from core.evaluate.reading import read_example, read_scores

    scores = read_scores(experiment_id)
    first = int(scores.examples[0])
    parts: dict[str, Callable[[], object]] = {
        "read all scores": lambda: read_scores(experiment_id),
        "whether they are stale": lambda: state(experiment_id),
        "read one example": lambda: read_example(experiment_id, first),
        "filter and order": lambda: rows_of(
            scores, Looking(METRICS[0], "worse", "rag", "lora", order="largest difference")
        ),
        "search, found nowhere": lambda: rows_of(scores, Looking(METRICS[0], find="zzqxj")),
    }
    for name, part in parts.items():
        print(f"  {name}: {1000 * statistics.median(_once(part) for _ in range(3)):.0f} ms")


def _browse(experiment_id: int) -> float:
    """Time every interaction; returns the longest median in seconds."""
    from streamlit.runtime.pages_manager import PagesManager

    # AppTest would take the folder pages for an old multipage app, and leave out app.py.
    original = PagesManager.__init__

    def begin(self: PagesManager, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        PagesManager.uses_pages_directory = False

    PagesManager.__init__ = begin  # type: ignore[method-assign]

    times: dict[str, list[float]] = {}
    for _ in range(3):
        app = AppTest.from_file(str(APP), default_timeout=120).run()
        app.switch_page("pages/compare.py")
        app.query_params["experiment"] = str(experiment_id)
        for name, act in _interactions(app).items():
            times.setdefault(name, []).append(_once(act))
            if len(times) == 1:
                time.sleep(LOOK_S)
            assert not app.exception and not app.error, name
    worst = 0.0
    for name, (first, *others) in times.items():
        print(f"  {name}: first {1000 * first:.0f} ms, then {1000 * statistics.median(others):.0f} ms")
        worst = max(worst, statistics.median(others))
    return worst


def _interactions(app: AppTest) -> dict[str, Callable[[], object]]:
    """What a reader does, in this order."""

    def opened(part: str) -> Callable[[], object]:
        return lambda: app.segmented_control(key="part").set_value(part).run()

    return {
        "the page, from a link": app.run,
        **{f"open {part}": opened(part) for part in PARTS},
        "next example": lambda: app.button(key="outputs_next").click().run(),
        "go to example 3,000": lambda: app.number_input(key="outputs_number").set_value(3_000).run(),
        "only where they differ": lambda: app.selectbox(key="show").set_value("answers differ").run(),
        "regressions": lambda: app.selectbox(key="show").set_value("worse").run(),
        "of rag": lambda: app.selectbox(key="rung").set_value("rag").run(),
        "largest difference first": lambda: app.selectbox(key="sort").set_value("largest difference").run(),
        "differences from lora": lambda: app.selectbox(key="diff").set_value("lora").run(),
        "one label": lambda: app.selectbox(key="label").set_value("label 3").run(),
        "search": lambda: app.text_input(key="find").set_value("ABC").run(),
        "list": lambda: app.segmented_control(key="layout").set_value("List").run(),
    }


def _once(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
