"""JSON schema: has the answer the keys and types that the program reading it relies on?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from pydantic import Field, field_validator

from core.evaluate.metrics.registry import Answer, Scored, answer_metric
from core.evaluate.metrics.regular_expression import LONGEST_S, compiled
from core.evaluate.metrics.settings import MetricSettings
from core.evaluate.normalize import NOT_JSON, parse_json


class JsonSchemaSettings(MetricSettings):
    """The schema that answers must follow."""

    json_schema: str = Field(
        "",
        title="JSON schema",
        description="What the answer must look like, as a JSON schema (draft 2020-12). Empty: keys and types of the "
        "reference answer.",
        json_schema_extra={"long": True},
    )

    @field_validator("json_schema", mode="before")
    @classmethod
    def _written(cls, schema: Any) -> Any:
        return json.dumps(schema, ensure_ascii=False, indent=2) if isinstance(schema, dict) else schema

    @field_validator("json_schema")
    @classmethod
    def _is_schema(cls, text: str) -> str:
        if text.strip():
            _check(text)
        return text


@answer_metric("json_schema", title="JSON follows schema", kind="binary", family="json", settings=JsonSchemaSettings)
def json_schema(answer: Answer, settings: JsonSchemaSettings) -> Scored:
    """1 if the answer as a whole is JSON and follows the schema: the right keys and types, whatever the values.

    Without a schema each answer must have the keys and types of its own reference. Schemas are never fetched: a
    reference to another file or address is refused when it is set. A text that keeps a `pattern` busy for more than
    half a second does not follow it; the notes say `too_slow`. Source: python-jsonschema, genson.
    """
    given = parse_json(answer.output)
    if given is NOT_JSON:
        return Scored(0.0, {"error": "not JSON"})
    schema = settings.json_schema if settings.json_schema.strip() else infer_schema([answer.reference])
    if not schema:
        return Scored(0.0, {"error": "no schema, and no JSON as reference"})
    try:
        error = next(_validator(schema).iter_errors(given), None)
    except RecursionError:
        return Scored(0.0, {"error": "nested too deeply"})
    except TimeoutError:
        return Scored(0.0, {"error": "a pattern took too long", "too_slow": True})
    if error is None:
        return Scored(1.0)
    return Scored(0.0, {"error": f"{error.json_path}: {error.message}"[:300]})


def infer_schema(references: Sequence[str]) -> str:
    """The schema that all JSON among these answers follow; empty where none is JSON.

    A key that every object has is required.
    """
    from genson import SchemaBuilder

    builder, found = SchemaBuilder(schema_uri="NULL"), False
    for reference in references:
        parsed = parse_json(reference)
        if isinstance(parsed, dict | list):
            try:
                builder.add_object(parsed)
            except RecursionError:
                continue
            found = True
    return builder.to_json(ensure_ascii=False, indent=2) if found else ""


def _check(text: str) -> None:
    """Raises ValueError with line and column, or the place within the schema, of what is wrong."""
    from jsonschema import Draft202012Validator, FormatChecker, SchemaError
    from regex import error as PatternError

    try:
        schema = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    if not isinstance(schema, dict):
        raise ValueError("a schema is a JSON object")
    waiting: list[Any] = [schema]
    while waiting:
        part = waiting.pop()
        target = part.get("$ref", "#") if isinstance(part, dict) else "#"
        if isinstance(target, str) and not target.startswith("#"):
            raise ValueError(f'"$ref" to {target} leads out of the schema; put the definition under "$defs"')
        waiting += part.values() if isinstance(part, dict) else part if isinstance(part, list) else []
    patterns = FormatChecker(formats=())
    patterns.checks("regex", raises=(PatternError, RecursionError))(lambda text: compiled(text) if text else True)
    try:
        Draft202012Validator.check_schema(schema, format_checker=patterns)
    except SchemaError as error:
        raise ValueError(f"{error.json_path}: {error.message}") from error


@lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend
    from referencing import Registry

    # An empty registry, since the usual one fetches addresses.
    return extend(Draft202012Validator, {"pattern": _pattern})(json.loads(schema), registry=Registry())


def _pattern(validator: Any, pattern: str, given: Any, schema: Any) -> Iterator[Any]:
    """The keyword as jsonschema has it, but with a limit on its time."""
    from jsonschema import ValidationError

    if validator.is_type(given, "string") and compiled(pattern).search(given, timeout=LONGEST_S) is None:
        yield ValidationError(f"{given!r} does not match {pattern!r}")
