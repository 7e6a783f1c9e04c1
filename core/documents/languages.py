"""What language the documents of an index are in, and whether its embedder knows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from core.models.catalogue import catalogue, embedding_entry
from core.store.tables import Index

# Documents looked at, spread over the index, and characters of each: more changes nothing, and takes time.
SAMPLE_DOCUMENTS = 50
SAMPLE_CHARACTERS = 1000
# Share of the dense list in hybrid search, by experiment (docs/benchmarks.md): near half where the embedder knows the
# language; where it does not, any share costs Vietnamese more than it finds, and vectors only fill up below the words.
KNOWN_WEIGHT, FOREIGN_WEIGHT = 0.4, 0.0

NAMES = {
    "ar": "Arabic",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "hi": "Hindi",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "nl": "Dutch",
    "pl": "Polish",
    "pt": "Portuguese",
    "ru": "Russian",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
    "zh": "Chinese",
}


def main_language(texts: Iterable[str]) -> str:
    """ISO 639-1 code of the language that has more than half of the characters; empty if none has."""
    import py3langid

    votes: Counter[str] = Counter()
    for text in texts:
        sample = text[:SAMPLE_CHARACTERS]
        votes[py3langid.classify(sample)[0]] += len(sample)
    if not votes:
        return ""
    language, characters = votes.most_common(1)[0]
    return language if characters > votes.total() / 2 else ""


def knows(embedder: str, language: str) -> bool:
    """Whether the embedder was made for this language; true where nobody can tell."""
    entry = embedding_entry(embedder)
    return not language or entry is None or not entry.languages or language in entry.languages


def default_dense_weight(embedder: str, language: str) -> float:
    """Share of the dense list in hybrid search, from what is known before anyone has asked a question."""
    return KNOWN_WEIGHT if knows(embedder, language) else FOREIGN_WEIGHT


def language_advice(index: Index) -> str:
    """A sentence that suggests another embedder when this one does not know the documents' language; else empty."""
    if knows(index.embedder, index.language):
        return ""
    better = [entry.id for entry in catalogue("embedding") if index.language in entry.languages]
    name = NAMES.get(index.language, f"the language {index.language!r}")
    advice = f"Most documents are in {name}, which {index.embedder} was not trained on: its list ranks them poorly."
    if not better:
        return f"{advice} Search by words, or give an embedder that knows it."
    return f"{advice} A multilingual embedder finds more, such as {' or '.join(better)}."
