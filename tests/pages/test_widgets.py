"""The logic behind the drawing."""

from __future__ import annotations

import zipfile
from io import BytesIO

from core.demo import load_demo
from core.export import safe_csv
from core.models.package import adapter_zip, client_code, vllm_command
from core.store.lists import adapters, indexes
from core.train.card import model_card
from pages.widgets.diff import word_diff
from pages.widgets.errors import plain
from pages.widgets.ladder import RUNG_COLOURS, ladder_figure, plain_ladder
from pages.widgets.words import ago, duration, span
from tests.pages.furnish import Furnished


def test_formulas_are_disarmed_in_csv() -> None:
    out = safe_csv([{"a": "=1+1", "b": -2.5, "c": "@x"}, {"a": "+x", "b": 1, "c": "fine"}]).decode("utf-8-sig")
    assert out.splitlines() == ["a,b,c", "'=1+1,-2.5,'@x", "'+x,1,fine"]


def test_plain_leaves_no_markup_standing() -> None:
    assert plain("**b** $x$ :red[y] <i>") == r"\*\*b\*\* \$x\$ \:red\[y\] \<i\>"
    assert "www." not in plain("www.example.com").replace("\\", "")


def test_word_diff_marks_what_differs() -> None:
    assert word_diff("a b c", "a b c") == "a b c"
    assert (
        word_diff("queue: MAGPIE", "queue: SPLICE") == r"queue\: :red-background[SPLICE]:green-background[~~MAGPIE~~]"
    )
    assert ":red-background[" not in word_diff("", "")


def test_numbers_as_people_say_them() -> None:
    assert (duration(48), duration(200), duration(7500), duration(None)) == (
        "48 s",
        "3 min 20 s",
        "2 h 5 min",
        "unknown",
    )
    assert span((-0.1, 0.25), signed=True) == "\u221210.0 to +25.0"
    assert ago(None) == ""


def test_the_ladder_has_six_rungs_in_their_colours() -> None:
    assert list(RUNG_COLOURS.values()) == ["#8A8F98", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#D55E00"]
    assert [trace.line.color for trace in ladder_figure(plain_ladder(), "x").data] == list(RUNG_COLOURS.values())


def test_rules_expect_of_the_demo_what_the_demo_says() -> None:
    assert {task.key: task.advised for task in load_demo().tasks} == {
        "facts": "rag",
        "tickets": "lora",
        "cited": "rag+lora",
    }


def test_adapter_zip_opens_and_keeps_this_machine_private(furnished: Furnished) -> None:
    adapter = adapters()[0]
    with zipfile.ZipFile(BytesIO(adapter_zip(adapter, model_card(adapter)))) as archive:
        assert sorted(archive.namelist()) == [
            "adapter/README.md",
            "adapter/adapter_config.json",
            "adapter/adapter_model.safetensors",
        ]
        assert b"/somewhere/private" not in b"".join(archive.read(name) for name in archive.namelist())
    compile(client_code(adapter.base_model), "client", "exec")
    assert "--max-lora-rank 16" in vllm_command(adapter.base_model, 16)


def test_index_counts(furnished: Furnished) -> None:
    summary = indexes()[0]
    assert (summary.documents, summary.chunks, summary.waiting, summary.ready) == (6, 12, 0, True)
