"""YAML files that people write: read strictly, and every error with its file, line and field."""

from __future__ import annotations

from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from core.errors import UserError

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(text: str, name: str, model: type[Model], *, example: str) -> Model:
    """What `text` says, as a `model`; `name` is the file's. `example`: a field as it may look, and where to get more.

    Raises UserError that names line and field of everything that is wrong: unknown and repeated fields, impossible
    values, no YAML at all.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        # Before anything is made of it: a few aliases can stand for more than any memory holds.
        _refuse_repeated(root, name)
        found = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{name}{where}: this is not YAML: {error.problem}.", "Correct it there.") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"{name} is not YAML: {str(error).splitlines()[0]}", "It should be a text file.") from error
    if not isinstance(found, dict):
        raise UserError(f"{name} holds no fields.", example)
    try:
        return model.model_validate(found)
    except ValidationError as error:
        problems = _told(error.errors(include_url=False, include_input=False))
        lines = [in_words(problem, root, name) for problem in sorted(problems, key=lambda p: line_of(root, _place(p)))]
        raise UserError("\n".join(dict.fromkeys(lines)), f"Fields: {', '.join(model.model_fields)}.") from error


def dump_yaml(value: dict[str, Any]) -> str:
    """Fields in their order, as people read them."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=116).rstrip("\n")


class _Dumper(yaml.SafeDumper):
    """Escapes the rarer line breaks of Unicode: the library writes them raw, and reads each back as a space."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = '"' if set(data) & set("\x85\u2028\u2029") else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)


def in_words(problem: Any, root: Any, name: str) -> str:
    """One of pydantic's problems as a line: file, line, field, what is wrong."""
    place = _place(problem)
    where = f"{name}, line {line_of(root, place)}"
    field = ".".join(place)
    if problem["type"] == "extra_forbidden":
        return f"{where}: there is no field {field}."
    said = str(problem["msg"]).removeprefix("Value error, ")
    return f"{where}: {field}: {said}." if field else f"{where}: {said}."


def line_of(node: Any, place: list[str]) -> int:
    """The line, from 1, of the deepest part of `place` that the file has."""
    line = int(node.start_mark.line) + 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == part), None)
            if found is None:
                break
            line, node = int(found[0].start_mark.line) + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
            node = node.value[int(part)]
            line = int(node.start_mark.line) + 1
        else:
            break
    return line


def _told(problems: list[Any]) -> list[Any]:
    """Without what needs no saying: a list with a wrong entry is not the single word either that might stand there."""
    deeper = {problem["loc"][0] for problem in problems if problem["loc"] and problem["type"] != "literal_error"}
    return [p for p in problems if p["type"] != "literal_error" or p["loc"][0] not in deeper]


def _place(problem: Any) -> list[str]:
    """The field's path. pydantic names the branch of a choice too, such as list[constrained-str]."""
    return [str(part) for part in problem["loc"] if "[" not in str(part)]


def _refuse_repeated(node: Any, name: str) -> None:
    """Fields said twice, of which YAML's reader lets the last win in silence, and aliases of whole blocks."""
    waiting, seen = [node], set[int]()
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.CollectionNode):
            if id(node) in seen:
                raise UserError(
                    f"{name}, line {node.start_mark.line + 1}: what stands here is used again by an alias (*).",
                    "Write it out wherever it is needed.",
                )
            seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        if not isinstance(node, yaml.MappingNode):
            continue
        lines: dict[str, int] = {}
        for key, value in node.value:
            waiting.append(value)
            if not isinstance(key, yaml.ScalarNode):
                continue  # refused by the reader, in its own words
            if key.value in lines:
                raise UserError(
                    f"{name}, line {key.start_mark.line + 1}: {key.value} is said twice, first in line "
                    f"{lines[key.value]}.",
                    "Keep one of them.",
                )
            lines[key.value] = key.start_mark.line + 1
