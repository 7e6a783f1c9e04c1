"""One training run, from top to bottom: load, adapt, check, train with TRL, keep the best weights.

Everything is recorded as it happens, and the run can be stopped or killed at any step and resumed to the same result.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.data.example import Example
from core.errors import UserError
from core.jobs.failures import is_out_of_memory
from core.models.loading import LoadedModel, load_tokenizer
from core.models.prompt import Passage
from core.train.checkpoints import best_checkpoint, ending, eval_loss_of, newest_checkpoint, step_of, train_loss_of
from core.train.preflight import Checklist, check_model, check_supervision, try_out
from core.train.recipe import Recipe
from core.train.recorder import Recorder, add_event
from core.train.tokens import EncodedExample, encode_all

if TYPE_CHECKING:
    from core.train.answer_loss import AnswerLossTrainer


@dataclass(frozen=True)
class TrainingResult:
    """What came out. Losses are mean negative log-likelihoods per answer token, in nats.

    `best` is the checkpoint to keep: the one with the lowest evaluation loss, or the last without validation examples.
    `seconds` are those of all attempts, from the pre-flight on; steps that had to be taken again count once.
    """

    best: Path
    best_step: int
    eval_loss: float | None
    train_loss: float | None
    steps: int
    stopped: bool
    stopped_early: bool
    seconds: float


@dataclass(frozen=True)
class Material:
    """What a run learns from, as tokens, and the examples behind them."""

    train: list[EncodedExample]
    validation: list[EncodedExample]
    examples: tuple[Sequence[Example], Sequence[Example]]
    passages: tuple[Sequence[Sequence[Passage]], Sequence[Sequence[Passage]]] | None


class _CheckedOnly(Exception):
    """Leaves the trainer after the checks, when nothing shall be trained."""


def train(
    recipe: Recipe,
    train_examples: Sequence[Example],
    validation_examples: Sequence[Example],
    folder: Path,
    recorder: Recorder,
    *,
    passages: tuple[Sequence[Sequence[Passage]], Sequence[Sequence[Passage]]] | None = None,
) -> TrainingResult:
    """Train in `folder`, going on from the newest whole checkpoint there, if there is one.

    `passages` stand beside the training and the validation examples. When the memory does not hold a batch, the run
    goes on with half of it and twice the accumulation, which learns the same. Raises UserError when there is too
    little data, an example holds nothing to learn, or not even one example fits.
    """
    newest = newest_checkpoint(folder)
    # One that was killed after its last step has nothing left to learn.
    if newest is None or not ending(newest):
        checklist = Checklist(recorder)
        material = _read(recipe, train_examples, validation_examples, passages, checklist, recorder)
        _teach(_with_batch_of(recipe, folder), material, folder, checklist, recorder)
        newest = newest_checkpoint(folder)
    best = best_checkpoint(folder)
    if newest is None or best is None:
        raise UserError("The run ended before anything was saved.", "Start it again.")
    return TrainingResult(
        best=best,
        best_step=step_of(best),
        eval_loss=eval_loss_of(best),
        train_loss=train_loss_of(newest),
        steps=step_of(newest),
        stopped=not ending(newest),
        stopped_early=ending(newest) == "early",
        seconds=recorder.notes.get("seconds", 0.0),
    )


def check_only(
    recipe: Recipe,
    train_examples: Sequence[Example],
    validation_examples: Sequence[Example],
    folder: Path,
    recorder: Recorder,
    *,
    passages: tuple[Sequence[Sequence[Passage]], Sequence[Sequence[Passage]]] | None = None,
) -> None:
    """The pre-flight of a run, and nothing else; what it found is in the recorder's notes. Raises as `train` does."""
    checklist = Checklist(recorder)
    material = _read(recipe, train_examples, validation_examples, passages, checklist, recorder)
    while True:
        try:
            _run(recipe, material, folder, checklist, recorder, check_only=True)
        except _CheckedOnly:
            return
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        recipe = _halved(recipe, folder, recorder)


def _read(
    recipe: Recipe,
    train_examples: Sequence[Example],
    validation_examples: Sequence[Example],
    passages: tuple[Sequence[Sequence[Passage]], Sequence[Sequence[Passage]]] | None,
    checklist: Checklist,
    recorder: Recorder,
) -> Material:
    """Examples as tokens, audited. Needs the tokenizer alone: what is wrong here is found before weights are read."""
    check_model(checklist, recipe, len(train_examples))
    recorder.progress(0, 0, "Reading the examples")
    tokenizer = load_tokenizer(recipe.model)
    beside = passages or (None, None)
    learned, held_out = (
        encode_all(tokenizer, examples, recipe.max_length, shown, answers_only=recipe.answers_only, part=part)
        for part, examples, shown in zip(
            ("training", "validation"), (train_examples, validation_examples), beside, strict=True
        )
    )
    check_supervision(checklist, tokenizer, learned, recipe.max_length)
    return Material(learned, held_out, (train_examples, validation_examples), passages)


