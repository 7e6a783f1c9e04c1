"""QLoRA on a GPU: tokens per second, peak memory and the estimate's error, against a plain TRL script and Unsloth.

    python -m bench.gpu_train [--steps 20] [--tiny]

The model has Llama-3.1-8B's architecture and random weights, packed to four bits as they are made, so nothing is
downloaded and every variant opens the same 5.7 GB. Each variant is a process of its own, which trains twice at batch 2:
on examples of exactly 2,048 tokens for the memory, and on examples of 350 to 2,048 (1,200 on average) for the speed.
There every example is seen twice, and the second time is timed, when all kernels are compiled: the same tokens for
every variant, padding never counted. All of it takes less than 8 minutes on one H100. `--tiny` does the same with a
tiny architecture, on a CPU too, to see that it runs: its figures say nothing about a GPU.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine import describe
from bench.memory import own_gb
from core.models.estimate import Shape
from core.models.loading import bundled_folder, compute_device, load_model
from core.train.estimate import memory_of
from core.train.recipe import Recipe
from core.train.setup import make_trainer, prepare
from core.train.tokens import IGNORED, EncodedExample
from core.train.unsloth import available

VARIANTS = ("plain TRL", "ours", "ours, packed", "Unsloth")
BATCH = 2
# The answer's share of an example.
ANSWER = 0.25
# Batches of the longest examples: enough for the peak, which the optimiser's first step completes.
MEMORY_BATCHES = 2
# Of the whole run: a variant that hangs must not hold up a rented GPU.
LIMIT_S = 470.0
GIB = 2**30
# Nothing is looked up, and the libraries' notices stay out of the figures.
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore",
}
TORCHTUNE_GIB = 7.4


@dataclass(frozen=True)
class Size:
    """The model, and how long its examples are, in tokens."""

    shape: Shape
    shortest: int
    longest: int

    def config(self) -> Any:
        from transformers import LlamaConfig

        shape = self.shape
        return LlamaConfig(
            vocab_size=shape.vocab,
            hidden_size=shape.hidden,
            intermediate_size=shape.intermediate,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            tie_word_embeddings=shape.tied,
            max_position_embeddings=131_072,
        )


SIZES = {
    False: Size(Shape(32, 4096, 14_336, 32, 8, 128, 128_256, False), 352, 2048),
    True: Size(Shape(2, 64, 128, 4, 2, 16, 49_152, False), 11, 64),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="Batches of examples that are timed.")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--variant", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    size = SIZES[options.tiny]
    if options.build:
        _build(size, options.build)
        return
    if options.variant:
        print(json.dumps(_measure(options.variant[0], Path(options.variant[1]), size, options.steps)))
        return
    if not options.tiny and not compute_device().startswith("cuda"):
        parser.error("8 billion parameters need a CUDA GPU; --tiny runs anywhere.")
    _compare(options.steps, options.tiny)


def _compare(steps: int, tiny: bool) -> None:
    print(describe())
    ends = time.monotonic() + LIMIT_S
    common = ["--steps", str(steps), *(["--tiny"] if tiny else [])]
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "model"
        _child(["--build", str(folder), *common], Path(home), ends)
        if not (folder / "config.json").is_file():
            sys.exit("The model could not be built.")
        _add_tokenizer(folder)
        for variant in VARIANTS:
            if variant == "Unsloth" and available():
                print(f"Unsloth: {available()}")
                continue
            lines = _child(["--variant", variant, str(folder), *common], Path(home), ends)
            if lines:
                found[variant] = json.loads(lines[-1])
                print(_line(variant, found[variant]), flush=True)
    for variant, goal in (("plain TRL", 1.5), ("Unsloth", 1.0)):
        for mine in ("ours", "ours, packed"):
            if {variant, mine} <= set(found):
                ratio = found[mine]["tokens_per_s"] / found[variant]["tokens_per_s"]
                print(f"{mine} / {variant}: {ratio:.2f} (goal for the better of both: {goal:.1f})")
    if "ours" in found and not tiny:
        print(f"Peak of ours: {found['ours']['peak_gb'] * 1e9 / GIB:.2f} GiB (goal: at most {TORCHTUNE_GIB})")


def _line(variant: str, found: dict[str, float]) -> str:
    told = found["estimate_gb"]
    return (
        f"{variant}: {found['tokens_per_s']:,.0f} tokens/s over {found['tokens']:,} tokens, "
        f"peak {found['peak_gb'] * 1e9 / GIB:.2f} GiB (reserved {found['reserved_gb'] * 1e9 / GIB:.2f}), "
        f"estimate {told * 1e9 / GIB:.2f} GiB ({told / found['peak_gb'] - 1:+.0%}), loss {found['loss']:.3f}"
    )


def _child(arguments: list[str], home: Path, ends: float) -> list[str]:
    """The lines that this module prints in a process of its own; none, and a word about it, if it fails."""
    environment = os.environ | QUIET | {"LOWEST_RUNG_HOME": str(home)}
    command = [sys.executable, "-m", "bench.gpu_train", *arguments]
    try:
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=ends - time.monotonic()
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"{' '.join(arguments[:2])}: {error}", flush=True)
        return []
    return done.stdout.strip().splitlines()


def _build(size: Size, folder: Path) -> None:
    """Random weights in four bits, matrix by matrix, so that the model is never held in 16."""
    import torch
    from bitsandbytes.functional import quantize_4bit
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    device = compute_device()
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    config = size.config()
    config.dtype = dtype
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config)
    torch.manual_seed(0)
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in network.named_parameters():
        values = torch.ones(parameter.shape, dtype=dtype, device=device)
        if parameter.dim() == 2:
            values.normal_(std=config.initializer_range)
        if parameter.dim() == 2 and ".layers." in name:
            values, state = quantize_4bit(values, compress_statistics=True, quant_type="nf4")
            tensors |= {f"{name}.{key}": value.cpu() for key, value in state.as_dict(packed=True).items()}
        tensors[name] = values.cpu()
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config.architectures = ["LlamaForCausalLM"]
    config.quantization_config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    ).to_dict()
    config.save_pretrained(folder)


def _add_tokenizer(folder: Path) -> None:
    """The bundled model's: the examples are random ids, but a model without a tokenizer is not opened."""
    for file in bundled_folder().iterdir():
        if file.name.startswith("tokenizer") or file.suffix == ".jinja":
            shutil.copy(file, folder)


