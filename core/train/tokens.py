"""From examples to the tokens a run learns from, and a check that there is something to learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.data.example import Example
from core.data.profile import rendered
from core.errors import UserError

# What torch's cross entropy skips.
IGNORED = -100


@dataclass(frozen=True)
class EncodedExample:
    """One example as token ids. `labels` repeats the answer's ids and holds IGNORED everywhere else."""

    input_ids: list[int]
    labels: list[int]

    @property
    def learned(self) -> int:
        return sum(label != IGNORED for label in self.labels)


def encode(tokenizer: Any, example: Example, max_length: int) -> EncodedExample:
    """The example as the model will see it when asked, followed by the answer and the token that ends a turn.

    Only the answer carries a loss.
    """
    texts = rendered(tokenizer)(example)
    prompt_ids, answer_ids = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts)
    input_ids = prompt_ids + answer_ids
    labels = [IGNORED] * len(prompt_ids) + answer_ids
    return EncodedExample(input_ids[:max_length], labels[:max_length])


def encode_all(tokenizer: Any, examples: Sequence[Example], max_length: int) -> list[EncodedExample]:
    """Encode and audit. Raises UserError when any example is cut before its answer begins.

    A trainer would drop such examples in silence, and train on nothing at all if they were the only ones.
    """
    encoded = [encode(tokenizer, example, max_length) for example in examples]
    mute = [i for i, example in enumerate(encoded) if not example.learned]
    if mute:
        shown = ", ".join(str(i + 1) for i in mute[:5])
        raise UserError(
            f"{len(mute)} of {len(encoded)} training examples are longer than {max_length} tokens before their answer "
            f"begins, so nothing would be learned from them (examples {shown}{', ...' if len(mute) > 5 else ''}).",
            "Raise max_length, or shorten or remove these examples.",
        )
    return encoded
