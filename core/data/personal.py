"""Personal data and secrets in texts: e-mail addresses, phone numbers, payment cards, keys.

Each kind is looked for by people who know it: the e-mail pattern of the HTML standard, Google's phone number metadata,
the check digit of ISO/IEC 7812, the patterns of Yelp's detect-secrets (without its file scanner, and without those that
find public addresses or variable names). Cheap patterns come first, since most texts hold nothing of the kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

Kind = Literal["e-mail", "phone", "card", "key"]
KINDS: tuple[Kind, ...] = ("e-mail", "phone", "card", "key")
# Numbers without a country code are read as this country's; those with one (+49 ...) are found whatever the country.
REGION = "US"

# WHATWG HTML, "valid e-mail address", with the lengths of RFC 5321, at least one dot in the domain, and of the signs
# before the @ only those in use: quotes and = belong to the text around.
_EMAIL = re.compile(
    r"(?<![\w.+%-])\w[\w.+%-]{0,63}"
    r"@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9](?![\w-])",
    re.ASCII | re.IGNORECASE,
)
# A card: 13 to 19 digits from one of the networks' first digits (2 to 6), alone or in groups.
_CARD = re.compile(r"(?<![\d.,+-])[2-6](?:[ -]?\d){12,18}(?![\d]|[.,]\d)")
# What any phone number has: seven digits with little between them.
_SEVEN_DIGITS = re.compile(r"\d(?:[\s().\-/]{0,3}\d){6}")
_SAID_SO = re.compile(
    r"\b(?:tel|telephone|phone|mobile|cell|fax|call|whatsapp)\b\W{0,3}(?:(?:me|at|is|no|number)\W{0,3})*$", re.I
)
# What any key has: a long run without spaces, or a telling word.
_SECRETIVE = re.compile(r"[\w+/=-]{20}|PRIVATE KEY|PuTTY|://[^\s/:@]+:[^\s/@]+@|xox[abpors]-")
# Younger than the library's patterns: OpenAI, Anthropic, Google, Hugging Face.
_PREFIXES = (
    r"\bsk-(?:proj-|svcacct-|admin-|ant-[a-z0-9]+-)?[A-Za-z0-9_-]{32,}",
    r"\bAIza[A-Za-z0-9_-]{35}\b",
    r"\bhf_[A-Za-z0-9]{30,}\b",
    r"\bgithub_pat_[A-Za-z0-9_]{50,}\b",
)
# Public addresses are no secret; words that begin like an Artifactory token are too many; the last finds names of
# variables.
_NOT_KEYS = {"IPPublicDetector", "ArtifactoryDetector", "KeywordDetector"}


@dataclass(frozen=True)
class Finding:
    """Something personal at text[start:end]. The value itself is never kept."""

    kind: Kind
    start: int
    end: int


def personal_data(text: str) -> list[Finding]:
    """Everything of the four kinds in the text, by position; what is part of an earlier kind is not found twice."""
    found: list[Finding] = []
    taken = bytearray(len(text))
    for finding in (*_keys(text), *_emails(text), *_cards(text), *_phones(text)):
        place = slice(finding.start, finding.end)
        if not any(taken[place]):
            taken[place] = bytes([1]) * (finding.end - finding.start)
            found.append(finding)
    return sorted(found, key=lambda finding: finding.start)


def _emails(text: str) -> Iterator[Finding]:
    if "@" in text:
        yield from (Finding("e-mail", match.start(), match.end()) for match in _EMAIL.finditer(text))


def _cards(text: str) -> Iterator[Finding]:
    for match in _CARD.finditer(text):
        from stdnum import luhn

        digits = re.sub(r"\D", "", match[0])
        if len(set(digits)) > 1 and luhn.is_valid(digits):
            yield Finding("card", match.start(), match.end())


def _phones(text: str) -> Iterator[Finding]:
    if not _SEVEN_DIGITS.search(text):
        return
    from phonenumbers import Leniency, PhoneNumberMatcher

    for match in PhoneNumberMatcher(text, REGION, Leniency.STRICT_GROUPING):
        # Bare digits without a country code are order numbers far more often, unless the text says what they are.
        if not match.raw_string.isdigit() or _SAID_SO.search(text, max(0, match.start - 20), match.start):
            yield Finding("phone", match.start, match.end)


def _keys(text: str) -> Iterator[Finding]:
    if _SECRETIVE.search(text):
        for pattern in _key_patterns():
            yield from (Finding("key", match.start(), match.end()) for match in pattern.finditer(text))


@cache
def _key_patterns() -> tuple[re.Pattern[str], ...]:
    import importlib
    import pkgutil

    from detect_secrets import plugins
    from detect_secrets.plugins.base import RegexBasedDetector

    for module in pkgutil.iter_modules(plugins.__path__):
        importlib.import_module(f"{plugins.__name__}.{module.name}")
    # The library declares the patterns of its classes as a property.
    detectors: list[Any] = [each for each in RegexBasedDetector.__subclasses__() if each.__name__ not in _NOT_KEYS]
    known = [pattern for each in detectors for pattern in each.denylist]
    return (*known, *(re.compile(prefix) for prefix in _PREFIXES))
