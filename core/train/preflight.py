"""What a run would stumble over later, tried in its first seconds: a checklist that ends in measured figures.

It runs inside the trainer, just before its first step, with everything as the steps will find it; and it leaves
weights, gradients and random generators as they were.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import UserError
from core.models.access import inspect
from core.models.devices import this_device
from core.train.estimate import refuse
from core.train.recipe import Recipe
from core.train.tokens import IGNORED, EncodedExample
from core.train.usage import Peak

if TYPE_CHECKING:
    from core.train.answer_loss import AnswerLossTrainer
    from core.train.recorder import Recorder

TITLES = {
    "model": "Licence and access of the base model",
    "supervision": "Something to learn in every example",
    "disk": "Room on the disk",
    "step": "One forward and backward pass on the longest batch",
    "evaluation": "One evaluation batch",
    "save": "One save",
}
# A batch that took longer than this need not be timed a second time, warmed up.
LONG_S = 5.0
# AdamW's two moments in 32 bits, and the weights themselves.
OPTIMISER_BYTES, WEIGHT_BYTES = 8, 4
# Two checkpoints are kept (the best and the newest) while a third is written.
CHECKPOINTS = 3
# An example is shown up to here; both ends of a longer one.
SHOWN_TOKENS = 400


@dataclass
class Check:
    """One line of the list. `state`: waiting, running, ok, warn or fail; `data` holds the figures for screens."""

    name: str
    title: str
    state: str = "waiting"
    detail: str = ""
    data: dict[str, Any] = field(default_factory=dict)


class Checklist:
    """The checks in order, each recorded as it begins and ends."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.checks = {name: Check(name, title) for name, title in TITLES.items()}

    @contextmanager
    def check(self, name: str) -> Iterator[Check]:
        """Runs the body as one check: ok unless it says otherwise, failed when it raises."""
        check = self.checks[name]
        check.state = "running"
        self._record()
        self.recorder.progress(0, 0, f"Pre-flight: {check.title}")
        try:
            yield check
        except BaseException as error:
            check.state = "fail"
            check.detail = error.what if isinstance(error, UserError) else (str(error).splitlines() or [""])[0][:300]
            self._record()
            raise
        if check.state == "running":
            check.state = "ok"
        self._record()

    def _record(self) -> None:
        self.recorder.note(preflight=[asdict(check) for check in self.checks.values()])


def check_model(checklist: Checklist, recipe: Recipe, examples: int) -> None:
    """Whether it can be opened, under which licence, and whether the run is possible here at all.

    Raises UserError, before any weight is read.
    """
    with checklist.check("model") as check:
        facts = inspect(recipe.model)
        refuse(recipe, facts, examples)
        gate = "; its publisher asks for an accepted licence" if facts.gated else ""
        check.detail = f"{recipe.model}: licence {facts.license or 'not stated'}{gate}."
        check.data = {"license": facts.license, "gated": facts.gated, "where": facts.where}
        if not facts.license:
            check.state = "warn"
            check.detail += " Find out under which terms it may be used before you publish what you train."


def check_supervision(checklist: Checklist, tokenizer: Any, learned: Sequence[EncodedExample], max_length: int) -> None:
    """How much there is to learn from; none fully masked was seen to by `encode_all`."""
    with checklist.check("supervision") as check:
        answers, total = sum(e.learned for e in learned), sum(len(e.input_ids) for e in learned)
        cut = sum(e.cut > 0 for e in learned)
        check.data = {
            "examples": len(learned),
            "learned_tokens": answers,
            "tokens": total,
            "cut": cut,
            "rendered": rendered(tokenizer, learned[0]),
        }
        check.detail = f"{answers:,} of {total:,} tokens are learned from, in {len(learned):,} examples."
        if cut:
            check.state = "warn"
            check.detail += f" {cut:,} are cut at {max_length:,} tokens: a longer length would keep their ends."


def rendered(tokenizer: Any, example: EncodedExample) -> list[tuple[str, bool]]:
    """The example as the model reads it, in stretches: (text, whether it is learned). A long one without its middle."""
    ids, labels = example.input_ids, example.labels
    if len(ids) > 2 * SHOWN_TOKENS:
        first, last = (
            rendered(tokenizer, EncodedExample(ids[:SHOWN_TOKENS], labels[:SHOWN_TOKENS])),
            rendered(tokenizer, EncodedExample(ids[-SHOWN_TOKENS:], labels[-SHOWN_TOKENS:])),
        )
        return [*first, (f" [... {len(ids) - 2 * SHOWN_TOKENS:,} tokens ...] ", False), *last]
    stretches: list[tuple[list[int], bool]] = []
    for token, label in zip(ids, labels, strict=True):
        learns = label != IGNORED
        if not stretches or stretches[-1][1] != learns:
            stretches.append(([], learns))
        stretches[-1][0].append(token)
    return [(tokenizer.decode(tokens), learns) for tokens, learns in stretches]


