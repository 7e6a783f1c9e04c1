"""The retrieval lab: what is relevant, how it is counted, and what may be concluded and adopted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core.data.files import File
from core.documents.index import build_index, create_index
from core.documents.reading import SourceDocument
from core.documents.retrieval import search
from core.errors import UserError
from core.evaluate.lab import (
    Asked,
    Question,
    Questions,
    Span,
    adopt,
    asked_in_file,
    default_settings,
    questions_from_dataset,
    questions_from_file,
    rankings,
    resolve,
    run_lab,
    score,
)
from core.evaluate.lab.measures import Place, finds
from core.evaluate.lab.rankings import Setting
from core.evaluate.lab.report import Measured, _verdict
from core.evaluate.lab_job import submit_lab
from core.jobs import queue
from core.jobs.run import execute, run_foreground
from core.store.database import session
from core.store.tables import Document, Index
from tests.factories import chat, jsonl, sorting_dataset

ISLANDS = {
    "pellin.md": "# Pellin\n\nAt Pellin the sea rises four metres. The keeper of the light is Odo Varga.",
    "skerry.md": "# Skerry\n\nSkerry has no harbour. The keeper of the light is Ines Holt.",
    "marn.md": "# Marn\n\nOn Marn dogs travel free. The ferry calls on Mondays, weather permitting.",
}


def index_of(texts: dict[str, str], **settings: int) -> Index:
    documents = [SourceDocument(name, name.removesuffix(".md").title(), text) for name, text in texts.items()]
    return create_index("islands", documents, **settings)


def ids_of(index: Index) -> dict[str, int]:
    with session(read_only=True) as db:
        return {row.name: row.id for row in db.query(Document).filter_by(index_id=index.id)}


def upload(*records: object, name: str = "questions.jsonl") -> File:
    return File(name, jsonl(records))


# What is relevant


def test_named_documents_and_texts_are_found_in_the_documents() -> None:
    made = index_of(ISLANDS)
    ids = ids_of(made)
    file = upload(
        {"question": "Who keeps the light of Pellin?", "document": "pellin.md", "text": "odo VARGA"},
        {"question": "Which islands have a light?", "documents": ["pellin", "Skerry"]},
        {"question": "When does the ferry call?", "text": "calls on\nMondays"},
    )
    found = questions_from_file(file, made.id)
    start = ISLANDS["pellin.md"].index("Odo Varga")
    assert found.usable[0].targets == ((Span(ids["pellin.md"], start, start + 9),),)
    assert found.usable[1].targets == ((Span(ids["pellin.md"]),), (Span(ids["skerry.md"]),))
    assert found.usable[2].targets[0][0].document_id == ids["marn.md"]
    assert (found.given, found.left_out) == (3, {})


def test_what_cannot_be_used_is_counted_and_quoted() -> None:
    made = index_of(ISLANDS)
    file = upload(
        {"question": "a", "document": "atlantis.md"},
        {"question": "b", "text": "no such words"},
        {"question": "c", "document": "marn.md"},
        {"question": "c", "document": "marn.md"},
    )
    found = questions_from_file(file, made.id)
    assert [one.text for one in found.usable] == ["c"]
    assert found.left_out == {
        "no such document": 1,
        "the text is not in the documents": 1,
        "the same question again": 1,
    }
    assert found.quoted[0] == "line 1: no such document: a"


def test_answers_that_stand_in_many_places_are_there_by_chance() -> None:
    texts = {f"{n}.md": f"# Page {n}\n\nThe answer is yes, and number {n} is {n * 1111}." for n in range(1, 9)}
    made = index_of(texts)
    asked = [Asked(answer, answers=(answer,)) for answer in ("yes", "4444", "7", "nowhere at all")]
    found = resolve(made.id, asked)
    assert [one.text for one in found.usable] == ["4444"]
    assert found.left_out == {
        "the answer is in more than 5 chunks, so some by chance": 1,
        "the answer is too short to be looked for": 1,
        "the answer is not in the documents": 1,
    }


def test_answer_is_not_found_within_a_longer_word() -> None:
    made = index_of({"a.md": "# A\n\nThe harbourmaster is away.", "b.md": "# B\n\n東京都は広い。"})
    found = resolve(made.id, [Asked("1", answers=("harbour",)), Asked("2", answers=("東京",))])
    assert [one.text for one in found.usable] == ["2"]


def test_of_json_answers_the_longest_text_is_looked_for() -> None:
    made = index_of(ISLANDS)
    records = [chat("Who keeps it?", json.dumps({"kind": "person", "name": "Ines Holt", "sure": 1.0}))]
    dataset = sorting_dataset_of(records)
    found = questions_from_dataset(dataset, made.id, ("train",))
    assert [one.text for one in found.usable] == ["Who keeps it?"]
    assert found.usable[0].targets[0][0].document_id == ids_of(made)["skerry.md"]


def test_answers_of_many_questions_are_labels_and_prove_nothing() -> None:
    made = index_of(ISLANDS)
    records = [chat(f"Which island is number {n}?", "Pellin") for n in range(4)] + [chat("Who keeps it?", "Ines Holt")]
    found = questions_from_dataset(sorting_dataset_of(records), made.id, ("train",))
    assert [one.text for one in found.usable] == ["Who keeps it?"]
    assert found.left_out == {"its answer is that of many others: a label, no passage": 4}


def sorting_dataset_of(records: list[dict[str, object]]) -> int:
    from core.data.dataset import create_dataset

    test = File("test.jsonl", jsonl([chat("Where is the pear?", "in the garden")]))
    return create_dataset("keepers", File("train.jsonl", jsonl(records)), test).id


def test_test_split_is_left_out_unless_asked_for() -> None:
    made = index_of(ISLANDS)
    dataset = sorting_dataset(train=6, test=4)
    assert questions_from_dataset(dataset.id, made.id, ("test",)).given == 4
    assert questions_from_dataset(dataset.id, made.id).given < 10


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (upload({"question": "a", "text": "b"}, {"text": "b"}), "line 2: there is no question"),
        (upload({"question": "a", "answer": "b"}), "line 1: there is no documents or text"),
        (File("q.jsonl", b'{"question": "a", "text": "b"}\n{"question": \n'), "q.jsonl, line 2"),
        (File("q.csv", b"question,text\n,\n"), "q.csv"),
    ],
)
def test_a_file_that_does_not_say_what_is_relevant_is_refused(file: File, message: str) -> None:
    with pytest.raises(UserError, match=message):
        asked_in_file(file)


def test_csv_cells_hold_several_documents() -> None:
    file = File("q.csv", b'question,document,group\nWhich?,"pellin.md | marn.md",7\n')
    (asked,) = asked_in_file(file)
    assert (asked.documents, asked.group, asked.place) == (("pellin.md", "marn.md"), "7", "row 2")


# How it is counted


@pytest.mark.parametrize(
    ("chunk", "span", "expected"),
    [
        (Place(1, 0, 100), Span(1, 40, 50), True),
        (Place(1, 0, 100), Span(1, 96, 106), False),
        (Place(1, 0, 100), Span(1, 95, 105), True),
        (Place(1, 100, 200), Span(1, 0, 1000), True),
        (Place(1, 100, 200), Span(1, 170, 1000), False),
        (Place(1, 0, 100), Span(2, 40, 50), False),
        (Place(1, 100, 200), Span(1), True),
    ],
)
def test_a_chunk_finds_a_place_when_half_of_the_shorter_is_shared(chunk: Place, span: Span, expected: bool) -> None:
    assert finds(chunk, span) is expected


def test_measures_by_hand() -> None:
    places = {n: Place(n, 0, 10) for n in range(20)} | {20: Place(5, 10, 20)}
    questions = [
        Question("second of one", ((Span(3),),), "a"),
        Question("first and fourth of three", ((Span(0),), (Span(9),), (Span(18),)), "b"),
        Question("either of two", ((Span(7), Span(2)),), "c"),
        Question("never", ((Span(19),),), "d"),
        Question("again and then another", ((Span(5),), (Span(6),)), "e"),
    ]
    ranked = [[1, 3, 2], [0, 1, 2, 9], [1, 4, 2, 7], [1, 2], [5, 20, 6]]
    found = score(questions, ranked, places)
    assert found["recall@1"] == pytest.approx([0, 1 / 3, 0, 0, 0.5])
    assert found["recall@3"] == pytest.approx([1, 1 / 3, 1, 0, 1])
    assert found["recall@5"] == pytest.approx([1, 2 / 3, 1, 0, 1])
    assert found["MRR"] == pytest.approx([1 / 2, 1, 1 / 3, 0, 1])
    gain = [1 / np.log2(rank + 1) for rank in range(1, 11)]
    expected = [gain[1], (gain[0] + gain[3]) / sum(gain[:3]), gain[2], 0, (gain[0] + gain[2]) / sum(gain[:2])]
    assert found["nDCG@10"] == pytest.approx(expected)


# What may be concluded


def measured(setting: Setting, mean: float, outcome: str | None, more: int | None = None, mrr: float = 0.5) -> Measured:
    scores = {"recall@5": {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}, "MRR": {"mean": mrr}}
    difference = outcome and {"effect": 0.1, "low": 0.02, "high": 0.2, "p": 0.01, "outcome": outcome, "more": more}
    return Measured(setting, setting.title, outcome is None, 10, scores, difference or None)


HYBRID, SPARSE, DENSE = (Setting(mode, 0.4, 128, 16) for mode in ("hybrid", "sparse", "dense"))
RERANKED = Setting("hybrid", 0.4, 128, 16, "some/reranker")


def test_verdict_names_what_is_shown_and_nothing_else() -> None:
    now = measured(HYBRID, 0.7, None)
    assert _verdict([now, measured(SPARSE, 0.9, "better"), measured(DENSE, 0.8, "better")])[:2] == ("better", 1)
    small = Setting("sparse", 0.4, 64, 8)
    assert _verdict([now, measured(small, 0.9, "better"), measured(SPARSE, 0.9, "better")])[:2] == ("better", 2)
    assert _verdict([now, measured(SPARSE, 0.69, "equivalent")])[:2] == ("equivalent", 1)
    assert _verdict([now, measured(RERANKED, 0.71, "equivalent")])[:2] == ("equivalent", 0)
    assert _verdict([now, measured(SPARSE, 0.5, "worse"), measured(DENSE, 0.4, "worse")])[:2] == ("better", 0)
    outcome, proposed, why, more = _verdict([now, measured(RERANKED, 0.75, "cannot tell yet", 120)])
    assert (outcome, proposed, more) == ("cannot tell yet", None, 120)
    assert "may be chance" in why and "About 120 more" in why
    why = _verdict([now, measured(DENSE, 0.7, "cannot tell yet", 120, mrr=0.9)])[2]
    assert "no other setting that was tried scores higher" in why and "MRR 0.900 against 0.500" in why


@pytest.mark.integration
def test_lab_finds_that_words_find_what_the_embedder_cannot_tell_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes mean nothing to an encoder: words find every one, meaning almost none."""
    rng = np.random.default_rng(3)
    codes = [f"ZX{a}Q{b}" for a, b in zip(rng.integers(1000, 9999, 60), rng.integers(100, 999, 60), strict=True)]
    texts = {
        f"{n:02}.md": f"# Part\n\nThis part fits every boat. Its order code is {c}. It ships in a box."
        for n, c in enumerate(codes)
    }
    made = index_of(texts)
    build_index(made.id)
    adopt(made.id, Setting("dense", 0.4, made.chunk_tokens, made.overlap_tokens))
    questions = resolve(made.id, [Asked(f"What is part {c}?", answers=(f"order code is {c}",)) for c in codes])
    with session(read_only=True) as db:
        index = db.get_one(Index, made.id)
    said: list[str] = []
    settings = default_settings(index, sizes=(64,), weights=())
    report = run_lab(made.id, questions, settings, lambda done, total, message: said.append(message), seed=1)
    assert report.questions == report.given == 60 and report.outcome == "better" and report.proposed is not None
    best = report.measured[report.proposed]
    assert report.measured[0].present and report.measured[0].setting.mode == "dense"
    assert best.scores["recall@5"]["mean"] == 1.0 and best.difference and best.difference["low"] > 0
    assert {one.setting.chunk_tokens for one in report.measured} == {64, 128}
    assert any("64 tokens" in message for message in said)
    json.dumps(report.as_dict())
    # The cut for the moment finds by words what the index finds by words.
    by_words = [one.scores for one in report.measured if one.setting.mode == "sparse"]
    assert by_words[0] == by_words[1]

    smaller = Setting("sparse", 0.3, 64, 8)
    assert adopt(made.id, report.as_dict()["measured"][report.proposed]["setting"]) is False
    assert search(made.id, [f"What is part {codes[7]}?"], 1)[0][0].source == "07.md"
    assert adopt(made.id, smaller) is True
    with session(read_only=True) as db:
        index = db.get_one(Index, made.id)
        assert (index.mode, index.chunk_tokens, index.overlap_tokens, index.dense_weight) == ("sparse", 64, 8, 0.3)
        assert {row.chunk_count for row in db.query(Document)} == {0}
    with pytest.raises(UserError, match="60 documents of this index are not indexed yet"):
        run_lab(made.id, questions, settings)


