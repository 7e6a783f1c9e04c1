"""The services a person has named: any address that speaks the OpenAI API, with its prices, limits and key.

Names and figures are in services.yaml in the home folder; keys in a file of their own beside it, readable by its
owner alone, or better in an environment variable that the service names. Neither is ever in the records.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from core.errors import UserError
from core.settings import get_settings

REMOTE = "remote/"
# "remote:SERVICE/MODEL"; a model's own name may hold slashes and colons, a service's may not.
OF_SERVICE = "remote:"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$"
# A list of models is asked for while somebody waits for a page.
LIST_TIMEOUT_S = 10.0


class Service(BaseModel):
    """Where a service is, what it asks for, and how hard it may be pressed."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=NAME, description="Short name, which its models' names begin with.")
    url: str = Field(description="Base URL of the OpenAI-compatible API, mostly ending in /v1.")
    price_input: float = Field(0, ge=0, description="US dollars per million prompt tokens.")
    price_output: float = Field(0, ge=0, description="US dollars per million answer tokens.")
    prices: dict[str, tuple[float, float]] = Field(
        default_factory=dict,
        description="The same two figures for models with prices of their own, such as those tuned there.",
    )
    concurrency: int = Field(8, ge=1, le=256, description="Requests under way at once.")
    requests_per_minute: int | None = Field(None, ge=1, description="Requests a minute; empty for no limit.")
    timeout_s: float = Field(60, gt=0, le=3600, description="Seconds to wait for one answer.")
    key_variable: str = Field(
        "", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$|^$", description="Environment variable that holds its key."
    )

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        parts = urlsplit(url.strip())
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must begin with http:// or https:// and name a host")
        if parts.username or parts.password:
            raise ValueError("must not hold a key or password: there is a field for the key")
        return url.strip().rstrip("/")


def services() -> list[Service]:
    """All saved services, by name. Raises UserError when the file cannot be used."""
    path = _file()
    if not path.is_file():
        return []
    try:
        return [Service.model_validate(entry) for entry in yaml.safe_load(path.read_text(encoding="utf-8")) or []]
    except (yaml.YAMLError, ValidationError, TypeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path.name} in the home folder cannot be read: {_first_line(error)}", "Correct it, or delete it."
        ) from error


def service(name: str) -> Service:
    """The service of that name. Raises UserError."""
    found = next((each for each in services() if each.name == name), None)
    if found is None:
        known = ", ".join(each.name for each in services()) or "none so far"
        raise UserError(f"There is no service called {name}.", f"Add it on the Train or Compare page. Known: {known}.")
    return found


def save(wanted: Service, key: str | None = None) -> None:
    """Add or replace a service. `key`: None leaves the stored key as it is, an empty text removes it."""
    with _locked():
        others = [each for each in services() if each.name != wanted.name]
        _write(
            _file(), [each.model_dump(mode="json") for each in sorted([*others, wanted], key=lambda each: each.name)]
        )
        if key is not None:
            keys = _keys()
            keys.pop(wanted.name, None)
            _write(_key_file(), keys | ({wanted.name: key} if key else {}))


def set_prices(name: str, model: str, prices: tuple[float, float]) -> None:
    """What a model of the service costs: US dollars per million tokens of prompts and of answers."""
    asked = service(name)
    save(asked.model_copy(update={"prices": asked.prices | {model: prices}}))


def delete(name: str) -> None:
    """Forget a service and its key; what it has answered stays."""
    with _locked():
        _write(_file(), [each.model_dump(mode="json") for each in services() if each.name != name])
        keys = _keys()
        if keys.pop(name, None) is not None:
            _write(_key_file(), keys)


def key_of(wanted: Service) -> str:
    """Its key: from the environment variable it names, else from the file of keys; empty where there is none."""
    key = (os.environ.get(wanted.key_variable, "") if wanted.key_variable else "") or _keys().get(wanted.name, "")
    # As copied, a key may end in a line break, which no header can hold.
    return key.strip()


def models_of(name: str) -> list[str]:
    """Ids of the models that the service offers now, as this product names them. Raises UserError."""
    from openai import APIConnectionError, APIStatusError, OpenAI, OpenAIError

    asked = service(name)
    client = OpenAI(base_url=asked.url, api_key=key_of(asked) or "none", timeout=LIST_TIMEOUT_S, max_retries=0)
    try:
        return sorted(f"{OF_SERVICE}{name}/{model.id}" for model in client.models.list())
    except APIStatusError as refusal:
        remedy = "Check the key." if refusal.status_code in (401, 403) else "Type the model's name instead."
        # Without the refusal, which may repeat the key.
        raise UserError(f"{name} refused to list its models with status {refusal.status_code}.", remedy) from None
    except APIConnectionError as error:
        raise UserError(f"{asked.url} could not be reached.", "Check the address and the network.") from error
    except (OpenAIError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{name} did not answer with a list of models.", "Type the model's name instead.") from error


def split_id(model_id: str) -> tuple[str, str]:
    """(service, model) of "remote:SERVICE/MODEL". Raises UserError."""
    name, _, model = model_id.removeprefix(OF_SERVICE).partition("/")
    if not name or not model:
        raise UserError(f"{model_id} names no model of a service.", f"Write {OF_SERVICE}SERVICE/MODEL.")
    return name, model


def _file() -> Path:
    return get_settings().home / "services.yaml"


def _key_file() -> Path:
    return get_settings().home / "services.keys"


def _locked() -> FileLock:
    return FileLock(get_settings().home / "services.lock")


def _keys() -> dict[str, str]:
    path = _key_file()
    try:
        return dict(yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}
    except (yaml.YAMLError, ValueError, TypeError):
        # Without the parser's words, which would repeat a key.
        raise UserError(
            f"{path.name} in the home folder cannot be read.", "Delete it and enter the keys anew."
        ) from None


def _write(path: Path, content: object) -> None:
    """All or nothing, and never readable by others, not even for a moment."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
    fresh.replace(path)


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}."
    return str(error).split("\n")[0] + "."
