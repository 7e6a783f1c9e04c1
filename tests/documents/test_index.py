"""The index: built to the end whatever interrupts it, and found in by every process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.documents import index, locking, sparse
from core.documents.index import (
    build_index,
    change_settings,
    create_index,
    delete_index,
    preview_chunks,
    remove_documents,
    sync_documents,
)
from core.documents.reading import SourceDocument, read_document
from core.documents.retrieval import Hit, search
from core.documents.vectors import stored_ids, vector_store, vectors
from core.errors import UserError
from core.jobs.run import run_foreground
from core.models.embedding import Embedder, load_embedder
from core.settings import REPOSITORY
from core.store import lists
from core.store.database import session
from core.store.tables import Chunk, Document, Index

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
    text = "# Dogs on board\n\nDogs travel free on the car deck, on a lead."
    assert (best.title, best.section, best.text) == ("Dogs on board", "Dogs on board", text)
    assert TEXTS["dogs.md"][best.start : best.end] == text
    assert all(0 <= second.score <= first.score <= 1.0001 for first, second in found)
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
    assert made.chunk_tokens < max(lengths) <= encoder.max_tokens
    assert all(text.split("\n")[0] for text in embedded)
    with session(read_only=True) as db:
        counts = db.scalars(sa.select(Document.chunk_count)).all()
    assert sum(counts) == len(embedded) and min(counts) > 5


def test_chunks_longer_than_the_embedder_reads_are_refused() -> None:
    made = create_index("d", documents(), chunk_tokens=512)
    with pytest.raises(UserError, match=r"Chunks of 512 tokens.*256 tokens or fewer"):
        build_index(made.id)


def test_interrupted_index_goes_on_with_what_is_left(embedded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "CHUNKS_PER_STEP", 8)
    made = create_index("d", many(20))

    def give_up(done: int, total: int) -> None:
        assert total == 20
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(made.id, give_up)
    first = list(embedded)
    assert len(first) == 8
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
    before = stored_ids(made.id)
    with session() as db:
        db.execute(sa.update(Document).values(chunk_count=0))
        db.execute(sa.update(Chunk).values(indexed=False))
    assert build_index(made.id) == 6
    assert len({hit.chunk_id for hit in search(made.id, ["sheep"], 50)[0]}) == 6
    assert stored_ids(made.id) == before
    assert sparse.open_words(made.id, "en").count() == 6


def test_index_job_reports_documents_and_counts_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "CHUNKS_PER_STEP", 8)
    made = create_index("d", many(9))
    seen: list[tuple[float, float]] = []
    job = run_foreground(
        "index", {"index_id": made.id}, on_progress=lambda done, total, message: seen.append((done, total))
    )
    assert (job.status, job.result) == ("done", {"chunks": 9, "reused": 0})
    assert sorted(set(seen)) == [(0, 9), (8, 9), (9, 9)]


def test_long_document_is_written_in_portions_that_the_store_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    with vector_store() as client:
        assert client.get_max_batch_size() >= index.CHUNKS_PER_STEP
    monkeypatch.setattr(index, "CHUNKS_PER_STEP", 7)
    text = "\n\n".join(f"Rule {n}: never feed gull number {n}." for n in range(40))
    made = create_index("d", documents({"rules.md": text}), chunk_tokens=24, overlap_tokens=0)
    portions: list[int] = []
    count = build_index(made.id, lambda done, total: portions.append(done))
    assert count > 2 * 7 and len(portions) > 3
    found = search(made.id, ["gull"], count)[0]
    with session(read_only=True) as db:
        chunks = db.scalars(sa.select(Chunk).order_by(Chunk.position)).all()
    assert [chunk.position for chunk in chunks] == list(range(count))
    assert {hit.chunk_id for hit in found} == {chunk.id for chunk in chunks}
    assert all(text[chunk.start : chunk.end] == chunk.text for chunk in chunks)


def test_only_what_changed_is_embedded_again(embedded: list[str]) -> None:
    sections = [f"## Part {n}\n\n" + f"The quay of part {n} is long. " * 12 for n in range(6)]
    old = "# Quays\n\n" + "\n\n".join(sections)
    made = create_index("d", [*documents({"quays.md": old}), *many(5)], chunk_tokens=96)
    count = build_index(made.id)
    before = {hit.chunk_id: hit.text for hit in search(made.id, ["quay"], 50)[0]}
    embedded.clear()

    new = old.replace("The quay of part 3 is long.", "The quay of part 3 is gone.", 1)
    changes = sync_documents(made.id, [*documents({"quays.md": new}), *many(5)], remove_missing=True)
    assert (changes.changed, changes.added, changes.removed, len(changes.unchanged)) == (("quays.md",), (), (), 5)
    assert not lists.indexes()[0].ready
    assert build_index(made.id) == count
    assert len(embedded) == 1 and "is gone" in embedded[0]
    after = {hit.chunk_id: hit.text for hit in search(made.id, ["quay"], 50)[0]}
    assert len(before.items() & after.items()) == len(before) - 1
    best = search(made.id, ["Which quay is gone?"], 1, mode="sparse")[0][0]
    assert "is gone" in best.text and new[best.start : best.end] == best.text
    assert_like_a_fresh_one(made.id, [*documents({"quays.md": new}), *many(5)], chunk_tokens=96)


def test_documents_are_added_and_removed_without_a_trace() -> None:
    made = create_index("d", many(4))
    build_index(made.id)
    changes = sync_documents(made.id, [*many(2), *documents()], remove_missing=True)
    assert (set(changes.added), changes.removed) == (set(TEXTS), ("002.md", "003.md"))
    assert "002.md" not in sources(made.id, "sheep")  # gone at once, not only after the next build
    assert build_index(made.id) == 5
    assert sources(made.id, "sheep") == {"000.md", "001.md", *TEXTS}
    assert sync_documents(made.id, documents({"dogs.md": "# Cats\n\nCats too."}), remove_missing=False).removed == ()
    remove_documents(made.id, ["tides.md", "never there.md"])
    assert build_index(made.id) == 4
    assert sources(made.id, "sheep") == {"000.md", "001.md", "dogs.md", "refunds.txt"}
    assert len(stored_ids(made.id)) == 4


def test_other_chunk_size_and_other_embedder_cut_and_embed_anew(embedded: list[str], tmp_path: Path) -> None:
    long = documents(
        {
            "long.md": "# Long\n\n" + " ".join(f"Stone {n} of the harbour wall is {n} feet long." for n in range(80)),
            **TEXTS,
        }
    )
    made = create_index("d", long)
    build_index(made.id)
    embedded.clear()
    change_settings(made.id, chunk_tokens=48)
    build_index(made.id)
    assert embedded and not set(TEXTS) & {text.split("\n")[0] for text in embedded}
    assert_like_a_fresh_one(made.id, long, chunk_tokens=48)

    other = short_vectors(tmp_path / "short")
    change_settings(made.id, embedder=other)
    assert search(made.id, ["harbour"], 5, mode="dense") == [[]]
    build_index(made.id)
    with vectors(made.id) as collection:
        assert len(collection.get(limit=1, include=["embeddings"])["embeddings"][0]) == 16
    assert search(made.id, ["harbour"], 1, mode="dense")[0]


def short_vectors(folder: Path) -> str:
    """An embedder of random weights whose vectors have 16 numbers."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel

    tokenizer = load_embedder().tokenizer
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    BertModel(config).save_pretrained(folder / "plain")
    tokenizer.save_pretrained(folder / "plain")
    transformer = Transformer(str(folder / "plain"), max_seq_length=256)
    SentenceTransformer(modules=[transformer, Pooling(16)]).save(str(folder / "encoder"))
    return str(folder / "encoder")


