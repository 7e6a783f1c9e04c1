"""Where a training step's time goes, and how far that is from what the machine's matrix products can do.

    python -m bench.where [--train FILE] [--steps 6]

The peak is the best rate of one large fp32 product, by oneDNN (core/models/products.py). A step's useful work is
counted from the model's shape: the products a token needs forward and backward (the frozen weights' own gradients are
not computed), padding left out. PyTorch's profiler then says which operations took the time, and how fast the products
among them were.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from bench.machine import describe
from bench.train import DEMO
from core.data.dataset import File, create_dataset, examples_of
from core.models.access import inspect
from core.models.loading import load_tokenizer
from core.models.products import Linear
from core.train.recipe import Recipe
from core.train.tokens import encode_all

FAST = "mkldnn::_linear_pointwise"
PRODUCTS = (FAST, "aten::mm", "aten::addmm", "aten::bmm", "aten::linear")
KINDS = {
    "matrix products": PRODUCTS,
    "attention": ("scaled_dot_product", "flash_attention"),
    "optimiser": ("Optimizer", "_fused_adam", "_foreach"),
    "loss and softmax": ("log_softmax", "nll_loss", "cross_entropy"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, default=DEMO)
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_args()
    print(describe())
    peak = _peak()
    print(f"peak of a 2048 x 2048 product in fp32: {peak / 1e9:.0f} GFLOP/s")
    dataset = create_dataset(options.train.name, File(options.train.name, options.train.read_bytes()))
    examples = [example for _, example in examples_of(dataset.id, "train")]
    recipe = Recipe(max_steps=options.steps, evaluations=1, samples=0)
    with tempfile.TemporaryDirectory() as folder:
        _profile(recipe, examples, Path(folder), peak)


def _peak() -> float:
    """FLOP/s of the fastest of several large products."""
    import torch

    rows, layer = torch.randn(2048, 2048), Linear(2048, 2048, bias=False).requires_grad_(False)
    times = []
    for _ in range(12):
        started = time.perf_counter()
        layer(rows)
        times.append(time.perf_counter() - started)
    return float(2 * 2048**3 / min(times))


def _profile(recipe: Recipe, examples: list[Any], folder: Path, peak: float) -> None:
    import torch
    from torch.profiler import ProfilerActivity, profile

    from core.train.setup import make_trainer, prepare

    shape = inspect(recipe.model).shape
    assert shape is not None
    learned = encode_all(load_tokenizer(recipe.model), examples, recipe.max_length)
    trainer = make_trainer(recipe, prepare(recipe), learned, [], folder)
    order = list(trainer._get_train_sampler())[: recipe.batch_size * recipe.steps(len(learned))]
    seen = [order[i : i + recipe.batch_size] for i in range(0, len(order), recipe.batch_size)]
    tokens = sum(len(learned[i].input_ids) for i in order)
    padded = sum(len(batch) * max(len(learned[i].input_ids) for i in batch) for batch in seen)
    answers = sum(learned[i].learned for i in order)
    clock = _Steps()
    trainer.add_callback(clock.callback())
    with profile(activities=[ProfilerActivity.CPU], with_flops=True, record_shapes=True) as found:
        trainer.train()
    seconds = clock.seconds
    # Forward and the gradient of what flows back: 2 each per weight; the adapter's own gradient: 2 more.
    adapter = shape.adapter(recipe.rank)
    useful = 4 * shape.linear * tokens + 6 * adapter * tokens + 4 * shape.vocab * shape.hidden * answers
    print(
        f"{tokens:,} tokens ({padded:,} with padding, {answers:,} learned) in {seconds:.1f} s: {tokens / seconds:.0f}/s"
    )
    rate = useful / seconds
    print(f"useful products: {useful / 1e9:.0f} GFLOP, {rate / 1e9:.0f} GFLOP/s, {rate / peak:.0%} of the peak")
    kinds: dict[str, float] = defaultdict(float)
    flops = 0.0
    for event in found.key_averages():
        kind = next((k for k, names in KINDS.items() if any(name in event.key for name in names)), "everything else")
        kinds[kind] += event.self_cpu_time_total / 1e6
    for event in found.key_averages(group_by_input_shape=True):
        if event.key == FAST:
            # The profiler does not know this one: (..., inputs) and (outputs, inputs).
            rows, weight = event.input_shapes[:2]
            flops += 2 * event.count * math.prod(rows) * weight[0]
        elif event.key in PRODUCTS:
            flops += event.flops
    total = sum(kinds.values())
    print(f"threads: {torch.get_num_threads()}; profiled {total:.1f} s")
    for kind, spent in sorted(kinds.items(), key=lambda item: -item[1]):
        print(f"  {kind:18} {spent:6.2f} s  {spent / total:4.0%}")
    rate = flops / kinds["matrix products"]
    print(f"the products themselves: {flops / 1e9:.0f} GFLOP, {rate / 1e9:.0f} GFLOP/s, {rate / peak:.0%} of the peak")
    for event in sorted(found.key_averages(), key=lambda e: -e.self_cpu_time_total)[:14]:
        print(f"    {event.key:46} {event.self_cpu_time_total / 1e6:6.2f} s  {event.count:6} calls")


class _Steps:
    """Seconds from the first step's beginning to the last one's end."""

    def __init__(self) -> None:
        self.first = self.last = 0.0

    @property
    def seconds(self) -> float:
        return self.last - self.first

    def callback(self) -> Any:
        from transformers import TrainerCallback

        clock = self

        class Timing(TrainerCallback):
            def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
                clock.first = time.perf_counter()

            def on_step_end(self, *args: Any, **kwargs: Any) -> None:
                clock.last = time.perf_counter()

        return Timing()


if __name__ == "__main__":
    main()