def _teach(recipe: Recipe, material: Material, folder: Path, checklist: Checklist, recorder: Recorder) -> None:
    """Attempts with smaller and smaller batches, until the memory holds one."""
    while True:
        try:
            return _run(recipe, material, folder, checklist, recorder)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # Only here, outside the handler, is what the failed attempt held set free.
        recipe = _halved(recipe, folder, recorder)


def _run(
    recipe: Recipe,
    material: Material,
    folder: Path,
    checklist: Checklist,
    recorder: Recorder,
    *,
    check_only: bool = False,
) -> None:
    """One attempt, from loading the base model to the last step or a stop."""
    from transformers import EarlyStoppingCallback

    from core.train.recording import Recording
    from core.train.setup import make_trainer

    recorder.progress(0, 0, "Loading the base model")
    loaded = _load(recipe, recorder)
    longest = max(len(example.input_ids) for example in material.train)
    if longest > loaded.context:
        raise UserError(
            f"The longest example has {longest:,} tokens, and {recipe.model} reads {loaded.context:,}.",
            f"Set max_length to {loaded.context:,} or less.",
        )
    trainer = make_trainer(recipe, loaded, material.train, material.validation, folder)
    checkpoint = newest_checkpoint(folder)
    if checkpoint is None:
        trainer.add_callback(_pre_flight(checklist, trainer, folder, check_only))
    trainer.add_callback(Recording(recorder, trainer, _asking(recipe, loaded, material, trainer, recorder)))
    if recipe.patience and material.validation:
        trainer.add_callback(EarlyStoppingCallback(recipe.patience))
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def _load(recipe: Recipe, recorder: Recorder) -> LoadedModel:
    """The model with what is trained. Raises UserError when the memory does not hold it, whatever the batch."""
    from core.train.setup import prepare

    try:
        return prepare(recipe)
    except Exception as error:
        # It was held once, before an attempt with a larger batch left the memory in pieces: a smaller one may do.
        if not is_out_of_memory(error) or "batch" in recorder.notes:
            raise
        # Without its cause, which would be taken for a batch that is too large.
        raise _too_large(f"The memory does not hold {recipe.model} itself.", recipe) from None


def _asking(
    recipe: Recipe, loaded: LoadedModel, material: Material, trainer: AnswerLossTrainer, recorder: Recorder
) -> Callable[[int], None]:
    """A function that has the fixed questions answered by the model as it is at a step; once at step 0."""
    from core.train import samples

    learned, held_out = material.examples
    shown = [*material.passages[1], *material.passages[0]] if material.passages else None
    questions = samples.choose(held_out, learned, recipe.samples, recipe.seed, shown)

    def ask(step: int) -> None:
        if questions:
            recorder.progress(step, trainer.state.max_steps, "Answering the sample questions")
            recorder.sample(step, questions, samples.answer(loaded, trainer.model, questions))

    return ask


def _pre_flight(checklist: Checklist, trainer: AnswerLossTrainer, folder: Path, check_only: bool) -> Any:
    from transformers import TrainerCallback

    class PreFlight(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            try_out(checklist, trainer, trainer.model_wrapped, folder)
            if check_only:
                raise _CheckedOnly

    return PreFlight()


def _with_batch_of(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with the batch that an earlier attempt had to come down to."""
    try:
        found: dict[str, int] = json.loads((folder / "batch.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # there is none, or it was killed while writing it
        return recipe
    return recipe.model_copy(update=found)


def _halved(recipe: Recipe, folder: Path, recorder: Recorder) -> Recipe:
    """Half the batch and twice the accumulation, remembered and said. Raises UserError when one example is too much.

    An odd batch is divided further, so that a step still learns from the same examples.
    """
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if recipe.batch_size == 1:
        what = f"The memory does not hold one example of up to {recipe.max_length:,} tokens with {recipe.model}."
        raise _too_large(what, recipe, "shorten max_length")
    size = next(n for n in range(recipe.batch_size // 2, 0, -1) if recipe.batch_size % n == 0)
    accumulation = recipe.batch_size * recipe.accumulation // size
    text = (
        f"The memory did not hold a batch of {recipe.batch_size}: going on with {size}, and {accumulation} batches to "
        f"a step instead of {recipe.accumulation}."
    )
    batch = {"batch_size": size, "accumulation": accumulation}
    (folder / "batch.json").write_text(json.dumps(batch), encoding="utf-8")
    checkpoint = newest_checkpoint(folder)
    recorder.note(batch=batch)
    add_event(recorder, step_of(checkpoint) if checkpoint else 0, text)
    return recipe.model_copy(update=batch)


def _too_large(what: str, recipe: Recipe, *ways: str) -> UserError:
    """What does not fit, and what would."""
    quantised = [] if recipe.method == "qlora" else ["choose qlora, which holds the model in a third of the memory"]
    listed = ", or ".join([*ways, *quantised, "choose a smaller model", "close other programs"])
    return UserError(what, f"{listed[0].upper()}{listed[1:]}.")
