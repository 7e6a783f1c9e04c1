"""How long Home takes until its button can be pressed, beside the smallest Streamlit page with a button.

    python -m bench.first_page [--rounds 5]

Both servers are warm (opened once before); each visit is a new browser profile with nothing cached, in headless
Chromium, on loopback. Needs chromium and requirements-dev.txt.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from bench.machine import describe

REPOSITORY = Path(__file__).resolve().parents[1]
PEER = "import streamlit as st\nst.title('Peer')\nst.button('Press')\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(describe())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        peer = folder / "peer.py"
        peer.write_text(PEER, encoding="utf-8")
        pages = {
            "Home": (stack.enter_context(_serving(REPOSITORY / "app.py", folder)), "Start the demo"),
            "smallest page": (stack.enter_context(_serving(peer, folder)), "Press"),
        }
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for address, button in pages.values():
            _visit(browser, address, button)
        seconds: dict[str, list[float]] = {name: [] for name in pages}
        for _ in range(rounds):
            for name, (address, button) in pages.items():
                seconds[name].append(_visit(browser, address, button))
        browser.close()
    for name, values in seconds.items():
        print(f"{name}: {statistics.median(values):.2f} s at the median of {rounds}, {max(values):.2f} s at most")
    print(
        f"Home / smallest page: {statistics.median(seconds['Home']) / statistics.median(seconds['smallest page']):.2f}"
    )


@contextmanager
def _serving(script: Path, folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"LOWEST_RUNG_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port)]
    command += ["--server.headless", "true", "--server.address", "127.0.0.1"]
    server = subprocess.Popen(
        command, cwd=script.parent, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=2).read()
                break
            except OSError:
                time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(20)


def _visit(browser: Browser, address: str, button: str) -> float:
    context = browser.new_context()
    page = context.new_page()
    started = time.perf_counter()
    page.goto(address)
    page.get_by_role("button", name=button).click(trial=True)
    taken = time.perf_counter() - started
    context.close()
    return taken


if __name__ == "__main__":
    main()
