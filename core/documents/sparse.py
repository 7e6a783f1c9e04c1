"""Words: a BM25 index of the chunks in tantivy, beside the vectors, in the home folder.

It is made from the chunk records and can be made again from them at any time. What a user types is data: it is cut
into terms as the texts are, and never read as a query language.
"""

from __future__ import annotations

import re
import shutil
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.settings import get_settings

if TYPE_CHECKING:
    from tantivy import Index, Query, TextAnalyzer

# Grows with every change of how texts become terms, so that an index made by other rules is never asked.
RULES = 1
# Snowball stemmers that tantivy has, by ISO 639-1 code; texts in other languages keep their words as they are.
STEMMERS = {
    "ar": "arabic",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hu": "hungarian",
    "it": "italian",
    "nl": "dutch",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
}
# Those of them for which tantivy has a list of words such as "the" and "of".
STOP_WORDS = {"da", "de", "en", "es", "fi", "fr", "hu", "it", "nl", "no", "pt", "ru", "sv"}
# tantivy's list for English has 33 words. Questions are full of others that say nothing of what is asked about.
ENGLISH_STOP_WORDS = """
    a about am an and any are as at be been but by can could did do does for from get give had has have he her him his
    how i if in into is it its just me my no not of on or our please shall she should so some such tell than that the
    their them then there these they this those to was we were what when where which who whom whose why will with would
    you your
"""
# A word is letters with their marks, or digits: `st.session_state` is three words, and the marks of Hindi or of
# decomposed Vietnamese do not tear a word apart. Accents are kept: in Vietnamese "bán" sells and "bạn" is a friend.
WORD = r"[\p{Alphabetic}\p{M}\p{N}]+"
# Scripts written without spaces (Thai, Lao, Myanmar, Khmer, kana, Chinese characters): two characters make a term.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff]+"
)
# tantivy's least. One thread: the encoder needs the cores more, and one segment a commit keeps searches quick.
WRITER_BYTES = 15_000_000
OPEN_INDEXES = 8


@dataclass(frozen=True)
class Entry:
    """What the word index knows of a chunk."""

    chunk_id: int
    document_id: int
    text: str


def terms(text: str, language: str) -> list[str]:
    """The terms of a text in order: lower case, stemmed where `language` has a stemmer, pairs of unspaced characters.

    >>> terms("The tide-tables of 東京都", "en")
    ['the', 'tide', 'tabl', 'of', '東京', '京都']
    """
    return list(_analyzer(language).analyze(_spaced(text)))


def question_terms(question: str, language: str) -> list[str]:
    """The terms of a question, each once; words such as "the" only if there are no others."""
    kept = _analyzer(language, without_stop_words=True).analyze(_spaced(question))
    return list(dict.fromkeys(kept or terms(question, language)))


def matched_words(question: str, text: str, language: str) -> tuple[str, ...]:
    """The words of the question that the text has too, in some form, as the question writes them."""
    shared = set(terms(text, language)) & set(question_terms(question, language))
    words = dict.fromkeys(_plain().analyze(_spaced(question)))
    return tuple(word for word in words if shared.intersection(terms(word, language)))


