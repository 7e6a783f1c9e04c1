"""A real browser against a real server, each server with a home of its own. Skipped where no Chromium is found."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

REPOSITORY = Path(__file__).resolve().parents[2]
SCREENSHOTS = Path(__file__).parent / "screenshots"
# Nothing is to be fetched by the browser itself, and no graphics card is to be looked for.
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_S = 60
# For anything to appear, on a machine that has other tests to run.
PATIENCE_MS = 120_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    named = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    found = next((path for path in named if path), None)
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        if found is None and not own.exists():
            pytest.skip("No Chromium: install one, or run `playwright install chromium`.")
        opened = playwright.chromium.launch(executable_path=found or str(own), args=QUIET)
        yield opened
        opened.close()


@contextmanager
def serving(home: Path, furnish: bool = False) -> Iterator[str]:
    """The app on a free port; yields its address, and ends the server and whatever it started."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LOWEST_RUNG_")}
    environment = kept | {"LOWEST_RUNG_HOME": str(home), "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1"}
    if furnish:
        command = [sys.executable, "-c", "from tests.pages.furnish import furnish; furnish()"]
        subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, timeout=120)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    log = (home.parent / "server.log").open("ab")
    server = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address)
        yield address
    finally:
        server.terminate()
        server.wait(20)
        log.close()


def _wait_for(address: str) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=2).read()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"The app did not start within {START_S} s.")


@pytest.fixture(scope="session")
def empty_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("empty") / "home") as address:
        yield address


@pytest.fixture(scope="session")
def full_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("full") / "home", furnish=True) as address:
        yield address


class Visitor:
    """A tab that notes every error the browser reports."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _note(self, message: ConsoleMessage) -> None:
        # Streamlit looks for its server below the page's path first; the one that is not there is no error of ours.
        if message.type == "error" and "/_stcore/" not in str(message.location.get("url")):
            self.errors.append(f"{message.text} ({message.location.get('url')})")

    def open(self, address: str) -> None:
        self.page.goto(address)
        self.page.locator("h1").first.wait_for()
        self.settle()

    def settle(self) -> None:
        """Wait until the script has run and its charts are drawn."""
        self.page.wait_for_function(
            "document.querySelector('[data-testid=\"stApp\"]')?.dataset.testScriptState === 'notRunning'"
            " && !document.querySelector('[data-stale=\"true\"]')"
        )
        self.page.wait_for_timeout(500)

    def shoot(self, name: str) -> None:
        """A picture of the whole page, kept for people to look at."""
        SCREENSHOTS.mkdir(exist_ok=True)
        size = self.page.viewport_size or {"width": 1440, "height": 1000}
        height = self.page.evaluate("document.querySelector('[data-testid=\"stMain\"]')?.scrollHeight ?? 1000")
        self.page.set_viewport_size({"width": size["width"], "height": min(6000, max(size["height"], int(height)))})
        self.page.wait_for_timeout(400)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")
        self.page.set_viewport_size(size)

    def assert_sound(self) -> None:
        """No traceback, no surprise, nothing wider than the screen, a quiet console."""
        assert self.page.locator('[data-testid="stException"]').count() == 0
        assert self.page.get_by_text("unexpected problem").count() == 0
        assert self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert self.errors == []


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """visit(width=390, scheme="dark"): a new tab."""
    contexts: list[Any] = []

    def new(width: int = 1440, scheme: Any = "light") -> Visitor:
        context = browser.new_context(
            viewport={"width": width, "height": 1000}, color_scheme=scheme, accept_downloads=True
        )
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        return Visitor(context.new_page())

    yield new
    for context in contexts:
        context.close()
