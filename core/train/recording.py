"""What a run tells about itself as it goes on, and how it is told to stop.

Imported by the function that trains, since transformers' trainer takes seconds to load.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from core.errors import UserError
from core.train.recorder import Recorder, add_event
from core.train.usage import Usage

# More than this is not lost when a process is killed, however rare evaluations are.
SAVE_EVERY_S = 600.0

if TYPE_CHECKING:
    from core.train.answer_loss import AnswerLossTrainer


class Recording(TrainerCallback):
    """Records each step, asks the fixed questions at each evaluation, honours a stop, ends a run that has diverged."""

    def __init__(self, recorder: Recorder, trainer: AnswerLossTrainer, ask: Callable[[int], None]) -> None:
        self.recorder = recorder
        self.trainer = trainer
        self.ask = ask
        self.usage = Usage()
        # Earlier attempts count up to the checkpoint that this one goes on from.
        self.began = time.perf_counter() - recorder.notes.get("seconds", 0.0)
        self.saved = time.perf_counter()
        self.step_started = 0.0
        self.step_seconds = math.inf

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 0:
            self.ask(0)  # what the base model says
        self.recorder.progress(state.global_step, state.max_steps, "Training")

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.step_started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if args.device.type == "cuda":
            torch.cuda.synchronize()  # it computes on after the calls that ask for it
        self.step_seconds = time.perf_counter() - self.step_started
        self.recorder.progress(state.global_step, state.max_steps, "Training")
        last = state.global_step == state.max_steps
        if self.recorder.stop_requested():
            control.should_save = True
            control.should_training_stop = True
            last = self.recorder.stop_then == "keep"
        if last and args.eval_strategy != "no":
            control.should_evaluate = True  # the loss of what is kept, whatever eval_steps divides
        if time.perf_counter() - self.saved > SAVE_EVERY_S:
            control.should_save = True
        if last or state.global_step % args.save_steps == 0:
            self.ask(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        if "loss" in logs:
            self._training_log(state, logs)
        elif "eval_loss" in logs:
            self.recorder.metric(state.global_step, eval_loss=logs["eval_loss"])
            self._check(state.global_step, {"validation loss": logs["eval_loss"]})

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # A sign of life: whoever asked for a stop waits while there is one.
        self.recorder.progress(state.global_step, state.max_steps, "Evaluating")

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.saved = time.perf_counter()
        self.recorder.note(seconds=time.perf_counter() - self.began)

    def _training_log(self, state: Any, logs: dict[str, float]) -> None:
        tokens = self.trainer.take_tokens()
        norm = float(logs.get("grad_norm", math.nan))
        self.recorder.metric(
            state.global_step,
            loss=logs["loss"],
            learning_rate=logs["learning_rate"],
            grad_norm=norm,
            epoch=state.epoch,
            tokens=tokens,
            tokens_per_s=tokens / self.step_seconds,
            **self.usage.values(),
        )
        self._check(state.global_step, {"loss": logs["loss"], "gradient": norm})

    def _check(self, step: int, values: dict[str, float]) -> None:
        """End the run at a value that is no number. Both kinds of loss come before this step's checkpoint would be
        saved: the last one there is was good."""
        broken = next((name for name, value in values.items() if not math.isfinite(value)), None)
        if broken is None:
            return
        text = f"The {broken} stopped being a number at step {step}: training diverged."
        add_event(self.recorder, step, text)
        raise UserError(
            text,
            "Keep what the last good checkpoint learned, or lower the learning rate (try a third of it) and start "
            "again.",
        )
