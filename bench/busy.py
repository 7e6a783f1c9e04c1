"""Training beside another busy process: how long torch's threads should spin while they wait for each other.

    python -m bench.busy [--steps 3]

Each variant is a process of its own: GNU OpenMP's default, our setting (core/__init__.py), and no spinning at all; each
once on the machine as it is and once beside as many busy loops as half the cores. Prints tokens/s and ratios.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.machine import describe
from bench.silent import Silent

VARIANTS = {
    # libgomp's own default when nothing is set; named, since our package would set something.
    "default": {"GOMP_SPINCOUNT": "300000"},
    "ours": {},
    "no spinning": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"},
}
TRAIN = Path(__file__).resolve().parents[1] / "assets" / "demo" / "tickets" / "train.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(_tokens_per_s(options.steps))
        return
    print(describe())
    found: dict[tuple[str, bool], float] = {}
    for busy in (False, True):
        loops = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"])
            for _ in range((os.cpu_count() or 2) // 2 * busy)
        ]
        try:
            for name, extra in VARIANTS.items():
                command = [sys.executable, "-m", "bench.busy", "--measure", "--steps", str(options.steps)]
                environment = os.environ | {"HF_HUB_OFFLINE": "1"} | extra
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
                found[name, busy] = float(done.stdout.split()[-1])
                where = "beside busy loops" if busy else "machine as it is"
                print(f"{where}, {name}: {found[name, busy]:.1f} tokens/s")
        finally:
            for loop in loops:
                loop.kill()
    for busy in (False, True):
        print(
            f"ours / default, {'beside busy loops' if busy else 'machine as it is'}: "
            f"{found['ours', busy] / found['default', busy]:.2f}"
        )


class _Counter(Silent):
    """Remembers the steps' speed, the first left out."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[float, float]] = []

    def metric(self, step: int, **values: float) -> None:
        if "tokens" in values:
            self.steps.append((values["tokens"], values["tokens_per_s"]))


def _tokens_per_s(steps: int) -> float:
    from core.data.files import File
    from core.data.reading import read_examples
    from core.train.recipe import Recipe
    from core.train.trainer import train

    examples = read_examples(File(TRAIN.name, path=TRAIN))[: 4 * (steps + 1)]
    counter = _Counter()
    with tempfile.TemporaryDirectory() as folder:
        train(Recipe(epochs=1, batch_size=4, evaluations=1, samples=0), examples, [], Path(folder), counter)
    measured = counter.steps[1:]
    return sum(tokens for tokens, _ in measured) / sum(tokens / speed for tokens, speed in measured)


if __name__ == "__main__":
    main()
