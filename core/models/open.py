"""From a model's id to something that answers."""

from __future__ import annotations

from core.errors import UserError
from core.models.generation import Generator
from core.models.loading import load_model
from core.models.local import LocalGenerator
from core.models.remote import Endpoint, RemoteGenerator
from core.settings import get_settings

REMOTE = "remote/"


def is_remote(model_id: str) -> bool:
    """Whether `model_id` names a model of the service at LOWEST_RUNG_GENERATION_URL ("remote/NAME")."""
    return model_id.startswith(REMOTE)


def open_generator(model_id: str) -> Generator:
    """A generator for "remote/NAME", a bundled model, a Hugging Face id or a local folder. Raises UserError."""
    if not is_remote(model_id):
        return LocalGenerator(load_model(model_id))
    settings = get_settings()
    if not settings.generation_url:
        raise UserError(
            f"{model_id} is a remote model, but no service is configured.",
            "Set LOWEST_RUNG_GENERATION_URL (and LOWEST_RUNG_GENERATION_KEY), or choose a local model.",
        )
    endpoint = Endpoint(
        settings.generation_url,
        settings.generation_key.get_secret_value(),
        settings.generation_price_input,
        settings.generation_price_output,
    )
    return RemoteGenerator(model_id.removeprefix(REMOTE), endpoint)
