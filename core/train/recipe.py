"""Everything that determines one training run: same recipe and data, same adapter."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from core.models.catalogue import BUNDLED_MODEL

# Below this there is nothing to generalise from; it is also the minimum of managed fine-tuning services.
MIN_EXAMPLES = 10


class Recipe(BaseModel):
    """The knobs of a LoRA run, with the values an expert would start from.

    Rank 16 on all linear layers with alpha twice the rank is the usual starting point (Hu et al. 2021; Dettmers et al.
    2023 found that adapting every linear layer matters more than the rank).
    """

    model_config = ConfigDict(extra="forbid")

    model: str = Field(BUNDLED_MODEL, description="Base model: a catalogue name, a Hugging Face id or a local folder.")
    method: Literal["lora", "qlora"] = Field(
        "lora",
        description="lora trains beside the weights as they are; qlora holds them in four bits (NF4): a third of the "
        "memory, and slower (half the speed on a CPU).",
    )
    rank: int = Field(16, ge=1, le=512, description="Capacity of the adapter: more learns more, and forgets more.")
    alpha: int = Field(32, ge=1, le=1024, description="Strength of the adapter; twice the rank is usual.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of adapter inputs left out at random while training.")
    learning_rate: float = Field(5e-4, gt=0, le=0.1, description="Step size at its highest, after warm-up.")
    epochs: float = Field(2.0, gt=0, le=100, description="How often every example is seen.")
    batch_size: int = Field(8, ge=1, le=1024, description="Examples in one forward pass.")
    accumulation: int = Field(1, ge=1, le=1024, description="Forward passes before one step of the optimiser.")
    max_length: int = Field(1024, ge=16, le=131_072, description="Longest example in tokens; the rest is cut off.")
    evaluations: int = Field(
        4, ge=1, le=100, description="How often the validation loss is measured, and a checkpoint saved."
    )
    seed: int = Field(0, ge=0, description="Seed of the adapter's first weights and of the order of examples.")

    def steps(self, examples: int) -> int:
        """Optimiser steps for this many training examples."""
        per_epoch = math.ceil(math.ceil(examples / self.batch_size) / self.accumulation)
        return max(1, math.ceil(per_epoch * self.epochs))
