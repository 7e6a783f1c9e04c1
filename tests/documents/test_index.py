"""The index: built to the end whatever interrupts it, and found in by every process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.documents import index
from core.documents.index import build_index, create_index, delete_index, preview_chunks, search
from core.documents.reading import SourceDocument, read_document
from core.documents.vectors import vector_store, vectors
from core.errors import UserError
from core.jobs.run import run_foreground
from core.models.embedding import Embedder, load_embedder
from core.settings import REPOSITORY
from core.store import lists
from core.store.database import session
from core.store.tables import Document, Index

pytestmark = pytest.mark.integration

TEXTS = {
    "tides.md": "# Tides\n\nAt Pellin the sea rises four metres between low and high water.",
    "dogs.md": "# Dogs on board\n\nDogs travel free on the car deck, on a lead.",
    "refunds.txt": "Money is given back within nine days when a sailing is cancelled.",
}


def documents(texts: dict[str, str] = TEXTS) -> list[SourceDocument]:
    return [read_document(name, text.encode()) for name, text in texts.items()]


def many(count: int) -> list[SourceDocument]:
    return documents({f"{n:03}.md": f"# Island {n}\n\nIsland {n} has {n + 100} sheep." for n in range(count)})


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every text that is embedded, as the embedder is really asked."""
    texts: list[str] = []
    usual = Embedder.embed

    def noted(self: Embedder, asked: list[str]) -> object:
        texts.extend(asked)
        return usual(self, asked)

    monkeypatch.setattr(Embedder, "embed", noted)
    return texts


def test_the_right_document_is_found_and_named() -> None:
    made = create_index("handbook", documents())
    assert build_index(made.id) == 3
    questions = ["How high is the tide?", "May I bring my dog?", "When do I get my money back?"]
    found = search(made.id, questions, 2)
    assert [hits[0].source for hits in found] == ["tides.md", "dogs.md", "refunds.txt"]
    best = found[1][0]
    assert (best.title, best.text) == (
        "Dogs on board",
        "# Dogs on board\n\nDogs travel free on the car deck, on a lead.",
    )
    assert all(-1 <= second.score <= first.score <= 1.0001 for first, second in found)
    assert search(made.id, ["dog"], 50)[0][0].source == "dogs.md"
    assert len(search(made.id, ["dog"], 50)[0]) == 3
    assert search(made.id, [], 2) == []


def test_every_embedded_text_is_short_enough_to_be_read_whole(embedded: list[str]) -> None:
    long = " ".join(f"sentence number {n}." for n in range(300))
    titles = {"short": "Short", "long": "A title that goes on " * 8, "endless": "endless " * 400}
    made = create_index("d", [SourceDocument(f"{name}.md", title, long) for name, title in titles.items()])
    build_index(made.id)
    encoder = load_embedder()
    lengths = [len(encoder.tokenizer(text, truncation=False)["input_ids"]) for text in embedded]
    assert max(lengths) <= made.chunk_tokens <= encoder.max_tokens
    with session(read_only=True) as db:
        counts = db.scalars(sa.select(Document.chunk_count)).all()
    assert sum(counts) == len(embedded) and min(counts) > 5


def test_chunks_longer_than_the_embedder_reads_are_refused() -> None:
    made = create_index("d", documents(), chunk_tokens=512)
    with pytest.raises(UserError, match=r"Chunks of 512 tokens.*256 tokens or fewer"):
        build_index(made.id)


def test_interrupted_index_goes_on_with_what_is_left(embedded: list[str]) -> None:
    made = create_index("d", many(20))

    def give_up(done: int, total: int) -> None:
        assert total == 20
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(made.id, give_up)
    first = list(embedded)
    assert len(first) == index.DOCUMENTS_PER_STEP
    (summary,) = lists.indexes()
    assert (summary.waiting, summary.ready) == (12, False)

    seen: list[int] = []
    assert build_index(made.id, lambda done, total: seen.append(done)) == 20
    assert len(embedded) == 20 and not set(first) & set(embedded[len(first) :])
    assert sorted(set(seen)) == [8, 16, 20]
    assert lists.indexes()[0].ready
    assert build_index(made.id) == 20 and len(embedded) == 20
    assert search(made.id, ["Island 17"], 1)[0][0].source == "017.md"


