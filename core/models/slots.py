"""Room for the keys and values of all rows that are being answered, in one piece of memory for each layer.

transformers' own cache grows by copying itself at every token, and keeps its rows in step. Here each row has its slot,
is written where it stands, and may come and go at any time. Rows in use lie side by side from slot 0, so that what
attention reads is a view. A beginning that many rows share may be held once beside the slots (attention.py), which
then have room for the rest only.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch.nn.functional import pad
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer

from core.models.attention import BENEATH, Packed, Piece, Segment, Sharing, packing_attention

# A stretch of tokens that is long enough to see whether two ways of reading it agree.
TRIED_TOKENS = 8
# How far the two may lie apart, as a share of the logits' length: rounding is less, another attention far more.
NEAR, NEAR_HALF = 0.01, 0.2


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


def can_pack(network: Any, device: torch.device) -> bool:
    """Whether rows of this network may lie packed in a pass, and share a beginning.

    Tried out, since some networks have an attention of their own.
    """
    if network.config._attn_implementation != BENEATH or positions_vary(network):
        return False
    # Ordinary tokens: the first of a vocabulary are often special, and their rounding errors large.
    size = network.config.get_text_config(decoder=True).vocab_size
    read, asked = ([(size // 3 + i) % size for i in range(at, at + TRIED_TOKENS)] for at in (0, TRIED_TOKENS))
    before = 2 * TRIED_TOKENS - 1
    slots = Slots(network, device)
    try:
        slots.resize(3, 2 * TRIED_TOKENS + 2, 0)
        (expected,) = slots.run(network, 0, [[*read, *asked]], [0]).float()
        beginning = slots.kept(0, 0, len(read))
        slots.fill(0, [slots.kept(0, 0, before)])
        slots.fill(1, (), beginning)
        slots.fill(2, ())
        with packing_attention(network):
            found = slots.packed(network, [asked[-1:], asked, [*read, *asked]], [before, len(read), 0], 3).float()
        near = NEAR if network.dtype == torch.float32 else NEAR_HALF
        return bool(((found - expected).norm(dim=-1) < near * expected.norm()).all())
    except (TypeError, ValueError, KeyError, RuntimeError, AttributeError, IndexError):
        return False
    finally:
        slots.free()


def positions_vary(network: Any) -> bool:
    """Whether the places of a row's tokens depend on the longest row of a pass, as in two ways to stretch a context."""
    config = network.config.get_text_config(decoder=True)
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    # One for all layers, or one for each type of layer.
    kinds = [rope, *(each for each in rope.values() if isinstance(each, dict))]
    return any(kind.get("rope_type", kind.get("type")) in ("dynamic", "longrope") for kind in kinds)