def _measure(variant: str, folder: Path, size: Size, steps: int) -> dict[str, float]:
    import torch

    dice = random.Random(0)
    full = [_example(dice, size, size.longest) for _ in range(BATCH * MEMORY_BATCHES)]
    mixed = [_example(dice, size, dice.randint(size.shortest, size.longest)) for _ in range(BATCH * steps)]
    recipe = Recipe(
        model=str(folder),
        method="qlora",
        learning_rate=2e-4,
        epochs=2,
        batch_size=BATCH,
        max_length=size.longest,
        packing=variant == "ours, packed",
        samples=0,
        evaluations=1,
        engine="unsloth" if variant == "Unsloth" else "trl",
    )
    on_gpu = compute_device().startswith("cuda")
    told = memory_of(recipe, [size.longest] * len(full), ANSWER, size.shape, "cuda" if on_gpu else "cpu")
    memory = _run(variant, recipe, full, folder)
    if on_gpu:
        peak, reserved = torch.cuda.max_memory_allocated() / 1e9, torch.cuda.max_memory_reserved() / 1e9
    else:
        peak = reserved = memory.own_gb
    del memory.trainer
    gc.collect()
    torch.cuda.empty_cache()
    speed = _run(variant, recipe, mixed, folder)
    return {
        "tokens_per_s": speed.tokens / speed.seconds,
        "tokens": speed.tokens,
        "seconds": speed.seconds,
        "loss": speed.loss(),
        "peak_gb": peak,
        "reserved_gb": reserved,
        # CUDA's context is no allocation of torch's.
        "estimate_gb": told.total - (told.overhead if on_gpu else 0),
    }


def _example(dice: random.Random, size: Size, length: int) -> EncodedExample:
    ids = [dice.randrange(3, size.shape.vocab) for _ in range(length)]
    silent = length - round(ANSWER * length)
    return EncodedExample(ids, [IGNORED] * silent + ids[silent:])


class Clock:
    """The second epoch of a trainer: its tokens and the time they took."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.tokens = 0
        self.seconds = self.own_gb = self.started = 0.0
        plain = trainer.compute_loss

        def counted(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            if self.started:
                self.tokens += int(inputs["tokens"] if "tokens" in inputs else inputs["attention_mask"].sum())
            return plain(model, inputs, *args, **kwargs)

        trainer.compute_loss = counted

    def step_ended(self, step: int, last: int) -> None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.own_gb = max(self.own_gb, own_gb())
        if step == last // 2:
            self.started = time.perf_counter()
        if step == last:
            self.seconds = time.perf_counter() - self.started

    def loss(self) -> float:
        return float([entry["loss"] for entry in self.trainer.state.log_history if "loss" in entry][-1])


def _run(variant: str, recipe: Recipe, examples: list[EncodedExample], folder: Path) -> Clock:
    from transformers import TrainerCallback

    out = folder.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    if variant == "plain TRL":
        trainer = _plain(recipe, examples, out)
    else:
        trainer = make_trainer(recipe, prepare(recipe), examples, [], out)
    clock = Clock(trainer)

    class Timing(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            clock.step_ended(state.global_step, state.max_steps)

    trainer.add_callback(Timing())
    trainer.train()
    return clock


def _plain(recipe: Recipe, examples: list[EncodedExample], out: Path) -> Any:
    """What one would write from the documentation of TRL and PEFT, with the same adapter and step size."""
    from datasets import Dataset
    from peft import LoraConfig, prepare_model_for_kbit_training
    from trl import SFTConfig, SFTTrainer

    loaded = load_model(recipe.model, four_bit=True)
    on_gpu = loaded.device.type == "cuda"
    return SFTTrainer(
        model=prepare_model_for_kbit_training(loaded.model),
        processing_class=loaded.tokenizer,
        train_dataset=Dataset.from_list([vars(example) for example in examples]),
        args=SFTConfig(
            output_dir=str(out),
            num_train_epochs=recipe.epochs,
            per_device_train_batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            max_length=recipe.max_length,
            bf16=on_gpu,
            use_cpu=not on_gpu,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=recipe.seed,
        ),
        peft_config=LoraConfig(
            r=recipe.rank, lora_alpha=recipe.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )


if __name__ == "__main__":
    main()
