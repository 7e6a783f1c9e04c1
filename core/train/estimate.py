"""What a run will take, said before anything starts: memory by part, tokens, time, and what to change if it is much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from core.errors import UserError
from core.models.access import ModelFacts
from core.models.catalogue import catalogue
from core.models.devices import ThisDevice, this_device
from core.models.estimate import Device, Kind, Memory, Shape, training_hours, training_memory
from core.train.recipe import MIN_EXAMPLES, Recipe

# Imports, the model, and the first look at the data.
SECONDS_TO_START = 15.0
# Tokens that a sample answer may have.
SAMPLE_TOKENS = 64
# How far advice goes: no example is of use below this length, and no model below this share of the one chosen.
SHORTEST = 128
SMALLER = 0.9
# Fields of a recipe and the values they should have.
Change = dict[str, Any]


@dataclass(frozen=True)
class Estimate:
    """`memory` and `seconds` are None where the model's shape cannot be told, and `unknown` says so.

    `available_gb` is what the device has free at the moment; `fits` tells whether the run fits once it is alone there
    (None: cannot be told). `tokens` counts all epochs. `advice` says what to change, the mildest change first, and
    `changes` the recipe's fields that each does it with; what is no matter of the recipe comes last and has none.
    """

    memory: Memory | None
    available_gb: float
    fits: bool | None
    tokens: int
    steps: int
    seconds: float | None
    advice: list[str]
    unknown: str = ""
    changes: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the parts of the memory in GB, with their `total`."""
        memory = asdict(self.memory) | {"total": self.memory.total} if self.memory else None
        return asdict(self) | {"memory": memory}


def estimate(
    recipe: Recipe,
    lengths: Sequence[int],
    answer_share: float,
    facts: ModelFacts,
    device: Device | None = None,
    *,
    examples: int | None = None,
    tokens_per_s: float | None = None,
) -> Estimate:
    """What a run of `recipe` takes on `device` (default: this machine's).

    `lengths` are the tokens of the training examples, passages included, or of a sample of `examples` of them;
    `answer_share` is the answers' share of all tokens. `tokens_per_s` is a speed that was measured, which is believed
    more than any reckoning.
    """
    device = device or this_device()
    cut = [min(length, recipe.max_length, facts.context) for length in lengths]
    tokens, steps = _work(recipe, cut, len(cut) if examples is None else examples)
    free, usable = _room(device)
    if facts.shape is None:
        seconds = tokens / tokens_per_s + SECONDS_TO_START if tokens_per_s else None
        return Estimate(None, free, None, tokens, steps, seconds, [], _unknown(facts))
    memory = memory_of(recipe, cut, answer_share, facts.shape, kind_of(device))
    fits = memory.total <= usable
    ways = [] if fits else _advice(recipe, cut, answer_share, facts, device)
    return Estimate(
        memory=memory,
        available_gb=free,
        fits=fits,
        tokens=tokens,
        steps=steps,
        seconds=seconds_of(recipe, tokens, facts.shape, device, tokens_per_s),
        advice=_wait(memory, free) if fits else [text for text, _ in ways],
        changes=[change for _, change in ways],
    )


def refuse(recipe: Recipe, facts: ModelFacts, examples: int, device: ThisDevice | None = None) -> None:
    """Raise UserError for a run that cannot end well, before anything starts.

    Only what no change of the data could help is judged here: even one example of the shortest useful length.
    """
    device = device or this_device()
    if examples < MIN_EXAMPLES:
        raise UserError(
            f"{examples} training examples are too few to learn from.",
            f"Collect at least {MIN_EXAMPLES}; a few hundred is where fine-tuning starts to be worth its price.",
        )
    if recipe.engine == "unsloth":
        from core.train.unsloth import available

        missing = available(recipe.method)
        if missing:
            raise UserError(f"Unsloth cannot be used here: {missing}", "Choose the engine trl, which runs everywhere.")
    if facts.shape is None:
        return
    least = recipe.model_copy(update={"batch_size": 1, "packing": False, "samples": 0})
    memory = memory_of(least, [min(SHORTEST, recipe.max_length)], 0.0, facts.shape, device.kind)
    if memory.total <= device.usable_gb:
        return
    ways = _advice(least, [SHORTEST], 0.0, facts, device)
    raise UserError(
        f"{facts.id} with {recipe.method} takes at least {memory.total:.1f} GB, and {device.title} has "
        f"{device.memory_gb:.1f} GB.",
        " ".join([*(text for text, _ in ways), "Otherwise train on a machine with a larger GPU."]),
    )


def memory_of(recipe: Recipe, lengths: Sequence[int], answer_share: float, shape: Shape, kind: Kind) -> Memory:
    """The peak: the batch of the longest examples. `lengths` are cut already."""
    longest = max(lengths, default=recipe.max_length)
    sequence = recipe.max_length if recipe.packing else longest
    rows = recipe.batch_size if recipe.packing else min(recipe.batch_size, max(1, len(lengths)))
    return training_memory(
        shape,
        recipe.method,
        rank=recipe.rank,
        sequence=sequence,
        batch=rows,
        checkpointing=kind == "cuda",
        logits_share=answer_share if recipe.answers_only else 1.0,
        fused_head=kind == "cuda",
        offloading=kind == "cuda" and recipe.method == "qlora" and recipe.engine == "trl",
        device=kind,
        targets=None if recipe.targets == "all-linear" else recipe.targets,
        cached_tokens=recipe.samples * (longest + SAMPLE_TOKENS),
    )


