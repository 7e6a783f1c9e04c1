"""The wizard's data can be edited without fear: a slip is refused by name, a new question or rung needs no code."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.decide import rulebook as module
from core.decide.answers import from_link, in_words, read_answers, to_link
from core.decide.engine import advise, open_questions, rung_of, texts_for
from core.decide.rulebook import FOLDER, read_rulebook, rulebook
from core.decide.schema import Condition, Rulebook
from core.errors import UserError

FILES = ("questions", "thresholds", "rules", "texts")
# In place of a value: the entry is taken out.
GONE = object()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the product's files to edit."""
    copies = tmp_path / "decide"
    copies.mkdir()
    for name in FILES:
        shutil.copy(FOLDER / f"{name}.yaml", copies)
    return copies


def edit(folder: Path, name: str, change: Callable[[Any], None]) -> None:
    path = folder / f"{name}.yaml"
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")


def put(place: str, value: Any) -> Callable[[Any], None]:
    """Sets one entry, its place written with slashes, or takes it out."""

    def change(data: Any) -> None:
        *way, last = place.split("/")
        for step in way:
            data = data[int(step) if isinstance(data, list) else step]
        if value is GONE:
            del data[last]
        else:
            data[int(last) if isinstance(data, list) else last] = value

    return change


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_rulebook(folder)
    assert caught.value.remedy
    return caught.value.what


def test_files_of_the_product_are_consistent(folder: Path) -> None:
    assert read_rulebook(folder) == rulebook()


@pytest.mark.parametrize(
    ("name", "place", "value", "named"),
    [
        ("rules", "facts/service_fits/budget_usd/at_least", "flexibel", ["service_fits", "flexibel"]),
        ("rules", "tree/gpu/when/gpu_gb", {"below": "none_such"}, ["gpu", "none_such"]),
        ("rules", "facts/service_fits/data_may_go", True, ["service_fits", "data_may_go"]),
        ("rules", "conflicts/nowhere_to_train/when/gpu", {"below": "one"}, ["nowhere_to_train", "gpu"]),
        ("rules", "conflicts/facts_beside_form/when/gap", ["behaviour"], ["facts_beside_form", "behaviour", "gap"]),
        ("rules", "remarks/try_the_prompt_anyway/when/prompt_tried", [False], ["try_the_prompt_anyway", "False"]),
        ("rules", "remarks/volume_pays/when/fact", "prompt_failed", ["volume_pays", "prompt_failed"]),
        ("rules", "tree/facts/when", {"not": {"fact": "nothing"}}, ["facts", "nothing"]),
        ("rules", "tree/fits/then/to", "long-contxt", ["fits", "long-contxt"]),
        ("rules", "tree/fits/otherwise/to", "nowhere", ["fits", "nowhere"]),
        ("rules", "root", "start", ["root", "start"]),
        ("rules", "numbers/corpus_tokens_daily", ["corpus", "requests_per_day"], ["corpus_tokens_daily", "corpus"]),
        ("rules", "facts/corpus_fits/corpus_tokens", {"under": "one"}, ["corpus_fits", "corpus_tokens", "under"]),
        ("rules", "facts/corpus_fits/changes_often", "maybe", ["corpus_fits", "changes_often", "maybe"]),
        ("rules", "tree/facts/then/becuase", "so", ["tree.facts.then.becuase"]),
        ("rules", "tree/facts/then/because", GONE, ["tree.facts.then.because"]),
        ("rules", "remarkz", {}, ["remarkz"]),
        ("questions", "1/options", {}, ["gap", "choice without options"]),
        ("questions", "1/kind", "choices", ["questions.1.kind"]),
        ("questions", "1/txt", "What?", ["questions.1.txt"]),
        ("questions", "8/typical", {}, ["corpus_tokens", "typical"]),
        ("questions", "2/ask", {"gap": ["format"]}, ["behavior_kind", "format", "gap"]),
        ("thresholds", "one/why", GONE, ["thresholds.one.why"]),
        ("thresholds", "one/value", "1 or so", ["thresholds.one.value"]),
        ("texts", "rungs/rag/next/0/rungs", ["rag+lorra"], ["rag"]),
        ("texts", "rungs/rag/possible", {"fact": "allowed"}, ["rag", "allowed"]),
        ("texts", "rungs/rag/titel", "Retrieval", ["rungs.rag.titel"]),
        ("texts", "rungs/rag/risks/0/when", {"gpu": True}, ["rag", "gpu"]),
    ],
)
def test_a_slip_in_one_place_is_refused_and_named(
    folder: Path, name: str, place: str, value: Any, named: list[str]
) -> None:
    edit(folder, name, put(place, value))
    what = refusal(folder)
    assert all(word in what for word in named), what


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_or_no_yaml_is_named(folder: Path, name: str) -> None:
    path = folder / f"{name}.yaml"
    path.write_text("a: [1,\nb: {", encoding="utf-8")
    assert f"{name}.yaml" in refusal(folder)
    assert "line 2" in refusal(folder)
    path.write_text("- !!python/object/apply:os.getcwd []", encoding="utf-8")
    assert f"{name}.yaml" in refusal(folder)
    path.write_text("", encoding="utf-8")
    assert name in refusal(folder)
    path.unlink()
    assert f"{name}.yaml" in refusal(folder)


