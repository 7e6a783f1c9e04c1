"""Everything that determines one training run: same recipe and data, same adapter."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.models.catalogue import BUNDLED_MODEL

# Below this there is nothing to generalise from; it is also the minimum of managed fine-tuning services.
MIN_EXAMPLES = 10

Method = Literal["lora", "qlora", "rslora", "dora", "full"]
Schedule = Literal["cosine", "linear", "constant_with_warmup"]
Engine = Literal["trl", "unsloth"]
Tracker = Literal["tensorboard", "mlflow", "wandb", "trackio"]
ModuleName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]+$", max_length=200)]


class Passages(BaseModel):
    """Retrieval-aware training: each question is learned with passages beside it, as rag+lora will see it.

    Some examples lack the passage that holds their answer, so that the model neither copies blindly nor falls silent
    (RAFT, Zhang et al. 2024).
    """

    model_config = ConfigDict(extra="forbid")

    # As many as Compare shows unless told otherwise: an adapter should meet there what it knows.
    count: int = Field(2, ge=1, le=20, description="Passages shown with each question, those that mislead included.")
    without_source: float = Field(
        0.2, ge=0, le=1, description="Share of examples whose own passage is left out, so that only others are shown."
    )


class Recipe(BaseModel):
    """The knobs of a run, with the values an expert would start from.

    Rank 16 on all linear layers with alpha twice the rank is the usual starting point (Hu et al. 2021; Dettmers et al.
    2023 found that adapting every linear layer matters more than the rank).
    """

    model_config = ConfigDict(extra="forbid")

    model: str = Field(BUNDLED_MODEL, description="Base model: a catalogue name, a Hugging Face id or a local folder.")
    method: Method = Field(
        "lora",
        description="lora trains small matrices beside the weights as they are. qlora holds the weights in four bits "
        "(NF4 with double quantisation): a third of the memory, and slower (half the speed on a CPU). rslora scales by "
        "the root of the rank, for ranks of 64 and more. dora also learns the length of each weight column: sometimes "
        "better at low ranks, a good deal slower. full trains every weight: the most memory, and the most forgetting.",
    )
    rank: int = Field(16, ge=1, le=512, description="Capacity of the adapter: more learns more, and forgets more.")
    alpha: int = Field(
        32, ge=1, le=1024, description="Strength of the adapter; twice the rank is usual, with rslora the rank itself."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of adapter inputs left out at random while training.")
    targets: Literal["all-linear"] | list[ModuleName] = Field(
        "all-linear",
        description="Layers that get an adapter: all linear ones, or names such as q_proj and v_proj.",
    )
    learning_rate: float = Field(5e-4, gt=0, le=0.1, description="Step size at its highest, after warm-up.")
    schedule: Schedule = Field(
        "cosine",
        description="How the step size falls after warm-up: along a cosine, in a straight line, or not at all.",
    )
    warmup: float = Field(0.03, ge=0, le=0.5, description="Share of all steps in which the step size rises from 0.")
    weight_decay: float = Field(
        0.0, ge=0, le=1, description="Pull of the trained weights towards 0; adapters need none."
    )
    max_grad_norm: float = Field(1.0, gt=0, le=100, description="Longer gradients are shortened to this length.")
    epochs: float = Field(2.0, gt=0, le=100, description="How often every example is seen.")
    max_steps: int | None = Field(
        None, ge=1, le=10_000_000, description="Exactly so many steps of the optimiser, whatever the epochs say."
    )
    batch_size: int = Field(8, ge=1, le=1024, description="Examples in one forward pass.")
    accumulation: int = Field(1, ge=1, le=1024, description="Forward passes before one step of the optimiser.")
    max_length: int = Field(1024, ge=16, le=131_072, description="Longest example in tokens; the rest is cut off.")
    answers_only: bool = Field(
        True, description="Learn to write the answers alone; otherwise the questions are learned as well."
    )
    packing: bool = Field(
        False,
        description="Fill every row of a batch up to the longest length with whole examples, which do not see each "
        "other. Much faster with many short examples on a GPU; a step then learns from more examples at once.",
    )
    passages: Passages | None = Field(
        None, description="Show retrieved passages beside each question, for the rag+lora rung; needs an index."
    )
    evaluations: int = Field(
        4, ge=1, le=100, description="How often the validation loss is measured, and a checkpoint saved."
    )
    patience: int = Field(
        0, ge=0, le=100, description="Stop after so many evaluations without a lower validation loss; 0 never does."
    )
    samples: int = Field(
        3, ge=0, le=10, description="Validation questions that are answered at every evaluation, to read along."
    )
    seed: int = Field(
        0, ge=0, le=2**32 - 1, description="Seed of the adapter's first weights and of the order of examples."
    )
    engine: Engine = Field(
        "trl", description="trl runs everywhere; unsloth, where it is installed beside a CUDA GPU, is faster there."
    )
    report_to: list[Tracker] = Field(
        default_factory=list, description="Experiment trackers that get every measurement as well."
    )

    def steps(self, rows: int) -> int:
        """Optimiser steps for this many rows of training data (examples, or packed rows)."""
        if self.max_steps is not None:
            return self.max_steps
        per_epoch = math.ceil(math.ceil(rows / self.batch_size) / self.accumulation)
        return max(1, math.ceil(per_epoch * self.epochs))
