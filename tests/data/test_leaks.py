"""Leaks: what a test asks that training has shown, by kind, and nothing else."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from core.data.example import Example
from core.data.leaks import MOST_LISTED, leaks
from tests.factories import example

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the public data sets are not beside the repository")

TRAIN = [
    example("What are the opening hours of the library on Sunday?", "none"),
    example("Who wrote the book?", "she"),
    example("What are the opening hours of the library on Sundays?", "none"),
]


def test_each_leak_is_of_the_strictest_kind_that_fits() -> None:
    report = leaks(
        TRAIN,
        [
            example("Who wrote the book?", "he"),
            example("who wrote  the BOOK", "he"),
            example("What were the opening hours of the library on Sundays?", "none"),
            example("Something else entirely", "x"),
        ],
    )
    assert report.counts == {"exact": 1, "normalised": 1, "near": 1}
    assert [(leak.kind, leak.train_position, leak.test_position) for leak in report.leaks] == [
        ("exact", 1, 0),
        ("normalised", 1, 1),
        ("near", 2, 2),
    ]
    assert report.leaks[2].train_text == "What are the opening hours of the library on Sundays?"
    assert (report.train, report.test, report.total) == (3, 4, 3)
    assert 0.8 <= report.leaks[2].similarity < 1
    assert json.loads(json.dumps(report.as_dict()))["total"] == 3


def test_a_copy_in_the_test_hides_no_near_leak() -> None:
    trained = "What are the opening hours of the library on Sunday?"
    report = leaks([example(trained, "none")], [example(trained, "none"), example(trained[:-1] + "s?", "none")])
    assert [(leak.kind, leak.train_position, leak.test_position) for leak in report.leaks] == [
        ("exact", 0, 0),
        ("near", 0, 1),
    ]


def test_comparing_can_be_stopped() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leaks(TRAIN, TRAIN, stop)


def test_a_clean_test_leaks_nothing_and_copies_within_a_side_are_no_leak() -> None:
    report = leaks([*TRAIN, *TRAIN], [example("Why?", "x"), example("Why?", "y")])
    assert report.counts == {} and report.leaks == []
    assert leaks([], []).total == 0


def test_counts_go_on_where_the_list_ends() -> None:
    rows = [example(f"question {number}", "x") for number in range(MOST_LISTED + 50)]
    report = leaks(rows, rows)
    assert report.counts == {"exact": MOST_LISTED + 50} and len(report.leaks) == MOST_LISTED


@needs_data
def test_the_known_leak_of_a_published_file_is_found() -> None:
    train, valid = (
        [
            example(record["prompt"], record["completion"])
            for line in (DATA / f"mlx-superbowl-prompt-completion/{name}.jsonl")
            .read_text(encoding="utf-8")
            .splitlines()
            for record in [json.loads(line)]
        ]
        for name in ("train", "valid")
    )
    report = leaks(train, valid)
    assert report.counts["exact"] == sum(
        each.messages[0]["content"] in {t.messages[0]["content"] for t in train} for each in valid
    )
    # 16 of the 44 distinct prompts, as the source says; "latest super-bowl" for "latest super bowl" comes on top.
    assert len({leak.test_text for leak in report.leaks if leak.kind == "exact"}) == 16
    assert report.counts["near"] >= 60
    assert all(leak.train_text != leak.test_text for leak in report.leaks if leak.kind == "near")


@needs_data
def test_texts_in_both_files_of_banking77_are_found() -> None:
    def side(name: str) -> list[Example]:
        with (DATA / f"banking77/{name}.csv").open(encoding="utf-8", newline="") as file:
            return [example(row["text"], row["category"]) for row in csv.DictReader(file)]

    report = leaks(side("train"), side("test"))
    assert report.counts["normalised"] >= 6
    assert 40 <= report.counts["near"] <= 150
