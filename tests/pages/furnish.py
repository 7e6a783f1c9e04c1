"""A home with something of everything: what the pages draw, without hours of real work.

Everything goes through the product's own functions, except that jobs are recorded as ended and answers are written
straight into the table: they are input for drawing here, not results.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import insert, select, update

from core.data.dataset import File, create_dataset, examples_of
from core.documents.index import create_index
from core.documents.reading import SourceDocument
from core.evaluate.experiment import create_experiment
from core.evaluate.plan import Plan
from core.evaluate.report import build_report, store_report
from core.evaluate.scoring import ensure_scores
from core.jobs import queue
from core.settings import get_settings
from core.store.database import session
from core.store.tables import Adapter, Document, Experiment, Job, Metric, Prediction, Sample
from core.train.recipe import Recipe

# Looks like every kind of markup a page might mistake it for.
NASTY = "**bold** $x^2$ <b>b</b> [link](https://example.com) :red[r] `c` # h =1+1 www.example.com"
QUEUES = ("HARBOUR", "LANTERN", "MAGPIE", "SPLICE")
# What a person told the wizard before the finished comparison was started; it advised lora.
ANSWERS: dict[str, bool | float | str] = {"prompt_tried": "exhausted", "gap": "behavior"}
RIGHT = {"base": 0.02, "prompt": 0.35, "rag": 0.2, "lora": 0.92, "rag+lora": 0.9}


@dataclass(frozen=True)
class Furnished:
    dataset: int
    index: int
    train_job: int
    failed_job: int
    adapter: int
    finished: int
    stopped: int


def jsonl(count: int, start: int = 0) -> bytes:
    """Chat examples whose answers are one of four queues as JSON."""
    lines = []
    for i in range(start, start + count):
        answer = json.dumps({"queue": QUEUES[i % 4], "urgent": i % 3 == 0})
        question = f"Message {i}: the ramp at pier {i % 7} is stuck. {NASTY if i % 10 == 0 else ''}".strip()
        turns = [
            {"role": "system", "content": "Sort the message. Answer as JSON."},
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
        lines.append(json.dumps({"messages": turns, "group": f"g{i}"}))
    return "\n".join(lines).encode()


def furnish() -> Furnished:
    dataset = create_dataset(
        "Tickets *of* the harbour", File("train.jsonl", jsonl(60)), File("test.jsonl", jsonl(40, 60))
    )
    documents = [
        SourceDocument(f"note-{i}.md", f"Note {i}", f"The ramp at pier {i} opens at {i} o'clock.\n{NASTY}")
        for i in range(6)
    ]
    index = create_index("Handbook", documents)
    with session() as db:
        db.execute(update(Document).where(Document.index_id == index.id).values(chunk_count=2))
    ended("index", {"index_id": index.id}, "Index: Handbook")
    train_job = trained(dataset.id)
    adapter = an_adapter(train_job, dataset.id)
    finished = measured("Tickets", dataset.id, index.id, adapter, done=True, plan=Plan(answers=ANSWERS))
    stopped = measured("Tickets again", dataset.id, index.id, adapter, done=False)
    failed = ended(
        "train",
        {"dataset_id": dataset.id, "recipe": Recipe().model_dump(), "name": "Too big"},
        "Train: Too big",
        status="failed",
        done=3,
        total=36,
        error="The memory was not enough: out of memory",
        remedy="Make the batch smaller.",
        traceback="Traceback (most recent call last):\n  ...",
        after=[train_job],
    )
    return Furnished(dataset.id, index.id, train_job, failed, adapter, finished, stopped)


def ended(
    kind: str, spec: dict, title: str, status: str = "done", after: list[int] | None = None, **columns: object
) -> int:
    """A job as it looks after it has ended."""
    job_id = queue.submit(kind, spec, title=title, start=False, after=after or ())
    now = time.time()
    values = {
        "status": status,
        "started_at": now - 200,
        "finished_at": now - 20,
        "done": 10,
        "total": 10,
    } | columns
    with session() as db:
        db.execute(update(Job).where(Job.id == job_id).values(**values))
    queue.log_path(job_id).write_text("2026-01-01 00:00:00 A line of the log\n", encoding="utf-8")
    return job_id


def trained(dataset_id: int, steps: int = 120) -> int:
    """A run as it looks at its end: measurements, a pre-flight, two events, and answers at every evaluation."""
    spec = {"dataset_id": dataset_id, "recipe": Recipe().model_dump(), "name": "Tickets"}
    result = {
        "train_loss": 0.12,
        "eval_loss": 0.2,
        "best_step": steps,
        "steps": steps,
        "seconds": 180.0,
        "stopped_early": False,
    }
    events = [
        {"step": 40, "time": 1.7e9, "text": f"The memory was not enough: batches of 4 from here on. {NASTY}"},
        {"step": 60, "time": 1.7e9 + 60, "text": "Resumed from the checkpoint of step 60."},
    ]
    notes = {"preflight": preflight(), "events": events, "batch": {"batch_size": 4, "accumulation": 2}}
    job_id = ended("train", spec, "Train: Tickets", result=result, done=steps, total=steps, notes=notes)
    measure(job_id, range(1, steps + 1), steps)
    for step in range(0, steps + 1, 30):
        answered(job_id, step, steps)
    return job_id


def preflight() -> list[dict]:
    """The checks of a run, all passed, as the trainer notes them."""
    rendered = [[f"user: {NASTY}\nassistant: ", False], ['{"queue": "MAGPIE"}', True]]
    learned = {"examples": 54, "learned_tokens": 700, "tokens": 3600, "cut": 0, "rendered": rendered}
    titles = {
        "model": "The model can be read",
        "disk": "There is room on the disk",
        "supervision": "Every example has something to learn",
        "step": "One step on the longest batch",
        "evaluation": "One evaluation batch",
        "save": "One save",
    }
    data = {"supervision": learned, "step": {"seconds": 1.4, "memory_gb": 2.1, "tokens": 420}}
    return [
        {"name": name, "title": title, "state": "ok", "detail": "As it should be.", "data": data.get(name, {})}
        for name, title in titles.items()
    ]


def measure(job_id: int, steps: Iterable[int], total: int) -> None:
    """What a run records at these steps."""
    rows = []
    for step in steps:
        noise = random.Random(step)
        values = {
            "loss": 3 * math.exp(-step / 30) + 0.1 + noise.random() * 0.2,
            "learning_rate": 5e-4 * (1 - step / total),
            "grad_norm": 1 + noise.random(),
            "epoch": 2 * step / total,
            "tokens": 400.0,
            "tokens_per_s": 130 + 10 * noise.random(),
            "memory_gb": 2.1,
            "cpu_percent": 180 + 20 * noise.random(),
        }
        if step % 30 == 0:
            values["eval_loss"] = 3 * math.exp(-step / 30) + 0.2
        rows += [
            {"job_id": job_id, "step": step, "name": n, "value": v, "time": float(step)} for n, v in values.items()
        ]
    with session() as db:
        db.execute(insert(Metric), rows)


def answered(job_id: int, step: int, total: int, questions: int = 3) -> None:
    """Answers to the fixed questions at this step: nonsense at first, right at the end."""
    rows = []
    for position in range(questions):
        reference = json.dumps({"queue": QUEUES[position], "urgent": False})
        output = reference if step == total else f"Step {step} of a long way. {NASTY}"
        prompt = f"Message {position}: the ramp is stuck. {NASTY}"
        rows.append(
            Sample(job_id=job_id, step=step, position=position, prompt=prompt, reference=reference, output=output)
        )
    with session() as db:
        db.add_all(rows)


def an_adapter(train_job: int, dataset_id: int) -> int:
    folder = get_settings().home / "adapters" / str(train_job)
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/somewhere/private", "r": 16}))
    recipe = Recipe()
    adapter = Adapter(
        name="Tickets",
        job_id=train_job,
        dataset_id=dataset_id,
        base_model=recipe.model,
        method=recipe.method,
        recipe=recipe.model_dump(),
        path=folder.relative_to(get_settings().home).as_posix(),
        eval_loss=0.2,
    )
    with session() as db:
        db.add(adapter)
    return adapter.id


def measured(
    name: str, dataset_id: int, index_id: int, adapter_id: int, *, done: bool, plan: Plan | None = None
) -> int:
    """An experiment whose rungs are right as often as RIGHT says; one not done has answers to the first three only."""
    experiment = create_experiment(
        name,
        dataset_id,
        metrics=["exact_match", "json_match"],
        plan=plan or Plan(),
        index_id=index_id,
        adapter_id=adapter_id,
    )
    job_id = ended(
        "compare",
        {"experiment_id": experiment.id},
        f"Compare: {name}",
        status="done" if done else "stopped",
        done=5.0,
        total=10.0,
    )
    with session() as db:
        cited = db.scalars(select(Document).where(Document.index_id == index_id).order_by(Document.id)).all()[1]
    noise = random.Random(1)
    rows = []
    for rung in list(RIGHT)[: 5 if done else 3]:
        for i, (example_id, example) in enumerate(examples_of(dataset_id, "test")[: None if done else 25]):
            wrong = example.reference.replace("HARBOUR", "LANTERN").replace("true", "false") + f" {NASTY}"
            failed = rung == "base" and i == 0
            rows.append(
                {
                    "experiment_id": experiment.id,
                    "rung": rung,
                    "example_id": example_id,
                    "output": "" if failed else example.reference if noise.random() < RIGHT[rung] else wrong,
                    "error": "The prompt is longer than the model's context." if failed else None,
                    "finish_reason": "error" if failed else "stop",
                    "input_tokens": 60,
                    "output_tokens": 12,
                    "latency_s": 0.4,
                    "cost_usd": 0.0,
                    "retrieved": [
                        {
                            "chunk_id": 1,
                            "document_id": cited.id,
                            "source": cited.name,
                            "title": cited.title,
                            "text": cited.text,
                            "section": "",
                            "page": None,
                            "start": 0,
                            "end": len(cited.text),
                            "score": 0.71,
                        }
                    ]
                    if "rag" in rung
                    else [],
                }
            )
    with session() as db:
        db.execute(insert(Prediction), rows)
        db.get_one(Experiment, experiment.id).job_id = job_id
    ensure_scores(experiment.id)
    if done:
        store_report(experiment.id, build_report(experiment.id))
    return experiment.id
