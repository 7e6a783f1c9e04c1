"""One pass over a dataset: what can be counted is counted for all, what is slow is measured on a fair sample."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from core.data.duplicates import NearDuplicates, fingerprint, normalised, prompt_text, text_hash
from core.data.example import Example
from core.data.near import Spool
from core.data.personal import personal_data
from core.data.profile.answers import AnswerFormat, answer_format
from core.data.profile.hint import Signs, signs
from core.data.profile.lengths import Lengths, count_all, lengths, plain
from core.data.seen import Seen

# Texts are tokenised, parsed and compared in words for so many examples: shares are within a percentage point then.
MOST_MEASURED = 10_000
# Of huge examples fewer are kept: so many characters in all.
MOST_CHARACTERS = 50_000_000
# Language is told for so many prompts: within five points.
MOST_FOR_LANGUAGE = 500
# Shorter texts tell no language; a language of fewer prompts is as likely a mistake.
CHARACTERS_FOR_LANGUAGE = 20
LANGUAGE_SHARE = 0.02
# Near duplicates are sought among the prompts of so many examples: 100,000 take 6 s.
MOST_FOR_NEAR = 100_000
MOST_LISTED = 200
MOST_LABELS = 200
SHOWN = 300
PROGRESS_EVERY = 1_000


@dataclass(frozen=True)
class Conflict:
    """Two examples with one prompt and different answers; positions count from 0 through all splits."""

    prompt: str
    first: int
    second: int
    answers: tuple[str, str]


@dataclass(frozen=True)
class Flag:
    """Personal data, by where it is; never the value. `part` is "instructions", "prompt" or "answer"."""

    position: int
    split: str
    part: str
    kind: str


@dataclass(frozen=True)
class DuplicateCounts:
    """Examples beyond the first of their kind: `exact` copies, `normalised` ones that differ in looks only.

    `near` counts the examples, of the `compared` ones, whose prompt is nearly that of a differently worded one, in
    `near_clusters` clusters; `pairs` shows some: (position, position, prompt, prompt, similarity).
    """

    exact: int
    normalised: int
    near: int
    near_clusters: int
    compared: int
    pairs: list[tuple[int, int, str, str, float]]


@dataclass(frozen=True)
class Profile:
    """Everything about a dataset that can be seen. `measured` of the `examples` were sampled for what `sampled` names.

    `truncated` and `mute` are shares of the measured examples: longer than `max_length` tokens, and so long that the
    prompt alone reaches it and nothing of the answer is left to learn from. `conflicting_examples` have a prompt with
    more than one answer. `personal` counts places by kind; instructions that many examples share are looked at once.
    """

    examples: int
    measured: int
    splits: dict[str, int]
    turns: dict[int, int]
    with_system: int
    with_tools: int
    with_context: int
    groups: int
    languages: dict[str, float]
    labels: dict[str, dict[str, int]]
    different_labels: int
    max_length: int
    prompt_tokens: Lengths | None
    answer_tokens: Lengths | None
    truncated: float
    mute: float
    mute_positions: list[int]
    duplicates: DuplicateCounts
    conflicting_prompts: int
    conflicting_examples: int
    conflicts: list[Conflict]
    personal: dict[str, int]
    flags: list[Flag]
    answers: AnswerFormat | None
    signs: Signs | None
    sampled: str = field(default="")

    def as_dict(self) -> dict[str, Any]:
        """As JSON takes it, with the hint."""
        from core.data.profile.hint import hint

        return asdict(self) | {"hint": asdict(hint(self))}


def profile(
    examples: Iterable[tuple[str, Example]],
    count_tokens: Callable[[Sequence[str]], list[int]],
    max_length: int,
    on_progress: Callable[[int], None] = lambda done: None,
    *,
    texts: Callable[[Example], tuple[str, str]] = plain,
) -> Profile:
    """Measure (split, example) pairs in one pass. `count_tokens` is the chosen model's.

    `texts` says what of an example is tokenised: `rendered(tokenizer)` counts exactly what a run would see; the words
    alone, the default, leave out what the chat template adds. `on_progress` hears how many examples were read.
    """
    tally = _Tally()
    for position, (split, example) in enumerate(examples):
        tally.add(position, split, example)
        if position % PROGRESS_EVERY == PROGRESS_EVERY - 1:
            on_progress(position + 1)
    on_progress(tally.count)
    sample = [example for _, example in sorted(tally.sample, key=lambda pair: pair[0])]
    positions = sorted(position for position, _ in tally.sample)
    written = [texts(example) for example in sample]
    prompt_tokens = count_all([prompt for prompt, _ in written], count_tokens)
    answer_tokens = count_all([answer for _, answer in written], count_tokens)
    whole = [a + b for a, b in zip(prompt_tokens, answer_tokens, strict=True)]
    mute = [place for place, tokens in zip(positions, prompt_tokens, strict=True) if tokens >= max_length]
    return Profile(
        examples=tally.count,
        measured=len(sample),
        splits=dict(tally.splits),
        turns=dict(sorted(tally.turns.items())),
        with_system=tally.having["system"],
        with_tools=tally.having["tools"],
        with_context=tally.having["context"],
        groups=len(tally.groups),
        languages=_languages(sample),
        labels={split: dict(labels.most_common(MOST_LABELS)) for split, labels in tally.labels.items()},
        different_labels=len(set().union(*tally.labels.values())),
        max_length=max_length,
        prompt_tokens=lengths(prompt_tokens) if sample else None,
        answer_tokens=lengths(answer_tokens) if sample else None,
        truncated=sum(tokens > max_length for tokens in whole) / max(1, len(sample)),
        mute=len(mute) / max(1, len(sample)),
        mute_positions=mute[:MOST_LISTED],
        duplicates=tally.duplicates(),
        conflicting_prompts=len(tally.conflicting),
        conflicting_examples=sum(tally.times[first] for first in tally.conflicting),
        conflicts=tally.conflicts,
        personal=dict(tally.personal),
        flags=tally.flags,
        answers=answer_format([example.reference for example in sample]) if sample else None,
        signs=signs(sample) if sample else None,
        sampled=_what_was_sampled(tally, len(sample)),
    )


def _what_was_sampled(tally: _Tally, measured: int) -> str:
    if tally.count <= measured:
        return ""
    near = f" Near duplicates were sought among the first {MOST_FOR_NEAR:,}." if tally.count > MOST_FOR_NEAR else ""
    return (
        f"Lengths, languages, form of answers and the hint come from {measured:,} of {tally.count:,} examples, drawn "
        f"at random with a fixed seed.{near}"
    )


class _Tally:
    """What grows while the examples pass: counters, a reservoir, hashes, and texts, on disk beyond 64 MB of each kind.

    Measured: 360 MB after 110,000 examples, 610 MB after 500,000.
    """

    def __init__(self) -> None:
        self.count = 0
        self.splits: Counter[str] = Counter()
        self.turns: Counter[int] = Counter()
        self.having: Counter[str] = Counter()
        self.labels: dict[str, Counter[str]] = {}
        self.groups = Seen()
        self.personal: Counter[str] = Counter()
        self.flags: list[Flag] = []
        self.sample: list[tuple[int, Example]] = []
        self.conflicting: set[int] = set()
        """The first example of each prompt that has more than one answer."""
        self.conflicts: list[Conflict] = []
        self.times = array("I")
        """How many examples have the prompt of the example at this position, counted at the first of them."""
        self._random = random.Random(0)
        self._room, self._characters = MOST_MEASURED, 0
        self._exact, self._normalised, self._asked, self._instructions = Seen(), Seen(), Seen(), Seen()
        self._answered = array("Q")
        self._copies: Counter[str] = Counter()
        self._near = NearDuplicates()
        self._prompts, self._answers = Spool(), Spool()

    def add(self, position: int, split: str, example: Example) -> None:
        self.count += 1
        self.splits[split] += 1
        self.turns[len(example.messages) + 1] += 1
        self.having["system"] += any(turn["role"] in ("system", "developer") for turn in example.messages)
        self.having["tools"] += bool(example.tools)
        self.having["context"] += bool(example.context)
        self.groups.first(text_hash(example.group), self.count)
        if example.label is not None:
            self.labels.setdefault(split, Counter())[example.label] += 1
        prompt = prompt_text(example)
        if self.count <= MOST_FOR_NEAR:
            self._near.add(prompt)
        self._prompts.append(prompt[:SHOWN], position)
        self._answers.append(example.reference[:SHOWN], position)
        self._compare(position, example)
        self._draw(position, example)
        self._flag(position, split, prompt, example)

    def _flag(self, position: int, split: str, prompt: str, example: Example) -> None:
        texts = {"prompt": prompt, "answer": example.reference}
        instructions = "\n".join(t["content"] for t in example.messages if t["role"] in ("system", "developer"))
        if self._instructions.first(text_hash(instructions), self.count) == self.count:
            texts = {"instructions": instructions, **texts}
        for part, text in texts.items():
            for finding in personal_data(text):
                self.personal[finding.kind] += 1
                if len(self.flags) < MOST_LISTED:
                    self.flags.append(Flag(position, split, part, finding.kind))

    def _compare(self, position: int, example: Example) -> None:
        """Count copies, and answers that differ from the first one given to the same prompt."""
        prints = fingerprint(example)
        # Lines count from 1 in what remembers them.
        again = self._exact.first(prints.exact, self.count) < self.count
        alike = self._normalised.first(prints.normalised, self.count) < self.count
        self._copies["exact" if again else "normalised"] += alike
        first = self._asked.first(prints.prompt, self.count) - 1
        self._answered.append(text_hash(normalised(example.reference)))
        self.times.append(0)
        self.times[first] += 1
        if self._answered[first] == self._answered[position] or first in self.conflicting:
            return
        self.conflicting.add(first)
        if len(self.conflicts) < MOST_LISTED:
            answers = (self._answers[first], self._answers[position])
            self.conflicts.append(Conflict(self._prompts[first], first, position, answers))

    def _draw(self, position: int, example: Example) -> None:
        """Reservoir sampling: every example has the same chance to be measured. One that is too full loses some."""
        drawn = (position, example)
        if len(self.sample) < self._room:
            self.sample.append(drawn)
        elif (place := self._random.randrange(self.count)) < self._room:
            self._characters -= _size(self.sample[place][1])
            self.sample[place] = drawn
        else:
            return
        self._characters += _size(example)
        while self._characters > MOST_CHARACTERS and len(self.sample) > 1:
            self._room = len(self.sample) - 1
            self._characters -= _size(self.sample.pop(self._random.randrange(len(self.sample)))[1])

    def duplicates(self) -> DuplicateCounts:
        clusters, pairs = self._near.find()
        joined = {int(clusters[pair.first]) for pair in pairs}
        return DuplicateCounts(
            exact=self._copies["exact"],
            normalised=self._copies["normalised"],
            near=sum(cluster in joined for cluster in clusters.tolist()),
            near_clusters=len(joined),
            compared=self._near.added,
            pairs=[
                (pair.first, pair.second, self._prompts[pair.first], self._prompts[pair.second], pair.similarity)
                for pair in pairs[:MOST_LISTED]
            ],
        )


def _size(example: Example) -> int:
    """Characters of its turns and answer."""
    return sum(len(turn["content"]) for turn in example.messages) + len(example.reference)


def _languages(sample: Sequence[Example]) -> dict[str, float]:
    """Share of each language, as ISO 639 has it, among prompts long enough to tell; rare ones are "other"."""
    from py3langid.langid import classify

    step = max(1, len(sample) // MOST_FOR_LANGUAGE)
    texts = [prompt_text(example)[:1_000] for example in sample[::step]]
    told = Counter(classify(text)[0] for text in texts if len(text) >= CHARACTERS_FOR_LANGUAGE)
    shares = {language: count / told.total() for language, count in told.most_common()}
    kept = {language: share for language, share in shares.items() if share >= LANGUAGE_SHARE}
    return kept | ({"other": 1 - sum(kept.values())} if len(kept) < len(shares) else {})
