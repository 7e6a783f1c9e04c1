"""The profile: every figure true of files whose figures are known, and the hint right on files whose kind is known."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from transformers import AutoTokenizer

from core.data.example import Example
from core.data.files import File
from core.data.profile import Profile, hint, measure, profile, rendered
from core.data.reading import read_examples
from core.train.tokens import encode
from tests.factories import example

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the public data sets are not beside the repository")


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def look(examples: Sequence[Example], max_length: int = 100, **more: Any) -> Profile:
    return profile((("train", each) for each in examples), words, max_length, **more)


def real(name: str) -> list[Example]:
    if name.endswith(".csv"):
        with (DATA / name).open(encoding="utf-8", newline="") as file:
            return [example(row["text"], row["category"]) for row in csv.DictReader(file)]
    return read_examples(File(name, path=DATA / name))


def test_counts_are_those_of_the_file() -> None:
    system = {"role": "system", "content": "Be brief."}
    rows = [
        ("train", replace(example("a question", "yes", "g"), label="x")),
        ("train", replace(example("another question", "no", "g"), label="y", context="c")),
        (
            "test",
            replace(
                example("a third one", "yes", "h"),
                label="x",
                messages=(system, {"role": "user", "content": "a third one"}),
            ),
        ),
    ]
    heard: list[int] = []
    seen = profile(rows, words, 100, heard.append)
    assert (seen.examples, seen.measured, seen.sampled) == (3, 3, "")
    assert seen.splits == {"train": 2, "test": 1}
    assert seen.turns == {2: 2, 3: 1}
    assert (seen.with_system, seen.with_tools, seen.with_context, seen.groups) == (1, 0, 1, 2)
    assert seen.labels == {"train": {"x": 1, "y": 1}, "test": {"x": 1}} and seen.different_labels == 2
    assert heard[-1] == 3
    json.dumps(seen.as_dict())


def test_nothing_at_all_has_a_profile_too() -> None:
    empty = profile([], words, 10)
    assert empty.examples == 0 and empty.prompt_tokens is None and hint(empty).kind == "unclear"
    json.dumps(empty.as_dict())


def test_lengths_add_up_and_cuts_fall_where_training_cuts() -> None:
    rows = [example("w " * prompt, "a " * answer) for prompt, answer in [(3, 2), (8, 2), (9, 2), (10, 1), (30, 5)]]
    seen = look(rows, max_length=10)
    assert seen.prompt_tokens is not None and seen.answer_tokens is not None
    assert (seen.prompt_tokens.smallest, seen.prompt_tokens.percentiles[50], seen.prompt_tokens.largest) == (3, 9, 30)
    assert sum(seen.prompt_tokens.counts) == 5 and len(seen.prompt_tokens.edges) == len(seen.prompt_tokens.counts) + 1
    assert seen.truncated == 3 / 5
    assert seen.mute == 2 / 5 and seen.mute_positions == [3, 4]


@pytest.mark.integration
def test_lengths_are_those_a_run_will_see(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    rows = [example("word " * count, "answer " * (count % 7)) for count in range(1, 60)]

    def count(texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]

    for limit in (40, 60, 90):
        seen = profile((("train", each) for each in rows), count, limit, texts=rendered(tokenizer))
        encoded = [encode(tokenizer, each, limit) for each in rows]
        whole = [len(encode(tokenizer, each, 10_000).input_ids) for each in rows]
        assert seen.mute_positions == [i for i, each in enumerate(encoded) if not each.learned]
        assert seen.truncated == sum(length > limit for length in whole) / len(rows)


def test_copies_and_conflicts_are_counted_and_shown() -> None:
    rows = [
        example("What is the capital of France, and since when?", "Paris"),
        example("What is the capital of France, and since when?", "Paris"),
        example("what is the capital of France,  and since when", "paris"),
        example("What is the capital of France, and since when?", "Lyon"),
        example("And what is the capital of France, and since when?", "Versailles"),
        example("Something else", "x"),
    ]
    seen = look(rows)
    assert (seen.duplicates.exact, seen.duplicates.normalised) == (1, 1)
    assert (seen.duplicates.near, seen.duplicates.near_clusters) == (5, 1)
    assert seen.duplicates.pairs[0][:2] == (0, 4)
    assert (seen.conflicting_prompts, seen.conflicting_examples) == (1, 4)
    conflict = seen.conflicts[0]
    assert (conflict.first, conflict.second, conflict.answers) == (0, 3, ("Paris", "Lyon"))


def test_personal_data_is_flagged_by_place_and_never_repeated() -> None:
    seen = look([example("hello", "world"), example("I am jane@example.com", "Call +49 30 901820")])
    assert seen.personal == {"e-mail": 1, "phone": 1}
    assert [(flag.position, flag.part, flag.kind) for flag in seen.flags] == [
        (1, "prompt", "e-mail"),
        (1, "answer", "phone"),
    ]
    assert "jane@" not in json.dumps([vars(flag) for flag in seen.flags])


def test_instructions_that_examples_share_are_looked_at_once() -> None:
    system = ({"role": "system", "content": "Send complaints to jane@example.com."},)
    rows = [replace(row, messages=system + row.messages) for row in (example("a", "b"), example("c", "d"))]
    assert [(flag.position, flag.part) for flag in look(rows).flags] == [(0, "instructions")]


def test_of_huge_examples_fewer_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "MOST_CHARACTERS", 10_000)
    seen = look([example(f"question {number}", "word " * 200) for number in range(100)])
    assert seen.examples == 100 and 5 <= seen.measured < 10
    assert f"{seen.measured} of 100" in seen.sampled


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        (["yes", "No.", "TRUE"], "yes or no"),
        (["12", "-3.5", "$1,200", "45%"], "number"),
        (["card_arrival"] * 3, "label"),
        (["- a\n- b", "1. x\n2. y"], "list"),
        (["SELECT a FROM b", "```python\nx\n```", "def f():\n    return 1"], "code"),
        (['{"a": 1}', "[1]"], "JSON"),
        (["two words"], "a few words"),
        (["word " * 30], "text"),
        (['<tool_call>\n{"name": "f"}\n</tool_call>'], "tool call"),
    ],
)
def test_every_form_of_answer_has_its_name(answers: list[str], kind: str) -> None:
    seen = look([example(f"q{number}", answer) for number, answer in enumerate(answers)]).answers
    assert seen is not None and seen.kinds == {kind: 1.0}


@needs_data
def test_the_schema_of_real_answers_is_inferred() -> None:
    rows = real("ready/xquad-cited/train.jsonl")
    seen = look(rows).answers
    assert seen is not None and seen.json_schema is not None
    assert seen.json_keys == {"answer": 1.0, "source": 1.0}
    assert seen.json_schema["required"] == ["answer", "source"]
    for row in rows:
        jsonschema.validate(json.loads(row.reference), seen.json_schema)


@needs_data
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ready/tickets-json/train.jsonl", "behaviour"),
        ("ready/xquad-facts/train.jsonl", "knowledge"),
        ("ready/xquad-cited/train.jsonl", "both"),
        ("mlx-superbowl-prompt-completion/all.jsonl", "knowledge"),
        ("banking77/test.csv", "behaviour"),
        ("pirate-chat-jsonl/training_set.jsonl", "behaviour"),
        ("anthropic-json-mode-ft/json_mode_dataset.jsonl", "behaviour"),
        ("mlx-wikisql-text-jsonl/train.jsonl", "behaviour"),
        ("fastchat-identity-sharegpt/dummy_conversation.json", "behaviour"),
    ],
)
def test_real_files_get_the_hint_an_expert_would_give(name: str, kind: str) -> None:
    told = hint(look(real(name)))
    assert told.kind == kind, told.why
    assert told.why.endswith(".")


@needs_data
@pytest.mark.parametrize("name", ["xquad-en/xquad.en.json", "xquad-vi/xquad.vi.json"])
def test_questions_of_whole_articles_are_knowledge_in_two_languages(name: str) -> None:
    articles = json.loads((DATA / name).read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    rows = [example(qa["question"], qa["answers"][0]["text"]) for each in paragraphs for qa in each["qas"]]
    seen = look(rows)
    assert hint(seen).kind == "knowledge"
    assert next(iter(seen.languages)) == name[-7:-5] and next(iter(seen.languages.values())) > 0.95
    # With the passage in the prompt the answer is there to be copied: that is behaviour.
    rows = [
        example(f"{each['context']}\n\n{qa['question']}", qa["answers"][0]["text"])
        for each in paragraphs[:60]
        for qa in each["qas"]
    ]
    assert hint(look(rows)).kind == "behaviour"


def test_a_mixed_bag_is_called_unclear() -> None:
    openings = ("Tell me about", "Please explain", "Write a note on", "Summarise", "Consider")
    rows = [
        example(
            f"{openings[n % 5]} topic{n * 7919 % 997}",
            " ".join(f"word{(n * 31 + i * i * 17) % 5003}" for i in range(15)),
        )
        for n in range(100)
    ]
    assert hint(look(rows)).kind == "unclear"
    assert hint(look(rows[:3])).kind == "unclear"


def test_a_large_file_is_sampled_in_seconds_and_says_so() -> None:
    count = 30_000
    started = time.process_time()
    seen = look([example(f"Which kind is thing number {n}, please?", ("fruit", "tool")[n % 2]) for n in range(count)])
    assert time.process_time() - started < 15
    assert seen.examples == count and seen.measured == 10_000
    assert "10,000 of 30,000" in seen.sampled
    assert seen.answers is not None and abs(seen.answers.kinds["label"] - 1) < 0.01
    assert seen.duplicates.compared == count
