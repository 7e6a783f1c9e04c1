"""GGUF files made by llama.cpp's converter answer as the live adapter does; without it a person learns what to install.

The converter is the one in the folder LLAMA_CPP_FOLDER where that is set, else a small one of the same manners.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.errors import UserError
from core.jobs.context import Stopped
from core.jobs.run import run_foreground
from core.models.loading import load_tokenizer
from core.publish import exports, gguf, job
from core.publish.ollama import modelfile, turns_of
from core.settings import get_settings
from tests.factories import sorting_dataset
from tests.publish.weights import an_adapter

CONVERTER = Path(os.environ.get("LLAMA_CPP_FOLDER") or Path(__file__).parent / "llama_cpp")
LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}<|head|>{{ m.role }}<|/head|>\n\n{{ m.content | trim }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|head|>assistant<|/head|>\n\n{% endif %}"
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% elif m.role == 'assistant' %}"
    "{{ m.content }}{% else %}{{ raise_exception('no') }}{% endif %}{% endfor %}"
)


@pytest.fixture
def converter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOWEST_RUNG_LLAMA_CPP", str(CONVERTER))
    get_settings.cache_clear()


@pytest.mark.integration
def test_gguf_of_an_adapter_answers_as_the_live_one(tiny_model: Path, converter: None, home: Path) -> None:
    adapter = an_adapter(tiny_model, dataset_id=sorting_dataset(test=4).id)
    spec = {"adapter_id": adapter.id, "what": "gguf", "kind": "f32", "examples": 4}
    ended = run_foreground("export", spec)
    assert ended.status == "done", f"{ended.error} {ended.remedy} {ended.traceback}"
    made = exports.export(ended.result["export_id"])
    assert {path.name for path in made.folder.iterdir()} == {"model-f32.gguf", "Modelfile", "README.md"}
    assert made.check is not None, made.notes
    assert made.check["same"] == made.check["of"] == 4
    assert (made.folder / "Modelfile").read_text().startswith("FROM ./model-f32.gguf\n")
    assert "<|im_start|>user" in (made.folder / "Modelfile").read_text()
    for path in made.folder.iterdir():
        assert str(home).encode() not in path.read_bytes(), path.name
    assert not (get_settings().home / "jobs" / str(ended.id) / "merged").exists()


@pytest.mark.integration
def test_gguf_uses_the_merged_export_and_says_when_it_cannot_be_read_back(
    tiny_model: Path, converter: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(file: Path, device: str) -> Any:
        raise UserError("transformers cannot read this file back: an architecture of next year")

    monkeypatch.setattr(gguf, "open_gguf", unknown)
    adapter = an_adapter(tiny_model)
    assert run_foreground("export", {"adapter_id": adapter.id, "examples": 2, "what": "merged"}).status == "done"
    monkeypatch.setattr(job, "merge", None)  # would be called to merge again
    made = run_foreground("export", {"adapter_id": adapter.id, "examples": 2, "what": "gguf", "kind": "f16"})
    assert made.status == "done", made.traceback
    newest = exports.exports(adapter.id)[0]
    assert newest.check is None and "next year" in newest.notes["unchecked"]
    assert "not checked" in (newest.folder / "README.md").read_text()


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable}\n{body}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def run(path: Path, into: Path, kind: str = "f16", stop: Any = lambda: None) -> list[str]:
    said: list[str] = []
    found = gguf.Tools([sys.executable, str(path)], None)
    gguf.convert(found, into.parent, into, kind, "Name", said.append, stop)
    return said


def test_converter_that_fails_is_quoted_with_its_last_words(tmp_path: Path) -> None:
    noisy = "import sys\nprint('x' * 5_000_000)\nsys.exit('ModuleNotFoundError: No module named sentencepiece')"
    with pytest.raises(UserError, match=r"ended with code 1.*No module named sentencepiece") as caught:
        run(script(tmp_path / "c.py", noisy), tmp_path / "out.gguf")
    assert len(str(caught.value)) < 1000


def test_converter_that_writes_something_else_is_not_believed(tmp_path: Path) -> None:
    body = "import sys, pathlib\npathlib.Path(sys.argv[sys.argv.index('--outfile') + 1]).write_text('nonsense')"
    with pytest.raises(UserError, match="without writing a GGUF"):
        run(script(tmp_path / "c.py", body), tmp_path / "out.gguf")


def test_converter_that_hangs_ends_with_the_stop_and_after_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    def stop() -> None:
        raise Stopped

    hangs = script(tmp_path / "c.py", "import time\ntime.sleep(1000)")
    with pytest.raises(Stopped):
        run(hangs, tmp_path / "out.gguf", stop=stop)
    monkeypatch.setattr(gguf, "LIMIT_S", 0.1)
    with pytest.raises(UserError, match="did not end within"):
        run(hangs, tmp_path / "out.gguf")
    assert not [child for child in psutil.Process().children() if str(hangs) in " ".join(child.cmdline())]


def test_converter_gets_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    body = (
        "import sys, os, pathlib\npathlib.Path(sys.argv[sys.argv.index('--outfile') + 1]).write_text('GGUF')\n"
        "print(sorted(os.environ))"
    )
    (said,) = run(script(tmp_path / "c.py", body), tmp_path / "out.gguf")
    assert "HF_TOKEN" not in said and "PATH" in said


def test_quantiser_is_found_where_llama_cpp_builds_it(
    tmp_path: Path, converter: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = (
        "import sys, pathlib\n_, first, into, kind = sys.argv\n"
        "pathlib.Path(into).write_bytes(pathlib.Path(first).read_bytes() + kind.encode())"
    )
    writes = "import sys, pathlib\npathlib.Path(sys.argv[sys.argv.index('--outfile') + 1]).write_text('GGUF')"
    folder = tmp_path / "llama.cpp"
    script(folder / "convert_hf_to_gguf.py", writes)
    script(folder / "build" / "bin" / "llama-quantize", body)
    monkeypatch.setenv("LOWEST_RUNG_LLAMA_CPP", str(folder))
    get_settings.cache_clear()
    found = gguf.tools()
    assert found is not None and "q4_k_m" in found.types
    into = tmp_path / "model.gguf"
    gguf.convert(found, tmp_path, into, "q4_k_m", "Name", lambda text: None, lambda: None)
    assert into.read_bytes() == b"GGUFQ4_K_M"
    assert not list(tmp_path.glob("*.f16.gguf"))


def test_without_llama_cpp_a_person_learns_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gguf.tools() is None
    assert "LOWEST_RUNG_LLAMA_CPP" in gguf.how_to_install()
    assert "llama-quantize" in gguf.by_hand("q4_k_m") and "--outtype q8_0" in gguf.by_hand("q8_0")


@pytest.mark.integration
def test_modelfile_writes_chats_letter_by_letter_as_the_model_does(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    text = modelfile(tokenizer, "model.gguf", [tokenizer.eos_token_id], 512)
    assert 'PARAMETER stop "<|im_end|>"\n' in text and "PARAMETER num_ctx 512\n" in text
    # Turned into words by hand, as Ollama would: the default instructions, two turns, and the assistant's beginning.
    turns = turns_of(tokenizer)
    assert turns is not None
    chat = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "So"},
    ]
    assert turns.written(chat) == tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    tokenizer.chat_template = LLAMA_3
    turns = turns_of(tokenizer)
    assert turns is not None and turns.assistant == ("<|head|>assistant<|/head|>\n\n", "<|eot|>")
    tokenizer.chat_template = NO_SYSTEM
    assert turns_of(tokenizer) is None
    assert "TEMPLATE" not in modelfile(tokenizer, "model.gguf", [2], 512)


def test_token_that_begins_every_text_is_left_to_llama_cpp() -> None:
    """llama.cpp writes it itself, so a template with it would write it twice."""
    template = "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}" + (
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    from jinja2 import Template

    class Tokenizer(SimpleNamespace):
        def __call__(self, text: str) -> dict[str, list[int]]:
            return {"input_ids": [1, 5]}

        def apply_chat_template(self, turns: Any, **options: Any) -> str:
            return Template(template).render(bos_token="<s>", messages=turns, **options)

    turns = turns_of(Tokenizer(bos_token="<s>", bos_token_id=1))
    assert turns is not None and turns.opening == ""
    assert turns.in_go().startswith("{{ if .System }}<system>")
