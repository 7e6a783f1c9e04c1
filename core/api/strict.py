"""Functions that are called with allowed arguments alone: whether what a model wrote follows a client's own schema.

The schema comes from outside and is held against texts while others wait. So nothing is fetched for it, no pattern
may run away, and references are followed a bounded number of times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from core.api.chat_types import Function, Tool
from core.api.errors import ApiError

# A sound pattern takes microseconds.
LONGEST_S = 0.1
# Each reference to two others doubles the work; arguments of honest schemas follow a few dozen.
MOST_FOLLOWED = 2000
# What follows references in ways of its own.
UNSUPPORTED = ("$dynamicRef", "unevaluatedProperties", "unevaluatedItems")


def check(tools: Sequence[Tool]) -> None:
    """Refuse strict functions whose parameters are no schema, or one that is not offered. Raises ApiError."""
    from jsonschema import Draft202012Validator, SchemaError

    for i, function in enumerate(tool.function for tool in tools):
        if not function.strict or function.parameters is None:
            continue
        param = f"tools[{i}].function.parameters"
        try:
            reason = _unsupported(function.parameters)
            Draft202012Validator.check_schema(function.parameters)
        except SchemaError as error:
            raise ApiError(400, f"{error.json_path}: {error.message}", param=param, code="invalid_value") from error
        except RecursionError as error:
            raise ApiError(400, "The schema is nested too deeply.", param=param, code="invalid_value") from error
        if reason:
            raise ApiError(400, reason, param=param, code="unsupported_value")


def allows(function: Function, arguments: object) -> bool:
    """Whether the function takes these arguments. What cannot be decided within bounds, it does not take."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from regex import error as PatternError

    follow, followed = Draft202012Validator.VALIDATORS["$ref"], count(1)

    def bounded(validator: Any, target: str, instance: Any, schema: Any) -> Iterator[Any]:
        if next(followed) > MOST_FOLLOWED:
            raise TimeoutError
        yield from follow(validator, target, instance, schema)

    keywords = {"$ref": bounded, "pattern": _pattern, "patternProperties": _pattern_properties}
    made = extend(Draft202012Validator, keywords)(function.parameters or {}, registry=Registry())
    try:
        return bool(made.is_valid(arguments))
    except (Unresolvable, PatternError, TimeoutError, RecursionError):
        return False


def _unsupported(schema: dict[str, Any]) -> str:
    """Why a schema is not offered; empty when it is."""
    waiting: list[Any] = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if found := next((key for key in UNSUPPORTED if key in part), None):
                return f"{found} is not offered in the schema of a strict function."
            target = part.get("$ref")
            if isinstance(target, str) and not target.startswith("#"):
                return "The schema refers to another one, and nothing is fetched. Put the definition under $defs."
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return ""


def _matches(pattern: str, text: str) -> bool:
    import regex

    return regex.search(pattern, text, timeout=LONGEST_S) is not None


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError("It does not match the pattern.")


def _pattern_properties(validator: Any, patterns: dict[str, Any], instance: Any, schema: Any) -> Iterator[Any]:
    if isinstance(instance, dict):
        for pattern, below in patterns.items():
            for name in [name for name in instance if _matches(pattern, name)]:
                yield from validator.descend(instance[name], below, path=name)
