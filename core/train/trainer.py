"""One training run, from top to bottom: load, adapt, train with TRL, save the adapter.

Everything is recorded as it happens, and the run can be stopped or killed at any step and resumed to the same adapter.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from core.data.example import Example
from core.errors import UserError
from core.models.loading import LoadedModel, load_model
from core.train.recipe import MIN_EXAMPLES, Recipe
from core.train.tokens import EncodedExample, encode_all

if TYPE_CHECKING:
    from core.train.answer_loss import AnswerLossTrainer


class Recorder(Protocol):
    """What a run tells about itself. JobContext is one."""

    def progress(self, done: float, total: float, message: str = "") -> None: ...
    def metric(self, step: int, **values: float) -> None: ...
    def stop_requested(self) -> bool: ...


@dataclass(frozen=True)
class TrainingResult:
    """What came out. Losses are mean negative log-likelihoods per answer token, in nats."""

    adapter: Path
    steps: int
    stopped: bool
    train_loss: float
    eval_loss: float | None
    seconds: float


def train(
    recipe: Recipe,
    train_examples: Sequence[Example],
    validation_examples: Sequence[Example],
    folder: Path,
    recorder: Recorder,
) -> TrainingResult:
    """Train an adapter into `folder`/adapter; resumes from the newest whole checkpoint in `folder`, if there is one.

    Raises UserError when there is too little data or an example holds nothing to learn.
    """
    if len(train_examples) < MIN_EXAMPLES:
        raise UserError(
            f"{len(train_examples)} training examples are too few to learn from.",
            f"Collect at least {MIN_EXAMPLES}; a few hundred is where fine-tuning starts to be worth its price.",
        )
    started = time.perf_counter()
    recorder.progress(0, 0, "Loading the base model")
    loaded = load_model(recipe.model, four_bit=recipe.method == "qlora")
    limit = min(recipe.max_length, loaded.context)
    learned = encode_all(loaded.tokenizer, train_examples, limit)
    held_out = encode_all(loaded.tokenizer, validation_examples, limit)
    trainer = _trainer(recipe, loaded, learned, held_out, folder, recorder)

    checkpoint = newest_checkpoint(folder)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)

    stopped = trainer.state.global_step < trainer.state.max_steps
    if not stopped:
        trainer.save_model(str(folder / "adapter"))
    return TrainingResult(
        adapter=folder / "adapter",
        steps=trainer.state.global_step,
        stopped=stopped,
        train_loss=_last(trainer, "loss"),
        eval_loss=_last(trainer, "eval_loss") if held_out else None,
        seconds=time.perf_counter() - started,
    )


def _trainer(
    recipe: Recipe,
    loaded: LoadedModel,
    learned: list[EncodedExample],
    held_out: list[EncodedExample],
    folder: Path,
    recorder: Recorder,
) -> AnswerLossTrainer:
    from datasets import Dataset
    from peft import LoraConfig, prepare_model_for_kbit_training
    from transformers import PrinterCallback
    from trl import SFTConfig

    from core.train.answer_loss import AnswerLossTrainer

    on_gpu = loaded.device.type == "cuda"
    model = loaded.model
    if recipe.method == "qlora":
        # Casts all that is not quantised (norms, embeddings, head) to fp32; checkpointing is the trainer's own setting.
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    total = recipe.steps(len(learned))
    every = math.ceil(total / recipe.evaluations)
    config = SFTConfig(
        output_dir=str(folder),
        seed=recipe.seed,
        data_seed=recipe.seed,
        max_steps=total,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulation,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, round(0.03 * total)),
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        gradient_checkpointing=on_gpu,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if held_out else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        disable_tqdm=True,
        report_to="none",
    )
    trainer = AnswerLossTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list([vars(example) for example in learned]),
        eval_dataset=Dataset.from_list([vars(example) for example in held_out]) if held_out else None,
        processing_class=loaded.tokenizer,
        peft_config=LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha,
            lora_dropout=recipe.dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    trainer.add_callback(_recording(recorder, trainer))
    trainer.remove_callback(PrinterCallback)  # the recorder has it all
    return trainer


def _recording(recorder: Recorder, trainer: AnswerLossTrainer) -> Any:
    """A trainer callback that records each step, honours a stop request, and ends a run that has diverged."""
    from transformers import TrainerCallback

    class Recording(TrainerCallback):
        def __init__(self) -> None:
            self.step_started = 0.0
            self.step_seconds = math.inf
            # The trainer counts from 0 in every attempt.
            self.tokens_before = 0.0

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            recorder.progress(state.global_step, state.max_steps, "Training")

        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.step_started = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.step_seconds = time.perf_counter() - self.step_started
            recorder.progress(state.global_step, state.max_steps, "Training")
            if state.global_step == state.max_steps and args.eval_strategy != "no":
                control.should_evaluate = True  # the loss of the adapter itself, whatever eval_steps divides
            if recorder.stop_requested():
                control.should_save = True
                control.should_training_stop = True

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
            if "loss" in logs:
                self._training_log(state.global_step, logs)
                if not math.isfinite(logs["loss"]):
                    raise UserError(
                        f"The loss stopped being a number at step {state.global_step}: training diverged.",
                        "Lower the learning rate (try a third of it) and start again; the last checkpoint is kept.",
                    )
            elif "eval_loss" in logs:
                recorder.metric(state.global_step, eval_loss=logs["eval_loss"])

        def _training_log(self, step: int, logs: dict[str, float]) -> None:
            tokens = trainer.take_tokens()
            recorder.metric(
                step,
                loss=logs["loss"],
                learning_rate=logs["learning_rate"],
                grad_norm=float(logs.get("grad_norm", math.nan)),
                memory_gb=memory_gb(),
                tokens=tokens,
                tokens_per_s=tokens / self.step_seconds,
            )

    return Recording()


def memory_gb() -> float:
    """Memory in use, in GB (1e9 bytes): the GPU's peak where there is one, else this process's resident memory."""
    import psutil
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return psutil.Process().memory_info().rss / 1e9


def newest_checkpoint(folder: Path) -> Path | None:
    """The latest checkpoint that was written to its end: the trainer's state file is the last to be written."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # the process was killed while writing it
        return checkpoint
    return None


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _last(trainer: AnswerLossTrainer, key: str) -> float:
    values = [entry[key] for entry in trainer.state.log_history if key in entry]
    return float(values[-1]) if values else math.nan
