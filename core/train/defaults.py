"""The recipe an expert would start from, chosen from the data, the model and the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.models.access import ModelFacts
from core.models.devices import ThisDevice
from core.train.estimate import memory_of
from core.train.recipe import Recipe

# Lengths are rounded up to whole blocks, which kernels like.
BLOCK = 64
SHORTEST = 128
# (up to so many examples, epochs): small sets need more passes, large ones are learned in one.
EPOCHS = ((100, 4.0), (200, 3.0), (3_000, 2.0))
# (up to so many billion parameters, step size): Dettmers et al. 2023 took 2e-4 up to 13 billion and 1e-4 beyond;
# below a billion a larger step learned better on the demo's tasks.
STEP_SIZES = ((1.0, 5e-4), (14.0, 2e-4))
LARGEST_STEP_SIZE = 1e-4
# Examples in a step of the optimiser, and from how many examples on there are twice as many.
BATCH, MANY = 8, 1_000


def suggest(
    facts: ModelFacts, lengths: Sequence[int], examples: int, device: ThisDevice, *, answer_share: float = 1.0
) -> tuple[Recipe, dict[str, str]]:
    """(recipe, why each field that was chosen is as it is).

    `lengths` are in tokens, of all examples or of a sample; `answer_share` is the answers' share of all tokens.
    """
    longest = max(lengths, default=SHORTEST)
    max_length = min(max(SHORTEST, -(-longest // BLOCK) * BLOCK), facts.context)
    batch = BATCH if examples < MANY else 2 * BATCH
    chosen: dict[str, Any] = {
        "model": facts.id,
        "max_length": max_length,
        "learning_rate": _step_size(facts),
        "epochs": next((epochs for most, epochs in EPOCHS if examples <= most), 1.0),
        "batch_size": batch,
    }
    cut = sum(length > max_length for length in lengths)
    why = {
        "max_length": f"The longest example has {longest:,} tokens"
        + (f"; the model reads {facts.context:,}, so {cut:,} are cut." if cut else ", so none is cut."),
        "learning_rate": "Larger models learn better in smaller steps.",
        "epochs": f"{examples:,} examples: the fewer there are, the more often each is seen.",
        "batch_size": f"{batch} examples to a step: enough to point the right way, few enough to take many steps.",
    }
    recipe = Recipe(**chosen)
    if facts.shape is None:
        why["method"] = "lora works on every model; what memory it takes, the pre-flight measures."
        return recipe, why
    return _fitted(recipe, lengths, answer_share, facts, device, why)


def _fitted(
    recipe: Recipe,
    lengths: Sequence[int],
    answer_share: float,
    facts: ModelFacts,
    device: ThisDevice,
    why: dict[str, str],
) -> tuple[Recipe, dict[str, str]]:
    """Change the batch first, which learns the same; then the method, which is slower."""
    assert facts.shape is not None
    cut = [min(length, recipe.max_length) for length in lengths]

    def gb(method: str, batch: int) -> float:
        tried = recipe.model_copy(update={"method": method, "batch_size": batch})
        assert facts.shape is not None
        return memory_of(tried, cut, answer_share, facts.shape, device.kind).total

    sizes = [recipe.batch_size >> halved for halved in range(recipe.batch_size.bit_length())]
    room = device.usable_gb
    for method in ("lora", "qlora"):
        size = next((size for size in sizes if gb(method, size) <= room), None)
        if size is None:
            continue
        if method == "lora":
            why["method"] = f"The weights fit as they are ({gb(method, size):.1f} of {room:.1f} GB): faster than qlora."
        else:
            why["method"] = f"In four bits it takes {gb(method, size):.1f} GB; lora would take {gb('lora', 1):.1f}."
        if size < recipe.batch_size:
            why["accumulation"] = f"The memory holds {size} examples at once, so a step is made of several batches."
        changed = {"method": method, "batch_size": size, "accumulation": recipe.batch_size // size}
        return recipe.model_copy(update=changed), why
    why["method"] = f"Not even four bits fit here: {gb('qlora', 1):.1f} GB, and there are {room:.1f}."
    smallest = {"method": "qlora", "batch_size": 1, "accumulation": recipe.batch_size}
    return recipe.model_copy(update=smallest), why


def _step_size(facts: ModelFacts) -> float:
    billions = (facts.parameters or 1e9) / 1e9
    return next((size for most, size in STEP_SIZES if billions <= most), LARGEST_STEP_SIZE)
