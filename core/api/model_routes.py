"""`/v1/models`: which models answer, and the end of a fine-tuned one."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request
from openai.types import Model, ModelDeleted
from pydantic import BaseModel

from core.api.doors import Caller
from core.api.embeddings import embedders
from core.api.errors import ApiError
from core.api.models import Models, Offered
from core.models.catalogue import BUNDLED_EMBEDDER
from core.train import adapters

router = APIRouter()
Name = Annotated[str, Path(max_length=500, description="As /v1/models lists it.", examples=["smollm2-135m"])]


class ModelList(BaseModel):
    """All models at once: the reference has no pages here."""

    object: Literal["list"]
    data: list[Model]


@router.get("/v1/models")
def list_models(request: Request, _: Caller) -> ModelList:
    """Base models on this machine, every fine-tuned one that is not withheld, and the embedding models."""
    written = [_model(found) for found in _models(request).offered()]
    return ModelList(object="list", data=[*written, *_embedding_models().values()])


# Names may hold a slash, as on the hub.
@router.get("/v1/models/{model:path}")
def get_model(request: Request, model: Name, _: Caller) -> Model:
    """One model; answers to each of its names."""
    return _embedding_models().get(model) or _model(_models(request).named(model))


@router.delete("/v1/models/{model:path}")
def delete_model(request: Request, model: Name, _: Caller) -> ModelDeleted:
    """Delete a fine-tuned model. Its owner can bring it back for a week, on the Serve page."""
    found = _models(request).named(model)
    if found.adapter is None:
        what = "a checkpoint of a training, which goes with its job" if found.folder else "a base model"
        raise ApiError(
            403, f"{found.name} is {what}, and cannot be deleted.", param="model", code="insufficient_permissions"
        )
    adapters.delete(found.adapter.id)
    return ModelDeleted(id=found.name, object="model", deleted=True)


def _model(found: Offered) -> Model:
    return Model(id=found.name, created=found.created, object="model", owned_by=found.owned_by)


def _embedding_models() -> dict[str, Model]:
    """By name. Since when they are on this machine is told by nothing, and by no client asked."""
    return {
        name: Model(id=name, created=0, object="model", owned_by=_owner(embedder))
        for name, embedder in embedders().items()
    }


def _owner(embedder: str) -> str:
    return "sentence-transformers" if embedder == BUNDLED_EMBEDDER else embedder.partition("/")[0]


def _models(request: Request) -> Models:
    found: Models = request.app.state.models
    return found