def test_step_that_was_written_but_not_recorded_is_not_doubled() -> None:
    """As after a kill between Chroma's write and ours."""
    made = create_index("d", many(6))
    build_index(made.id)
    with session() as db:
        db.execute(sa.update(Document).values(chunk_count=0))
    assert build_index(made.id) == 6
    assert len({hit.chunk_id for hit in search(made.id, ["sheep"], 50)[0]}) == 6


def test_index_job_reports_documents_and_counts_chunks() -> None:
    made = create_index("d", many(9))
    seen: list[tuple[float, float]] = []
    job = run_foreground(
        "index", {"index_id": made.id}, on_progress=lambda done, total, message: seen.append((done, total))
    )
    assert (job.status, job.result) == ("done", {"chunks": 9})
    assert sorted(set(seen)) == [(0, 9), (8, 9), (9, 9)]


def test_what_another_process_writes_is_found_by_one_that_has_searched() -> None:
    made = create_index("d", documents())
    build_index(made.id)
    assert len(search(made.id, ["sheep"], 50)[0]) == 3
    other = create_index("other", many(3))
    code = (
        "from core.documents.index import build_index\n"
        "from core.store.database import session\n"
        "from core.store.tables import Document\n"
        f"new = Document(index_id={made.id}, name='new.md', title='Sheep', hash='h', text='Sheep')\n"
        "with session() as db: db.add(new)\n"
        f"build_index({made.id}); build_index({other.id})\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)
    assert search(made.id, ["sheep"], 1)[0][0].source == "new.md"
    assert len(search(made.id, ["sheep"], 50)[0]) == 4
    assert len(search(other.id, ["sheep"], 50)[0]) == 3


def test_long_document_is_written_in_portions_that_the_store_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    with vector_store() as client:
        assert client.get_max_batch_size() >= index.CHUNKS_PER_WRITE
    monkeypatch.setattr(index, "CHUNKS_PER_WRITE", 7)
    text = "\n\n".join(f"Rule {n}: never feed gull number {n}." for n in range(40))
    made = create_index("d", documents({"rules.md": text}), chunk_tokens=24, overlap_tokens=0)
    portions: list[int] = []
    count = build_index(made.id, lambda done, total: portions.append(done))
    assert count > 2 * 7 and len(portions) > 3
    found = search(made.id, ["gull"], count)[0]
    assert {int(hit.chunk_id.rpartition("-")[2]) for hit in found} == set(range(count))


def test_deleting_removes_documents_and_vectors() -> None:
    kept, gone = create_index("kept", documents()), create_index("gone", many(3))
    build_index(kept.id)
    build_index(gone.id)
    delete_index(gone.id)
    with vector_store() as client:
        assert [collection.name for collection in client.list_collections()] == [f"index-{kept.id}"]
    with session(read_only=True) as db:
        assert set(db.scalars(sa.select(Document.index_id))) == {kept.id}
    with pytest.raises(UserError, match="does not exist any more"):
        search(gone.id, ["dog"], 1)
    assert search(kept.id, ["dog"], 1)[0][0].source == "dogs.md"


def test_index_without_documents_or_with_two_of_one_name_is_refused() -> None:
    with pytest.raises(UserError, match="no documents"):
        create_index("d", [])
    with pytest.raises(UserError, match=r"Two documents are called tides\.md"):
        create_index("d", documents() + documents())
    with session(read_only=True) as db:
        assert db.scalars(sa.select(Index)).all() == []


def test_preview_cuts_like_the_index_and_stores_nothing(home: Path) -> None:
    chunks = preview_chunks("# A\n\n" + "word " * 300, "a.md", load_embedder().id, 64, 8)
    assert len(chunks) > 4
    assert not (home / "chroma").exists() or not vector_names()


def vector_names() -> list[str]:
    with vector_store() as client:
        return [collection.name for collection in client.list_collections()]


def test_searching_what_was_never_built_finds_nothing() -> None:
    made = create_index("d", documents())
    assert search(made.id, ["dog"], 3) == [[]]
    with vectors(f"index-{made.id}") as collection:
        assert collection.count() == 0
