"""`python -m core decide`: the same answer as on the page, for programs; and a sentence for every mistake."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from core import __main__ as cli
from core.decide.decision import decide
from core.decide.rulebook import rulebook
from core.settings import get_settings
from tests.models.service import Handler, serving

KEYS = {"rung", "reasons", "flips", "next", "costs", "confidence"}


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """(exit status, standard output, standard error) of `python -m core decide`."""
    monkeypatch.setattr(sys, "argv", ["core", "decide", *arguments])
    try:
        status = cli.run()
    except SystemExit as leaving:
        status = int(leaving.code or 0)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    return status, captured.out, captured.err


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """decided({...answers}): what `--answers FILE --json` prints, parsed strictly."""

    def told(answers: Any) -> dict[str, Any]:
        file = tmp_path / "answers.json"
        file.write_text(answers if isinstance(answers, str) else json.dumps(answers), encoding="utf-8")
        status, out, err = run(monkeypatch, capsys, "--answers", str(file), "--json")
        assert status == 0, err
        found: dict[str, Any] = json.loads(out, parse_constant=pytest.fail)
        return found

    return told


@pytest.mark.parametrize(
    ("answers", "rungs"),
    [
        ({}, {"prompt"}),
        ({"prompt_tried": "no", "gap": "behavior"}, {"prompt"}),
        ({"gap": "unsure"}, {"prompt"}),
        ({"gap": "knowledge", "changes_often": True}, {"rag"}),
        ({"gap": "knowledge", "corpus_tokens": 50_000, "changes_often": False}, {"long-context"}),
        ({"prompt_tried": "exhausted", "gap": "behavior", "budget_usd": 50}, {"lora", "qlora"}),
        ({"prompt_tried": "exhausted", "gap": "behavior", "budget_usd": 50, "gpu_gb": 8}, {"qlora"}),
        (
            {"prompt_tried": "exhausted", "gap": "behavior", "budget_usd": 5000, "managed_access": "other"},
            {"managed"},
        ),
        (
            {"prompt_tried": "exhausted", "gap": "both", "budget_usd": 5000, "data_may_leave": False},
            {"rag+lora", "rag+qlora"},
        ),
    ],
)
def test_answers_in_a_file_lead_to_a_rung(decided, answers: dict[str, Any], rungs: set[str]) -> None:
    told = decided(answers)
    assert told["rung"] in rungs
    assert set(told) >= KEYS
    assert 0 <= told["confidence"] <= 1
    assert set(told["costs"]) == set(rulebook().rungs)
    assert {reason["rule"] for reason in told["reasons"]} <= {*rulebook().rules.tree, *rulebook().rules.remarks}
    assert told["answers"] == {key: value for key, value in answers.items() if value != "unsure"}


def test_the_file_and_the_page_say_the_same(decided) -> None:
    answers = {"prompt_tried": "some", "gap": "behavior", "examples": 4000, "behavior_kind": "classification"}
    assert decided(answers) == json.loads(json.dumps(decide(answers).as_dict()))


def test_a_text_is_diagnosed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(monkeypatch, capsys, "--text", "It does not know our new price list.", "--json")
    told = json.loads(out)
    assert status == 0 and told["rung"] == "rag" and told["diagnosis"] == "rag"
    assert set(told["probabilities"]) == {"prompt", "rag", "fine-tune", "both"}
    assert sum(told["probabilities"].values()) == pytest.approx(1, abs=0.001)
    assert set(told) >= KEYS


def test_answers_outweigh_the_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "answers.json"
    file.write_text('{"gap": "behavior", "prompt_tried": "no", "changes_often": false, "private_documents": false}')
    _, out, _ = run(
        monkeypatch, capsys, "--text", "It does not know our new price list.", "--answers", str(file), "--json"
    )
    told = json.loads(out)
    assert told["diagnosis"] == "rag" and told["answers"]["gap"] == "behavior" and told["rung"] == "prompt"


def test_texts_give_one_line_each_even_where_one_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "texts.jsonl"
    lines = [
        '{"text": "Answers must cite the clause in our contracts."}',
        '{"text": ""}',
        "not json",
        '{"words": "x"}',
        '{"text": 7}',
        # A line separator is no end of a line of JSON.
        '{"text": "Our tone of voice never holds,\u2028however often we rewrite the prompt.", "rung": "fine-tune"}',
    ]
    file.write_text("\ufeff" + "\n".join(lines) + "\n\n", encoding="utf-8")
    status, out, err = run(monkeypatch, capsys, "--texts", str(file))
    told = [json.loads(line) for line in out.splitlines()]
    assert [row.get("diagnosis", "error") for row in told] == ["rag", "error", "error", "error", "error", "fine-tune"]
    assert told[2]["error"].startswith("Line 3: ") and told[1]["remedy"]
    assert status == 1 and "4 lines could not be read" in err


def test_words_instead_of_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    record = tmp_path / "decision.md"
    status, out, _ = run(monkeypatch, capsys, "--text", "It invents our prices.", "--record", str(record))
    assert status == 0 and "Try first: rag" in out and "Diagnosis: rag" in out
    assert "rag" in record.read_text(encoding="utf-8").splitlines()[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"budgt_usd": 5}', "did you mean budget_usd"),
        ('{"gap": "knowlege"}', "none of knowledge, behavior, both"),
        ('{"budget_usd": -1}', "outside 0 to"),
        ('{"gpu_gb": 1e400}', "not a finite number"),
        ('{"examples": true}', "not a number"),
        ('{"changes_often": "yes"}', "neither true nor false"),
        ("[1, 2]", "not an object"),
        ('{"gap": ', "line 1, column"),
        ("", "line 1, column 1"),
    ],
)
def test_wrong_answers_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str, said: str
) -> None:
    file = tmp_path / "answers.json"
    file.write_text(content)
    status, out, err = run(monkeypatch, capsys, "--answers", str(file), "--json")
    assert status == 1 and out == ""
    assert said in " ".join(err.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to decide from"),
        (["--text", "  "], "no sentence to read"),
        (["--answers", "missing.json"], "cannot be read"),
        (["--texts", "missing.jsonl"], "cannot be read"),
        (["--text", "a", "--texts", "b"], "goes with --answers alone"),
        (["--texts", "b", "--record", "r.md"], "goes with --answers alone"),
    ],
)
def test_missing_input_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    status, _, err = run(monkeypatch, capsys, *arguments)
    assert status == 1 and said in " ".join(err.split())


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ('Sure: {"diagnosis": "rag", "reason": "prices <b>change</b>"}', "remote/judge says: rag. prices"),
        ('{"diagnosis": "buy more GPUs"}', "in another form than asked for"),
        ("no idea", "in another form than asked for"),
    ],
)
def test_a_language_model_may_be_asked_as_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reply: str, said: str
) -> None:
    def behave(handler: Handler, request: dict[str, Any], attempt: int) -> None:
        handler.answer(request, reply)

    with serving(behave) as service:
        monkeypatch.setenv("LOWEST_RUNG_GENERATION_URL", service.url)
        get_settings.cache_clear()
        _, out, err = run(monkeypatch, capsys, "--text", "It invents our prices.", "--ask", "remote/judge")
        assert said in " ".join((out + err).split())
        assert service.requests[0]["messages"][-1]["content"] == "It invents our prices."
    get_settings.cache_clear()


def test_output_is_readable_in_a_pipe_of_any_encoding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run(monkeypatch, capsys, "--text", "Trợ lý của chúng tôi không biết giá mới", "--json")
    assert out.isascii() and json.loads(out)["text"].startswith("Trợ lý")


def test_disagreement_lowers_the_confidence() -> None:
    from core.decide.diagnosis import diagnose
    from core.decide.second_opinion import Opinion

    found = diagnose("It does not know our new price list.")
    agreed = decide({}, diagnosis=found, opinion=Opinion("m", "rag", "")).advice.confidence
    differs = decide({}, diagnosis=found, opinion=Opinion("m", "prompt", "")).advice.confidence
    assert differs < agreed == decide({}, diagnosis=found).advice.confidence
