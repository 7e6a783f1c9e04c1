"""A recipe out to a file and in from one, or from an earlier run."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st
from pydantic import ValidationError

from core.data.dataset import datasets
from core.errors import UserError
from core.jobs import queue
from core.store.tables import Dataset
from core.train.recipe import Recipe
from core.train.recipe_file import RecipeFile, read_recipe, write_recipe
from pages.widgets.errors import guard, plain
from pages.widgets.recipe_state import KEY, fill

# A recipe is two pages of text.
MOST_MEGABYTES = 1
PENDING = "train_pending"
USED = "train_files_used"
RUN_PARAM = "recipe_of"


@dataclass(frozen=True)
class Pending:
    """A recipe that the form is filled with when it is next drawn; `said` tells the person where it is from."""

    recipe: Recipe
    said: str
    dataset: int | None = None
    index: int | None = None
    name: str = ""


def fill_pending() -> None:
    """Fill the form with what was asked for, before any of its widgets is drawn."""
    wanted = st.query_params.get(RUN_PARAM, "")
    if wanted:
        del st.query_params[RUN_PARAM]
        with guard():
            st.session_state[PENDING] = _of_run(wanted)
    pending: Pending | None = st.session_state.pop(PENDING, None)
    if pending is None:
        return
    fill(pending.recipe)
    st.session_state[f"{KEY}model"] = pending.recipe.model
    st.session_state[f"{KEY}name"] = pending.name
    if pending.index is not None:
        st.session_state[f"{KEY}index"] = pending.index
    if pending.dataset is not None:
        st.session_state[f"{KEY}dataset"] = pending.dataset
    st.toast(plain(pending.said), icon=":material/check:")


def download(recipe: Recipe, dataset: Dataset, index_id: int | None) -> None:
    file = RecipeFile.of(recipe, dataset=dataset.id, name=dataset.name, hash=dataset.hash, index=index_id)
    st.download_button(
        "Download the recipe",
        write_recipe(file),
        "recipe.yaml",
        "application/yaml",
        icon=":material/download:",
        key=f"{KEY}download",
        on_click="ignore",
        help="A YAML file with a comment for every field. `python -m core train recipe.yaml` runs it as well; the same "
        "recipe and data give the same adapter on one machine.",
    )


def upload(now: Recipe) -> None:
    """A file field behind a button."""
    # Once a file was used, another number makes both the popover and the field new: closed and empty.
    used = st.session_state.get(USED, 0)
    with st.popover("Upload a recipe", icon=":material/upload:", key=f"{KEY}upload_{used}"):
        _from_file(now, f"{KEY}recipe_file_{used}")


def _from_file(now: Recipe, key: str) -> None:
    with guard():
        file = st.file_uploader("Recipe (YAML)", ["yaml", "yml"], key=key, max_upload_size=MOST_MEGABYTES)
        if file is None:
            st.caption("As downloaded here, or written by hand: a field that is left out has its default.")
            return
        try:
            text = file.getvalue().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(f"{file.name} is not a text file.", "A recipe is YAML in UTF-8.") from error
        found = read_recipe(text, file.name)
        differing = differences(now, found.recipe)
        if differing:
            st.markdown(f"**{len(differing)} fields change**")
            # Lines, which wrap: of a table in this narrow place the new values would be out of sight.
            for row in differing:
                st.caption(plain(f"{row['field']}: {row['in the form']} → {row['in the file']}"))
        else:
            st.markdown("The form says the same already.")
        dataset = _its_data(found)
        if st.button("Use this recipe", type="primary", icon=":material/check:", key=f"{KEY}use_recipe"):
            st.session_state[PENDING] = Pending(
                found.recipe, f"Filled from {file.name}.", dataset.id if dataset else None, found.data.index
            )
            st.session_state[USED] = st.session_state.get(USED, 0) + 1
            st.rerun()


def differences(now: Recipe, then: Recipe) -> list[dict[str, str]]:
    """One row for each field whose values differ."""
    one, other = now.model_dump(mode="json"), then.model_dump(mode="json")
    return [
        {"field": name, "in the form": _in_words(one[name]), "in the file": _in_words(other[name])}
        for name in one
        if one[name] != other[name]
    ]


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _its_data(found: RecipeFile) -> Dataset | None:
    """The data set with the content that the recipe names. Says so where there is none."""
    if not found.data.hash and found.data.dataset is None:
        return None
    named = found.data.name or f"number {found.data.dataset}"
    for dataset in datasets():
        if dataset.hash == found.data.hash or (not found.data.hash and dataset.id == found.data.dataset):
            st.caption(plain(f"Its data set is here: {dataset.name} (number {dataset.id})."))
            return dataset
    st.warning(
        "The recipe can be used on the data set chosen in the form; it will be another run, with other results.",
        title=plain(f"The data it was made for ({named}) is not here"),
    )
    return None


def _of_run(number: str) -> Pending:
    if not number.isdigit():
        raise UserError("This link names no run.", "Open a run and choose Run again.")
    job = queue.get(int(number))
    try:
        recipe = Recipe.model_validate(job.spec.get("recipe"))
    except ValidationError as error:
        raise UserError(
            f"Job {job.id} has no recipe that this version can read.", "Fill in the form yourself."
        ) from error
    present = {dataset.id for dataset in datasets()}
    dataset_id = job.spec.get("dataset_id")
    return Pending(
        recipe,
        f"Filled from run {job.id}.",
        dataset_id if dataset_id in present else None,
        job.spec.get("index_id"),
        str(job.spec.get("name", "")),
    )
