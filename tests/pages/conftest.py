"""Pages run in this process through AppTest, each test with a home and caches of its own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest

from core.settings import get_settings
from core.store import database
from tests.pages.furnish import Furnished, furnish
from tests.pages.looking import APP, Open


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.pages)


@pytest.fixture(autouse=True)
def fresh_caches() -> Iterator[None]:
    """Ids begin at 1 again in every test, so nothing cached may survive it."""
    st.cache_data.clear()
    st.cache_resource.clear()
    yield


@pytest.fixture(autouse=True)
def through_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """AppTest takes a folder called pages for Streamlit's old multipage apps at every run, and would leave out app.py.

    In a real server pages/__init__.py sets that right, once for the whole process; a browser test sees to it.
    """
    original = PagesManager.__init__

    def begin(self: PagesManager, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        PagesManager.uses_pages_directory = False

    monkeypatch.setattr(PagesManager, "__init__", begin)


@pytest.fixture(autouse=True)
def own_main() -> Iterator[None]:
    """AppTest puts the page in the place of `__main__`, where processes that a later test spawns would look for it."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Furnished]]:
    """A furnished home to copy, and what is in it once the first test has made it."""
    return tmp_path_factory.mktemp("furnished") / "home", []


@pytest.fixture
def furnished(home: Path, kept: tuple[Path, list[Furnished]]) -> Furnished:
    """Furnished by the first test that asks, copied for all others: the work takes ten times as long."""
    folder, made = kept
    if made:
        shutil.copytree(folder, home, dirs_exist_ok=True)
    else:
        made.append(furnish())
        # Only a closed database is whole in its file.
        database.forget(get_settings().records_url)
        shutil.copytree(home, folder)
    return made[0]


@pytest.fixture
def open_page(home: Path) -> Open:
    """open_page("compare", experiment=1): the page as it is when someone follows a link to it."""

    def opened(name: str, **address: object) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=30).run()
        if name != "home":
            app.switch_page(f"pages/{name}.py")
        for key, value in address.items():
            app.query_params[key] = str(value)
        app.run()
        assert not app.exception
        return app

    return opened