class WordIndex:
    """The words of one index, cut by the rules of one language; in memory without a folder.

    Safe to search while another process writes.
    """

    def __init__(self, folder: Path | None, language: str) -> None:
        import tantivy

        self.language = language
        schema = (
            tantivy.SchemaBuilder()
            .add_integer_field("chunk", indexed=True, fast=True)
            .add_integer_field("document", indexed=True)
            .add_text_field("words", tokenizer_name="words", index_option="freq")
            .build()
        )
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._index: Index = tantivy.Index(schema, path=str(folder) if folder else None)
        self._index.register_tokenizer("words", _analyzer(language))

    def write(self, entries: Sequence[Entry], removed: Iterable[int] = ()) -> None:
        """Put these chunks in, instead of what there was under their ids, and take `removed` out; all or nothing."""
        import tantivy

        with self._index.writer(WRITER_BYTES, 1) as writer:
            for chunk_id in (*removed, *(entry.chunk_id for entry in entries)):
                writer.delete_documents_by_term("chunk", chunk_id)
            for entry in entries:
                row = {"chunk": entry.chunk_id, "document": entry.document_id, "words": _spaced(entry.text)}
                writer.add_document(tantivy.Document.from_dict(row, self._index.schema))
            writer.commit()

    def clear(self) -> None:
        with self._index.writer(WRITER_BYTES, 1) as writer:
            writer.delete_all_documents()
            writer.commit()

    def search(self, question: str, k: int, documents: Sequence[int] | None = None) -> list[tuple[int, float]]:
        """The `k` best (chunk id, BM25 score) for the question's words, best first; only of `documents` if given."""
        from tantivy import Occur, Query

        schema = self._index.schema
        asked = question_terms(question, self.language)
        if not asked or documents == []:
            return []
        any_word = Query.boolean_query(
            [(Occur.Should, Query.term_query(schema, "words", term, "freq")) for term in asked]
        )
        query: Query = any_word
        if documents is not None:
            among = Query.const_score_query(Query.term_set_query(schema, "document", documents), 0.0)
            query = Query.boolean_query([(Occur.Must, any_word), (Occur.Must, among)])
        self._index.reload()
        searcher = self._index.searcher()
        hits = searcher.search(query, limit=k, count=False).hits
        ids = searcher.fast_field_values("chunk", [address for _, address in hits])
        # Equal scores come in the order of the segments, which another history of writing would change.
        return sorted(
            ((int(chunk_id or 0), float(score)) for (score, _), chunk_id in zip(hits, ids, strict=True)),
            key=lambda found: (-found[1], found[0]),
        )

    def count(self) -> int:
        self._index.reload()
        return int(self._index.searcher().num_docs)


_lock = threading.Lock()
_opened: OrderedDict[Path, WordIndex] = OrderedDict()


def folder_of(index_id: int, language: str) -> Path:
    """Where the words of an index lie; another language, or other rules, is another folder."""
    stemmer = language if language in STEMMERS else "any"
    return get_settings().home / "words" / f"index-{index_id}" / f"{stemmer}-{RULES}"


def open_words(index_id: int, language: str) -> WordIndex:
    """The words of an index, made if need be."""
    folder = folder_of(index_id, language)
    with _lock:
        if folder not in _opened or not (folder / "meta.json").exists():
            _opened[folder] = WordIndex(folder, language)
        _opened.move_to_end(folder)
        while len(_opened) > OPEN_INDEXES:
            _opened.popitem(last=False)
        return _opened[folder]


def forget_words(index_id: int, except_language: str | None = None) -> None:
    """Delete the words of an index; `except_language` keeps those made for that language."""
    kept = folder_of(index_id, except_language) if except_language is not None else None
    root = get_settings().home / "words" / f"index-{index_id}"
    for folder in root.iterdir() if root.is_dir() else ():
        if folder != kept:
            with _lock:
                _opened.pop(folder, None)
            shutil.rmtree(folder)
    if kept is None and root.is_dir():
        root.rmdir()


def _spaced(text: str) -> str:
    """The text in one Unicode form, with unspaced scripts as pairs of characters that overlap, apart by spaces."""
    whole = text.encode(errors="replace").decode()  # half characters, which a text field of a page can hold
    return _UNSPACED.sub(_pairs, unicodedata.normalize("NFKC", whole))


def _pairs(run: re.Match[str]) -> str:
    found = run.group()
    pairs = " ".join(found[i : i + 2] for i in range(len(found) - 1)) or found
    return f" {pairs} "


@lru_cache
def _analyzer(language: str, without_stop_words: bool = False) -> TextAnalyzer:
    import tantivy

    builder: Any = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.regex(WORD)).filter(tantivy.Filter.lowercase())
    if without_stop_words and language in STOP_WORDS:
        listed = tantivy.Filter.stopword(STEMMERS[language])
        builder = builder.filter(
            tantivy.Filter.custom_stopword(ENGLISH_STOP_WORDS.split()) if language == "en" else listed
        )
    if language in STEMMERS:
        builder = builder.filter(tantivy.Filter.stemmer(STEMMERS[language]))
    analyzer: TextAnalyzer = builder.build()
    return analyzer


@lru_cache
def _plain() -> TextAnalyzer:
    import tantivy

    return tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.regex(WORD)).build()
