"""Words: terms of any script, questions that are never a query language, and an index that processes share."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from core.documents.sparse import Entry, WordIndex, forget_words, matched_words, open_words, question_terms, terms
from core.settings import REPOSITORY

ENTRIES = [
    Entry(1, 1, "The tides at Pellin rise four metres."),
    Entry(2, 1, "Dogs travel free on the car deck."),
    Entry(3, 2, "A dog needs a lead; two dogs need two."),
    Entry(4, 3, "東京都の潮は高い。"),
]


def filled(folder: Path | None = None, language: str = "en") -> WordIndex:
    words = WordIndex(folder, language)
    words.write(ENTRIES)
    return words


def ids(found: list[tuple[int, float]]) -> list[int]:
    return [chunk_id for chunk_id, _ in found]


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Tide-tables, TIDES and tidal", "en", ["tide", "tabl", "tide", "and", "tidal"]),
        ("Gezeiten in Häfen", "de", ["gezeit", "in", "haf"]),
        ("Tides", "", ["tides"]),
        ("Tides", "vi", ["tides"]),
        ("bán bạn BÀN", "vi", ["bán", "bạn", "bàn"]),
        ("東京都へ go", "ja", ["東京", "京都", "都へ", "go"]),
        ("潮", "zh", ["潮"]),
        ("ภาษา", "th", ["ภา", "าษ", "ษา"]),
        ("प्रश्न है", "hi", ["प्रश्न", "है"]),
        ("st.session_state x2 ﬁle", "", ["st", "session", "state", "x2", "file"]),
        ("", "en", []),
        ("?!… 🐕", "en", []),
    ],
)
def test_terms(text: str, language: str, expected: list[str]) -> None:
    assert terms(text, language) == expected


def test_both_unicode_forms_are_one_word() -> None:
    assert terms(unicodedata.normalize("NFD", "Đặc biệt"), "vi") == terms("đặc biệt", "vi") == ["đặc", "biệt"]


def test_best_match_comes_first_and_stems_meet() -> None:
    found = filled().search("Which dog needs a lead?", 10)
    assert ids(found) == [3, 2] and found[0][1] > found[1][1] > 0
    assert ids(filled().search("京都", 5)) == [4]
    assert filled().search("zebra", 5) == [] and filled().search("", 5) == []


def test_stop_words_count_only_where_there_is_nothing_else() -> None:
    assert question_terms("What is the lead of the dog?", "en") == ["lead", "dog"]
    assert question_terms("to be or not to be", "en") == ["to", "be", "or", "not"]
    assert sorted(ids(filled().search("the", 5))) == [1, 2]


@pytest.mark.parametrize(
    "hostile",
    [
        'dog AND NOT lead" OR (',
        "words:dog~ chunk:[0 TO 9]",
        "dog* +lead -dog ^9 \\",
        "/.*/ dog",
        "dog \x00 \ud800 lead",
        "dog " * 20_000,
    ],
)
def test_query_syntax_is_text(hostile: str) -> None:
    assert ids(filled().search(hostile, 5))[0] in (2, 3)


def test_matched_words_are_those_of_the_question() -> None:
    assert matched_words("Do DOGS need the lead?", ENTRIES[2].text, "en") == ("DOGS", "need", "lead")
    assert matched_words("the of", ENTRIES[1].text, "en") == ("the",)
    assert matched_words("東京タワー", ENTRIES[3].text, "ja") == ("東京",)


def test_only_some_documents() -> None:
    words = filled()
    assert ids(words.search("dogs", 5, [1])) == [2]
    assert words.search("dogs", 5, [1])[0][1] == pytest.approx(dict(words.search("dogs", 5))[2])
    assert words.search("dogs", 5, []) == [] and words.search("dogs", 5, [99]) == []
    assert ids(words.search("dogs", 5, list(range(50_000)))) == ids(words.search("dogs", 5))


def test_writing_twice_changes_nothing_and_removed_is_gone(tmp_path: Path) -> None:
    words = filled(tmp_path)
    words.write(ENTRIES)
    assert words.count() == 4
    words.write([Entry(2, 1, "Cats pay.")], removed=[3, 77])
    assert words.count() == 3 and words.search("dogs", 5) == [] and ids(words.search("cats", 5)) == [2]
    words.clear()
    assert words.count() == 0


def test_what_another_process_writes_is_found(tmp_path: Path) -> None:
    words = filled(tmp_path)
    code = (
        "from pathlib import Path\nfrom core.documents.sparse import *\n"
        f"WordIndex(Path({str(tmp_path)!r}), 'en').write([Entry(9, 9, 'A zebra')])"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)
    assert ids(words.search("zebras", 5)) == [9]


def test_another_language_is_another_index_and_deleting_forgets_both(home: Path) -> None:
    open_words(3, "en").write(ENTRIES)
    assert open_words(3, "en").count() == 4 and open_words(3, "de").count() == 0
    assert open_words(3, "vi") is open_words(3, "")  # neither has a stemmer
    forget_words(3, except_language="en")
    assert open_words(3, "en").count() == 4
    forget_words(3)
    assert not (home / "words" / "index-3").exists()
    assert open_words(3, "en").count() == 0


def test_vietnamese_questions_find_their_paragraph(shared_data: Path) -> None:
    """Accents are kept: without them one in fifty questions fewer would find its paragraph."""
    articles = json.loads((shared_data / "xquad-vi" / "xquad.vi.json").read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    words = WordIndex(None, "vi")
    words.write([Entry(n, n, paragraph["context"]) for n, paragraph in enumerate(paragraphs)])
    asked = [(n, qa["question"]) for n, paragraph in enumerate(paragraphs) for qa in paragraph["qas"]]
    asked = random.Random(7).sample(asked, 300)
    assert sum(n in ids(words.search(question, 5)) for n, question in asked) / len(asked) > 0.9
