"""Every knob of the product in one typed place.

Read from environment variables `LOWEST_RUNG_*`, then from `.env` beside `app.py`. A name that is misspelt is
refused instead of ignored: a setting that silently does nothing is found much later, on the wrong database.
"""

from __future__ import annotations

import difflib
import os
from functools import lru_cache
from pathlib import Path
from typing import Literal

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import UserError

# Anchored here, not in the working folder, so that the app and its job processes read the same file.
REPOSITORY = Path(__file__).resolve().parent.parent
PREFIX = "LOWEST_RUNG_"


class Settings(BaseSettings):
    """All settings with their defaults; times in seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=REPOSITORY / ".env", env_file_encoding="utf-8", extra="forbid"
    )

    home: Path = Field(default_factory=lambda: user_data_path("lowest-rung", appauthor=False))
    """Folder of everything stored: records, uploads, adapters, reports."""

    database_url: str = ""
    """SQLAlchemy URL of the records; empty means SQLite in the home folder."""

    chroma_url: str = ""
    """URL of a Chroma server; empty means Chroma inside this process, stored in the home folder."""

    generation_url: str = ""
    """Base URL of an OpenAI-compatible server; empty means transformers in this process."""

    generation_key: SecretStr = SecretStr("")
    """Key for that server."""

    generation_price_input: float = Field(default=0, ge=0)
    """What that server asks for prompts, in US dollars per million tokens."""

    generation_price_output: float = Field(default=0, ge=0)
    """The same for answers."""

    device: str = "auto"
    """Where models run: `auto`, `cpu`, `cuda:0`, ..."""

    organization: str = Field(default="lowest-rung", pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    """Your name in that of the models you tune and serve: `ft:MODEL:ORGANIZATION:SUFFIX:ID`."""

    serve_with: Literal["auto", "transformers", "vllm"] = "auto"
    """What writes the server's answers; `auto`: vLLM where it is installed beside a GPU, else transformers."""

    llama_cpp: Path | None = None
    """Folder of llama.cpp, for its GGUF converter and quantiser; empty: what is on the PATH."""

    upload_limit_mb: float = Field(default=512, gt=0)
    """The largest file the server takes, in megabytes; what else is sent may have a fiftieth of that."""

    stop_grace_s: float = Field(default=60, ge=0)
    """From a stop request, or the last progress after it, to SIGTERM: long enough for one step of a large model."""

    kill_grace_s: float = Field(default=10, ge=0)
    """From SIGTERM to SIGKILL."""

    heartbeat_s: float = Field(default=2, gt=0)
    """How often a running job says that it lives."""

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().resolve()

    @field_validator("database_url")
    @classmethod
    def _absolute_file(cls, url: str) -> str:
        """A relative SQLite file would be another one in a job's process, which works in another folder."""
        prefix = "sqlite:///"
        return prefix + str(Path(url.removeprefix(prefix)).resolve()) if url.startswith(prefix) else url

    @property
    def records_url(self) -> str:
        """`database_url`, or the SQLite file in the home folder."""
        return self.database_url or f"sqlite:///{self.home / 'lowest-rung.db'}"


@lru_cache
def get_settings() -> Settings:
    """The settings of this process; makes the home folder, readable by its owner alone.

    Raises UserError for an unknown name, a value of the wrong type, or a home folder that cannot be made.
    """
    _refuse_unknown_names()
    try:
        settings = Settings()
    except ValidationError as error:
        raise UserError(*_in_words(error)) from error
    try:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The home folder {settings.home} cannot be made: {error.strerror}.",
            f"Set {PREFIX}HOME to a folder you may write to.",
        ) from error
    return settings


def _refuse_unknown_names() -> None:
    for name in os.environ:
        if name.startswith(PREFIX) and name not in _known_names():
            raise UserError(f"There is no setting {name}.", _suggestion(name))


def _known_names() -> list[str]:
    return sorted(PREFIX + field.upper() for field in Settings.model_fields)


def _in_words(error: ValidationError) -> tuple[str, str]:
    """What is wrong with the first refused setting, without repeating its value, and what to do."""
    first = error.errors(include_input=False)[0]
    name = str(first["loc"][0]).upper()
    if first["type"] == "extra_forbidden":
        if not name.startswith(PREFIX):
            return f".env holds {name}.", f"Set it in the environment instead: .env is for {PREFIX}* alone."
        return f"There is no setting {name} (in .env).", _suggestion(name)
    return f"{PREFIX}{name} is not usable: {first['msg']}.", "Correct it in the environment or in .env."


def _suggestion(name: str) -> str:
    near = difflib.get_close_matches(name, _known_names(), n=1)
    return f"Did you mean {near[0]}?" if near else f"Known: {', '.join(_known_names())}."
