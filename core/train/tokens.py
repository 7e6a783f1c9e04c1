"""From examples to the tokens a run learns from, and a check that there is something to learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.data.example import Example
from core.data.profile import rendered
from core.errors import UserError
from core.models.prompt import Passage

# What torch's cross entropy skips.
IGNORED = -100


@dataclass(frozen=True)
class EncodedExample:
    """One example as token ids. `labels` repeats the ids to learn and holds IGNORED everywhere else.

    `cut` counts the tokens that were left out at its end.
    """

    input_ids: list[int]
    labels: list[int]
    cut: int = 0

    @property
    def learned(self) -> int:
        return sum(label != IGNORED for label in self.labels)


def encode(
    tokenizer: Any,
    example: Example,
    max_length: int,
    passages: Sequence[Passage] = (),
    *,
    answers_only: bool = True,
) -> EncodedExample:
    """The example as the model will see it when asked, followed by the answer and the token that ends a turn.

    Only the answer carries a loss, unless everything shall be learned; the very first token never can.
    """
    texts = rendered(tokenizer)(example, passages)
    prompt_ids, answer_ids = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts)
    input_ids = prompt_ids + answer_ids
    silent = len(prompt_ids) if answers_only else 1
    labels = [IGNORED] * silent + input_ids[silent:]
    return EncodedExample(input_ids[:max_length], labels[:max_length], max(0, len(input_ids) - max_length))


def encode_all(
    tokenizer: Any,
    examples: Sequence[Example],
    max_length: int,
    passages: Sequence[Sequence[Passage]] | None = None,
    *,
    answers_only: bool = True,
    part: str = "training",
) -> list[EncodedExample]:
    """Encode and audit; `passages[i]` stand beside example i, `part` is what the examples are for. Raises UserError
    when any is cut before its answer.

    A trainer would drop such examples in silence, and train on nothing at all if they were the only ones.
    """
    beside: Sequence[Sequence[Passage]] = passages if passages is not None else [()] * len(examples)
    encoded = [
        encode(tokenizer, example, max_length, shown, answers_only=answers_only)
        for example, shown in zip(examples, beside, strict=True)
    ]
    mute = [i for i, example in enumerate(encoded) if not example.learned]
    if mute:
        shown = ", ".join(str(i + 1) for i in mute[:5])
        raise UserError(
            f"{len(mute)} of {len(encoded)} {part} examples are longer than {max_length} tokens before their answer "
            f"begins, so nothing would be learned from them (examples {shown}{', ...' if len(mute) > 5 else ''}).",
            "Raise max_length, show fewer passages, or shorten or remove these examples.",
        )
    return encoded
