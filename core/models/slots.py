"""Room for the keys and values of all rows that are being answered, in one piece of memory for each layer.

transformers' own cache grows by copying itself at every token, and keeps its rows in step. Here each row has its slot,
is written where it stands, and may come and go at any time. Rows in use lie side by side from slot 0, so that what
attention reads is a view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer


@dataclass(frozen=True)
class Segment:
    """Keys and values of a stretch of tokens, each (heads, tokens, width), for every layer; `start` is its place."""

    start: int
    layers: list[tuple[torch.Tensor, torch.Tensor]]


@torch.inference_mode()
def bytes_per_token(network: Any, device: torch.device) -> int | None:
    """What a token takes in the cache; None where a layer keeps anything but the keys and values of all tokens.

    Such layers (sliding windows, recurrent states) cannot be cut into slots and prefixes.
    """
    cache = DynamicCache(config=network.config)
    network(input_ids=torch.zeros((1, 1), dtype=torch.long, device=device), past_key_values=cache, use_cache=True)
    if any(type(layer) is not DynamicLayer or layer.keys is None for layer in cache.layers):
        return None
    return sum(int(layer.keys.nbytes + layer.values.nbytes) for layer in cache.layers)


class Slots:
    """`rows` slots of `columns` tokens. The last column takes what pads a row, and is read by nobody."""

    def __init__(self, network: Any, device: torch.device) -> None:
        self.rows = self.columns = 0
        self._device = device
        self._layers = [_Layer(self) for _ in range(network.config.get_text_config(decoder=True).num_hidden_layers)]
        self._cache = Cache(layers=list(self._layers))
        # Where the pass that is going on writes: from which row on, in which columns (rows, tokens), up to which one.
        self.first = self.end = 0
        self.places = torch.empty(0)

    @torch.inference_mode()
    def resize(self, rows: int, columns: int, kept: int) -> None:
        """Make room for `rows` of `columns` tokens, and take the first `kept` rows along, as far as they fit."""
        for layer in self._layers:
            if layer.is_initialized:
                layer.keys = _moved(layer.keys, rows, columns, kept)
                layer.values = _moved(layer.values, rows, columns, kept)
        self.rows, self.columns = rows, columns

    def free(self) -> None:
        """Give the memory back; the slots are of no use after that."""
        self._layers.clear()
        self._cache.layers.clear()

    @torch.inference_mode()
    def run(self, network: Any, first: int, tokens: Sequence[Sequence[int]], starts: Sequence[int]) -> torch.Tensor:
        """Read the next `tokens` of the rows from slot `first` on, which hold `starts` tokens already.

        Returns the logits (rows, vocabulary) after the last token of the longest.
        """
        longest = max(map(len, tokens))
        spare = self.columns - 1
        ids = [[*row, *[0] * (longest - len(row))] for row in tokens]
        places = [
            [*range(start, start + len(row)), *[spare] * (longest - len(row))]
            for row, start in zip(tokens, starts, strict=True)
        ]
        self.first, self.end = first, max(start + len(row) for row, start in zip(tokens, starts, strict=True))
        self.places = torch.tensor(places, device=self._device)
        hidden = torch.arange(self.end, device=self._device) > self.places[:, None, :, None]
        mask = torch.zeros(hidden.shape, dtype=network.dtype, device=self._device)
        logits: torch.Tensor = network(
            input_ids=torch.tensor(ids, device=self._device),
            attention_mask=mask.masked_fill_(hidden, torch.finfo(mask.dtype).min),
            position_ids=self.places,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        return logits

    @torch.inference_mode()
    def kept(self, slot: int, start: int, end: int) -> Segment:
        """A copy of what a slot holds of the tokens `start` to `end`."""
        return Segment(
            start,
            [(part.keys[slot, :, start:end].clone(), part.values[slot, :, start:end].clone()) for part in self._layers],
        )

    @torch.inference_mode()
    def fill(self, slot: int, segments: Sequence[Segment]) -> None:
        for segment in segments:
            for layer, (keys, values) in zip(self._layers, segment.layers, strict=True):
                layer.keys[slot, :, segment.start : segment.start + keys.shape[1]] = keys
                layer.values[slot, :, segment.start : segment.start + values.shape[1]] = values

    @torch.inference_mode()
    def move(self, source: int, target: int, tokens: int) -> None:
        """Copy the first `tokens` of one slot to another."""
        for layer in self._layers:
            layer.keys[target, :, :tokens] = layer.keys[source, :, :tokens]
            layer.values[target, :, :tokens] = layer.values[source, :, :tokens]


class _Layer(CacheLayerMixin):
    """One layer of the slots, as a model's attention sees it."""

    def __init__(self, slots: Slots) -> None:
        super().__init__()
        self._slots = slots

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        rows, columns = self._slots.rows, self._slots.columns
        # Zeros, since whatever stands in a hidden column is still multiplied by nought, and nought times NaN is NaN.
        self.keys, self.values = (
            states.new_zeros((rows, states.shape[1], columns, states.shape[3])) for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write (rows, heads, tokens, width) where the slots say, and return all that these rows hold."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        slots, count = self._slots, len(key_states)
        rows = torch.arange(count, device=key_states.device)[:, None]
        read = []
        for store, states in ((self.keys, key_states), (self.values, value_states)):
            view = store[slots.first : slots.first + count]
            view[rows, :, slots.places] = states.transpose(1, 2)
            read.append(view[:, :, : slots.end])
        return read[0], read[1]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._slots.end, 0

    def get_seq_length(self) -> int:
        return self._slots.end

    def get_max_length(self) -> int:
        return self._slots.columns


def _moved(old: torch.Tensor, rows: int, columns: int, kept: int) -> torch.Tensor:
    new = old.new_zeros((rows, old.shape[1], columns, old.shape[3]))
    both = min(columns, old.shape[2])
    new[:kept, :, :both] = old[:kept, :, :both]
    return new
