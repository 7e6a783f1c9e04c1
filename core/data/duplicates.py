"""Examples that say the same: exactly, but for case, space and punctuation, or nearly.

Exact and normalised copies are found by 64-bit hashes. Near duplicates are pairs of prompts that share at least 80% of
their character 5-grams (Jaccard): a typo in a sentence, or a few words in a paragraph. Every pair is compared for real
before it is reported. Two things keep the short, templated prompts of fine-tuning files apart:

- What many prompts share does not count as likeness. 5-grams that stand in a twentieth of all different prompts are a
  template ("Classify this ticket: ..."); the rest must be 80% alike too.
- Prompts with different numbers are different questions ("What is 12 + 5?", "What is 12 + 6?").
"""

from __future__ import annotations

import json
import re
import unicodedata
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from core.data.example import Example
from core.data.near import CHUNK, SIMILARITY, Spool, clusters_of, similarities, template
from core.data.seen import Seen
from core.models.prompt import as_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Of longer prompts the beginning and the end count, so that a file of books takes no longer than a file of pages.
MOST_COMPARED = 4_000
# Beyond this many prompts the rest is looked up by hash only.
MOST_PROMPTS = 1_000_000
# So many prompts of a cluster are compared with one to find its likest.
MOST_TWINS = 50

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

    Prompts that are the same but for their looks are always found. Of the different ones, the first million are
    compared for nearness; `compared_all` says whether there were more.
    """

    def __init__(self) -> None:
        self.added = 0
        self._seen = Seen()
        self._distinct = 0
        self._distinct_of = array("I")
        self._texts = Spool()

    def add(self, text: str) -> int:
        """Take the next prompt. Says which was the first with its normalised text: itself, if it is new."""
        plain = normalised(text)
        first = self._seen.first(text_hash(plain), self.added + 1) - 1
        if first == self.added:
            self._distinct_of.append(self._distinct)
            if self._distinct < MOST_PROMPTS:
                half = MOST_COMPARED // 2
                shown = f"{plain[:half]} {plain[-half:]}" if len(plain) > 2 * half else plain
                self._texts.append(shown, self.added)
            self._distinct += 1
        else:
            self._distinct_of.append(self._distinct_of[first])
        self.added += 1
        return first

    @property
    def compared_all(self) -> bool:
        return self._distinct <= MOST_PROMPTS

    def find(self, tick: Callable[[], None] = lambda: None) -> tuple[NDArray[np.int64], list[Pair]]:
        """(the cluster of each prompt, in the order they came; pairs that show why different texts are together).

        Every cluster of different texts has a pair, but not every pair of a cluster is listed. `tick` is called every
        second or so; it may raise, to stop.
        """
        import numpy as np

        labels, pairs = clusters_of(self._texts, tick)
        rest = np.arange(self._distinct - len(labels)) + (labels.max(initial=-1) + 1)
        cluster_of = np.concatenate([labels, rest])[np.asarray(self._distinct_of, np.int64)]
        places = self._texts.places
        return cluster_of, [Pair(places[a], places[b], similarity) for a, b, similarity in pairs]

    def likest(self, boundary: int, tick: Callable[[], None] = lambda: None) -> dict[int, Pair]:
        """For each prompt from the `boundary`th on that has near duplicates before it: the likest one of them.

        Those of its cluster are compared for real, the first 50 at most. Copies of earlier prompts are left out: `add`
        has named their likest. `tick` as for `find`.
        """
        import numpy as np

        labels, _ = clusters_of(self._texts, tick)
        places = self._texts.places
        members: dict[int, tuple[list[int], list[int]]] = {}
        for number in np.flatnonzero(np.bincount(labels)[labels] > 1).tolist():
            members.setdefault(int(labels[number]), ([], []))[places[number] >= boundary].append(number)
        wanted = ((a, b) for before, after in members.values() for b in after for a in before[:MOST_TWINS])
        best: dict[int, Pair] = {}
        if not members:
            return best
        common = template(self._texts)
        while batch := list(islice(wanted, CHUNK)):
            likeness = similarities(self._texts, np.asarray(batch), common, tick).tolist()
            for (a, b), similarity in zip(batch, likeness, strict=True):
                if similarity >= max(SIMILARITY, best[b].similarity if b in best else 0):
                    best[b] = Pair(places[a], places[b], similarity)
        return {i: best[number] for i, number in enumerate(self._distinct_of) if i >= boundary and number in best}
