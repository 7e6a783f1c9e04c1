"""Training throughput against a plain TRL script with the same recipe, and what recording and charts cost.

    python -m bench.train [--train FILE] [--steps 20] [--rounds 2]

Variants take turns, each in a process of its own, so that a machine that slows down slows all of them. Tokens are
those of the examples, padding not counted; time runs from the first step's beginning to the last one's end.
"watched" means that another process reads the new rows and draws the charts every 0.7 seconds, as the Train page does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.machine import describe
from bench.silent import Silent
from core.data.dataset import File, create_dataset, examples_of
from core.data.example import Example
from core.jobs import queue
from core.jobs.run import run_foreground
from core.models.loading import bundled_folder, load_tokenizer, model_source
from core.settings import get_settings
from core.train.recipe import Recipe
from core.train.trainer import train

DEMO = Path(__file__).resolve().parents[1] / "assets" / "demo" / "tickets" / "train.jsonl"
WATCH = """
import time
from plotly.graph_objects import Figure, Scattergl
from core.jobs import queue
rows, last = [], 0
while True:
    time.sleep(0.7)
    for job in queue.jobs("train", 1):
        queue.dispatch()
        new = queue.metrics(job.id, last)
        rows, last = rows + new, new[-1][0] if new else last
        for name in {row[2] for row in rows}:
            points = [(row[1], row[3]) for row in rows if row[2] == name]
            Figure(Scattergl(x=[x for x, _ in points], y=[y for _, y in points])).to_json()
"""
VARIANTS = ("plain TRL", "ours", "ours, recorded", "ours, recorded and watched")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, default=DEMO)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        print(json.dumps(_measure(options.variant, options.train, options.steps)))
        return
    print(describe())
    speeds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for round_number in range(options.rounds):
        for variant in VARIANTS:
            command = [sys.executable, "-m", "bench.train", "--variant", variant]
            command += ["--train", str(options.train), "--steps", str(options.steps)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.strip().splitlines()[-1])
            speeds[variant].append(found["tokens"] / found["seconds"])
            print(f"round {round_number + 1}, {variant}: {speeds[variant][-1]:.1f} tokens/s, loss {found['loss']:.4f}")
    middle = {variant: statistics.median(values) for variant, values in speeds.items()}
    print(f"ours / plain TRL: {middle['ours'] / middle['plain TRL']:.2f}")
    print(f"recorded / ours: {middle[VARIANTS[2]] / middle['ours']:.3f}")
    print(f"recorded and watched / ours: {middle[VARIANTS[3]] / middle['ours']:.3f}")


def _measure(variant: str, file: Path, steps: int) -> dict[str, float]:
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as home:
        # A home of its own, but the model converted once for all.
        converted = bundled_folder()
        os.environ["LOWEST_RUNG_HOME"] = home
        get_settings.cache_clear()
        (Path(home) / "models").mkdir(parents=True)
        (Path(home) / "models" / converted.name).symlink_to(converted)
        dataset = create_dataset(file.name, File(file.name, file.read_bytes()))
        learn = [example for _, example in examples_of(dataset.id, "train")]
        # One checkpoint at the end, outside the clock.
        recipe = Recipe(max_steps=steps, evaluations=1, samples=0)
        if variant == "plain TRL":
            return _plain(recipe, learn, Path(home) / "out")
        if variant == "ours":
            return _ours(recipe, learn, Path(home) / "out")
        return _recorded(recipe, dataset.id, watched=variant == VARIANTS[3])


class Clock(Silent):
    """Times the steps through the calls that a trainer makes anyway, and keeps the last values in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.last = 0.0
        self.tokens = self.loss = 0.0

    def progress(self, done: float, total: float, message: str = "") -> None:
        if message == "Training":
            self.last = time.perf_counter()
            self.first = self.first or self.last

    def metric(self, step: int, **values: float) -> None:
        self.tokens += values.get("tokens", 0.0)
        self.loss = values.get("loss", self.loss)

    def found(self) -> dict[str, float]:
        return {"tokens": self.tokens, "seconds": self.last - self.first, "loss": self.loss}


def _plain(recipe: Recipe, examples: list[Example], folder: Path) -> dict[str, float]:
    """What one would write from TRL's documentation: its own tokenising, its own sampling."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    clock = Clock()

    class Timing(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            clock.progress(0, 0, "Training")

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.progress(0, 0, "Training")

    rows = [
        {"prompt": list(e.messages), "completion": [{"role": "assistant", "content": e.reference}]} for e in examples
    ]
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model_source(recipe.model), dtype="float32"),
        processing_class=load_tokenizer(recipe.model),
        train_dataset=Dataset.from_list(rows),
        args=SFTConfig(
            output_dir=str(folder),
            max_steps=recipe.steps(len(examples)),
            per_device_train_batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type="cosine",
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=recipe.seed,
        ),
        peft_config=LoraConfig(
            r=recipe.rank, lora_alpha=recipe.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        callbacks=[Timing()],
    )
    with contextlib.redirect_stdout(sys.stderr):
        trainer.train()
    last = [entry for entry in trainer.state.log_history if "loss" in entry][-1]
    clock.metric(0, tokens=float(last["num_tokens"]), loss=float(last["loss"]))
    return clock.found()


def _ours(recipe: Recipe, examples: list[Example], folder: Path) -> dict[str, float]:
    clock = Clock()
    train(recipe, examples, [], folder, clock)
    return clock.found()


def _recorded(recipe: Recipe, dataset_id: int, *, watched: bool) -> dict[str, float]:
    """A real job that writes to its records, maybe beside a process that reads and draws them."""
    clock = Clock()
    watcher = subprocess.Popen([sys.executable, "-c", WATCH]) if watched else None
    try:
        job = run_foreground(
            "train",
            {"dataset_id": dataset_id, "recipe": recipe.model_dump(), "name": "bench"},
            on_progress=clock.progress,
        )
    finally:
        if watcher is not None:
            watcher.terminate()
            watcher.wait()
    for _, step, name, value, _ in queue.metrics(job.id):
        clock.metric(step, **{name: value})
    return clock.found()


if __name__ == "__main__":
    main()
