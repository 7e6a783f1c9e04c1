"""What each question should find: places in documents, named by a person or known by the reference answer.

A question has targets, all of which should be found; a target is one or more places, any of which will do. Places are
characters of documents, so that they mean the same however the documents are cut.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import select

from core.data.files import File, detect_kind, records
from core.errors import UserError
from core.evaluate.normalize import parse_json
from core.store.database import session
from core.store.tables import Chunk, Document, Example

# An answer in more chunks than this ("two", "yes", "London") is there by chance: finding one of them shows nothing.
MAX_CHUNKS_WITH_ANSWER = 5
# Below three bytes in UTF-8 ("4", "no") even one place is as likely chance; two Chinese characters are six bytes.
MIN_ANSWER_BYTES = 3
# Of a JSON answer the longest texts are tried: they are the least likely to be labels.
TEXTS_OF_JSON = 3
# Matching takes time for each question and document; so many are enough to find as many as are measured.
# An answer of more than so many questions, and of more than this share, is a label: where it stands proves nothing.
LABEL_TIMES = 3
LABEL_SHARE = 0.05
MAX_ASKED = 1000
# How many lines that could not be used are quoted.
MAX_QUOTED = 10

# Scripts without spaces, where a word may stand within a run of letters.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_COLUMNS = {
    "question": ("question", "query"),
    "documents": ("documents", "document", "sources", "source"),
    "texts": ("texts", "text", "passages", "passage"),
    "group": ("group",),
}
FORMAT = (
    'Each record needs "question", and "document" (names of documents that hold the answer) or "text" (words that a '
    'passage must have to be right), or both; several as a list, in CSV separated by "|".'
)


@dataclass(frozen=True)
class Span:
    """Characters `start` to `end` of a document; `end` None is the whole document."""

    document_id: int
    start: int = 0
    end: int | None = None


@dataclass(frozen=True)
class Question:
    """`targets`: what should be found, each as the places where it is. Questions of one `group` are not independent."""

    text: str
    targets: tuple[tuple[Span, ...], ...]
    group: str


@dataclass(frozen=True)
class Asked:
    """A question before its places have been looked up.

    `documents` are all relevant; with `texts` each of these is a target, to be found in those documents if any are
    named; `answers` are alternatives, the first of which that has a place tells the target.
    """

    question: str
    documents: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    group: str = ""
    place: str = ""
    """Where it stands, for messages: "line 4"."""
    unusable: str = ""
    """Why it is not asked, if that is known beforehand."""


@dataclass(frozen=True)
class Questions:
    """The questions that can be measured, out of `given`, and why the others cannot: reason -> how many."""

    usable: list[Question]
    given: int
    left_out: dict[str, int] = field(default_factory=dict)
    quoted: list[str] = field(default_factory=list)


def questions_from_dataset(
    dataset_id: int, index_id: int, splits: Sequence[str] = ("train", "validation"), seed: int = 0
) -> Questions:
    """The last user turn of each example, relevant being where its reference answer stands in the documents.

    At most 1,000 examples, drawn by `seed`. The test split is left out unless asked for: settings that were chosen on
    it would flatter retrieval in a comparison on it.
    """
    with session(read_only=True) as db:
        ids = list(
            db.scalars(
                select(Example.id)
                .where(Example.dataset_id == dataset_id, Example.split.in_(splits))
                .order_by(Example.position)
            )
        )
        drawn = sorted(random.Random(seed).sample(ids, min(len(ids), MAX_ASKED)))
        rows = list(db.scalars(select(Example).where(Example.id.in_(drawn)).order_by(Example.id)))
    asked = []
    times = Counter(row.reference for row in rows)
    most = max(LABEL_TIMES, LABEL_SHARE * len(rows))
    for row in rows:
        turns = [str(turn["content"]) for turn in row.messages if turn["role"] == "user"]
        if turns and turns[-1].strip():
            label = "its answer is that of many others: a label, no passage" if times[row.reference] > most else ""
            asked.append(Asked(turns[-1], answers=tuple(answers_in(row.reference)), group=row.group, unusable=label))
    return resolve(index_id, asked)


def questions_from_file(file: File, index_id: int) -> Questions:
    """The questions of an uploaded file; see `asked_in_file`. Raises UserError when it holds none."""
    return resolve(index_id, asked_in_file(file))


def asked_in_file(file: File) -> list[Asked]:
    """Questions with what they should find, from JSON lines, CSV or any other file of records; at most 1,000.

    Raises UserError naming the first record that cannot be read.
    """
    asked: list[Asked] = []
    kind = detect_kind(file)
    for record in records(file, kind):
        place = f"{kind.unit} {record.line}"
        if record.value is None:
            problem = record.problem
            raise UserError(f"{file.name}, {place}: {problem.message if problem else 'cannot be read'}", FORMAT)
        question, documents, texts, group = (_column(record.value, name) for name in _COLUMNS)
        if not question or not (documents or texts):
            missing = "documents or text" if question else "question"
            raise UserError(f"{file.name}, {place}: there is no {missing}.", FORMAT)
        asked.append(Asked(question[0], tuple(documents), tuple(texts), group="|".join(group), place=place))
        if len(asked) == MAX_ASKED:
            break
    if not asked:
        raise UserError(f"{file.name} holds no questions.", FORMAT)
    return asked


def resolve(index_id: int, asked: Sequence[Asked]) -> Questions:
    """Look up the places in the index's documents. One document is held at a time."""
    wanted = _Wanted(index_id, asked)
    for document in _documents(index_id):
        wanted.look_into(document)
    usable: list[Question] = []
    reasons: Counter[str] = Counter()
    quoted: list[str] = []
    seen: set[str] = set()
    for number, one in enumerate(asked):
        targets, reason = wanted.targets(number)
        if one.unusable:
            targets, reason = (), one.unusable
        elif one.question in seen:
            targets, reason = (), "the same question again"
        seen.add(one.question)
        if targets:
            first = targets[0][0]
            # Questions about one passage are alike; without a group the place of the first target tells.
            group = one.group or f"{first.document_id}:{first.start}"
            usable.append(Question(one.question, targets, group))
        else:
            reasons[reason] += 1
            if len(quoted) < MAX_QUOTED:
                quoted.append(f"{one.place + ': ' if one.place else ''}{reason}: {one.question[:80]}")
    return Questions(usable, len(asked), dict(reasons.most_common()), quoted)


