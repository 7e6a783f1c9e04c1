"""Datasets: imported whole or not at all, under a hash that means something."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from core.data import dataset as dataset_module
from core.data import storing
from core.data.dataset import (
    File,
    ImportRefused,
    count_of,
    create_dataset,
    datasets,
    delete_dataset,
    examples_of,
    import_dataset,
    stream_examples,
    sweep_unfinished,
)
from core.data.splits import SplitPlan
from core.errors import UserError
from core.jobs import queue
from core.store.database import session
from core.store.tables import Dataset, Example
from tests.factories import chat, jsonl, sorting, sorting_dataset

BROKEN = jsonl(sorting(5)) + b"{\nnonsense\n"


def stored() -> tuple[int, int]:
    """(datasets, examples) in the records, unfinished ones included."""
    with session(read_only=True) as db:
        counts = [db.scalar(sa.select(sa.func.count()).select_from(table)) for table in (Dataset, Example)]
    return counts[0] or 0, counts[1] or 0


def upload(records: list[dict[str, Any]], name: str = "f.jsonl") -> File:
    return File(name, jsonl(records))


def test_one_bad_line_imports_nothing_and_lists_all() -> None:
    sorting_dataset()
    before = stored()
    with pytest.raises(ImportRefused, match="Nothing was imported: 3 problems") as caught:
        create_dataset("d", upload([{"messages": []}], "train.jsonl"), File("test.jsonl", BROKEN))
    where = [(problem.file, problem.line) for problem in caught.value.problems]
    assert where == [("train.jsonl", 1), ("test.jsonl", 6), ("test.jsonl", 7)]
    assert [report.errors for report in caught.value.reports] == [1, 2]
    assert stored() == before


def test_a_long_list_of_problems_is_cut_in_the_message_only() -> None:
    with pytest.raises(ImportRefused, match=r"(?s)50 problems.*and 30 more") as caught:
        create_dataset("d", File("f.jsonl", b"{x\n" * 50))
    assert len(caught.value.problems) == 50


def test_more_problems_than_are_listed_are_counted() -> None:
    with pytest.raises(ImportRefused, match=r"1,500 problems") as caught:
        create_dataset("d", File("f.jsonl", b"{x\n" * 1500))
    assert caught.value.errors == 1500
    assert len(caught.value.problems) == 1000


@pytest.mark.parametrize("size", [2, 5, 30, 200])
def test_splits_share_no_group_and_lose_no_example(size: int) -> None:
    records = [chat(f"q{number}", "a", group=f"g{number // 2}") for number in range(size * 2)]
    dataset = create_dataset("d", upload(records), seed=4)
    splits = {split: examples_of(dataset.id, split) for split in ("train", "validation", "test")}
    groups = [{example.group for _, example in rows} for rows in splits.values()]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    questions = [example.messages[0]["content"] for rows in splits.values() for _, example in rows]
    assert sorted(questions) == sorted(f"q{number}" for number in range(size * 2))
    assert dataset.notes["counts"] == {split: len(rows) for split, rows in splits.items()}
    assert dataset.notes["groups"] == {split: len(rows) // 2 for split, rows in splits.items()}


def test_near_duplicates_stay_together_unless_told_otherwise() -> None:
    sentence = "The quick brown fox jumps over the lazy dog near the old {} by the river bank in spring"
    places = ["mill", "farm", "bridge", "church", "castle", "harbour", "station", "orchard", "quarry", "abbey"]
    records = [chat(sentence.format(place) + mark, place) for place in places for mark in ("", "!", " .", " ?")]
    other = [chat(f"{place} {place[::-1]} {index}", "x") for index, place in enumerate(places * 4)]
    dataset = create_dataset("d", upload(records + other))
    assert dataset.notes["duplicates"]["alike"] >= len(records) - len(places)
    split_of = {
        example.messages[0]["content"]: split
        for split in ("train", "validation", "test")
        for _, example in examples_of(dataset.id, split)
    }
    for place in places:
        assert len({split_of[sentence.format(place) + mark] for mark in ("", "!", " .", " ?")}) == 1
    apart = import_dataset("d", upload(records + other), plan=SplitPlan(keep_near_duplicates_together=False))
    assert "alike" not in apart.notes["duplicates"]
    assert apart.hash != dataset.hash


def test_labels_are_shared_out_evenly() -> None:
    records = [chat(f"q{number}", "a", label="rare" if number % 10 == 0 else "usual") for number in range(200)]
    dataset = import_dataset("d", upload(records), plan=SplitPlan(test_share=0.3, validation_share=0))
    labels = [example.label for _, example in examples_of(dataset.id, "test")]
    assert (len(labels), labels.count("rare")) == (60, 6)
    assert dataset.notes["counts"]["validation"] == 0
    assert dataset.notes["split"].startswith("30% held back for testing, in whole groups")


def test_what_was_decided_is_stored() -> None:
    plan = SplitPlan(test_share=0.25)
    records = [*sorting(30), sorting(1)[0], chat("unused", "key", extra=1)]
    dataset = import_dataset("d", upload(records), seed=3, plan=plan)
    notes = datasets()[0].notes
    assert notes == dataset.notes
    assert notes["plan"]["test_share"] == 0.25
    assert notes["seed"] == 3
    assert notes["layouts"] == ["chat"]
    assert notes["readings"][0]["kind"]["container"] == "jsonl"
    assert notes["warning_counts"] == {"duplicate": 1, "unknown_key": 1}
    assert {warning["line"] for warning in notes["warnings"]} == {31, 32}
    assert notes["duplicates"]["exact"] == 1
    assert notes["leaks"] is None
    json.dumps(notes)


def test_warnings_are_counted_all_and_kept_to_a_bound() -> None:
    dataset = create_dataset("d", upload([*sorting(40), *[chat("again", "same") for _ in range(500)]]))
    assert dataset.notes["warning_counts"] == {"duplicate": 499}
    assert 0 < len(dataset.notes["warnings"]) <= 200


def test_given_test_file_is_kept_whole_and_validation_comes_from_training() -> None:
    dataset = sorting_dataset(train=40, test=6)
    assert dataset.notes["counts"] == {"train": 36, "validation": 4, "test": 6}
    assert [e.messages[0]["content"] for _, e in examples_of(dataset.id, "test")] == [
        record["messages"][0]["content"] for record in sorting(6, start=1000)
    ]
    assert dataset.source == "train.jsonl, test.jsonl"


@pytest.mark.parametrize(("given", "validation"), [(10, 0), (11, 1), (40, 4)])
def test_validation_never_takes_what_training_needs_at_least(given: int, validation: int) -> None:
    assert sorting_dataset(train=given).notes["counts"] == {
        "train": given - validation,
        "validation": validation,
        "test": 3,
    }


def test_group_in_training_and_test_file_is_refused_by_line() -> None:
    train = b"\n" + jsonl([chat("b", "2", group="dry"), chat("a", "1", group="leaky")])
    test = jsonl([chat("e", "5", group="dew")]) + b"\n\n" + jsonl([chat("c", "3", group="leaky")])
    with pytest.raises(
        ImportRefused, match=r'test\.jsonl, line 4: .*"leaky".*train\.jsonl.*line 3.*proves nothing'
    ) as caught:
        create_dataset("d", File("train.jsonl", train), File("test.jsonl", test))
    assert [(problem.code, problem.line) for problem in caught.value.problems] == [("leak", 4)]
    assert stored() == (0, 0)


def test_prompt_in_training_and_test_file_is_refused_however_it_is_spaced() -> None:
    with pytest.raises(ImportRefused, match="trains on"):
        create_dataset("d", upload([chat("What  IS it?", "1"), chat("b", "2")]), upload([chat("what is it?", "3")]))


def test_test_prompts_that_are_nearly_trained_on_are_noted() -> None:
    question = "Please tell me how many parcels were delivered to the northern harbour last week"
    train = [chat(question + ".", "9"), *sorting(20)]
    dataset = create_dataset("d", upload(train), upload([chat(question + "?!", "9"), *sorting(5, start=500)]))
    leaks = dataset.notes["leaks"]
    assert question in json.dumps(leaks)
    clean = create_dataset("d", upload(sorting(20)), upload(sorting(5, start=500)))
    assert question not in json.dumps(clean.notes["leaks"])


def test_two_examples_are_enough_to_part() -> None:
    assert create_dataset("d", upload([chat("alpha", "1"), chat("beta", "2")])).notes["counts"]["test"] == 1


def test_one_group_cannot_be_split() -> None:
    with pytest.raises(UserError, match=r"one group.*Give a test file"):
        create_dataset("d", upload([chat(f"q{n}", "a", group="same") for n in range(9)]))
    assert stored() == (0, 0)


def test_hash_is_stable_and_tells_every_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    records = sorting(12)
    same = {create_dataset(name, upload(records, f"{name}.jsonl")).hash for name in ("one", "two")}
    monkeypatch.setattr(storing, "ROWS_PER_WRITE", 1)
    same.add(create_dataset("one row at a time", upload(records)).hash)
    assert len(same) == 1
    changed = [
        create_dataset("d", upload([*records[:-1], chat("other", "fruit")])),
        create_dataset("d", upload([*records[:-1], records[-1] | {"label": "x"}])),
        create_dataset("d", upload(records), seed=1),
        create_dataset("d", upload(records[::-1])),
    ]
    assert len({dataset.hash for dataset in changed} | same) == 5
    assert all(len(dataset.hash) == 64 for dataset in changed)


def test_hash_means_the_same_in_every_version() -> None:
    """When what is hashed changes, every stored hash loses its meaning."""
    dataset = create_dataset("d", upload([chat("q", "ä", label="l")], "train.jsonl"), upload([chat("r", "a")]))
    rows = (
        b'["train", 0, {"calls": null, "context": null, "group": "%s", "label": "l", "messages": '
        b'[{"content": "q", "role": "user"}], "reference": "\\u00e4", "tools": null}]' % _group("q"),
        b'["test", 0, {"calls": null, "context": null, "group": "%s", "label": null, "messages": '
        b'[{"content": "r", "role": "user"}], "reference": "a", "tools": null}]' % _group("r"),
    )
    total = sum(int(hashlib.sha256(row).hexdigest(), 16) for row in rows)
    assert dataset.hash == f"{total % 2**256:064x}"


def _group(question: str) -> bytes:
    return hashlib.sha256(f"user: {question}".encode()).hexdigest()[:16].encode()


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "=HYPERLINK(1)", "[red]x[/]", "{{7*7}}", "../../etc"])
def test_texts_are_stored_as_they_are(text: str) -> None:
    dataset = create_dataset(text, upload([chat("q", "a")]), upload([chat(text, text, group=text, label=text)]))
    ((_, kept),) = examples_of(dataset.id, "test")
    assert kept.messages[0]["content"] == kept.reference == kept.group == kept.label == datasets()[0].name == text


def test_tools_and_calls_come_back_as_they_went_in() -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ry"}'}}
    record = chat("How is it in Ry?", "") | {"tools": tools}
    record["messages"][-1] = {"role": "assistant", "content": None, "tool_calls": [call]}
    dataset = create_dataset("d", upload([record, *sorting(4)]), upload(sorting(3, start=50)))
    kept = next(e for _, e in examples_of(dataset.id, "train") if e.tools)
    assert kept.tools == tools
    assert kept.calls == [call]
    assert "<tool_call>" in kept.reference


def test_packed_and_plain_files_give_the_same_dataset(tmp_path: Path) -> None:
    plain, packed = jsonl(sorting(30)), tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(plain))
    one = create_dataset("d", File("f.jsonl", plain))
    assert create_dataset("d", File("f.jsonl.gz", path=packed)).hash == one.hash


def test_file_that_changes_between_the_passes_imports_nothing(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_bytes(jsonl(sorting(30)))

    def meddle(done: float, total: float, message: str) -> None:
        if message.startswith("Comparing"):
            path.write_bytes(jsonl(sorting(30, start=1)))

    with pytest.raises(UserError, match="changed while it was imported"):
        import_dataset("d", File("f.jsonl", path=path), on_progress=meddle)
    assert stored() == (0, 0)


@pytest.mark.parametrize("phase", ["Checking", "Comparing", "Storing"])
def test_stopped_import_leaves_nothing(phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "ROWS_PER_WRITE", 10)
    seen: list[tuple[float, float]] = []

    def stop(done: float, total: float, message: str) -> None:
        seen.append((done, total))
        if message.startswith(phase) and (done or phase == "Comparing"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_dataset("d", upload(sorting(500)), on_progress=stop)
    assert stored() == (0, 0)
    assert all(0 <= done <= total for done, total in seen)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_unfinished_import_is_seen_by_nobody_and_swept_when_silent() -> None:
    sorting_dataset()
    with session() as db:
        db.add_all(
            Dataset(name=name, hash="", seed=0, importing_at=at)
            for name, at in (("alive", time.time() - 60), ("dead", time.time() - 601))
        )
        db.flush()
        dead = db.scalars(sa.select(Dataset.id).where(Dataset.name == "dead")).one()
        row = {"position": 0, "split": "train", "messages": [], "reference": "a", "group": "g", "dataset_id": dead}
        db.execute(sa.insert(Example), [row | {"position": number} for number in range(5000)])
    assert [dataset.name for dataset in datasets()] == ["sorting"]
    assert sweep_unfinished() == 1
    assert sweep_unfinished() == 0
    assert stored() == (2, 17)
    assert [dataset.name for dataset in datasets()] == ["sorting"]


def test_import_that_was_given_up_stores_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop that slept in the middle of an import: on waking, the dataset belongs to whoever swept it."""
    monkeypatch.setattr(storing, "ROWS_PER_WRITE", 10)
    slept = False

    def sleep(done: float, total: float, message: str) -> None:
        nonlocal slept
        if message.startswith("Storing") and done and not slept:
            slept = True
            with session() as db:
                db.execute(sa.update(Dataset).values(importing_at=time.time() - 700))
            assert sweep_unfinished() == 1

    with pytest.raises(UserError, match="given up"):
        import_dataset("d", upload(sorting(500)), on_progress=sleep)
    assert slept
    assert stored() == (0, 0)


