"""The retrieval lab: how well an index finds what is known to be relevant, and which setting would find it better.

`relevance` says what each question should find, `rankings` what each setting finds, `measures` how good that is,
`report` what may be concluded; docs/method.md gives the reasons.
"""

from core.evaluate.lab.measures import DECIDING, MEASURES, score
from core.evaluate.lab.rankings import Setting, default_settings
from core.evaluate.lab.relevance import (
    Asked,
    Question,
    Questions,
    Span,
    asked_in_file,
    questions_from_dataset,
    questions_from_file,
    resolve,
)
from core.evaluate.lab.report import LabReport, adopt, run_lab

__all__ = [
    "DECIDING",
    "MEASURES",
    "Asked",
    "LabReport",
    "Question",
    "Questions",
    "Setting",
    "Span",
    "adopt",
    "asked_in_file",
    "default_settings",
    "questions_from_dataset",
    "questions_from_file",
    "resolve",
    "run_lab",
    "score",
]
