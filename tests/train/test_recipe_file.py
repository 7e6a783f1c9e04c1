"""Recipes as YAML: written, read back, and refused by line and field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from core.train.recipe import Passages, Recipe
from core.train.recipe_file import RecipeFile, read_recipe, write_recipe


@given(
    st.builds(
        Recipe,
        method=st.sampled_from(["lora", "qlora", "rslora", "dora", "full"]),
        targets=st.one_of(st.just("all-linear"), st.just(["q_proj", "v_proj"])),
        learning_rate=st.floats(1e-9, 0.1),
        max_steps=st.one_of(st.none(), st.integers(1, 1000)),
        passages=st.one_of(st.none(), st.builds(Passages)),
        report_to=st.lists(st.sampled_from(["tensorboard", "mlflow"]), unique=True),
        seed=st.integers(0, 2**32 - 1),
    ),
    st.text(max_size=40),
)
def test_recipe_survives_its_file(recipe: Recipe, name: str) -> None:
    file = RecipeFile.of(recipe, dataset=3, name=name.replace("\x00", ""), hash="abc")
    read = read_recipe(write_recipe(file), "recipe.yaml")
    assert read == file and read.recipe == recipe


def test_every_field_is_explained_in_the_file() -> None:
    text = write_recipe(RecipeFile.of(Recipe()))
    for name, field in Recipe.model_fields.items():
        assert f"\n{name}:" in text
        assert field.description and field.description.split()[0] in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rank: 16\nwarm_up: 0.1\n", r"recipe.yaml, line 2: there is no field warm_up"),
        ("rank: 16\n\nmethod: magic\n", r"line 3: method: Input should be 'lora', 'qlora'"),
        ("learning_rate: fast", r"line 1: learning_rate: .*valid number"),
        ("data:\n  dataset: 3\n  folder: x\n", r"line 3: there is no field data.folder"),
        ("rank: 8\nrank: 16\n", r"line 2: rank is said twice, first in line 1"),
        ("targets: [q_proj, '../x']", r"line 1: targets.1: .*pattern"),
        ("rank: [16", r"line 1, column 10: this is not YAML"),
        ("x: !!python/object/apply:os.system [true]", "this is not YAML"),
        ("- rank", "holds no fields"),
        ("", "holds no fields"),
        ("rank: 16\x00", "is not YAML"),
        ("passages: {count: 0}", r"passages.count: .*greater than or equal to 1"),
        ("engine: jax", "line 1: engine"),
        ("report_to: [excel]", r"line 1: report_to.0"),
        ("model: {a: 1}", "line 1: model"),
        ("[" * 3000, "YAML"),
    ],
)
def test_bad_recipe_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_recipe(text, "recipe.yaml")
    assert caught.value.remedy


def test_exponents_without_a_dot_are_numbers() -> None:
    """YAML's own rules read 5e-4 as a text."""
    assert read_recipe("learning_rate: 5e-4", "r.yaml").learning_rate == 5e-4


def test_all_problems_are_said_at_once() -> None:
    with pytest.raises(UserError) as caught:
        read_recipe("rank: 0\nmethod: magic\nfoo: 1\n", "r.yaml")
    assert [line.split(":")[0] for line in caught.value.what.splitlines()] == [f"r.yaml, line {n}" for n in (1, 2, 3)]