def test_parts_of_a_split_without_reading_all_of_it() -> None:
    dataset = sorting_dataset(train=40, test=1300)
    everything = examples_of(dataset.id, "test")
    assert examples_of(dataset.id, "test", 3) == everything[:3]
    assert list(stream_examples(dataset.id, "test")) == everything
    assert count_of(dataset.id, "test") == len(everything) == 1300
    assert count_of(dataset.id + 1, "test") == 0


def test_deleting_removes_the_examples_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "ROWS_PER_WRITE", 4)
    kept, gone = sorting_dataset(), sorting_dataset()
    delete_dataset(gone.id)
    assert stored() == (1, 17)
    assert [dataset.id for dataset in datasets()] == [kept.id]
    delete_dataset(gone.id)


def test_nobody_waits_for_a_large_dataset_to_be_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    gone, go_on = sorting_dataset(), threading.Event()

    def erase_later(dataset_id: int) -> None:
        go_on.wait(30)
        storing.erase(dataset_id)

    monkeypatch.setattr(dataset_module, "ERASING_S", 0.01)
    monkeypatch.setattr(dataset_module, "erase", erase_later)
    delete_dataset(gone.id)
    assert datasets() == []
    assert stored() == (1, 17)
    go_on.set()
    next(thread for thread in threading.enumerate() if thread.name == dataset_module.ERASER).join()
    assert stored() == (0, 0)


def test_dataset_that_a_job_uses_is_not_deleted() -> None:
    dataset = sorting_dataset()
    job_id = queue.submit("train", {"dataset_id": dataset.id}, title="Train: sorting", start=False)
    with pytest.raises(UserError, match=rf"Job {job_id} \(Train: sorting\) uses"):
        delete_dataset(dataset.id)
    queue.request_stop(job_id)
    delete_dataset(dataset.id)
    assert stored() == (0, 0)