def sources(index_id: int, question: str) -> set[str]:
    return {hit.source for hit in search(index_id, [question], 100)[0]}


def assert_like_a_fresh_one(index_id: int, given: list[SourceDocument], **settings: int) -> None:
    """Every search finds the same as in an index that was built of the same documents without any detour.

    By words, equals come in the order of their ids, and what was deleted counts in BM25 until its segment is merged:
    the order of equals, and the score itself, may differ, but not who is best and who is found at all.
    """
    fresh = create_index("fresh", given, **settings)
    build_index(fresh.id)
    for question in ("quay", "How many sheep?", "Which is gone?", "harbour wall", "Island 7"):
        for mode in ("dense", "sparse", "hybrid"):
            ours, theirs = (search(id, [question], 100, mode=mode)[0] for id in (index_id, fresh.id))
            assert {told(hit) for hit in ours} == {told(hit) for hit in theirs}
            assert {told(hit) for hit in ours if near(hit, ours[0])} == {told(h) for h in theirs if near(h, theirs[0])}
            if mode == "dense":
                assert [hit.score for hit in ours] == pytest.approx([hit.score for hit in theirs], abs=1e-4)


def told(hit: Hit) -> tuple[object, ...]:
    return hit.source, hit.text, hit.section, hit.start, hit.end


