"""From a model's id to something that answers."""

from __future__ import annotations

from core.errors import UserError
from core.models.budget import Budget
from core.models.generation import Generator
from core.models.loading import load_model
from core.models.local import LocalGenerator
from core.models.remote import Endpoint, RemoteGenerator
from core.models.services import OF_SERVICE, REMOTE, key_of, service, split_id
from core.settings import get_settings


def is_remote(model_id: str) -> bool:
    """Whether a service answers: "remote/NAME" for that of the settings, "remote:SERVICE/NAME" for a saved one."""
    return model_id.startswith((REMOTE, OF_SERVICE))


def open_generator(model_id: str, budget: Budget | None = None) -> Generator:
    """A generator for a remote model, a bundled one, a Hugging Face id or a local folder. Raises UserError.

    `budget` holds back requests to paid models; without one, the one in force (`Budget.keep`).
    """
    if not is_remote(model_id):
        return LocalGenerator(load_model(model_id))
    endpoint, model = endpoint_of(model_id)
    return RemoteGenerator(model, endpoint, budget)


def price_of(model_id: str) -> tuple[float, float]:
    """US dollars per million tokens of prompts and of answers; nought for local models. Raises UserError."""
    if not is_remote(model_id):
        return 0.0, 0.0
    endpoint, _ = endpoint_of(model_id)
    return endpoint.price_input, endpoint.price_output


def concurrency_of(model_id: str) -> int:
    """Requests under way at once; local models answer in batches, which is another matter: 1. Raises UserError."""
    return endpoint_of(model_id)[0].concurrency if is_remote(model_id) else 1


def endpoint_of(model_id: str) -> tuple[Endpoint, str]:
    """Where a remote model is asked, and its name there. Raises UserError when no such service is known."""
    if model_id.startswith(OF_SERVICE):
        name, model = split_id(model_id)
        saved = service(name)
        price_input, price_output = saved.prices.get(model, (saved.price_input, saved.price_output))
        return (
            Endpoint(
                saved.url,
                key_of(saved),
                price_input,
                price_output,
                saved.concurrency,
                saved.timeout_s,
                requests_per_minute=saved.requests_per_minute,
            ),
            model,
        )
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
    return endpoint, model_id.removeprefix(REMOTE)