def answers_in(reference: str) -> list[str]:
    """What to look for: the answer, or of a JSON answer its longest texts."""
    value = parse_json(reference)
    if not isinstance(value, (dict, list)):
        return [reference]
    texts = dict.fromkeys(_texts(value))
    return sorted(texts, key=len, reverse=True)[:TEXTS_OF_JSON]


def _texts(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, str):
            yield one
        elif isinstance(one, (dict, list)):
            waiting += one.values() if isinstance(one, dict) else one


def _column(value: Mapping[str, Any], name: str) -> list[str]:
    """The texts in the first of these columns that the record has; a cell may hold several, apart by "|"."""
    cell = next((value[key] for key in _COLUMNS[name] if value.get(key) not in (None, "", [])), None)
    if cell is None:
        return []
    parts = cell if isinstance(cell, list) else [cell] if name == "question" else str(cell).split("|")
    return [str(part).strip() for part in parts if str(part).strip()]


def _documents(index_id: int) -> Iterator[Document]:
    with session(read_only=True) as db:
        rows = select(Document).where(Document.index_id == index_id).order_by(Document.id)
        yield from db.scalars(rows.execution_options(yield_per=20))


class _Phrase:
    """Words in a row, whatever stands between them; neither case nor the middle of a longer word counts."""

    def __init__(self, text: str) -> None:
        self._words = re.findall(r"\w+", text)
        # Almost every document lacks the longest word, which is quick to see.
        self._key = max((word.casefold() for word in self._words), key=len, default="")
        self.too_short = len("".join(self._words).encode()) < MIN_ANSWER_BYTES

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        first, last = self._words[0][0], self._words[-1][-1]
        before = "" if _UNSPACED.match(first) else r"(?<!\w)"
        after = "" if _UNSPACED.match(last) else r"(?!\w)"
        return re.compile(before + r"[\W_]+".join(map(re.escape, self._words)) + after, re.IGNORECASE)

    def places(self, text: str, folded: str) -> Iterable[tuple[int, int]]:
        if self.too_short or self._key not in folded:
            return ()
        return (match.span() for match in self._pattern.finditer(text))


