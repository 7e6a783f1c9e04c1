"""Shapes: what may come next is all that the shape allows, and what cannot be held to is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.models.constraint import Compiler, Shape, ShapeRefused
from core.models.loading import load_tokenizer


@pytest.fixture(scope="module")
def compiler(bundled_models: Path) -> Compiler:
    tokenizer = load_tokenizer(str(bundled_models / "SmolLM2-135M-Instruct"))
    return Compiler(tokenizer, len(tokenizer), frozenset([tokenizer.eos_token_id]))


def takes(compiler: Compiler, shape: Shape, text: str) -> bool:
    """Whether `text` has the shape from beginning to end, token by token as the masks have it."""
    import torch

    tokenizer = compiler.tokenizer
    matcher = compiler.matcher(shape)
    tokens = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    for left, token in zip(range(len(tokens) - 1, -1, -1), tokens, strict=True):
        logits = torch.zeros(len(tokenizer))
        matcher.rule_out(logits)
        if logits[token] != 0:
            return False
        if matcher.add(token):
            return left <= 1
    return True


@pytest.mark.parametrize("text", ['{"a": 1}', '{"a":[true,null]}', '{\n  "a": {\n    "b": "é😀"\n  }\n}', "{}"])
def test_json_written_in_any_usual_way_is_an_object(compiler: Compiler, text: str) -> None:
    assert takes(compiler, Shape.json(), text)


@pytest.mark.parametrize("text", ["[1]", "word", '{"a": 1', "{'a': 1}", '{"a":' + " " * 9 + "1}", '{"a": 1} and more'])
def test_what_is_no_object_cannot_be_written(compiler: Compiler, text: str) -> None:
    assert not takes(compiler, Shape.json(), text)


def test_schema_and_expression_are_held_to(compiler: Compiler) -> None:
    schema = Shape.schema(
        {
            "type": "object",
            "properties": {"kind": {"enum": ["tool", "fruit"]}, "count": {"type": "integer", "minimum": 1}},
            "required": ["kind", "count"],
            "additionalProperties": False,
        }
    )
    assert takes(compiler, schema, '{"kind": "tool", "count": 12}')
    assert not takes(compiler, schema, '{"kind": "tools", "count": 12}')
    assert not takes(compiler, schema, '{"kind": "tool", "count": 0}')
    assert not takes(compiler, schema, '{"kind": "tool"}')
    assert takes(compiler, Shape.regex("(yes|no), [0-9]{2}%"), "yes, 07%")
    assert not takes(compiler, Shape.regex("(yes|no), [0-9]{2}%"), "yes, 7%")


@pytest.mark.parametrize(
    ("shape", "named"),
    [
        (Shape.schema({"not": {"type": "string"}}), '"not"'),
        (Shape.schema({"type": "array", "uniqueItems": True}), "uniqueItems"),
        (Shape.schema({"type": "string", "format": "banana"}), "banana"),
        (Shape.schema({"type": "thing"}), "thing"),
        (Shape.schema({"$ref": "#/$defs/missing"}), "missing"),
        (Shape.schema({"type": "integer", "minimum": 5, "maximum": 3}), "minimum (5)"),
        (Shape.schema({"type": "string", "pattern": "(?=a)b"}), "look-around"),
        (Shape.regex("[0-9]{2"), "unclosed counted repetition"),
    ],
)
def test_what_cannot_be_held_to_is_named_in_a_sentence(compiler: Compiler, shape: Shape, named: str) -> None:
    with pytest.raises(ShapeRefused) as refused:
        compiler.matcher(shape)
    assert named in refused.value.what
    assert "\n" not in refused.value.what and refused.value.what.endswith(".") and refused.value.remedy


def test_two_answers_of_one_shape_do_not_share_their_place(compiler: Compiler) -> None:
    import torch

    shape = Shape.regex("[a-c][x-z]")
    first, second = compiler.matcher(shape), compiler.matcher(shape)
    tokenizer = compiler.tokenizer
    (a,) = tokenizer("a")["input_ids"]
    first.add(a)
    logits = torch.zeros(len(tokenizer))
    second.rule_out(logits)
    assert logits[a] == 0


def test_logits_wider_or_narrower_than_the_vocabulary_fit(compiler: Compiler, bundled_models: Path) -> None:
    """Models pad their last layer, and a tokenizer may have tokens that were added later."""
    import torch

    tokenizer = load_tokenizer(str(bundled_models / "SmolLM2-135M-Instruct"))
    for width in (len(tokenizer) - 5, len(tokenizer) + 61):
        logits = torch.zeros(width)
        Compiler(tokenizer, width, frozenset([tokenizer.eos_token_id])).matcher(Shape.regex("a")).rule_out(logits)
        allowed = logits.isfinite().nonzero().flatten().tolist()
        assert [tokenizer.decode([token]) for token in allowed] == ["a"]


def test_shapes_that_say_the_same_are_the_same() -> None:
    assert Shape.schema({"type": "object"}) == Shape.json()
    assert len({Shape.json(), Shape.json(), Shape.regex("a")}) == 2
    assert json.loads(Shape.json().text) == {"type": "object"}
