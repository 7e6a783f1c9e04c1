"""Taking an adapter away: every way is offered, what was made says how it answers, and nothing in it is markup."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from core.jobs import launcher, queue
from core.publish import exports, hub
from core.publish.exports import Export
from core.settings import get_settings
from core.store.lists import adapters
from tests.pages.furnish import NASTY, Furnished
from tests.pages.looking import texts

SCRIPT = """
import streamlit as st
from core.store.lists import adapters
from pages.widgets.adapter_import import import_adapter
from pages.widgets.errors import guard
from pages.widgets.take_away import all_exports, take_away
with guard():
    take_away(adapters()[0])
import_adapter()
all_exports()
"""


class Nobody:
    """A launcher whose jobs never begin: what is looked at is the page."""

    def start(self, job_id: int, log: Path) -> tuple[int, float]:
        import os

        return os.getpid(), launcher.start_time(os.getpid())

    def is_alive(self, pid: int, started: float) -> bool:
        return True

    def terminate(self, pid: int) -> None: ...

    def kill(self, pid: int) -> None: ...


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "_current", Nobody())


def page(way: str = "") -> AppTest:
    app = AppTest.from_string(SCRIPT, default_timeout=30).run()
    if way:
        app.segmented_control(key=f"take_{adapters()[0].id}").set_value(way).run()
    assert not app.exception
    return app


def made(adapter_id: int, number: int, **more: Any) -> Export:
    """An export as a job leaves it."""
    difference = {"prompt": f"Which? {NASTY}", "live": f"MAGPIE {NASTY}", "exported": f"SPLICE {NASTY}"}
    check = {"of": 20, "same": 19, "verdict": "different", "text": f"Answers 19 of 20. {NASTY}"}
    fields: dict[str, Any] = {
        "what": "merged",
        "check": check | {"differences": [difference]},
        "base": "x",
        "identity": "i",
        "live": ["a"],
    }
    found = Export(id=number, adapter_id=adapter_id, adapter_name=f"Tickets {NASTY}", **(fields | more))
    files = get_settings().home / "scratch"
    files.mkdir()
    (files / "model.safetensors").write_bytes(bytes(3_000_000))
    exports.keep(found, files)
    return found


@pytest.mark.parametrize("way", ["Adapter", "Merged model", "GGUF and Ollama", "As a server", "Hugging Face hub"])
def test_every_way_is_drawn(furnished: Furnished, way: str) -> None:
    page(way)


def test_merge_button_queues_the_job_that_is_then_shown(furnished: Furnished) -> None:
    app = page("Merged model")
    app.button(key=f"export_merged_{furnished.adapter}").click().run()
    assert not app.exception
    (job,) = queue.jobs("export")
    assert job.spec == {"adapter_id": furnished.adapter, "what": "merged"}
    assert any(button.key == f"export_stop_{job.id}" for button in app.button)


def test_answers_that_differ_are_shown_as_they_are(furnished: Furnished) -> None:
    made(furnished.adapter, 71)
    said = texts(page())
    assert "Merged model \\(export 71\\)" in said and "3.0 MB" in said
    assert "1 answer that differs" in page().expander[0].label
    assert ":red-background[SPLICE]:green-background[~~MAGPIE~~]" in said
    assert "<b>b</b>" not in said.replace("\\<", "").replace(f"Which? {NASTY}", "")


def test_exports_that_agree_or_were_not_checked_say_so(furnished: Furnished) -> None:
    check = {"of": 20, "same": 20, "verdict": "same", "text": "Answers all 20.", "differences": []}
    made(furnished.adapter, 71, check=check)
    made(furnished.adapter, 72, check=None, what="gguf", notes={"kind": "q8_0", "unchecked": "Not read back."})
    said = texts(page())
    assert "Answers the same" in said and "Not checked" in said and "Not read back" in said and "q8\\_0" in said


def test_export_is_deleted_when_that_is_confirmed(furnished: Furnished) -> None:
    found = made(furnished.adapter, 71)
    app = page()
    app.button(key="delete_export_71").click().run()
    assert not app.exception and exports.exports() == [] and not found.folder.exists()
    made(999, 72)
    app = page()
    app.button(key="all_exports_delete_72").click().run()
    assert exports.exports() == [], "one of an adapter that is gone as well"


def test_without_the_converter_the_page_says_how_to_get_it(
    furnished: Furnished, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    app = page("GGUF and Ollama")
    assert "One more program is needed" in texts(app)
    assert any("LOWEST_RUNG_LLAMA_CPP" in code.value for code in app.code)


def test_push_names_its_repository_and_forgets_its_token(furnished: Furnished, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed: list[Any] = []
    monkeypatch.setattr(hub, "push", lambda adapter, repo, token, **more: pushed.append((repo, token, more)))
    app = page("Hugging Face hub")
    app.text_input(key=f"push_repo_{furnished.adapter}").set_value(" me/model ")
    app.text_input(key="push_token_0").set_value("hf_secret")
    next(button for button in app.button if button.label == "Push").click().run()
    assert pushed == [("me/model", "hf_secret", {"private": True, "export_id": None})]
    assert app.text_input(key="push_token_1").value == ""
    assert "push_token_0" not in app.session_state


def test_adapter_that_is_none_is_refused_on_the_page(furnished: Furnished) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("adapter_config.json", json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8}))
        archive.writestr("adapter_model.bin", b"\x80\x04")
    app = page()
    app.file_uploader(key="bring_zip_0").upload("mine.zip", out.getvalue(), "application/zip").run()
    app.text_input(key="bring_name_0").set_value("Mine").run()
    next(button for button in app.button if button.label == "Bring it").click().run()
    assert not app.exception and "pickled" in texts(app)
