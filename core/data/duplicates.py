"""Examples that say the same: exactly, but for case, space and punctuation, or nearly.

Exact and normalised copies are found by 64-bit hashes. Near duplicates are pairs of prompts that share at least 80% of
their character 5-grams (Jaccard): a typo in a sentence, or a few words in a paragraph. Every pair is
compared for real before it is reported. Two things keep the
short, templated prompts of fine-tuning files apart:

- What many prompts share does not count as likeness. 5-grams that stand in a twentieth of all different prompts are a
  template ("Classify this ticket: ..."); the rest must be 80% alike too.
- Prompts with different numbers are different questions ("What is 12 + 5?", "What is 12 + 6?").
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.data.example import Example
from core.data.near import SIMILARITY, Spool, clusters_of, similarities, template
from core.models.prompt import as_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Of longer prompts the beginning and the end count, so that a file of books takes no longer than a file of pages.
MOST_COMPARED = 4_000
# Beyond this many prompts the rest is looked up by hash only.
MOST_PROMPTS = 1_000_000

_QUOTES = str.maketrans("‘’‚‛“”„‟«»‹›`´", "''''\"\"\"\"\"\"''''")
_EDGE = r"""[,;:!?…'"()\[\]{}<>¿¡。、「」『』]"""
# Punctuation at the edge of a word; a point before a digit is a number's. Signs such as # % + - / stay: C is not C#.
_PUNCTUATION = re.compile(rf"(?<!\S)(?:{_EDGE}|\.(?!\d))+|(?:{_EDGE}|\.)+(?!\S)")


def normalised(text: str) -> str:
    """The text without what people vary unawares: case, white space, punctuation around words, Unicode form."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_QUOTES)
    plain = " ".join(text.casefold().split())
    bare = " ".join(_PUNCTUATION.sub(" ", plain).split())
    return bare or plain


def prompt_text(example: Example) -> str:
    """What the example asks: its turns in words, without instructions that all examples of a file tend to share."""
    turns = [as_text(turn) for turn in example.messages]
    asked = [turn["content"] for turn in turns if turn["role"] not in ("system", "developer")]
    return "\n".join(asked or [turn["content"] for turn in turns])


@dataclass(frozen=True)
class Fingerprint:
    """64-bit hashes: of the whole example, normalised, and of its normalised prompt with instructions and tools."""

    exact: int
    normalised: int
    prompt: int


def fingerprint(example: Example) -> Fingerprint:
    """Equal hashes mean equal texts: among a million examples a false match has a chance of 3 in 100 million."""
    turns = [as_text(turn) for turn in example.messages]
    tools = json.dumps(example.tools) if example.tools else ""
    asked = "\x1e".join([*(f"{turn['role']}\x1f{turn['content']}" for turn in turns), tools])
    plain = "\x1e".join([*(f"{turn['role']}\x1f{normalised(turn['content'])}" for turn in turns), tools])
    return Fingerprint(
        text_hash(f"{asked}\x1d{example.reference}"),
        text_hash(f"{plain}\x1d{normalised(example.reference)}"),
        text_hash(plain),
    )


def text_hash(text: str) -> int:
    from xxhash import xxh3_64_intdigest

    return xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True)
class Pair:
    """Two prompts that are nearly the same, by their positions (first < second), and their Jaccard similarity."""

    first: int
    second: int
    similarity: float


class NearDuplicates:
    """Takes prompts one by one, then says which belong together. Texts wait on disk beyond 64 MB.

    `cluster_of[i]` numbers the cluster of the i-th prompt, normalised copies included; `pairs` proves every near
    duplicate cluster, though it does not list every pair within one. `seen` of `added` prompts were compared for
    nearness: all up to a million of different ones.
    """

    def __init__(self) -> None:
        self.added = 0
        self._first: dict[int, int] = {}
        self._distinct_of: list[int] = []
        self._texts = Spool()

    def add(self, text: str) -> None:
        plain = normalised(text)
        position = self._first.setdefault(text_hash(plain), len(self._first))
        if position == len(self._texts) and position < MOST_PROMPTS:
            half = MOST_COMPARED // 2
            self._texts.append(f"{plain[:half]} {plain[-half:]}" if len(plain) > 2 * half else plain, self.added)
        self._distinct_of.append(position)
        self.added += 1

    @property
    def compared_all(self) -> bool:
        return len(self._first) <= MOST_PROMPTS

    def find(self, tick: Callable[[], None] = lambda: None) -> tuple[NDArray[np.int64], list[Pair]]:
        """(the cluster of each prompt, in the order they came; the pairs that join different texts).

        `tick` is called every second or so; it may raise, to stop.
        """
        import numpy as np

        labels, pairs = clusters_of(self._texts, tick)
        rest = np.arange(len(self._first) - len(labels)) + (labels.max(initial=-1) + 1)
        cluster_of = np.concatenate([labels, rest])[np.asarray(self._distinct_of, np.int64)]
        places = self._texts.places
        return cluster_of, [Pair(places[a], places[b], similarity) for a, b, similarity in pairs]

    def likest(self, boundary: int) -> dict[int, Pair]:
        """For each of the first `boundary` prompts that has near duplicates among the others: the likest one of them.

        Other prompts of its cluster are compared for real, the first 50 at most.
        """
        import numpy as np

        labels, _ = clusters_of(self._texts)
        members: dict[int, tuple[list[int], list[int]]] = {}
        for number, (label, place) in enumerate(zip(labels.tolist(), self._texts.places, strict=True)):
            members.setdefault(label, ([], []))[place >= boundary].append(number)
        wanted = [(a, b) for ours, others in members.values() for a in ours for b in others[:50]]
        best: dict[int, Pair] = {}
        if wanted:
            pairs = np.asarray(wanted)
            for (a, b), similarity in zip(wanted, similarities(self._texts, pairs, template(self._texts)), strict=True):
                if similarity >= max(SIMILARITY, best[a].similarity if a in best else 0):
                    best[a] = Pair(self._texts.places[a], self._texts.places[b], similarity)
        return {i: best[number] for i, number in enumerate(self._distinct_of[:boundary]) if number in best}
