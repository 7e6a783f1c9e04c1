"""The matrix products of one pass through the bundled model: oneDNN's against those PyTorch takes by itself.

    python -m bench.products [--threads 2]

All linear layers of SmolLM2-135M but the head, float32, in the order of a pass, for several numbers of rows; "learning"
also sends a gradient back to the rows, as a frozen layer under an adapter does. The two take turns; printed are
milliseconds (the median of rounds) and the ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import cycle

import torch

from bench.machine import describe
from core.models.products import with_fast_products

HIDDEN, INNER, HELD, LAYERS = 576, 1536, 192, 30
# Inputs and outputs of q, k, v, o, gate, up and down.
SHAPES = [
    (HIDDEN, HIDDEN),
    (HIDDEN, HELD),
    (HIDDEN, HELD),
    (HIDDEN, HIDDEN),
    (HIDDEN, INNER),
    (HIDDEN, INNER),
    (INNER, HIDDEN),
]
ROUNDS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    print(describe())
    plain, fast = _layers(), with_fast_products(_layers())
    for rows in (1, 16, 128, 2048):
        _compare(f"{rows} rows", partial(_pass, rows=rows), plain, fast)
    _compare("2048 rows, learning", partial(_learn, rows=2048), plain, fast)


def _layers() -> torch.nn.ModuleList:
    layers = [torch.nn.Linear(inputs, outputs, bias=False) for _ in range(LAYERS) for inputs, outputs in SHAPES]
    return torch.nn.ModuleList(layers).requires_grad_(False)


@torch.inference_mode()
def _pass(layers: torch.nn.ModuleList, rows: int) -> None:
    given = {inputs: torch.randn(rows, inputs) for inputs, _ in SHAPES}
    for layer, (inputs, _) in zip(layers, cycle(SHAPES)):
        layer(given[inputs])


def _learn(layers: torch.nn.ModuleList, rows: int) -> None:
    given = {inputs: torch.randn(rows, inputs, requires_grad=True) for inputs, _ in SHAPES}
    for layer, (inputs, outputs) in zip(layers, cycle(SHAPES)):
        layer(given[inputs]).backward(torch.ones(rows, outputs))


def _compare(
    name: str, work: Callable[[torch.nn.ModuleList], None], plain: torch.nn.ModuleList, fast: torch.nn.ModuleList
) -> None:
    seconds: dict[str, list[float]] = {"plain": [], "fast": []}
    for _ in range(ROUNDS):
        for kind, layers in (("plain", plain), ("fast", fast)):
            began = time.perf_counter()
            work(layers)
            seconds[kind].append(time.perf_counter() - began)
    theirs, ours = (1000 * statistics.median(seconds[kind]) for kind in ("plain", "fast"))
    print(f"{name}: PyTorch's {theirs:.0f} ms, oneDNN {ours:.0f} ms, {theirs / ours:.2f} times")


if __name__ == "__main__":
    main()
