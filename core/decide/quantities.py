"""Numbers that a description states: examples held, requests a day, a budget, a GPU's memory, the size of a corpus.

Only what is said plainly is taken ("4,000 labelled tickets", "a budget of $80", "a 24 GB card"); the rest is left to
the wizard.
"""

from __future__ import annotations

import re

from core.decide.answers import problem
from core.decide.rulebook import rulebook

# "4,000", "4.5k", "12 thousand", "two million", "1 200". Taken whole or not at all: no digit may follow, so that
# "1,500" is never read as 1, nor "two hundred" as 2.
_DIGITS = r"\d{1,3}(?:[, ]\d{3})+|\d+(?:\.\d+)?"
_SPELT = r"two|three|five|ten|twenty|fifty|a hundred|a thousand|a million"
_NUMBER = rf"(?>(?P<number>{_DIGITS}|{_SPELT}))(?![\w.,]*\d)"
_SCALE = r"(?:\s?(?P<scale>k|m|thousand|million|billion)\b)?+(?!\s(?:hundred|dozen)\b)"
_AMOUNT = rf"(?<![\w.,$€£-]){_NUMBER}{_SCALE}"
# The same under other names, for a pattern that offers two places for a number.
_AMOUNT_2 = _AMOUNT.replace("<number>", "<number_2>").replace("<scale>", "<scale_2>")
_WORDS = {
    "two": 2.0,
    "three": 3.0,
    "five": 5.0,
    "ten": 10.0,
    "twenty": 20.0,
    "fifty": 50.0,
    "a hundred": 100.0,
    "a thousand": 1e3,
    "a million": 1e6,
}
_SCALES = {"k": 1e3, "thousand": 1e3, "m": 1e6, "million": 1e6, "billion": 1e9}
_PER = {"second": 86_400.0, "minute": 1_440.0, "hour": 24.0, "day": 1.0, "week": 1 / 7, "month": 1 / 30}
_LABELLED = r"(?:hand-?)?(?:labell?ed|annotated|tagged|graded|scored|sorted|corrected|golden)"

EXAMPLES = (
    re.compile(rf"{_AMOUNT}\s+(?:\w+[\s-]){{0,3}}?{_LABELLED}\b", re.I),
    re.compile(
        rf"{_AMOUNT}\s+(?:\w+\s){{0,2}}?(?:training\s+)?(?:example|sample)s?\s+(?:pairs|of good|to train)", re.I
    ),
    re.compile(rf"{_AMOUNT}\s+training\s+(?:examples|pairs|samples)", re.I),
)
# What assistants are asked for; two tablets a day or nine to five every day are no requests.
_ASKED = (
    r"(?:requests?|questions?|quer(?:y|ies)|tickets?|calls?|chats?|messages?|mails?|e-?mails?|conversations?|documents?|"
    r"alerts?|invoices?|claims?|reviews?|transcripts?|records?|items?|lines?|prompts?|answers?|summar(?:y|ies)|times)"
)
_A = r"(?:a|an|per|each|every|/)"
REQUESTS = re.compile(
    rf"(?<!since )(?<!/)(?<!change ){_AMOUNT}\s+(?:[a-z-]+\s){{0,2}}?{_ASKED}\s*"
    rf"{_A}\s*(?P<unit>second|minute|hour|day|week|month)\b",
    re.I,
)
# A sum of money is a budget only where something near it says so: prices and fines are no budgets.
_TO_SPEND = r"(?:budget|spend|afford|funds?|funded|allowance|at most|up to|less than|no more than|set aside)"
_MONEY = rf"(?:(?:US\$|\$|USD\s?){_NUMBER}{_SCALE}|{_AMOUNT_2}\s?(?:US\s)?(?:dollars|USD)\b)"
_SUM = rf"{_MONEY}(?!\s*(?:(?:an?|per|each|every)\b|/))"
BUDGET = (
    re.compile(rf"\b{_TO_SPEND}\b[^.;\d]{{0,30}}?{_SUM}", re.I),
    re.compile(rf"{_SUM}[^.;\d]{{0,25}}?\b(?:budget|to spend|set aside|allowance|at most)\b", re.I),
)
_CARD = r"(?:GPU|graphics|card|VRAM|RTX|A100|H100|L4|T4)"
GPU = (
    re.compile(rf"{_AMOUNT}\s?GB\s(?:of\s)?(?:\w+\s)?{_CARD}\b", re.I),
    re.compile(rf"\b{_CARD}\b[\w\s]{{0,12}}?\b(?:with|has|of|have)\s{_AMOUNT}\s?GB\b", re.I),
)
_OF_DOCUMENTS = r"(?=[^.;]{0,40}\b(?:document|corpus|manual|wiki|handbook|archive|knowledge))"
CORPUS = re.compile(rf"{_AMOUNT}\s+(?P<unit>tokens|pages)\b{_OF_DOCUMENTS}", re.I)
# A printed page of English, as in the wizard's own explanation.
TOKENS_PER_PAGE = 400


def quantities(text: str) -> dict[str, float]:
    """The numbers a text states, by the wizard's question."""
    found: dict[str, float] = {}
    for pattern in EXAMPLES:
        if match := pattern.search(text):
            found.setdefault("examples", _value(match))
    if match := REQUESTS.search(text):
        found["requests_per_day"] = _value(match) * _PER[match["unit"].lower()]
    for pattern in BUDGET:
        if match := pattern.search(text):
            found.setdefault("budget_usd", _value(match))
    for pattern in GPU:
        if match := pattern.search(text):
            found.setdefault("gpu_gb", _value(match))
    if match := CORPUS.search(text):
        found["corpus_tokens"] = _value(match) * (TOKENS_PER_PAGE if match["unit"].lower() == "pages" else 1)
    # What cannot be meant as an answer was read wrongly.
    return {key: value for key, value in found.items() if not problem(rulebook().question(key), value)}


def _value(match: re.Match[str]) -> float:
    said = match.groupdict()
    words = (said["number"] or said["number_2"]).lower()
    scale = (said["scale"] or said.get("scale_2") or "").lower()
    number = _WORDS.get(words)
    if number is None:
        number = float(re.sub(r"[, ]", "", words))
    return number * _SCALES.get(scale, 1)
