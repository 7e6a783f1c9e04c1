"""The request for a fine-tuning job, field by field as OpenAI's API has it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from core.api.request_fields import Body, Metadata, NotOffered

# The API's own limits.
MOST_EPOCHS, LARGEST_BATCH = 50, 256
# Even of the largest step size that the app proposes, fifty times as much is one that a recipe may have.
LARGEST_MULTIPLIER = 50
LARGEST_SEED = 2**31 - 1

Auto = Literal["auto"]


def _said_as(meant: str) -> WrapValidator:
    """One sentence for whatever is wrong, where pydantic would speak of each kind of value in turn."""

    def check(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate(value)
        except ValidationError as error:
            raise PydanticCustomError("invalid_value", f'Expected "auto" or {meant}.') from error

    return WrapValidator(check)


def _supervised(kind: object) -> object:
    if kind in ("dpo", "reinforcement"):
        raise PydanticCustomError("unsupported_value", f"This server offers supervised fine-tuning only, not {kind}.")
    return kind


class Hyperparameters(Body):
    """What is left out is chosen like "auto": from the data, the model and the machine."""

    n_epochs: Annotated[
        Auto | Annotated[int, Field(ge=1, le=MOST_EPOCHS)], _said_as(f"a whole number from 1 to {MOST_EPOCHS}")
    ] = "auto"
    batch_size: Annotated[
        Auto | Annotated[int, Field(ge=1, le=LARGEST_BATCH)], _said_as(f"a whole number from 1 to {LARGEST_BATCH}")
    ] = "auto"
    learning_rate_multiplier: Annotated[
        Auto | Annotated[float, Field(gt=0, le=LARGEST_MULTIPLIER)],
        _said_as(f"a number above 0, up to {LARGEST_MULTIPLIER}"),
    ] = "auto"


class Supervised(Body):
    hyperparameters: Hyperparameters | None = None


class Method(Body):
    type: Annotated[Literal["supervised"], BeforeValidator(_supervised)]
    supervised: Supervised | None = None
    dpo: NotOffered = None
    reinforcement: NotOffered = None


class TuningRequest(Body):
    """Body of POST /v1/fine_tuning/jobs."""

    model: str = Field(max_length=512)
    training_file: str = Field(max_length=64)
    validation_file: str | None = Field(None, max_length=64)
    hyperparameters: Hyperparameters | None = None
    """The older place for them; those of the method count, where both are given."""
    method: Method | None = None
    suffix: str | None = Field(None, min_length=1, max_length=64)
    seed: int | None = Field(None, ge=0, le=LARGEST_SEED)
    metadata: Metadata | None = None
    integrations: NotOffered = None

    @property
    def wanted(self) -> Hyperparameters:
        """The hyperparameters asked for, wherever they stand."""
        by_method = self.method and self.method.supervised and self.method.supervised.hyperparameters
        return by_method or self.hyperparameters or Hyperparameters()
