"""How long a dataset's training examples are for one model: counted once, then remembered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from sqlalchemy import select

from core.data.dataset import count_of, examples_of
from core.data.example import Example
from core.data.profile import plain, rendered
from core.data.storing import example_of
from core.models.access import ModelFacts
from core.models.catalogue import BUNDLED_MODEL
from core.models.loading import load_tokenizer
from core.settings import get_settings
from core.store.database import session
from core.store.tables import Dataset
from core.store.tables import Example as ExampleRow

# Enough to know lengths by: the mean of so many is within a few percent, whatever the set's size.
SAMPLE = 2_000
# Without the tokenizer: of English about four letters go to a token, of other scripts about as many bytes. Chat
# templates begin with instructions of their own, and write some tokens around every turn.
BYTES_PER_TOKEN = 4
OPENING_TOKENS, TURN_TOKENS = 24, 5


@dataclass(frozen=True)
class Counted:
    """Tokens of training examples as a run sees them, passages included, not cut.

    `lengths` are of all `examples`, or of a sample spread over them; `answer_share` is the answers' share of all their
    tokens. Not `exact` when they were told from the size of the texts, as the tokenizer is not on this computer.
    """

    lengths: list[int]
    answer_share: float
    examples: int
    exact: bool


def counted(dataset_id: int, facts: ModelFacts, passage_tokens: int = 0) -> Counted:
    """Lengths of a dataset's training examples. Raises UserError when the model's tokenizer cannot be used."""
    with session(read_only=True) as db:
        found = db.get(Dataset, dataset_id)
    # Examples may be edited: the hash tells.
    pairs = _counted(dataset_id, found.hash if found else "", facts.id, at_hand(facts))
    return _put_together(pairs, count_of(dataset_id, "train"), passage_tokens, at_hand(facts))


def counted_examples(examples: Iterable[Example], facts: ModelFacts, passage_tokens: int = 0) -> Counted:
    """The same for examples that are not in a dataset, of which the first are counted."""
    examples = iter(examples)
    first = list(islice(examples, SAMPLE))
    pairs = _tokens(first, facts.id, at_hand(facts))
    return _put_together(pairs, len(first) + sum(1 for _ in examples), passage_tokens, at_hand(facts))


def _put_together(pairs: Sequence[tuple[int, int]], examples: int, passage_tokens: int, exact: bool) -> Counted:
    lengths = [prompt + answer + passage_tokens for prompt, answer in pairs]
    share = sum(answer for _, answer in pairs) / max(1, sum(lengths))
    return Counted(lengths, share, examples, exact)


def at_hand(facts: ModelFacts) -> bool:
    """Whether the tokenizer can be opened at once: nothing is downloaded here, nor the bundled model converted."""
    if facts.id == BUNDLED_MODEL:
        return (get_settings().home / "models" / "SmolLM2-135M-Instruct").is_dir()
    return facts.where != "hub"


@lru_cache(maxsize=32)
def _counted(dataset_id: int, content: str, model_id: str, exact: bool) -> tuple[tuple[int, int], ...]:
    return tuple(_tokens(_sample(dataset_id), model_id, exact))


def _sample(dataset_id: int) -> list[Example]:
    """All training examples, or so many spread evenly over them: files are often sorted."""
    count = count_of(dataset_id, "train")
    if count <= SAMPLE:
        return [example for _, example in examples_of(dataset_id, "train")]
    positions = [number * count // SAMPLE for number in range(SAMPLE)]
    mine = ExampleRow.dataset_id == dataset_id, ExampleRow.split == "train"
    with session(read_only=True) as db:
        return [
            example_of(row) for row in db.scalars(select(ExampleRow).where(*mine, ExampleRow.position.in_(positions)))
        ]


def _tokens(examples: Sequence[Example], model_id: str, exact: bool) -> list[tuple[int, int]]:
    """(tokens of the prompt, tokens of the answer) of each."""
    if not exact:
        return [_told(*plain(example), turns=len(example.messages)) for example in examples]
    tokenizer = tokenizer_of(model_id)
    write = rendered(tokenizer)
    texts = [write(example) for example in examples]
    if not texts:
        return []
    prompts, answers = (
        tokenizer(list(part), add_special_tokens=False)["input_ids"] for part in zip(*texts, strict=True)
    )
    return [(len(prompt), len(answer)) for prompt, answer in zip(prompts, answers, strict=True)]


def _told(prompt: str, answer: str, turns: int) -> tuple[int, int]:
    around = OPENING_TOKENS + TURN_TOKENS * (turns + 1)
    return len(prompt.encode()) // BYTES_PER_TOKEN + around, len(answer.encode()) // BYTES_PER_TOKEN + 1


@lru_cache(maxsize=4)
def tokenizer_of(model_id: str) -> Any:
    return load_tokenizer(model_id)
