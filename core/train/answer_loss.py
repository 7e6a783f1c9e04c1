"""TRL's trainer, with the loss of answers computed only where there are answers, in an order that resumes exactly.

Imported by the function that trains, since TRL takes seconds to load.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from trl import SFTTrainer

from core.train.order import SeededLengthGroups
from core.train.tokens import IGNORED


class AnswerLossTrainer(SFTTrainer):
    """On a CPU, TRL's fused head scores every position against the whole vocabulary, prompts included, and throws the
    prompts' share away (it picks positions on GPUs only). With short answers that is a third of all the work, so here
    the model is asked for the logits of answer positions alone.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tokens = 0

    def take_tokens(self) -> int:
        """Tokens trained on since the last call, padding not counted."""
        taken, self._tokens = self._tokens, 0
        return taken

    def lengths(self) -> list[int]:
        """Tokens of each row of training data."""
        return [len(ids) for ids in self.train_dataset["input_ids"]]

    def _get_train_sampler(self, train_dataset: Any = None) -> SeededLengthGroups:
        step = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return SeededLengthGroups(self.lengths(), step, self.args.seed)

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Any, None, None]:
        """This batch's share of the validation loss per answer token.

        The evaluation weighs every batch by its examples; a mean over batches would depend on how large they are, and
        runs with other batches, or one that had to halve its own, could not be compared.
        """
        inputs = self._prepare_inputs(inputs)
        share = len(self.eval_dataset) / (len(inputs["input_ids"]) * self._answer_tokens)
        with torch.no_grad(), self.compute_loss_context_manager():
            total = self.compute_loss(model, inputs, num_items_in_batch=torch.tensor(1))
        return total * share, None, None

    @cached_property
    def _answer_tokens(self) -> int:
        """Tokens of the validation answers; a row's first token is never predicted."""
        return sum(label != IGNORED for labels in self.eval_dataset["labels"] for label in labels[1:])

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean negative log-likelihood of the answer tokens, in nats; the same value as TRL's `nll`."""
        tokens = inputs.pop("tokens")
        if model.training:
            self._tokens += tokens
        if inputs["input_ids"].device.type != "cpu" or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        # The logits at a position speak of the next token.
        labels = inputs["labels"][:, 1:]
        columns = (labels != IGNORED).any(dim=0).nonzero().squeeze(1)
        logits = model(
            input_ids=inputs["input_ids"],
            position_ids=inputs["position_ids"],
            logits_to_keep=columns,
            use_cache=False,
        ).logits
        wanted = labels[:, columns]
        total = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), wanted.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        return total / (num_items_in_batch if num_items_in_batch is not None else (wanted != IGNORED).sum())
