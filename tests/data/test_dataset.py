"""Datasets: imported whole or not at all, under a hash that means something."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from core.data.dataset import (
    File,
    ImportRefused,
    browse,
    create_dataset,
    datasets,
    delete_dataset,
    examples_of,
)
from core.errors import UserError
from core.store.database import session
from core.store.tables import Dataset, Example
from tests.factories import chat, jsonl, sorting, sorting_dataset

BROKEN = jsonl(sorting(5)) + b"{\nnonsense\n"


def stored() -> tuple[int, int]:
    """(datasets, examples) in the records."""
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
    assert "test.jsonl, line 7: This is not JSON" in str(caught.value)
    assert stored() == before


def test_a_long_list_of_problems_is_cut_in_the_message_only() -> None:
    with pytest.raises(ImportRefused, match=r"(?s)50 problems.*and 30 more") as caught:
        create_dataset("d", File("f.jsonl", b"x\n" * 50))
    assert len(caught.value.problems) == 50


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


def test_group_in_training_and_test_file_is_refused() -> None:
    train = [chat("a", "1", group="leaky"), chat("b", "2", group="dry")]
    with pytest.raises(ImportRefused, match=r'test\.jsonl.*"leaky".*train\.jsonl.*proves nothing'):
        create_dataset("d", upload(train, "train.jsonl"), upload([chat("c", "3", group="leaky")], "test.jsonl"))
    assert stored() == (0, 0)


def test_prompt_in_training_and_test_file_is_refused_however_it_is_spaced() -> None:
    with pytest.raises(ImportRefused, match="trains on"):
        create_dataset("d", upload([chat("What  IS it?", "1"), chat("b", "2")]), upload([chat("what is it?", "3")]))


def test_one_group_cannot_be_split() -> None:
    with pytest.raises(UserError, match=r"one group.*Give a test file"):
        create_dataset("d", upload([chat(f"q{n}", "a", group="same") for n in range(9)]))
    assert stored() == (0, 0)


def test_hash_is_stable_and_tells_every_difference() -> None:
    records = sorting(12)
    same = {create_dataset(name, upload(records, f"{name}.jsonl")).hash for name in ("one", "two")}
    assert len(same) == 1
    changed = [
        create_dataset("d", upload([*records[:-1], chat("other", "fruit")])),
        create_dataset("d", upload([*records[:-1], records[-1] | {"label": "x"}])),
        create_dataset("d", upload(records), seed=1),
        create_dataset("d", upload(records[::-1])),
    ]
    assert len({dataset.hash for dataset in changed} | same) == 5


def test_search_finds_what_is_there_and_only_that() -> None:
    records = [
        chat("Wie groß ist der Ärmel?", "12 €"),
        chat("100% sure_thing", "ok"),
        chat("100 surething", "ok"),
        chat('Say "hi"\n\\o/', "日本語"),
        chat("plain", "nothing", system="Keep to the RULES"),
    ]
    dataset = create_dataset("d", upload(records), upload([chat("test", "test")]))
    found = {
        needle: sum(browse(dataset.id, split, needle)[0] for split in ("train", "validation"))
        for needle in (
            "Ärmel", "ärmel", "ÄRMEL", "GROSS", "€", "%", "_", "100%", "\\", '"hi"', "本", "rules", "PLAIN", "\n",
            # Words of the format, not of the texts.
            "content", "u00e4", "assistant",
        )
    }  # fmt: skip
    assert found == {
        "Ärmel": 1, "ärmel": 1, "ÄRMEL": 1, "GROSS": 1, "€": 1, "%": 1, "_": 1, "100%": 1, "\\": 1, '"hi"': 1, "本": 1,
        "rules": 1, "PLAIN": 1, "\n": 1, "content": 0, "u00e4": 0, "assistant": 0,
    }  # fmt: skip


def test_browsing_pages_through_a_split_in_file_order() -> None:
    dataset = sorting_dataset(train=14, test=7)
    pages = [browse(dataset.id, "test", offset=offset, limit=3) for offset in (0, 3, 6, 9)]
    assert [count for count, _ in pages] == [7] * 4
    assert [row.position for _, rows in pages for row in rows] == list(range(7))
    assert [row.reference for row in browse(dataset.id, "test", "fruit", offset=1, limit=2)[1]] == ["fruit", "fruit"]


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "=HYPERLINK(1)", "[red]x[/]", "{{7*7}}", "../../etc", "a\x00b"]
)
def test_texts_are_stored_as_they_are(text: str) -> None:
    dataset = create_dataset(text, upload([chat("q", "a")]), upload([chat(text, text, group=text, label=text)]))
    ((_, kept),) = examples_of(dataset.id, "test")
    assert kept.messages[0]["content"] == kept.reference == kept.group == kept.label == datasets()[0].name == text


def test_deleting_removes_the_examples_too() -> None:
    dataset = sorting_dataset()
    delete_dataset(dataset.id)
    assert stored() == (0, 0)
    assert browse(dataset.id, "test") == (0, [])
