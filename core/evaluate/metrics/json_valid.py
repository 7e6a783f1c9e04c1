"""JSON validity: could a program read the answer at all?"""

from __future__ import annotations

from core.evaluate.metrics.registry import metric
from core.evaluate.normalize import parse_json


@metric("json_valid", title="Valid JSON", kind="binary", family="json", needs=())
def json_valid(prediction: str, reference: str) -> float:
    """1 if the answer as a whole is one JSON object; text or code fences around it make it invalid."""
    return float(isinstance(parse_json(prediction), dict))
