"""Numbers that a description states plainly are read; numbers that mean something else are left alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.decide.answers import read_answers
from core.decide.quantities import TOKENS_PER_PAGE, quantities
from core.decide.rulebook import FOLDER

STATED: list[tuple[str, dict[str, float]]] = [
    ("We have 4,000 labelled tickets.", {"examples": 4_000}),
    ("We have 4k hand-labelled tickets.", {"examples": 4_000}),
    ("About 12 thousand annotated calls are there.", {"examples": 12_000}),
    ("1 200 training examples", {"examples": 1_200}),
    ("a hundred corrected letters", {"examples": 100}),
    ("fifty thousand graded answers", {"examples": 50_000}),
    ("We have 0 labelled examples so far.", {"examples": 0}),
    ("300 training pairs", {"examples": 300}),
    ("3,000 claims a day", {"requests_per_day": 3_000}),
    ("It answers 1.5k chats per day.", {"requests_per_day": 1_500}),
    ("10 questions an hour", {"requests_per_day": 240}),
    ("90 requests per minute", {"requests_per_day": 129_600}),
    ("2 requests a second", {"requests_per_day": 172_800}),
    ("700 mails each week", {"requests_per_day": 100}),
    ("600 requests a month", {"requests_per_day": 20}),
    ("ten million requests a month", {"requests_per_day": 1e7 / 30}),
    ("a hundred thousand requests a day", {"requests_per_day": 100_000}),
    ("Our budget is $80.", {"budget_usd": 80}),
    ("We have $1,500 to spend on everything.", {"budget_usd": 1_500}),
    ("$100.50 at most", {"budget_usd": 100.5}),
    ("We can spend $2.5k on it.", {"budget_usd": 2_500}),
    ("Our budget: $3 million", {"budget_usd": 3e6}),
    ("a budget of USD 900 to begin with", {"budget_usd": 900}),
    ("We may spend US$500, once.", {"budget_usd": 500}),
    ("We can afford 2,000 dollars.", {"budget_usd": 2_000}),
    ("We own a 24 GB card.", {"gpu_gb": 24}),
    ("one 80GB H100", {"gpu_gb": 80}),
    ("24 GB of VRAM", {"gpu_gb": 24}),
    ("two million tokens of documents", {"corpus_tokens": 2e6}),
    ("300 pages of manuals", {"corpus_tokens": 300 * TOKENS_PER_PAGE}),
    ("1,000,000 tokens in our wiki", {"corpus_tokens": 1e6}),
    (
        "We sort 3,000 mails a day, have 4,000 labelled ones, a budget of $500 and a 16 GB GPU.",
        {"requests_per_day": 3_000, "examples": 4_000, "budget_usd": 500, "gpu_gb": 16},
    ),
]

NOTHING = [
    # Ages and years
    "She is 30 years old.",
    "Customers aged 18 to 25 complain.",
    "A 7-year-old could read it.",
    "in the year 2024",
    "Since 2019 every day begins with a rewrite.",
    "The rules of 2023 approved by the board were withdrawn.",
    # Prices per month or piece are no budget, and no requests
    "It costs $80 a month.",
    "It costs $1,500 a month.",
    "It costs $1,500 per month.",
    "It costs $80/month.",
    "We pay $40k a year.",
    "We pay 80 dollars a month.",
    "We pay 80 dollars/month.",
    "We pay USD 80 per month.",
    "We pay 80 euros a month.",
    "A call costs $0.002 a request.",
    "40 dollars per seat",
    "The kettle costs $49.",
    "The fine is $250.",
    "A consultant offers it for 20,000 dollars.",
    # Other things that happen every day
    "We are open from 9 to 5 every day.",
    "Prices change 5 times a day.",
    "Take two tablets a day.",
    "The dose is 5 mg per day.",
    "There are 3 GB of manuals and an A100 card.",
    # Versions and names
    "GPT-3.5-turbo answers.",
    "3.5-turbo a day",
    "We run version 2.0 approved by the legal team.",
    "v2.1 tagged yesterday",
    "Llama 3 70B",
    "RTX 4090",
    "Python 3.11",
    # Ranks and shares
    "top 10",
    "We list the top 10 rated hotels.",
    "Accuracy is 90% a day after the change.",
    "20% per month",
    "95 percent",
    "Rated 4.5 of 5",
    "8 of 10 are marked wrong.",
    # Times, durations and sizes
    "Reports go out at 7am every day.",
    "We are open 24 hours a day.",
    "We are open 24/7 every day of the year.",
    "It takes us 30 minutes per day.",
    "Logs grow by 10 GB a day.",
    # Nothing at all
    "",
    "The answers are too long.",
    "120 pages",
    "tokens of documents",
]

# Numbers in words that are only half understood must not be read as their first word.
HALF_UNDERSTOOD = [
    ("five hundred labelled tickets", "examples", 500),
    ("two hundred requests a day", "requests_per_day", 200),
    ("two dozen labelled mails", "examples", 24),
    ("twenty-five labelled tickets", "examples", 25),
]


@pytest.mark.parametrize(("text", "numbers"), STATED)
def test_a_number_stated_plainly_is_read(text: str, numbers: dict[str, float]) -> None:
    assert quantities(text) == pytest.approx(numbers)


@pytest.mark.parametrize("text", NOTHING)
def test_a_number_that_means_something_else_is_left_alone(text: str) -> None:
    assert quantities(text) == {}


@pytest.mark.parametrize(("text", "key", "number"), HALF_UNDERSTOOD)
def test_a_number_in_words_is_read_whole_or_not_at_all(text: str, key: str, number: float) -> None:
    assert quantities(text).get(key, number) == number


@pytest.mark.parametrize(
    "text",
    [
        "a budget of $900 billion",
        "50 billion requests a second",
        f"a budget of {'9' * 400} dollars",
        "9,000,000 GB of GPU memory",
        "a budget of $0",
    ],
)
def test_what_is_read_is_always_an_answer_the_wizard_accepts(text: str) -> None:
    found = quantities(text)
    assert read_answers(found) == found


def test_the_case_of_letters_does_not_matter() -> None:
    for text, numbers in STATED:
        assert quantities(text.upper()) == pytest.approx(numbers)


def test_no_number_of_the_scenarios_is_read_otherwise_than_its_author_noted() -> None:
    keys = {"examples", "requests_per_day", "budget_usd", "gpu_gb", "corpus_tokens"}
    noted = read = 0
    for path in (FOLDER / "scenarios.jsonl", Path(__file__).parent / "unseen.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            scenario = json.loads(line)
            found = quantities(scenario["text"])
            for key in keys & scenario["answers"].keys():
                noted += 1
                if key in found:
                    read += 1
                    assert found[key] == pytest.approx(scenario["answers"][key], rel=0.05), scenario["text"]
    print(f"{read} of {noted} numbers were read")
    assert read > 0.4 * noted


def test_long_and_odd_texts_are_read_to_the_end() -> None:
    for text in (
        "1 " * 2_000,
        "1,000 " * 600,
        "a " * 2_000,
        "$" * 4_000,
        "9" * 4_000,
        "1 x " * 1_000,
        "٤٢ a day",
        "\ud800",
    ):
        assert isinstance(quantities(text), dict)