class _Wanted:
    """All that is looked for, and what has been found of it so far."""

    def __init__(self, index_id: int, asked: Sequence[Asked]) -> None:
        self._asked = asked
        self._names: dict[str, int] = {}
        with session(read_only=True) as db:
            rows = db.execute(select(Document.id, Document.name, Document.title).where(Document.index_id == index_id))
            for id, name, title in rows:
                # A full name counts before a title, and a title before a bare file name.
                for key in (f"0{name}", f"1{title}", f"2{PurePosixPath(name).name}", f"3{PurePosixPath(name).stem}"):
                    self._names.setdefault(key.casefold(), id)
        self._ids = [[self._id(name) for name in one.documents] for one in asked]
        self._phrases = [[_Phrase(text) for text in one.texts or one.answers] for one in asked]
        self._found: dict[tuple[int, int], list[Span]] = defaultdict(list)
        self._chunks: Counter[tuple[int, int]] = Counter()

    def look_into(self, document: Document) -> None:
        folded = document.text.casefold()
        chunks: list[tuple[int, int]] | None = None
        for number, phrases in enumerate(self._phrases):
            if self._asked[number].documents and document.id not in self._ids[number]:
                continue
            for which, phrase in enumerate(phrases):
                key = (number, which)
                if self._chunks[key] > MAX_CHUNKS_WITH_ANSWER:
                    continue
                places = list(phrase.places(document.text, folded))
                if places:
                    chunks = chunks or _chunks(document.id)
                    self._found[key] += [Span(document.id, start, end) for start, end in places]
                    self._chunks[key] += sum(any(a <= s and e <= b for s, e in places) for a, b in chunks) or 1

    def targets(self, number: int) -> tuple[tuple[tuple[Span, ...], ...], str]:
        """What this question should find, or nothing and the reason."""
        one, phrases = self._asked[number], self._phrases[number]
        if one.documents and None in self._ids[number]:
            return (), "no such document"
        if not phrases:
            return tuple((Span(id),) for id in dict.fromkeys(self._ids[number]) if id is not None), ""
        places = [tuple(self._found[number, which]) for which in range(len(phrases))]
        if one.texts:
            # A person named these: however often they occur, each should be found.
            return (tuple(places), "") if all(places) else ((), "the text is not in the documents")
        for which, found in enumerate(places):
            if found and self._chunks[number, which] <= MAX_CHUNKS_WITH_ANSWER:
                return (found,), ""
        if any(places):
            return (), f"the answer is in more than {MAX_CHUNKS_WITH_ANSWER} chunks, so some by chance"
        if all(phrase.too_short for phrase in phrases):
            return (), "the answer is too short to be looked for"
        return (), "the answer is not in the documents"

    def _id(self, name: str) -> int | None:
        return next((self._names[key] for n in range(4) if (key := f"{n}{name}".casefold()) in self._names), None)


def _chunks(document_id: int) -> list[tuple[int, int]]:
    with session(read_only=True) as db:
        rows = db.execute(select(Chunk.start, Chunk.end).where(Chunk.document_id == document_id, Chunk.indexed))
        return [(start, end) for start, end in rows]
