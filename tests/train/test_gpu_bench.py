"""The benchmark for GPUs, run whole on a tiny architecture: every variant that can run here trains and is compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.gpu_train import SIZES
from core.train.unsloth import available

REPOSITORY = Path(__file__).resolve().parents[2]


def _bench(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench.gpu_train", *options],
        cwd=REPOSITORY,
        env=os.environ | {"LOWEST_RUNG_DEVICE": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.integration
def test_tiny_run_measures_and_compares_every_variant(bundled: Path) -> None:
    done = _bench("--tiny", "--steps", "4")
    assert done.returncode == 0, done.stderr
    measured = {}
    for line in done.stdout.splitlines():
        found = re.match(r"(.+): ([\d,.]+) tokens/s over ([\d,]+) tokens, peak ([\d.]+) GiB .*, loss ([\d.]+)$", line)
        if found:
            measured[found[1]] = tuple(float(value.replace(",", "")) for value in found.groups()[1:])
    assert set(measured) == {"plain TRL", "ours", "ours, packed"}, done.stdout + done.stderr
    for tokens_per_s, tokens, peak, loss in measured.values():
        assert tokens_per_s > 0 and peak > 0.1
        # Random tokens of a vocabulary of 49,152 cannot be foretold: ln 49,152 nats.
        assert loss == pytest.approx(10.8, abs=0.3)
        # Four batches of two, the same for everyone: no padding is counted, and no example left out.
        assert 8 * SIZES[True].shortest <= tokens <= 8 * SIZES[True].longest
        assert tokens == measured["ours"][1]
    assert f"Unsloth: {available()}" in done.stdout
    ratio = re.search(r"^ours / plain TRL: ([\d.]+)", done.stdout, re.MULTILINE)
    assert ratio
    assert float(ratio[1]) == pytest.approx(measured["ours"][0] / measured["plain TRL"][0], abs=0.02)


def test_full_size_is_llama_31_8b() -> None:
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(SIZES[False].config())
    # What the hub says of meta-llama/Llama-3.1-8B.
    assert sum(parameter.numel() for parameter in network.parameters()) == 8_030_261_248


def test_full_size_is_refused_without_a_gpu() -> None:
    done = _bench()
    assert done.returncode == 2
    assert "8 billion parameters need a CUDA GPU" in done.stderr
