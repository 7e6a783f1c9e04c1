"""What an export claims of itself, what it leaves lying about, and what its helpers get to see."""

from __future__ import annotations

import json
import stat
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from core.errors import UserError
from core.publish import exports, gguf
from core.publish.checking import NO_ANSWER, Questions, compared
from core.publish.exports import Export
from core.publish.importing import import_adapter


def questions(scores: dict[str, float]) -> Questions:
    """Ten of them; each answer's score is looked up."""
    chats = [[{"role": "user", "content": f"Question {i}"}] for i in range(10)]
    return Questions(
        chats, [str(i) for i in range(10)], "test", "exact match", "binary", lambda a: [scores[t] for t in a]
    )


def test_scores_of_zero_on_both_sides_are_no_proof() -> None:
    """An adapter that is never right, and a broken export of it, score the same."""
    check = compared(questions({"wrong": 0.0, "%&§": 0.0}), ["wrong"] * 10, ["%&§"] * 10)
    assert check.verdict == "different" and not check.good
    assert "cannot tell" in check.text


def test_few_answers_right_prove_nothing_of_the_wrong_ones() -> None:
    """The one right answer is the same to the letter; all that differs scores nothing."""
    scores = {"right": 1.0, "wrong": 0.0, "%&§": 0.0}
    check = compared(questions(scores), ["right"] + ["wrong"] * 9, ["right"] + ["%&§"] * 9)
    assert not check.good


def test_answers_worded_differently_and_right_are_equivalent() -> None:
    check = compared(questions({"Paris": 1.0, "paris": 1.0}), ["Paris"] * 10, ["Paris"] * 8 + ["paris"] * 2)
    assert check.verdict == "equivalent"


def test_one_wrong_answer_worded_differently_among_many_equal_ones_is_equivalent() -> None:
    scores = {"right": 1.0, "wrong": 0.0, "wrong too": 0.0}
    live = ["right"] * 8 + ["wrong"] * 2
    assert compared(questions(scores), live, [*live[:9], "wrong too"]).good


def test_half_moved_export_is_not_listed(home: Path) -> None:
    """Killed between its record and its last rename."""
    made = Export(7, 1, "a", "b", "merged", None, "", [])
    folder = home / "exports" / "7.making"
    folder.mkdir(parents=True)
    (folder / exports.RECORD).write_text(json.dumps(asdict(made)), encoding="utf-8")
    assert exports.exports() == []


def test_converter_sees_no_secret_and_takes_any_name(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {
        "HF_TOKEN": "hf_s",
        "HUGGING_FACE_HUB_TOKEN": "hf_s",
        "AWS_SECRET_ACCESS_KEY": "s",
        "ANTHROPIC_API_KEY": "s",
        "PGPASSWORD": "s",
        "DATABASE_URL": "s",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    converter = tmp_path / "convert.py"
    converter.write_text(
        "import argparse, json, os, pathlib\n"
        "parser = argparse.ArgumentParser()\n"
        "parser.add_argument('model')\n"
        "for name in ('--outfile', '--outtype', '--model-name'):\n    parser.add_argument(name)\n"
        "asked = parser.parse_args()\n"
        "pathlib.Path(asked.outfile).write_bytes(b'GGUF')\n"
        "pathlib.Path(asked.outfile + '.json').write_text(json.dumps([dict(os.environ), asked.model_name]))\n"
    )
    converter.chmod(converter.stat().st_mode | stat.S_IXUSR)
    into = tmp_path / "model.gguf"
    found = gguf.Tools([sys.executable, str(converter)], None)
    gguf.convert(found, tmp_path, into, "f16", "--my adapter", lambda _: None, lambda: None)
    environment, name = json.loads((tmp_path / "model.gguf.json").read_text())
    assert name == "--my adapter"
    assert not secrets.keys() & environment.keys()
    assert "PATH" in environment


def test_names_without_end_are_refused_before_they_are_matched() -> None:
    """Each name of a layer is held against each layer of the model: half a million of them would take hours."""
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 8, "rank_pattern": {f"a{i}": 8 for i in range(50_000)}}
    files = {"adapter_model.safetensors": b"", "adapter_config.json": json.dumps(config).encode()}
    with pytest.raises(UserError, match="rank_pattern"):
        import_adapter("many", files, "no/model")


def test_questions_that_neither_could_answer_are_not_counted_as_the_same() -> None:
    silent = f"{NO_ANSWER}The question has 9,000 tokens."
    check = compared(questions({silent: 0.0}), [silent] * 10, [silent] * 10)
    assert check.same == 0 and not check.good and "no answer to 10" in check.text
    few = ["right"] * 9 + [silent]
    check = compared(questions({silent: 0.0, "right": 1.0}), few, few)
    assert check.same == 9 and check.good and "no answer to 1" in check.text
