"""Looking through the rows of a dataset, and changing them so that every change can be taken back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from core.data import editing, rows, storing
from core.data.dataset import File, create_dataset, datasets, delete_dataset, examples_of
from core.data.rows import (
    Filter,
    annotate,
    copy_dataset,
    edit,
    is_frozen,
    labels_of,
    page,
    put_back,
    remove,
    restore,
)
from core.errors import UserError
from core.jobs import queue
from core.store.database import session
from core.store.tables import Adapter, Dataset, Example, Experiment
from tests.factories import chat, jsonl, sorting, sorting_dataset


def made(records: list[dict[str, Any]], test: list[dict[str, Any]] | None = None) -> Dataset:
    files = File("train.jsonl", jsonl(records)), File("test.jsonl", jsonl(test or [chat("test", "test")]))
    return create_dataset("made", *files)


def dataset_now(dataset_id: int) -> Dataset:
    return next(dataset for dataset in datasets() if dataset.id == dataset_id)


def first(dataset_id: int, split: str = "train") -> Example:
    return page(dataset_id, Filter(split), 0, 1).rows[0]


def texts(row: Example) -> list[str]:
    return [turn["content"] for turn in row.messages]


def recomputed(dataset_id: int) -> str:
    """The hash, from all rows as they are now."""
    with session(read_only=True) as db:
        found = db.scalars(sa.select(Example).where(Example.dataset_id == dataset_id, Example.split != "removed"))
        hashes = [
            storing.row_hash(storing.canonical(row.split, row.position, {n: getattr(row, n) for n in storing.CONTENT}))
            for row in found
        ]
    return storing.content_hash(sum(hashes))


def test_search_finds_what_is_there_and_only_that() -> None:
    records = [
        chat("Wie groß ist der Ärmel?", "12 €"),
        chat("100% sure_thing", "ok"),
        chat("100 surething", "ok"),
        chat('Say "hi"\n\\o/', "日本語"),
        chat("plain", "nothing", system="Keep to the RULES", label="Étiquette"),
    ]
    dataset = made(records)
    found = {
        needle: sum(page(dataset.id, Filter(split, needle), 0, 10).count for split in ("train", "validation"))
        for needle in (
            "Ärmel", "ärmel", "ÄRMEL", "GROSS", "€", "%", "_", "100%", "\\", '"hi"', "本", "rules", "PLAIN", "\n",
            "étiquette", "/",
            # Words of the format, not of the texts.
            "content", "u00e4", "assistant",
        )
    }  # fmt: skip
    assert found == {
        "Ärmel": 1, "ärmel": 1, "ÄRMEL": 1, "GROSS": 1, "€": 1, "%": 1, "_": 1, "100%": 1, "\\": 1, '"hi"': 1, "本": 1,
        "rules": 1, "PLAIN": 1, "\n": 4, "étiquette": 1, "/": 1, "content": 0, "u00e4": 0, "assistant": 0,
    } | {"\n": found["\n"]}  # fmt: skip


def test_pages_follow_each_other_in_file_order() -> None:
    dataset = sorting_dataset(train=14, test=7)
    pages = [page(dataset.id, Filter("test"), offset, 3) for offset in (0, 3, 6, 9)]
    assert [(found.count, found.exact) for found in pages] == [(7, True)] * 4
    assert [row.position for found in pages for row in found.rows] == list(range(7))
    assert [row.reference for row in page(dataset.id, Filter("test", "fruit"), 1, 2).rows] == ["fruit", "fruit"]


def test_count_of_many_hits_is_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "COUNTED", 5)
    dataset = sorting_dataset(train=10, test=30)
    many = page(dataset.id, Filter("test", "number"), 0, 3)
    assert (many.count, many.exact, len(many.rows)) == (5, False, 3)
    later = page(dataset.id, Filter("test", "number"), 27, 3)
    assert (later.count, later.exact) == (30, True)
    assert [row.position for row in later.rows] == [27, 28, 29]


def test_filters_by_label_note_and_change() -> None:
    dataset = made([chat(f"q{n}", "a", label="even" if n % 2 == 0 else "odd") for n in range(10)])
    assert labels_of(dataset.id) == [("even", 5), ("odd", 5)]
    train = page(dataset.id, Filter(), 0, 50).rows
    evens = page(dataset.id, Filter(label="even"), 0, 50)
    assert [row.id for row in evens.rows] == [row.id for row in train if row.label == "even"]
    annotate(train[2].id, "odd one")
    edit(train[3].id, turns=texts(train[3]), reference="b", label="odd")
    assert [row.id for row in page(dataset.id, Filter(only="noted"), 0, 50).rows] == [train[2].id]
    assert [row.id for row in page(dataset.id, Filter(only="edited"), 0, 50).rows] == [train[3].id]
    assert page(dataset.id, Filter(only="edited", label="none"), 0, 50) == rows.Page(0, True, [])


def test_edit_changes_the_row_and_what_hangs_on_it_and_restore_undoes_it() -> None:
    dataset = made([chat("What is a plum?", "fruit", system="Be short", label="x"), *sorting(12)])
    row = next(row for row in page(dataset.id, Filter(search="plum?"), 0, 5).rows)
    edit(row.id, turns=["Be brief", "What is a QUINCE?"], reference="a fruit", label=" y ")
    changed = page(dataset.id, Filter(search="quince"), 0, 5).rows[0]
    assert (changed.id, texts(changed)) == (row.id, ["Be brief", "What is a QUINCE?"])
    assert (changed.reference, changed.label) == ("a fruit", "y")
    assert page(dataset.id, Filter(search="what is a plum"), 0, 5).count == 0
    now = dataset_now(dataset.id)
    assert now.hash == recomputed(dataset.id) != dataset.hash
    assert changed.original is not None and changed.original["reference"] == "fruit"
    assert changed.group != row.group
    restore(row.id)
    assert dataset_now(dataset.id).hash == dataset.hash
    back = page(dataset.id, Filter(search="what is a plum"), 0, 5).rows[0]
    assert back.original is None
    assert {name: getattr(back, name) for name in storing.CONTENT} == {
        name: getattr(row, name) for name in storing.CONTENT
    }


def test_edit_to_the_imported_text_is_no_edit_any_more() -> None:
    dataset = sorting_dataset()
    row = first(dataset.id)
    edit(row.id, turns=texts(row), reference="neither", label=None)
    edit(row.id, turns=texts(row), reference=row.reference, label=None)
    assert first(dataset.id).original is None
    assert dataset_now(dataset.id).hash == dataset.hash


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": " \n"}, "The answer is empty"),
        ({"turns": [""]}, "Turn 1 is empty"),
        ({"turns": ["a", "b"]}, "has 1 turns, not 2"),
        ({"reference": "a\ud800b"}, "half a character"),
        ({"turns": ["a\x00b"]}, "NUL"),
        ({"label": "\x00"}, "NUL"),
        ({"turns": ["Which kind is PLUM   number 1000?"]}, r"same prompt is in the test split \(example 1\)"),
    ],
)
def test_edit_that_would_spoil_the_data_changes_nothing(change: dict[str, Any], message: str) -> None:
    dataset = sorting_dataset()
    row = first(dataset.id)
    with pytest.raises(UserError, match=message):
        edit(row.id, **({"turns": texts(row), "reference": "x", "label": None} | change))
    assert dataset_now(dataset.id).hash == dataset.hash == recomputed(dataset.id)


def test_edit_of_a_row_that_is_gone() -> None:
    with pytest.raises(UserError, match="do not exist any more"):
        edit(77, turns=["a"], reference="b", label=None)


def test_prompt_of_another_split_cannot_come_back_by_restoring() -> None:
    dataset = sorting_dataset()
    train, test = first(dataset.id), first(dataset.id, "test")
    edit(train.id, turns=["Something else"], reference="x", label=None)
    edit(test.id, turns=texts(train), reference="x", label=None)
    with pytest.raises(UserError, match="same prompt is in the test split"):
        restore(train.id)
    restore(test.id)
    restore(train.id)
    assert dataset_now(dataset.id).hash == dataset.hash


def test_prompt_of_a_removed_row_still_belongs_to_its_split() -> None:
    dataset = sorting_dataset()
    train, test = first(dataset.id), first(dataset.id, "test")
    remove([test.id])
    with pytest.raises(UserError, match="same prompt is in the test split"):
        edit(train.id, turns=texts(test), reference="x", label=None)


def test_removed_rows_can_be_seen_and_put_back() -> None:
    dataset = sorting_dataset(train=14, test=5)
    ids = [row.id for row in page(dataset.id, Filter("test"), 1, 3).rows]
    remove(ids)
    now = dataset_now(dataset.id)
    assert now.notes["counts"] == {"train": 13, "validation": 1, "test": 2}
    assert now.hash == recomputed(dataset.id) != dataset.hash
    assert [row.id for row in page(dataset.id, Filter("removed"), 0, 9).rows] == ids
    assert [row.position for row in page(dataset.id, Filter("test"), 0, 9).rows] == [0, 4]
    assert [example.reference for _, example in examples_of(dataset.id, "test")] == ["fruit", "fruit"]
    put_back(ids)
    assert dataset_now(dataset.id).hash == dataset.hash
    assert dataset_now(dataset.id).notes["counts"] == dataset.notes["counts"]
    assert [row.position for row in page(dataset.id, Filter("test"), 0, 9).rows] == list(range(5))
    assert page(dataset.id, Filter(only="edited"), 0, 9).count == 0


def test_edited_row_keeps_its_edit_when_removed_and_put_back() -> None:
    dataset = sorting_dataset()
    row = first(dataset.id)
    edit(row.id, turns=texts(row), reference="edited", label=None)
    edited = dataset_now(dataset.id).hash
    remove([row.id])
    put_back([row.id])
    assert dataset_now(dataset.id).hash == edited
    assert first(dataset.id).reference == "edited"
    remove([row.id])
    restore(row.id)
    put_back([row.id])
    assert dataset_now(dataset.id).hash == dataset.hash


def test_the_last_examples_of_a_split_stay() -> None:
    dataset = sorting_dataset(test=3)
    with pytest.raises(UserError, match="No test example would be left"):
        remove([row.id for row in page(dataset.id, Filter("test"), 0, 3).rows])
    assert dataset_now(dataset.id).notes["counts"]["test"] == 3
    assert page(dataset.id, Filter("test"), 0, 3).count == 3


def test_notes_change_no_hash_and_stay_on_frozen_datasets() -> None:
    dataset = sorting_dataset()
    row = first(dataset.id)
    with session() as db:
        db.add(Adapter(name="a", dataset_id=dataset.id, base_model="m", method="lora", path="p"))
    annotate(row.id, "  look again  ")
    assert first(dataset.id).note == "look again"
    assert dataset_now(dataset.id).hash == dataset.hash == recomputed(dataset.id)
    annotate(row.id, "")
    assert first(dataset.id).note == ""
    for note, message in (("x" * 10_001, "10,001 characters"), ("\x00", "NUL"), ("\udc00", "half a character")):
        with pytest.raises(UserError, match=message):
            annotate(row.id, note)


def adapter(dataset_id: int) -> None:
    with session() as db:
        db.add(Adapter(name="a", dataset_id=dataset_id, base_model="m", method="lora", path="p"))


def experiment(dataset_id: int) -> None:
    with session() as db:
        db.add(Experiment(name="e", dataset_id=dataset_id, model="m", metric="exact_match", delta=0.05, seed=0))


def waiting(dataset_id: int) -> None:
    queue.submit("train", {"dataset_id": dataset_id}, title="Train", start=False)


def stopped(dataset_id: int) -> None:
    waiting(dataset_id)
    queue.request_stop(queue.jobs()[0].id)


@pytest.mark.parametrize(
    ("rest", "why"),
    [
        (adapter, "adapter was trained on it"),
        (experiment, "comparison shows results on it"),
        (waiting, r"job 1 \(Train\) waits to use it"),
        (stopped, r"job 1 \(Train\) could be resumed on it"),
    ],
)
def test_what_something_rests_on_cannot_be_changed_but_copied(rest: Callable[[int], None], why: str) -> None:
    dataset = sorting_dataset()
    row = first(dataset.id)
    assert is_frozen(dataset.id) == ""
    rest(dataset.id)
    assert is_frozen(dataset.id)
    for change in (
        lambda: edit(row.id, turns=texts(row), reference="x", label=None),
        lambda: restore(row.id),
        lambda: remove([row.id]),
        lambda: put_back([row.id]),
    ):
        with pytest.raises(UserError, match=rf"{why}.*Copy the data set"):
            change()
    copy = copy_dataset(dataset.id, "copy")
    assert is_frozen(copy.id) == ""
    edit(first(copy.id).id, turns=texts(row), reference="x", label=None)
    assert dataset_now(dataset.id).hash == dataset.hash == recomputed(dataset.id)
    assert dataset_now(copy.id).hash == recomputed(copy.id) != dataset.hash


def test_copy_holds_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "ROWS_PER_READ", 3)
    dataset = sorting_dataset(train=30, test=9)
    noted, edited, gone = (row for row in page(dataset.id, Filter("train"), 0, 3).rows)
    annotate(noted.id, "hm")
    edit(edited.id, turns=texts(edited), reference="changed", label="l")
    remove([gone.id])
    with session() as db:
        stored = db.get_one(Dataset, dataset.id)
        stored.notes = {**stored.notes, "demo": "tickets", "demo_experiment": 5}
    source = dataset_now(dataset.id)
    copy = dataset_now(copy_dataset(dataset.id, "copy").id)
    assert (copy.name, copy.hash, copy.source) == ("copy", source.hash, source.source)
    assert copy.notes["counts"] == source.notes["counts"]
    assert copy.notes["copy_of"] == {"id": dataset.id, "name": "sorting"}
    assert not any(key.startswith("demo") for key in copy.notes)
    for split in ("train", "validation", "test", "removed"):
        one, other = (page(number, Filter(split), 0, 100).rows for number in (dataset.id, copy.id))
        assert [_plain(row) for row in one] == [_plain(row) for row in other]
    restore(page(copy.id, Filter(only="edited"), 0, 9).rows[0].id)
    put_back([page(copy.id, Filter("removed"), 0, 9).rows[0].id])
    assert dataset_now(copy.id).hash == dataset.hash
    delete_dataset(dataset.id)
    assert page(copy.id, Filter(), 0, 1).count == 27


def _plain(row: Example) -> dict[str, Any]:
    skipped = ("id", "dataset_id")
    return {c.name: getattr(row, c.name) for c in Example.__table__.columns if c.name not in skipped}


def test_copy_of_what_is_deleted_meanwhile_is_no_half_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = sorting_dataset(train=30)
    read = editing.rows_of

    def delete_halfway(dataset_id: int, split: str) -> Iterator[Example]:
        yield from read(dataset_id, split)
        delete_dataset(dataset_id)

    monkeypatch.setattr(editing, "rows_of", delete_halfway)
    with pytest.raises(UserError, match="does not exist any more"):
        copy_dataset(dataset.id, "copy")
    with session(read_only=True) as db:
        assert db.scalar(sa.select(sa.func.count(Dataset.id))) == 0


def test_copy_of_a_dataset_that_is_gone() -> None:
    with pytest.raises(UserError, match="does not exist any more"):
        copy_dataset(9, "copy")


def with_call() -> dict[str, Any]:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ry"}'}}
    record = chat("How is it in Ry?", "") | {"tools": [{"type": "function", "function": {"name": "weather"}}]}
    record["messages"][-1] = {"role": "assistant", "content": None, "tool_calls": [call]}
    return record


def test_edit_of_a_tool_call_keeps_calls_and_text_the_same() -> None:
    dataset = made([with_call(), *sorting(3)])
    row = page(dataset.id, Filter(search="in ry"), 0, 1).rows[0]
    edit(row.id, turns=texts(row), reference=row.reference.replace('"Ry"', '"Rom"'), label=None)
    changed = page(dataset.id, Filter(search="in ry"), 0, 1).rows[0]
    assert changed.calls is not None
    assert changed.calls[0]["id"] == "c1"
    assert json.loads(changed.calls[0]["function"]["arguments"]) == {"city": "Rom"}
    with pytest.raises(UserError, match="Call 1 of the answer cannot be read"):
        edit(row.id, turns=texts(row), reference="<tool_call>\n{weather}\n</tool_call>", label=None)
    edit(row.id, turns=texts(row), reference="It is warm.", label=None)
    assert page(dataset.id, Filter(search="in ry"), 0, 1).rows[0].calls is None
    restore(row.id)
    assert dataset_now(dataset.id).hash == dataset.hash


def test_search_reads_a_bounded_part_of_a_huge_example() -> None:
    dataset = made([chat("start " + "x" * storing.MAX_FOLDED + " end", "a"), *sorting(3)])
    assert page(dataset.id, Filter(search="start x"), 0, 1).count == 1
    assert page(dataset.id, Filter(search="x end"), 0, 1).count == 0
    with session(read_only=True) as db:
        assert max(len(text) for text in db.scalars(sa.select(Example.folded))) == storing.MAX_FOLDED
