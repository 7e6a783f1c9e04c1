"""Every test gets a home folder of its own; nothing is looked up on the network."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home folder of this test: empty, and found by the processes it starts too."""
    from core.settings import get_settings
    from core.store import database

    for name in [name for name in os.environ if name.startswith("LOWEST_RUNG_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "home"
    monkeypatch.setenv("LOWEST_RUNG_HOME", str(folder))
    get_settings.cache_clear()
    url = get_settings().records_url
    yield folder
    database.forget(url)
    get_settings.cache_clear()
