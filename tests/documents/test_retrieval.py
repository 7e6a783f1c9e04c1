"""Retrieval: three ways to rank, filters, a reranker, and hits that say why they are there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from core.documents.index import build_index, create_index
from core.documents.languages import default_dense_weight, language_advice, main_language
from core.documents.reading import SourceDocument
from core.documents.retrieval import Hit, Where, fuse, rank_lists, search
from core.errors import UserError
from core.models.catalogue import BUNDLED_EMBEDDER, catalogue
from core.models.embedding import load_embedder
from core.store.database import session
from core.store.tables import Index

PLACES = st.lists(st.integers(0, 30), unique=True, max_size=20)


@given(PLACES, PLACES, st.floats(0, 1))
def test_fusing_loses_and_doubles_nothing(dense: list[int], sparse: list[int], weight: float) -> None:
    found = fuse(dense, sparse, weight)
    assert sorted(id for id, _ in found) == sorted({*dense, *sparse})
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 + 1e-9 for score in scores)


def test_fusing_with_all_the_weight_is_that_list_and_then_the_other() -> None:
    assert [id for id, _ in fuse([1, 2, 3], [9, 2, 8], 1.0)] == [1, 2, 3, 9, 8]
    assert [id for id, _ in fuse([1, 2, 3], [9, 2, 8], 0.0)] == [9, 2, 8, 1, 3]
    assert fuse([1, 2], [1, 2], 0.4)[0] == (1, pytest.approx(1))
    assert fuse([], [], 0.5) == []


@pytest.fixture
def guide(home: Path) -> Index:
    given = [
        SourceDocument("ferry/tides.md", "Tides", "# Tides\n\nThe sea rises four metres.", (), {"year": 2024}),
        SourceDocument("ferry/dogs.md", "Dogs", "## On board\n\nDogs travel free on the car deck.", (), {}),
        SourceDocument("hotel/dogs.md", "Dogs", "# Dogs\n\nDogs pay nine euros.", (), {"year": 2025, "x": "a%"}),
        SourceDocument("100%.txt", "Codes", "Error ZX-4410 means that the bow door is open.", (0, 10), {}),
    ]
    made = create_index("guide", given)
    build_index(made.id)
    return made


pytestmark = pytest.mark.integration


def names(found: list[Hit]) -> list[str]:
    return [hit.source for hit in found]


def test_each_way_finds_what_it_is_good_at(guide: Index) -> None:
    (by_words,) = search(guide.id, ["ZX-4410"], 3, mode="sparse")
    assert names(by_words) == ["100%.txt"] and by_words[0].matched == ("ZX", "4410")
    assert (by_words[0].dense_rank, by_words[0].sparse_rank, by_words[0].score) == (None, 1, by_words[0].sparse_score)
    (by_meaning,) = search(guide.id, ["pets on a ship"], 1, mode="dense")
    assert names(by_meaning) == ["ferry/dogs.md"]
    assert (by_meaning[0].dense_rank, by_meaning[0].sparse_rank, by_meaning[0].score) == (
        1,
        None,
        by_meaning[0].dense_score,
    )
    (both,) = search(guide.id, ["Do dogs pay?"], 4)
    assert names(both)[0] == "hotel/dogs.md" and both[0].score == pytest.approx(1)
    assert {hit.dense_rank for hit in both} == {1, 2, 3, 4}
    assert both[0].why.startswith("Found as number 1 by meaning (cosine similarity 0.")
    assert "number 1 by words (BM25" in both[0].why and "dogs, pay" in both[0].why


def test_hit_says_where_it_stands_and_fits_into_json(guide: Index) -> None:
    (hit,) = search(guide.id, ["dogs on the car deck"], 1)[0]
    assert (hit.title, hit.section) == ("Dogs", "On board")
    assert "Dogs travel free" in hit.text and hit.end > hit.start >= 0
    row = json.loads(json.dumps(hit.as_dict()))
    assert {"chunk_id", "source", "title", "text", "score", "section", "page", "document_id", "start", "end"} <= set(
        row
    )
    assert Hit(**row | {"matched": tuple(row["matched"])}) == hit
    assert search(guide.id, ["bow door"], 1)[0][0].page == 1


def test_index_is_searched_its_own_way_unless_told_otherwise(guide: Index) -> None:
    with session() as db:
        db.execute(sa.update(Index).values(mode="sparse"))
    assert search(guide.id, ["zebra"], 3) == [[]]
    assert len(search(guide.id, ["zebra"], 3, mode="dense")[0]) == 3


@pytest.mark.parametrize("mode", ["dense", "sparse", "hybrid"])
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (Where(sources=("hotel/dogs.md",)), {"hotel/dogs.md"}),
        (Where(prefix="ferry/"), {"ferry/dogs.md", "ferry/tides.md"}),
        (Where(prefix="100%"), {"100%.txt"}),
        (Where(prefix="%"), set()),
        (Where(meta={"year": "2024"}), {"ferry/tides.md"}),
        (Where(meta={"year": "2025", "x": "a%"}), {"hotel/dogs.md"}),
        (Where(prefix="ferry/", meta={"year": "2025"}), set()),
        (Where(sources=("nothing.md",)), set()),
    ],
)
def test_filters_hold_in_both_lists(guide: Index, mode: str, where: Where, expected: set[str]) -> None:
    question = "dogs, the sea, euros and the bow door"
    assert set(names(search(guide.id, [question], 10, mode=mode, where=where)[0])) == expected  # type: ignore[arg-type]


def test_many_questions_at_once_are_each_answered_as_alone(guide: Index) -> None:
    questions = ["tides", "dogs", "", "\x00 \ud800", "ZX-4410", "🐕" * 400]
    together = search(guide.id, questions, 3)
    assert len(together) == 6
    for question, found in zip(questions, together, strict=True):
        assert names(found) == names(search(guide.id, [question], 3)[0])
    lists = rank_lists(guide.id, ["dogs"], 2)[0]
    assert len(lists.dense_ids) == len(lists.sparse_ids) == 2


def cross_encoder(folder: Path, labels: int = 1) -> str:
    """A cross-encoder of random weights."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = load_embedder().tokenizer
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_labels=labels,
        initializer_range=0.5,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_reranker_reads_both_and_sets_the_order(guide: Index, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    model = cross_encoder(tmp_path / "reranker")
    usual = search(guide.id, ["dogs"], 4)[0]
    found = search(guide.id, ["dogs"], 4, reranker=model)[0]
    scores = CrossEncoder(model).predict([("dogs", hit.text) for hit in usual])
    expected = {hit.chunk_id: float(score) for hit, score in zip(usual, scores, strict=True)}
    assert [hit.chunk_id for hit in found] == sorted(expected, key=lambda id: -expected[id])
    assert [hit.rerank_score for hit in found] == [pytest.approx(expected[hit.chunk_id], abs=1e-4) for hit in found]
    assert "from the reranker, which set the order" in found[0].why
    # It may bring up what stood below the first k.
    assert search(guide.id, ["dogs"], 1, reranker=model)[0][0].chunk_id == found[0].chunk_id
    with session() as db:
        db.execute(sa.update(Index).values(reranker=model))
    assert [h.chunk_id for h in search(guide.id, ["dogs"], 4)[0]] == [h.chunk_id for h in found]
    assert search(guide.id, ["dogs"], 4, reranker="")[0][0].rerank_score is None


def test_reranker_that_is_not_there_or_none_is_named(guide: Index, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"reranker nobody/none could not be opened"):
        search(guide.id, ["dogs"], 1, reranker="nobody/none")
    with pytest.raises(UserError, match="gives 3 values"):
        search(guide.id, ["dogs"], 1, reranker=cross_encoder(tmp_path / "three", labels=3))


def test_language_is_found_and_decides_whom_to_trust(shared_data: Path) -> None:
    for code, weight in (("en", 0.4), ("vi", 0.0)):
        data = json.loads((shared_data / f"xquad-{code}" / f"xquad.{code}.json").read_text(encoding="utf-8"))["data"]
        texts = [article["paragraphs"][0]["context"] for article in data[:6]]
        assert main_language(texts) == code
        made = create_index(code, [SourceDocument(f"{n}.txt", str(n), text) for n, text in enumerate(texts)])
        build_index(made.id)
        with session(read_only=True) as db:
            index = db.get_one(Index, made.id)
        assert (index.language, index.dense_weight) == (code, weight)
        advice = language_advice(index)
        assert bool(advice) == (code == "vi")
    assert "Vietnamese" in advice and "intfloat/multilingual-e5-small" in advice
    assert default_dense_weight("some/other", "vi") == default_dense_weight(BUNDLED_EMBEDDER, "") == 0.4
    assert main_language([]) == ""


def test_every_embedder_of_the_catalogue_states_its_languages() -> None:
    for entry in catalogue("embedding"):
        assert entry.languages and all(2 <= len(code) <= 3 and code.islower() for code in entry.languages)
    assert sum("vi" in entry.languages for entry in catalogue("embedding")) >= 2


def test_weight_a_person_set_is_kept(guide: Index) -> None:
    with session() as db:
        db.execute(sa.update(Index).values(dense_weight=0.7))
    build_index(guide.id)
    with session(read_only=True) as db:
        assert db.get_one(Index, guide.id).dense_weight == 0.7
