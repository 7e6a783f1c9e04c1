"""Every page opens, empty and full, says nothing is broken, and loads no model library on the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages.furnish import Furnished
from tests.pages.looking import APP, PAGES, Open, texts

HEAVY = ("torch", "transformers", "chromadb", "sentence_transformers", "trl", "peft", "datasets", "openai")


@pytest.mark.parametrize("name", PAGES)
def test_opens_empty_and_leads_on(name: str, open_page: Open) -> None:
    app = open_page(name)
    assert not app.error
    assert app.title
    assert app.button or app.radio


@pytest.mark.parametrize("name", PAGES)
def test_opens_full(name: str, open_page: Open, furnished: Furnished) -> None:
    app = open_page(name)
    assert "unexpected problem" not in texts(app)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("compare", {"experiment": 1}),
        ("compare", {"experiment": 2}),
        ("compare", {"new": 1}),
        ("compare", {"experiment": 99}),
        ("train", {"run": 2}),
        ("train", {"new": 1}),
        ("serve", {"adapter": 1}),
        ("data", {"tab": "Documents"}),
    ],
)
def test_opens_from_a_link(name: str, address: dict[str, object], open_page: Open, furnished: Furnished) -> None:
    app = open_page(name, **address)
    # A rung that could not answer is drawn as an error, and is one of the things furnished.
    assert {error.proto.title for error in app.error} <= {"No answer"}
    assert "unexpected problem" not in texts(app)


SCRIPT = """
import sys
from streamlit.testing.v1 import AppTest
from tests.pages.furnish import furnish
furnish()
app = AppTest.from_file(sys.argv[1], default_timeout=60).run()
for page in sys.argv[2].split(","):
    app.switch_page(f"pages/{page}.py").run()
    assert not app.exception, page
app.switch_page("pages/compare.py")
app.query_params["experiment"] = "1"
app.run()
print(sorted(set(sys.argv[3].split(",")) & set(sys.modules)))
"""


def test_no_page_imports_a_model_library(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(APP), ",".join(PAGES[1:]), ",".join(HEAVY)],
        capture_output=True,
        text=True,
        cwd=APP.parent,
        env=os.environ | {"PYTHONPATH": str(APP.parent)},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_an_unexpected_error_is_a_message(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("core.jobs.queue.jobs", broken)
    app = open_page("jobs")
    assert "unexpected problem" in texts(app)
    assert "secret detail" not in texts(app)