def seconds_of(recipe: Recipe, tokens: float, shape: Shape, device: Device, tokens_per_s: float | None = None) -> float:
    """Seconds of a run over so many tokens, by a measured speed or by the device's."""
    if tokens_per_s:
        return tokens / tokens_per_s + SECONDS_TO_START
    kind = kind_of(device)
    hours = training_hours(shape, recipe.method, tokens, device, checkpointing=kind == "cuda", kind=kind)
    return 3600 * hours + SECONDS_TO_START


def kind_of(device: Device) -> Kind:
    """Devices of a price table are GPUs."""
    return device.kind if isinstance(device, ThisDevice) else "cuda"


def _room(device: Device) -> tuple[float, float]:
    """(GB free now, GB a run alone may use). A listed GPU is free."""
    if isinstance(device, ThisDevice):
        return device.free_gb, device.usable_gb
    return device.memory_gb, device.memory_gb


def _work(recipe: Recipe, lengths: Sequence[int], examples: int) -> tuple[int, int]:
    """(tokens over the whole run, optimiser steps), of `examples` like those measured."""
    mean = sum(lengths) / max(1, len(lengths))
    rows = max(1, round(examples * mean / recipe.max_length)) if recipe.packing else examples
    steps = recipe.steps(rows)
    if recipe.max_steps is None:
        return round(mean * examples * recipe.epochs), steps
    seen = steps * min(recipe.batch_size * recipe.accumulation, max(1, rows))
    return round(mean * examples / max(1, rows) * seen), steps


def _unknown(facts: ModelFacts) -> str:
    size = f" Its weights alone take {facts.weight_bytes / 1e9:.1f} GB." if facts.weight_bytes else ""
    return (
        f"{facts.id} is built unlike the models that memory and time can be told of beforehand; the pre-flight "
        f"measures both.{size}"
    )


def _wait(memory: Memory, free: float) -> list[str]:
    if memory.total <= free:
        return []
    return [f"Only {free:.1f} GB are free at the moment: other programs or runs must end before it starts."]


def _advice(
    recipe: Recipe, lengths: Sequence[int], answer_share: float, facts: ModelFacts, device: Device
) -> list[tuple[str, Change]]:
    """What to change so that it fits, and with which fields: each alone where one is enough; then a smaller model."""
    assert facts.shape is not None
    _, usable = _room(device)
    kind = kind_of(device)

    def total(changed: Recipe, shape: Shape = facts.shape) -> float:
        cut = [min(length, changed.max_length) for length in lengths]
        return memory_of(changed, cut, answer_share, shape, kind).total

    found: list[tuple[str, Change]] = []
    for change, text in _changes(recipe, max(lengths, default=recipe.max_length)):
        needed = total(recipe.model_copy(update=change))
        # The mildest of its kind is enough.
        if needed <= usable and not any(change.keys() == other.keys() for _, other in found):
            found.append((f"{text} ({needed:.1f} GB).", change))
    together: Change = {"batch_size": 1, "packing": False, "max_length": min(SHORTEST, recipe.max_length)}
    if recipe.method != "qlora":
        together["method"] = "qlora"
    needed = total(recipe.model_copy(update=together))
    if not found and needed <= usable:
        text = f"Take qlora, batch_size 1 and max_length {together['max_length']} together ({needed:.1f} GB)."
        found.append((text, together))
    return found + _smaller_model(recipe, facts, total, usable)


def _changes(recipe: Recipe, longest: int) -> Iterator[tuple[Change, str]]:
    """Single changes that save memory, and how to say them; those that cost nothing first."""
    size = recipe.batch_size
    while size > 1:
        size //= 2
        accumulation = recipe.accumulation * recipe.batch_size // size
        text = f"Set batch_size to {size} and accumulation to {accumulation}: it learns the same, a bit slower"
        yield {"batch_size": size, "accumulation": accumulation}, text
    methods = {"qlora": (), "full": ("lora", "qlora")}.get(recipe.method, ("qlora",))
    for method in methods:
        yield {"method": method}, f"Choose the method {method}"
    length = longest
    while length // 2 >= SHORTEST:
        length //= 2
        yield {"max_length": length}, f"Set max_length to {length}; longer examples are cut"


def _smaller_model(recipe: Recipe, facts: ModelFacts, total: Any, usable: float) -> list[tuple[str, Change]]:
    """The largest model of the catalogue that fits as the recipe is; nothing if there is none."""
    assert facts.shape is not None
    limit = SMALLER * facts.shape.parameters
    listed = [entry for entry in catalogue() if entry.shape and entry.shape.parameters < limit]
    for entry in sorted(listed, key=lambda entry: -entry.parameters):
        if total(recipe, entry.shape) <= usable:
            text = f"Choose a smaller model: {entry.id} takes {total(recipe, entry.shape):.1f} GB."
            return [(text, {"model": entry.id})]
    return []
