"""The order in which examples are learned.

Imported by the function that trains, since transformers' trainer takes seconds to load.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices


class SeededLengthGroups(Sampler[int]):
    """Batches of like length, which waste little on padding, in an order that seed and epoch alone decide.

    Transformers' own sampler draws the order from the global generator as an epoch begins. A run that goes on in the
    middle of an epoch would draw another one, and learn some examples of that epoch twice and others not at all.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths = list(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator()
        # Far enough apart that no two seeds share the order of an epoch.
        generator.manual_seed(self.seed * 1_000_000 + self.epoch)
        return iter(get_length_grouped_indices(self.lengths, self.batch_size, generator=generator))

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch
