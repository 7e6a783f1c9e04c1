"""A sentence is read as what it says: on descriptions nobody trained on, with probabilities that mean something."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core.decide.answers import read_answers
from core.decide.classifier import DIAGNOSES, MODEL_FILE, load, new_vectorizer, read
from core.decide.diagnosis import MOST_CHARACTERS, Diagnosis, diagnose, diagnose_all, is_english
from core.decide.fit import calibration_error, fit, labels_of
from core.decide.rulebook import rulebook
from core.decide.scenarios import hash_of, load_scenarios
from core.errors import UserError
from core.models.embedding import load_embedder

pytestmark = pytest.mark.integration
UNSEEN = Path(__file__).parent / "unseen.jsonl"


def judged(path: Path) -> tuple[np.ndarray, np.ndarray, list[Diagnosis]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found = diagnose_all([row["text"] for row in rows])
    labels = np.array([DIAGNOSES.index(row["rung"]) for row in rows])
    return np.array([list(diagnosis.probabilities.values()) for diagnosis in found]), labels, found


def test_descriptions_never_trained_on_are_diagnosed_and_calibrated() -> None:
    probabilities, labels, _ = judged(UNSEEN)
    assert (probabilities.argmax(axis=1) == labels).mean() >= 0.85
    assert calibration_error(probabilities, labels) <= 0.1


def test_the_shared_scenarios_are_diagnosed(shared_data: Path) -> None:
    probabilities, labels, _ = judged(shared_data / "scenarios.jsonl")
    assert (probabilities.argmax(axis=1) == labels).mean() >= 0.85


def test_test_scenarios_were_not_trained_on(shared_data: Path) -> None:
    trained = {scenario.text.strip().lower() for scenario in load_scenarios()}
    for path in (UNSEEN, shared_data / "scenarios.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert json.loads(line)["text"].strip().lower() not in trained


def test_the_classifier_was_built_from_the_scenarios_that_are_here() -> None:
    assert load().scenarios_hash == hash_of(load_scenarios()), "Run python -m core.decide.fit"
    assert len(load().scenario_vectors) == len(load_scenarios())
    assert MODEL_FILE.stat().st_size < 5e6


def test_scenarios_are_many_and_their_answers_are_the_wizards() -> None:
    scenarios = load_scenarios()
    assert len(scenarios) >= 500
    assert np.bincount(labels_of(scenarios)).min() >= 100
    assert len({scenario.text.lower() for scenario in scenarios}) == len(scenarios)
    for scenario in scenarios:
        assert read_answers(dict(scenario.answers)) == scenario.answers


def test_training_again_reads_the_same() -> None:
    """On a few scenarios, twice: the seed decides everything."""
    scenarios = load_scenarios()[:120]
    readings = read([scenario.text for scenario in scenarios], load_embedder())
    first, second = (fit(scenarios, readings, seed=3).probabilities(readings[0]) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, fit(scenarios, readings, seed=4).probabilities(readings[0]))


def test_the_two_sentences_everybody_asks() -> None:
    english = diagnose("Our AI keeps answering in English instead of Vietnamese, whatever we put in the prompt.")
    launched = diagnose("Our AI does not know the product we launched last week. Should we fine-tune?")
    assert english.diagnosis == "fine-tune" and english.answers["behavior_kind"] == "language"
    assert launched.diagnosis == "rag" and launched.answers["gap"] == "knowledge"


def test_numbers_add_up_and_words_and_cases_are_named() -> None:
    text = "Every ticket must get one of our nine labels; with twelve examples in the prompt it stalls at 70 percent."
    found = diagnose(text)
    assert found.diagnosis == "fine-tune"
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert list(found.probabilities) == list(DIAGNOSES)
    assert found.words and all(text[w.start : w.end].strip() for w in found.words)
    assert [w.start for w in found.words] == sorted(w.start for w in found.words)
    assert len(found.cases) == 3 and all(-1 <= case.similarity <= 1 for case in found.cases)
    assert found.cases[0].similarity >= found.cases[-1].similarity


def test_a_word_that_matters_changes_the_diagnosis_when_it_is_gone() -> None:
    """What is shown as telling is what the classifier would miss."""
    text = "It answers in formal German although we want the informal form, however we phrase the instructions."
    found = diagnose(text)
    most = max(found.words, key=lambda word: abs(word.influence))
    without = diagnose(text[: most.start] + text[most.end :])
    moved = found.probability - without.probabilities[found.diagnosis]
    # The neighbours' states were computed with the word in place, so the sizes agree only roughly; the sign must.
    assert np.sign(moved) == np.sign(most.influence)


def test_filled_in_answers_are_answers_of_the_wizard() -> None:
    _, _, found = judged(UNSEEN)
    known = {question.id for question in rulebook().questions}
    for diagnosis in found:
        assert set(diagnosis.answers) <= known
        assert read_answers(dict(diagnosis.answers)) == diagnosis.answers


@pytest.mark.parametrize("text", ["", "   \n", "1234 5678", "?!", "\u200b"])
def test_nothing_to_read_is_said(text: str) -> None:
    with pytest.raises(UserError, match="no sentence"):
        diagnose(text)


@pytest.mark.parametrize(
    "text",
    [
        "x" * 100_000,
        "the bot is rude " * 6_250,
        "a " * 50_000,
        "\ud800 lone surrogate in the text of our bot",
        "null\x00byte in our assistant's answers",
        "🙂" * 300 + " bot",
        "<script>alert(1)</script> the assistant invents prices",
        "word\n" * 3_000,
    ],
)
def test_odd_texts_get_a_diagnosis(text: str) -> None:
    found = diagnose(text)
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert len(found.text) <= MOST_CHARACTERS
    if len(text.strip()) > MOST_CHARACTERS:
        assert any("first 4,000 characters" in note for note in found.notes)


@pytest.mark.parametrize(
    "text",
    [
        "Trợ lý của chúng tôi trả lời bằng tiếng Anh thay vì tiếng Việt",
        "Unser Assistent kennt die neuen Preise nicht",
        "Notre assistant ignore nos documents internes",
        "アシスタントは新製品を知りません",
        "المساعد لا يعرف أسعارنا الجديدة",
    ],
)
def test_other_languages_lower_the_confidence_and_say_so(text: str) -> None:
    found = diagnose(text)
    assert not is_english(text) and any("English" in note for note in found.notes)
    assert found.answers == {}
    reading = read([found.text], load_embedder())[0]
    assert found.probability < load().probabilities(reading)[0].max()


@pytest.mark.parametrize("text", ["Wrong JSON", "JSON is invalid", "It ignores instructions"])
def test_short_english_is_english(text: str) -> None:
    assert is_english(text)


def test_what_is_said_at_the_end_of_a_long_text_is_read() -> None:
    """The embedder takes 256 tokens; a longer text is read in parts."""
    preamble = "We are a family firm with three branches and forty people, and we like our work a lot. " * 15
    complaint = "It does not know the prices we changed last week, nor our new opening hours."

    def facts_missing(text: str) -> float:
        found = diagnose(text).probabilities
        return found["rag"] + found["both"]

    assert facts_missing(preamble) < 0.5 < facts_missing(preamble + complaint)


def test_small_talk_is_not_taken_for_a_problem() -> None:
    found = diagnose("The weather is nice today in Berlin.")
    assert any("resembles no description" in note for note in found.notes)


def test_the_stored_vectoriser_reads_like_the_one_it_was_made_from() -> None:
    words = new_vectorizer(min_df=2).fit([scenario.text for scenario in load_scenarios()])
    text = ["The bot ignores our price list however we ask."]
    assert np.allclose(words.transform(text).toarray(), load().words.vectorizer.transform(text).toarray(), atol=1e-6)


def test_a_damaged_classifier_is_said(tmp_path: Path) -> None:
    broken = tmp_path / "diagnosis.safetensors"
    broken.write_bytes(MODEL_FILE.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be read"):
        load(broken)