def test_a_missing_file_is_named_without_the_folders_of_this_machine(folder: Path) -> None:
    (folder / "rules.yaml").unlink()
    assert str(folder) not in refusal(folder)


def test_a_file_that_is_not_utf8_is_named(folder: Path) -> None:
    (folder / "rules.yaml").write_bytes(b"\xff\xfe\x00")
    assert "rules.yaml" in refusal(folder)


def test_a_tree_that_leads_back_to_itself_is_refused(folder: Path) -> None:
    """Such a walk would never end."""
    edit(folder, "rules", put("tree/facts/otherwise/to", "better_prompt"))
    assert "facts" in refusal(folder)


def test_facts_that_rest_on_each_other_are_refused(folder: Path) -> None:
    edit(folder, "rules", put("facts/form_wanted", {"fact": "prompt_fails"}))
    assert "form_wanted" in refusal(folder)


WRONG_CONDITIONS: dict[str, Condition] = {
    "true for a choice (an unquoted no)": {"prompt_tried": False},
    "a choice compared as a number": {"gap": {"at_least": "one"}},
    "a yes or no compared as a number": {"changes_often": {"below": "one"}},
    "a number that is true": {"examples": True},
    "a number compared with a date": {"examples": {"below": "openai_training_ends"}},
    "the date compared with a number": {"today": {"below": "one"}},
    "answered with a word": {"gap": {"answered": "perhaps"}},
    "a list in a list": {"gap": [["knowledge"]]},
    "any of a mapping": {"any": {"gap": ["knowledge"]}},
    "not of a list": {"not": [{"gap": ["knowledge"]}]},
    "two facts in a list": {"fact": ["form_wanted", "prompt_fails"]},
}


@pytest.mark.parametrize("wrong", WRONG_CONDITIONS)
def test_a_condition_that_could_never_hold_or_be_read_is_refused(folder: Path, wrong: str) -> None:
    """Otherwise it fails, or is silently false, for the person whose answer first leads there."""
    edit(folder, "rules", put("tree/facts/when", WRONG_CONDITIONS[wrong]))
    assert "facts" in refusal(folder)


def test_a_number_that_the_engine_needs_is_missed_at_the_start(folder: Path) -> None:
    edit(folder, "thresholds", put("confidence_most", GONE))
    assert "confidence_most" in refusal(folder)


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        ("rungs/rag/ladder", "rga", "rag.ladder"),
        ("rungs/rag/measure", ["base", "promt"], "rag.measure"),
        ("rungs/rag/data", ["About {exampels_needed} examples."], "exampels_needed"),
        ("examples_needed/unknown", GONE, "unknown"),
        ("examples_needed/tones", 100, "tones"),
    ],
)
def test_a_text_that_names_what_is_not_there_is_refused(folder: Path, place: str, value: Any, named: str) -> None:
    edit(folder, "texts", put(place, value))
    assert named in refusal(folder)