class Slots:
    """`rows` slots of `columns` tokens. The last column takes what pads a row, and is read by nobody."""

    def __init__(self, network: Any, device: torch.device) -> None:
        self.rows = self.columns = 0
        self._device = device
        self._layers = [_Layer(self) for _ in range(network.config.get_text_config(decoder=True).num_hidden_layers)]
        self._cache = Cache(layers=list(self._layers))
        self._held: dict[int, Segment] = {}
        # Where the pass that is going on writes: in which slots and columns, each (rows, tokens) or fit to be spread to
        # that; and what it reads: from which slot on, up to which column.
        self.first = self.end = 0
        self.lanes = self.places = torch.empty(0)

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
        self._held.clear()

    @torch.inference_mode()
    def run(self, network: Any, first: int, tokens: Sequence[Sequence[int]], starts: Sequence[int]) -> torch.Tensor:
        """Read the next `tokens` of the rows from slot `first` on, which have read `starts` tokens already.

        Rows side by side, padded to the longest. Returns the logits (rows, vocabulary) after its last token.
        """
        longest = max(map(len, tokens))
        spare = self.columns - 1
        ids = [[*row, *[0] * (longest - len(row))] for row in tokens]
        columns = [
            [*range(start, start + len(row)), *[spare] * (longest - len(row))]
            for row, start in zip(tokens, starts, strict=True)
        ]
        # What pads a row stands nowhere: the spare column may lie beyond the last position that the model knows.
        positions = [
            [*range(start, start + len(row)), *[0] * (longest - len(row))]
            for row, start in zip(tokens, starts, strict=True)
        ]
        self.first = first
        self.end = max(start + len(row) for row, start in zip(tokens, starts, strict=True))
        self.lanes = torch.arange(first, first + len(tokens), device=self._device)[:, None]
        self.places = torch.tensor(columns, device=self._device)
        logits: torch.Tensor = network(
            input_ids=torch.tensor(ids, device=self._device),
            attention_mask=self._mask(network, self.places, self.end),
            position_ids=torch.tensor(positions, device=self._device),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        return logits

    @torch.inference_mode()
    def packed(self, network: Any, tokens: Sequence[Sequence[int]], starts: Sequence[int], wanted: int) -> torch.Tensor:
        """Read the next `tokens` of the rows from slot 0 on, which have read `starts` tokens already.

        One after another with nothing between them, under `packing_attention`; rows with a single token come first.
        Returns the logits (wanted, vocabulary) after the last tokens of the first `wanted` rows.
        """
        held = [self.held(slot) for slot in range(len(tokens))]
        begins = [start - before for start, before in zip(starts, held, strict=True)]
        columns = [
            torch.arange(begin, begin + len(row), device=self._device)
            for row, begin in zip(tokens, begins, strict=True)
        ]
        written = next((slot for slot, row in enumerate(tokens) if len(row) > 1), len(tokens))
        ends = [0, *accumulate(map(len, tokens))]
        self.lanes = torch.tensor([[slot for slot, row in enumerate(tokens) for _ in row]], device=self._device)
        self.places = torch.cat(columns)[None]
        end = max(begins[:written], default=-1) + 1
        packed = Packed(
            self._layers,
            written,
            end,
            self._mask(network, self.places[0, :written, None], end),
            self._sharing(written),
            [
                Piece(
                    slice(ends[slot], ends[slot + 1]),
                    slot,
                    pad(self._mask(network, columns[slot][None], begins[slot] + len(tokens[slot])), (held[slot], 0)),
                    self.beginning(slot),
                )
                for slot in range(written, len(tokens))
            ],
        )
        logits: torch.Tensor = network(
            input_ids=torch.tensor([[token for row in tokens for token in row]], device=self._device),
            # Every row has its own; this one only keeps the network from making another.
            attention_mask=packed.mask.new_zeros(1, 1, 1, 1),
            position_ids=self.places + torch.tensor(held, device=self._device)[self.lanes],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=torch.tensor(ends[1 : wanted + 1], dtype=torch.long, device=self._device) - 1,
            packed=packed,
        ).logits[0]
        return logits

    def _mask(self, network: Any, places: torch.Tensor, end: int) -> torch.Tensor:
        """(rows, 1, tokens, end), given in which columns (rows, tokens) the tokens stand: later ones are hidden."""
        hidden = torch.arange(end, device=self._device) > places[:, None, :, None]
        mask = torch.zeros(hidden.shape, dtype=network.dtype, device=self._device)
        return mask.masked_fill_(hidden, torch.finfo(mask.dtype).min)

    def beginning(self, slot: int) -> Segment | None:
        """What is held beside the slots for the slot's row."""
        return self._held.get(slot)

    def held(self, slot: int) -> int:
        """How many tokens that are."""
        beginning = self.beginning(slot)
        return beginning.end if beginning is not None else 0

    def _sharing(self, count: int) -> list[Sharing]:
        rows: dict[int, list[int]] = {}
        for slot in range(count):
            if (beginning := self.beginning(slot)) is not None:
                rows.setdefault(id(beginning), []).append(slot)
        return [Sharing(self._held[behind[0]], torch.tensor(behind, device=self._device)) for behind in rows.values()]

    @torch.inference_mode()
    def kept(self, slot: int, start: int, end: int) -> Segment:
        """A copy of what a slot has of its row's tokens `start` to `end`."""
        columns = slice(start - self.held(slot), end - self.held(slot))
        return Segment(
            start,
            [(part.keys[slot, :, columns].clone(), part.values[slot, :, columns].clone()) for part in self._layers],
        )

    @torch.inference_mode()
    def fill(self, slot: int, segments: Sequence[Segment], held: Segment | None = None) -> None:
        """Give the slot to a row that begins with `held`, which is not copied, and goes on with `segments`."""
        self._held.pop(slot, None)
        if held is not None:
            self._held[slot] = held
        for segment in segments:
            columns = slice(segment.start - self.held(slot), segment.end - self.held(slot))
            for layer, (keys, values) in zip(self._layers, segment.layers, strict=True):
                if not layer.is_initialized:
                    layer.lazy_initialization(keys[None], values[None])
                layer.keys[slot, :, columns] = keys
                layer.values[slot, :, columns] = values

    @torch.inference_mode()
    def move(self, source: int, target: int, tokens: int) -> None:
        """Copy a row with its first `tokens` from one slot to another."""
        own = tokens - self.held(source)
        self.fill(target, (), self.beginning(source))
        for layer in self._layers:
            layer.keys[target, :, :own] = layer.keys[source, :, :own]
            layer.values[target, :, :own] = layer.values[source, :, :own]


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
        slots = self._slots
        rows = slice(slots.first, slots.first + len(key_states))
        for store, states in ((self.keys, key_states), (self.values, value_states)):
            store[slots.lanes, :, slots.places] = states.transpose(1, 2)
        return self.keys[rows, :, : slots.end], self.values[rows, :, : slots.end]

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