def near(hit: Hit, best: Hit) -> bool:
    return hit.sparse_score is None or best.sparse_score is None or hit.sparse_score > best.sparse_score - 1e-4


def test_killed_build_resumes_and_finds_what_a_fresh_index_finds() -> None:
    given = many(90)
    made = create_index("d", given)
    code = (
        "from core.documents import index\n"
        "index.CHUNKS_PER_STEP = 8\n"
        f"index.build_index({made.id}, lambda done, total: print(done, flush=True))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as builder:
        assert builder.stdout is not None
        while int(builder.stdout.readline()) < 40:
            pass
        time.sleep(0.04)  # into the midst of a step
        os.kill(builder.pid, signal.SIGKILL)
    assert 0 < lists.indexes()[0].waiting <= 50
    with session(read_only=True) as db:
        kept = set(db.scalars(sa.select(Chunk.id).where(Chunk.indexed)))
    assert build_index(made.id) == 90
    with session(read_only=True) as db:
        chunks = set(db.scalars(sa.select(Chunk.id)))
    assert kept <= chunks and len(chunks) == 90
    assert stored_ids(made.id) == {str(id) for id in chunks}
    assert_like_a_fresh_one(made.id, given)


WRITER = """
import sys
from core.documents.index import build_index, sync_documents
from core.documents.reading import read_document
from core.errors import UserError
letter, rounds = sys.argv[2], int(sys.argv[3])
for turn in range(rounds):
    given = [read_document(f"{letter}{n}.md", f"Sheep {turn} of {letter} {n}".encode()) for n in range(6)]
    sync_documents(int(sys.argv[1]), given, remove_missing=False)
    build_index(int(sys.argv[1]))
build_index(int(sys.argv[4]))
"""


def test_two_processes_that_write_at_once_do_not_harm_the_index_and_are_noticed_by_a_third() -> None:
    made, new = create_index("d", documents()), create_index("new", many(3))
    build_index(made.id)
    assert search(new.id, ["sheep"], 50) == [[]]
    arguments = [sys.executable, "-c", WRITER, str(made.id)]
    writers = [subprocess.Popen([*arguments, letter, "2", str(new.id)], cwd=REPOSITORY) for letter in "ab"]
    while any(writer.poll() is None for writer in writers):
        assert all(hit.text for hit in search(made.id, ["sheep"], 5)[0])  # and one that reads meanwhile
        time.sleep(0.5)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert len(search(new.id, ["sheep"], 50)[0]) == 3
    assert sources(made.id, "Sheep 1 of a 4") >= {f"{letter}{n}.md" for letter in "ab" for n in range(6)}
    assert build_index(made.id) == 15
    texts = {hit.text for hit in search(made.id, ["sheep"], 50)[0]}
    assert texts - set(TEXTS.values()) == {f"Sheep 1 of {letter} {n}" for letter in "ab" for n in range(6)}
    with session(read_only=True) as db:
        known = db.scalars(sa.select(Chunk.id).where(Chunk.index_id == made.id))
        assert stored_ids(made.id) == {str(id) for id in known}
    assert sparse.open_words(made.id, "en").count() == 15


def test_second_writer_is_told_who_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "WAIT_S", 0.3)
    made = create_index("d", documents())
    code = (
        "import time\nfrom core.documents.locking import writing\n"
        f"with writing({made.id}):\n print('in', flush=True)\n time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        with pytest.raises(UserError, match=rf"being written by process {other.pid} on "):
            build_index(made.id)
        os.kill(other.pid, signal.SIGKILL)
    assert build_index(made.id) == 3  # a dead process holds nothing


def test_index_of_before_there_were_chunk_records_is_built_anew() -> None:
    made = create_index("d", documents())
    with vectors(made.id) as collection:
        collection.upsert(ids=["1-0123456789abcdef-0"], embeddings=[[1.0] + [0.0] * 383], documents=["old"])
    assert search(made.id, ["dog"], 3) == [[]]
    assert build_index(made.id) == 3
    assert sources(made.id, "old") == set(TEXTS)
    assert len(stored_ids(made.id)) == 3 and all(id.isdecimal() for id in stored_ids(made.id))


def test_lost_vectors_and_lost_words_are_made_again(home: Path, embedded: list[str]) -> None:
    made = create_index("d", documents())
    build_index(made.id)
    embedded.clear()
    sparse.forget_words(made.id)
    build_index(made.id)
    assert not embedded and search(made.id, ["lead"], 1, mode="sparse")[0][0].source == "dogs.md"
    with vectors(made.id) as collection:
        collection.delete(ids=list(stored_ids(made.id))[:2])
    assert build_index(made.id) == 3 and len(embedded) == 2 and len(stored_ids(made.id)) == 3


def test_equal_rows_are_one_chunk_and_do_not_hide_the_rest(embedded: list[str]) -> None:
    table = "port,hour\n" + "Pellin,7\n" * 20_000
    made = create_index("d", [*documents(), read_document("times.csv", table.encode())])
    assert build_index(made.id) < 8 and len(embedded) < 8
    assert search(made.id, ["May I bring my dog?"], 1, mode="dense")[0][0].source == "dogs.md"


def test_deleting_removes_documents_vectors_and_words(home: Path) -> None:
    kept, gone = create_index("kept", documents()), create_index("gone", many(3))
    build_index(kept.id)
    build_index(gone.id)
    delete_index(gone.id)
    with vector_store() as client:
        assert [collection.name for collection in client.list_collections()] == [f"index-{kept.id}"]
    assert [folder.name for folder in (home / "words").iterdir()] == [f"index-{kept.id}"]
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
    with pytest.raises(UserError, match=r"blank\.md is empty"):
        create_index("d", [*documents(), SourceDocument("blank.md", "Blank", " \n\x1c")])
    with session(read_only=True) as db:
        assert db.scalars(sa.select(Index)).all() == []


def test_preview_cuts_like_the_index_and_stores_nothing(home: Path) -> None:
    text = "# A\n\n" + " ".join(f"word{n}" for n in range(150))
    chunks = preview_chunks(text, "a.md", load_embedder().id, 64, 8)
    assert len(chunks) > 4
    assert not (home / "chroma").exists() or not vector_names()


def vector_names() -> list[str]:
    with vector_store() as client:
        return [collection.name for collection in client.list_collections()]


def test_searching_what_was_never_built_finds_nothing() -> None:
    made = create_index("d", documents())
    assert search(made.id, ["dog"], 3) == [[]]
    assert not stored_ids(made.id)