# Editing alone


@pytest.fixture
def own_rules(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The product reads the copies; whoever edits them calls `rulebook.cache_clear` afterwards."""
    monkeypatch.setattr(module.read_rulebook, "__defaults__", (folder,))
    rulebook.cache_clear()
    yield folder
    rulebook.cache_clear()


def test_a_new_question_and_a_new_rung_need_no_code(own_rules: Path) -> None:
    question = {
        "id": "harm_if_wrong",
        "kind": "number",
        "unit": "US dollars",
        "most": 1_000_000,
        "text": "What does one wrong answer cost?",
        "short": "Harm",
        "help": "Refunds, fines, trust.",
        "example": "A wrong dose costs more than any model saves.",
        "typical": {1: "A shrug", 10_000: "A lawyer"},
    }
    rung = {
        "title": "A person reads every answer",
        "meaning": "The model drafts, a person sends.",
        "spoken": "a person who reads",
        "retrieval": False,
        "tuned": None,
        "stand_in": None,
        "ladder": "prompt",
        "measure": ["base", "prompt"],
        "next": [{"rungs": ["rag"]}],
        "instead": "Slow and safe.",
        "risks": ["People stop reading."],
        "data": ["Drafts that were corrected."],
        "steps": ["Name the reader."],
    }
    test = {
        "asks": "Is a wrong answer dear?",
        "short": "Dear?",
        "when": {"harm_if_wrong": {"at_least": "dear_usd"}},
        "then": {"to": "person", "because": "A wrong answer costs more than a reader.", "less_flexible": "It is safe."},
        "otherwise": {"to": "better_prompt", "because": "A wrong answer is soon put right."},
    }
    edit(own_rules, "questions", lambda data: data.append(question))
    edit(own_rules, "thresholds", put("dear_usd", {"value": 1_000, "unit": "US dollars", "why": "A day of a reader."}))
    edit(own_rules, "texts", put("rungs/person", rung))
    edit(own_rules, "rules", put("tree/dear", test))
    edit(own_rules, "rules", put("root", "dear"))
    rulebook.cache_clear()

    answers = read_answers({"harm_if_wrong": 5_000, "gap": "knowledge"})
    advice = advise(answers)
    assert advice.rung == "person"
    assert advice.next == ("rag",)
    assert [(step.test, step.holds, step.assumed) for step in advice.path] == [("dear", True, False)]
    assert advice.reasons[0].text == "A wrong answer costs more than a reader."
    assert [(flip.value, flip.rung, flip.text) for flip in advice.flips] == [
        (999, "rag", "Harm: below 1,000 US dollars")
    ]
    assert texts_for("person", "steps", answers) == [("", "Name the reader.")]
    assert from_link(to_link(answers)) == (answers, [])
    assert in_words("harm_if_wrong", 5_000.0) == "5,000 US dollars"
    assert "harm_if_wrong" in {question.id for question in open_questions({})}
    assert rung_of({"harm_if_wrong": 999, "gap": "knowledge"}) == "rag"


def test_a_new_option_and_a_moved_threshold_need_no_code(own_rules: Path) -> None:
    edit(own_rules, "questions", put("1/options/speed", "They come too late"))
    edit(own_rules, "thresholds", put("lora_gpu_gb/value", 16))
    rulebook.cache_clear()
    assert read_answers({"gap": "speed"}) == {"gap": "speed"}
    assert rung_of({"prompt_tried": "exhausted", "gap": "behavior", "gpu_gb": 16}) == "lora"
    assert isinstance(rulebook(), Rulebook)
