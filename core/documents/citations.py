"""Which passage supports an answer, and which of its characters: what a reader checks first."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.documents.retrieval import Hit

# Alike enough to be the same statement in other words or another order; below it, sentences on one subject pass too.
LEAST_LIKENESS = 85.0
# A shorter text is alike to something in every passage: it must be there letter by letter.
LEAST_FUZZY_CHARACTERS = 24
# Shorter ones stand in every passage by chance: "yes", "no", "a".
LEAST_CHARACTERS = 4

_SENTENCE = re.compile(r"[^.!?。！？\n]+(?:[.!?](?!\s|$)[^.!?。！？\n]*)*[.!?。！？]*")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")


@dataclass(frozen=True)
class Citation:
    """Characters `start` to `end` of passage `hit_index` support `share` of the answer, from above 0 to 1."""

    hit_index: int
    start: int
    end: int
    share: float


def cite(answer: str, hits: Sequence[Hit | Mapping[str, Any]]) -> list[Citation]:
    """What of the passages supports the answer, in the answer's order; empty when nothing does.

    The answer is taken sentence by sentence, or value by value where it is JSON. A statement is supported by the
    passage that has it as it is (case, white space and punctuation at its ends aside), or nearly; a statement whose
    numbers differ is never nearly the same. It shows where to look, and proves nothing: "not" is a small difference.
    """
    folded = [_Folded(hit.text if isinstance(hit, Hit) else str(hit["text"])) for hit in hits]
    statements = list(_statements(answer))
    total = sum(map(len, statements))
    cited: dict[tuple[int, int, int], float] = {}
    for statement in statements:
        places = [(found, i) for i, passage in enumerate(folded) if (found := passage.find(statement))]
        if not places:
            continue
        # The best ranked of those that say it equally well.
        (_, start, end), hit_index = max(places, key=lambda place: (place[0][0], -place[1]))
        key = hit_index, start, end
        cited[key] = cited.get(key, 0.0) + len(statement) / total
    return [Citation(*key, share=min(share, 1.0)) for key, share in cited.items()]


class _Folded:
    """A text without differences of case, white space and Unicode form, and where each character came from."""

    def __init__(self, text: str) -> None:
        letters: list[str] = []
        self.places: list[int] = []
        for place, letter in enumerate(text):
            for folded in unicodedata.normalize("NFKC", letter).casefold():
                if folded.isspace():
                    if not letters or letters[-1] == " ":
                        continue
                    folded = " "
                letters.append(folded)
                self.places.append(place)
        self.text = "".join(letters)

    def find(self, statement: str) -> tuple[float, int, int] | None:
        """(likeness from 0 to 100, first character, one after the last) in the text as it was written, or None."""
        from rapidfuzz import fuzz

        asked = _Folded(statement).text
        for found in re.finditer(re.escape(asked), self.text):
            if _whole(self.text, found.start(), found.end()):
                return 100.0, *self._written(found.start(), found.end())
        if len(asked) < LEAST_FUZZY_CHARACTERS:
            return None
        best = fuzz.partial_ratio_alignment(asked, self.text, score_cutoff=LEAST_LIKENESS)
        if best is None or len(self.text) < len(asked) * LEAST_LIKENESS / 100:
            return None
        start, end = _to_words(self.text, best.dest_start, best.dest_end)
        if not set(_NUMBER.findall(asked)) <= set(_NUMBER.findall(self.text[start:end])):
            return None
        return float(best.score), *self._written(start, end)

    def _written(self, start: int, end: int) -> tuple[int, int]:
        return self.places[start], self.places[end - 1] + 1


def _statements(answer: str) -> Iterator[str]:
    try:
        parsed = json.loads(answer)
    except (ValueError, RecursionError):
        texts = [answer]
    else:
        texts = list(_values(parsed)) if isinstance(parsed, dict | list) else [answer]
    for text in texts:
        for sentence in _SENTENCE.findall(text):
            statement = sentence.strip(" \t\r*#>-•\"'“”").rstrip(".!?。！？:;,")
            if len(statement) >= LEAST_CHARACTERS or (len(statement) > 1 and _NUMBER.search(statement)):
                yield statement


def _values(parsed: Any) -> Iterator[str]:
    waiting = [parsed]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list):
            waiting += reversed(list(value.values()) if isinstance(value, dict) else value)
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            yield str(value)


def _whole(text: str, start: int, end: int) -> bool:
    """Whether no word is cut at either end; scripts without spaces have no such ends."""

    def joined(left: str, right: str) -> bool:
        return left.isalnum() and right.isalnum() and max(left, right) < "\u0e00"

    before, after = text[start - 1 : start], text[end : end + 1]
    return not (before and joined(before, text[start])) and not (after and joined(text[end - 1], after))


def _to_words(text: str, start: int, end: int) -> tuple[int, int]:
    """The stretch with its outer words whole."""
    while start > 0 and not _whole(text, start, end) and text[start - 1].isalnum():
        start -= 1
    while end < len(text) and not _whole(text, start, end) and text[end].isalnum():
        end += 1
    while start < end and text[start] == " ":
        start += 1
    while end > start and text[end - 1] == " ":
        end -= 1
    return start, end
