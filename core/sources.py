"""The data that a recipe or an experiment file names: records of this home by number, or files beside it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from core.data.dataset import File, create_dataset, datasets, delete_dataset
from core.documents.index import create_index
from core.documents.reading import read_folder
from core.errors import UserError
from core.store.database import session
from core.store.tables import Dataset, Index
from core.terminal import read_bytes


class Sources(BaseModel):
    """Paths are relative to the folder of the file that names them.

    `hash` is the data set's content hash: the same recipe or experiment on other data would be another one.
    """

    model_config = ConfigDict(extra="forbid")

    dataset: int | None = Field(None, ge=1, description="Number of a data set in this home.")
    name: str = Field("", description="Its name, for people.")
    hash: str = Field("", description="Hash of its content; other data are refused.")
    train: Path | None = Field(None, description="File of examples, instead of a data set.")
    test: Path | None = Field(None, description="File of test examples; empty: a fifth of the groups is held back.")
    index: int | None = Field(None, ge=1, description="Number of the index that passages come from.")
    documents: Path | None = Field(None, description="Folder of documents to index, instead of an index.")


def dataset_of(named: Sources, folder: Path, seed: int, noun: str) -> Dataset:
    """The data set that the file in `folder` names, or one of its files, which is imported once.

    `noun`: what the file is, for errors. Raises UserError when there is none, or it is not the one it was.
    """
    if named.train is not None:
        found = _imported(named, folder, seed)
    else:
        listed = {dataset.id: dataset for dataset in datasets()}
        if named.dataset not in listed:
            known = ", ".join(f"{d.id} ({d.name})" for d in listed.values()) or "none"
            raise UserError(
                f"The {noun} names no data set of this home."
                if named.dataset is None
                else f"There is no data set {named.dataset} in this home.",
                f"Set `data: {{train: FILE}}`, or `data: {{dataset: NUMBER}}` with one of: {known}.",
            )
        found = listed[named.dataset]
    if named.hash and named.hash != found.hash:
        raise UserError(
            f"The {noun} was made for data with the hash {named.hash}, and {found.name} has {found.hash}.",
            f"Choose the data it was made for, or remove `hash` from the {noun} to use these.",
        )
    return found


def index_of(named: Sources, folder: Path) -> int | None:
    """The index that the file names, or a new one of its documents, still to be filled; None when it names neither."""
    if named.documents is not None:
        path = (folder / named.documents).resolve()
        return create_index(path.name, read_folder(path)).id
    if named.index is None:
        return None
    with session(read_only=True) as db:
        known = list(db.scalars(select(Index.id)))
    if named.index not in known:
        raise UserError(
            f"There is no index {named.index} in this home.",
            f"Set `data: {{documents: FOLDER}}`, or one of: {', '.join(map(str, known)) or 'none so far'}.",
        )
    return named.index


def _imported(named: Sources, folder: Path, seed: int) -> Dataset:
    """The files as a data set: the one of before where they have not changed, as in every build of a project."""
    paths = [folder / path for path in (named.train, named.test) if path is not None]
    files = [File(path.name, read_bytes(path)) for path in paths]
    before = {dataset.hash: dataset for dataset in datasets() if dataset.seed == seed}
    found = create_dataset(
        named.name or paths[0].stem, files[0], files[1] if named.test is not None else None, seed=seed
    )
    same = before.get(found.hash)
    if same is None or same.notes["counts"] != found.notes["counts"]:
        return found
    delete_dataset(found.id)
    return same