def try_out(checklist: Checklist, trainer: AnswerLossTrainer, model: Any, folder: Path) -> None:
    """Disk, a pass, an evaluation and a save, on the model as the trainer has it; then what they measured."""
    import torch

    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    _check_disk(checklist, trained, folder)
    devices = [trainer.args.device] if trainer.args.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        seconds, gb = _check_step(checklist, trainer, model, trained)
        if trainer.eval_dataset is not None:
            _check_evaluation(checklist, trainer, model)
        else:
            with checklist.check("evaluation") as check:
                check.state = "warn"
                check.detail = "No validation examples: over-fitting will not be seen, nor end the run."
        _check_save(checklist, trainer, folder)
    model.zero_grad(set_to_none=True)
    trainer.take_tokens()
    expected = seconds * (trainer.state.max_steps - trainer.state.global_step)
    measured = {"memory_gb": gb, "seconds_per_step": seconds, "expected_s": expected}
    checklist.recorder.note(measured=measured)


def _check_disk(checklist: Checklist, trained: int, folder: Path) -> None:
    with checklist.check("disk") as check:
        needed = trained * (CHECKPOINTS * (WEIGHT_BYTES + OPTIMISER_BYTES) + WEIGHT_BYTES)
        free = shutil.disk_usage(folder).free
        check.data = {"needed_gb": needed / 1e9, "free_gb": free / 1e9}
        check.detail = f"Checkpoints take up to {needed / 1e9:.2f} GB; {free / 1e9:.1f} GB are free."
        if needed > free:
            raise UserError(
                f"The disk has {free / 1e9:.2f} GB left, and the checkpoints of this run take {needed / 1e9:.2f}.",
                "Free some space on the disk of the home folder, lower the rank, or delete old runs.",
            )


def _check_step(checklist: Checklist, trainer: AnswerLossTrainer, model: Any, trained: int) -> tuple[float, float]:
    """(seconds one step of the optimiser takes on average, GB at its peak)."""
    lengths = trainer.lengths()
    size, accumulation = trainer.args.per_device_train_batch_size, trainer.args.gradient_accumulation_steps
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])[:size]
    tokens = sum(lengths[i] for i in order)
    with checklist.check("step") as check:
        with Peak() as peak:
            seconds = _pass(trainer, model, order)
        if seconds < LONG_S:
            seconds = _pass(trainer, model, order)
        gb = peak.gb + trained * OPTIMISER_BYTES / 1e9
        check.data = {"seconds": seconds, "memory_gb": gb, "tokens": tokens}
        check.detail = (
            f"{len(order)} examples, {tokens:,} tokens, {seconds:.1f} s; {gb:.1f} GB in use with the optimiser."
        )
        _refuse_beyond_memory(gb, trainer)
    mean = sum(lengths) / len(lengths) * min(size, len(lengths))
    return seconds * mean / tokens * accumulation, gb


def _pass(trainer: AnswerLossTrainer, model: Any, rows: Sequence[int]) -> float:
    """Seconds of a forward and backward pass on these rows of the training data."""
    import torch

    batch = trainer.data_collator([trainer.train_dataset[i] for i in rows])
    learned = (batch["labels"] != IGNORED).sum().to(trainer.args.device)
    started = time.perf_counter()
    loss = trainer.training_step(model, batch, learned)
    model.zero_grad(set_to_none=True)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    _refuse_broken(float(loss))
    return time.perf_counter() - started


def _refuse_broken(loss: float) -> None:
    if not math.isfinite(loss):
        raise UserError(
            "The loss is not a number before the first step: the base model's weights or their precision are broken.",
            "Download the model again, or choose another.",
        )


def _refuse_beyond_memory(gb: float, trainer: AnswerLossTrainer) -> None:
    """On a CPU nothing refuses memory until the system kills the process, and this job's records with it."""
    if trainer.args.device.type == "cpu" and gb > (room := this_device().memory_gb):
        raise MemoryError(f"{gb:.1f} GB would be in use, and this machine has {room:.1f}")


def _check_evaluation(checklist: Checklist, trainer: AnswerLossTrainer, model: Any) -> None:
    import torch

    with checklist.check("evaluation") as check:
        rows = min(trainer.args.per_device_eval_batch_size, len(trainer.eval_dataset))
        batch = trainer.data_collator([trainer.eval_dataset[i] for i in range(rows)])
        model.eval()
        with torch.no_grad(), trainer.compute_loss_context_manager():
            loss = trainer.compute_loss(model, trainer._prepare_inputs(batch))
        model.train()
        _refuse_broken(float(loss))
        check.data = {"loss": float(loss)}
        check.detail = f"The base model's loss on {rows} validation examples: {float(loss):.3f} nats per answer token."


def _check_save(checklist: Checklist, trainer: AnswerLossTrainer, folder: Path) -> None:
    with checklist.check("save") as check:
        trial = folder / "preflight"
        try:
            trainer.save_model(str(trial))
            size = sum(file.stat().st_size for file in trial.rglob("*") if file.is_file())
        finally:
            shutil.rmtree(trial, ignore_errors=True)
        check.data = {"gb": size / 1e9}
        check.detail = f"What is trained takes {size / 1e6:.1f} MB on the disk."
