"""Who tunes models for money: kinds of provider told from the address, their rules, and a client for each.

Any saved service may be one. Rules and dates are in assets/managed.yaml, with the pages they were read on.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from core.decide.prices import TunedPrice, prices
from core.models import services
from core.models.catalogue import catalogue
from core.models.services import Service
from core.settings import REPOSITORY
from core.strict_yaml import read_yaml

if TYPE_CHECKING:
    from openai import OpenAI

FILE = REPOSITORY / "assets" / "managed.yaml"
Kind = Literal["openai", "azure", "compatible"]
# Under this name our own server is saved among the services.
THIS_MACHINE = "this-machine"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
# No call but an upload moves much: whoever asked for a stop should not wait for a silent provider.
CALL_TIMEOUT_S = 30.0
SNAPSHOT = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{4})$")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Closing(_Strict):
    """When OpenAI's self-serve fine-tuning closed, or closes, to whom."""

    closed_to_new: dt.date
    closed_to_inactive: dt.date
    inactive_days: int
    training_ends: dt.date
    source: str
    read: dt.date


class KnownModel(_Strict):
    """A base model with its tokenizer, its longest example in tokens and the day on which it is switched off."""

    id: str
    tokenizer: Literal["o200k_base", "cl100k_base"]
    context: int
    shuts_down: dt.date | None
    price: str | None

    @property
    def tuned_price(self) -> TunedPrice | None:
        return prices().tuned_model(self.price) if self.price else None


class KindRules(_Strict):
    hyperparameters: Literal["method", "top"]
    metadata: bool
    file_ready: bool
    most_megabytes: float | None


class Rules(_Strict):
    openai: Closing
    models: tuple[KnownModel, ...] = Field(min_length=1)
    kinds: dict[Kind, KindRules]


@cache
def rules() -> Rules:
    """assets/managed.yaml, read once."""
    text = FILE.read_text(encoding="utf-8")
    return read_yaml(text, FILE.name, Rules, example="It has fields such as `openai`.")


def kind_of(service: Service) -> Kind:
    """Told from the address alone: an `api-version` in it means Azure's older API, whatever the host."""
    parts = urlsplit(service.url)
    host = parts.hostname or ""
    if host == "api.openai.com" or host.endswith(".api.openai.com"):
        return "openai"
    if host.endswith(AZURE_HOSTS) or "api-version" in parse_qs(parts.query):
        return "azure"
    return "compatible"


def rules_of(service: Service) -> KindRules:
    return rules().kinds[kind_of(service)]


def on_this_machine(service: Service) -> bool:
    """Whether a server on this machine answers, which charges nothing of its own."""
    return kind_of(service) == "compatible" and urlsplit(service.url).hostname in LOOPBACK


def this_machine(url: str, key: str | None = None) -> str:
    """Save our own server, at `url`, among the services, and return the name it has there."""
    saved = next((each for each in services.services() if each.name == THIS_MACHINE), None)
    wanted = (saved or Service(name=THIS_MACHINE, url=url)).model_copy(update={"url": url.rstrip("/")})
    services.save(wanted, key)
    return THIS_MACHINE


def client_of(service: Service) -> OpenAI:
    """A client that retries nothing by itself: what may be done twice, and when, is ours to decide."""
    from openai import AzureOpenAI, OpenAI

    key = services.key_of(service) or "none"
    timeout = min(service.timeout_s, CALL_TIMEOUT_S)
    parts = urlsplit(service.url)
    bare = parts._replace(query="", fragment="").geturl().rstrip("/")
    if kind_of(service) != "azure":
        return OpenAI(base_url=service.url, api_key=key, timeout=timeout, max_retries=0)
    if version := parse_qs(parts.query).get("api-version"):
        base = bare if parts.path.rstrip("/").endswith("/openai") else f"{bare}/openai"
        return AzureOpenAI(base_url=base, api_version=version[0], api_key=key, timeout=timeout, max_retries=0)
    # Azure's newer API is OpenAI's own, one level down, and takes the same key in the same header.
    base = f"{parts.scheme}://{parts.netloc}/openai/v1"
    return OpenAI(base_url=base, api_key=key, timeout=timeout, max_retries=0)


def known_model(name: str) -> KnownModel | None:
    """The table's entry for a base model, by its full name, its name without the date, or that of a fine-tune of it.

    At Azure the oldest is written gpt-35-turbo.
    """
    base = name.split(":")[1] if name.startswith("ft:") and name.count(":") >= 1 else name
    base = base.replace("gpt-35-", "gpt-3.5-")
    exact = next((model for model in rules().models if model.id == base), None)
    return exact or next((model for model in rules().models if SNAPSHOT.sub("", model.id) == base), None)


@dataclass(frozen=True)
class BaseModelOffer:
    """A model that may be tuned; `training_usd` per million tokens, None where unknown."""

    id: str
    training_usd: float | None
    shuts_down: dt.date | None
    exact_tokens: bool


def base_models(service_name: str, today: dt.date | None = None) -> list[BaseModelOffer]:
    """What can be tuned there: OpenAI's by the table, without asking; elsewhere all that the service lists now.

    A service does not say which of its models can be tuned, so only its own fine-tunes and the embedding models of the
    catalogue are left out. Raises UserError when it has to be asked and does not answer.
    """
    service = services.service(service_name)
    today = today or dt.date.today()
    if kind_of(service) == "openai":
        return [
            _offer(model.id, service) for model in rules().models if not model.shuts_down or today < model.shuts_down
        ]
    ids = [services.split_id(id)[1] for id in services.models_of(service_name)]
    embedders = {_last(entry.id) for entry in catalogue("embedding")}
    return [_offer(id, service) for id in ids if not id.startswith("ft:") and _last(id) not in embedders]


def _last(model: str) -> str:
    """What a model is called without its publisher, as short names have it."""
    return model.rpartition("/")[2].lower()


def training_price(service: Service, base_model: str) -> TunedPrice | None:
    """OpenAI's printed price; Azure and others have their own, which nobody prints in one place."""
    known = known_model(base_model)
    return known.tuned_price if known and kind_of(service) == "openai" else None


def _offer(id: str, service: Service) -> BaseModelOffer:
    known, price = known_model(id), training_price(service, id)
    usd = price.training if price else 0.0 if on_this_machine(service) else None
    shuts_down = known.shuts_down if known and kind_of(service) == "openai" else None
    return BaseModelOffer(id, usd, shuts_down, known is not None)