@pytest.mark.integration
def test_present_chunks_cut_for_the_moment_are_found_as_in_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both roads to a ranking lead to the same measures, so sizes can be compared."""
    made = index_of({f"{n}.md": text * 9 for n, text in enumerate(ISLANDS.values())}, chunk_tokens=32, overlap_tokens=4)
    build_index(made.id)
    with session(read_only=True) as db:
        index = db.get_one(Index, made.id)
    questions = resolve(made.id, [Asked("Do dogs pay?", documents=("2.md",)), Asked("the sea", documents=("0.md",))])
    there = rankings.as_it_is(made.id, questions.usable)
    vectors = rankings.vectors_of(index, questions.usable)
    documents, in_all = rankings.sampled_documents(made.id, questions.usable, seed=0)
    assert in_all == 3
    here = rankings.cut_anew(index, documents, questions.usable, vectors, (32, 4), lambda *said: None)
    assert sorted(here.places.values()) == sorted(there.places.values())
    for mode in ("dense", "sparse", "hybrid"):
        setting = Setting(mode, 0.4, 32, 4)
        one, other = (
            [[cut.places[id].document_id for id in ids] for ids in cut.rank(setting, questions.usable)]
            for cut in (here, there)
        )
        assert [row[0] for row in one] == [row[0] for row in other]
        assert [len(row) for row in one] == [len(row) for row in other]


def test_large_documents_are_sampled_with_those_that_hold_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    made = index_of({f"{n}.md": f"Page {n} " + "x " * 500 for n in range(20)})
    ids = ids_of(made)
    monkeypatch.setattr(rankings, "MAX_CHARACTERS", 5_000)
    question = Question("q", ((Span(ids["13.md"]),),), "g")
    first, in_all = rankings.sampled_documents(made.id, [question], seed=0)
    assert ids["13.md"] in first and 3 <= len(first) <= 5 and in_all == 20
    assert first == rankings.sampled_documents(made.id, [question], seed=0)[0]
    assert first != rankings.sampled_documents(made.id, [question], seed=1)[0]


@pytest.mark.integration
def test_lab_as_a_job_keeps_its_report_and_stops_when_asked(tmp_path: Path) -> None:
    made = index_of(ISLANDS)
    build_index(made.id)
    file = upload(
        {"question": "Who keeps the light of Pellin?", "text": "Odo Varga"},
        {"question": "Do dogs pay?", "document": "marn.md"},
        {"question": "Where is Atlantis?", "document": "atlantis.md"},
    )
    spec = {"index_id": made.id, "dataset_id": None, "splits": [], "sizes": [64], "weights": [], "reranker": ""}
    asked = [json.loads(json.dumps(vars(one))) for one in asked_in_file(file)]
    job = run_foreground("lab", {**spec, "asked": asked, "seed": 0})
    assert job.status == "done", job.error
    assert (job.result["questions"], job.result["given"]) == (2, 3)
    assert job.result["left_out"] == {"no such document": 1}
    assert job.result["quoted"] == ["line 3: no such document: Where is Atlantis?"]
    assert job.result["outcome"] == "cannot tell yet" and job.result["proposed"] is None

    def stop(done: float, total: float, message: str) -> None:
        if "Embedding" in message:
            queue.request_stop(waiting)

    waiting = queue.submit("lab", {**spec, "asked": asked, "seed": 0}, start=False, reserve=True)
    assert queue.claim(waiting)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.jobs.recorder.LISTEN_S", 0.01)
        patch.setattr(rankings, "CHUNKS_PER_STEP", 1)
        assert execute(waiting, stop) in ("stopped", "done")


@pytest.mark.integration
def test_lab_needs_questions_from_one_place() -> None:
    made = index_of(ISLANDS)
    with pytest.raises(UserError, match="The lab needs questions"):
        submit_lab(made.id)
    with pytest.raises(UserError, match=r"None of the questions can be measured.*1 times no such document"):
        build_index(made.id)
        run_lab(made.id, resolve(made.id, [Asked("a", documents=("b",))]), [HYBRID])
    assert Questions([], 0).usable == []
