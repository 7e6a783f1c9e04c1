"""Adapters brought from elsewhere: those that fit are stored and answer, all others are refused with the reason."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import UserError
from core.models.package import FILES
from core.publish.importing import files_in_zip, import_adapter, named_base
from core.settings import get_settings
from core.store import lists
from tests.publish.test_merge import answers
from tests.publish.weights import SETTINGS, save_lora

WEIGHTS, CONFIG = FILES
CHATS = [[{"role": "user", "content": f"Which kind is thing {n}?"}] for n in range(3)]


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def files_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def edited(files: dict[str, bytes], **changes: Any) -> dict[str, bytes]:
    """With other values in the configuration."""
    return files | {CONFIG: json.dumps(json.loads(files[CONFIG]) | changes).encode()}


@pytest.fixture(scope="session")
def brought(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A LoRA of the tiny model, as somebody sends it."""
    return files_of(save_lora(tiny_model, tmp_path_factory.mktemp("brought") / "lora"))


@pytest.mark.integration
@pytest.mark.parametrize("method", ["lora", "rslora", "dora"])
def test_adapter_from_elsewhere_answers_as_it_did_there(tiny_model: Path, tmp_path: Path, method: str) -> None:
    there = save_lora(tiny_model, tmp_path / "there", **SETTINGS[method])
    archive = zipped({f"my/adapter/{name}": content for name, content in files_of(there).items()} | {"my/x.txt": b"x"})
    adapter = import_adapter("From elsewhere", files_in_zip(archive, "my.zip"), str(tiny_model))
    folder = get_settings().home / adapter.path
    assert [found.id for found in lists.adapters()] == [adapter.id] and adapter.method == method
    assert {path.name for path in folder.iterdir()} == {*FILES, "README.md"}
    here = answers(str(tiny_model), CHATS, folder)
    assert here == answers(str(tiny_model), CHATS, there)
    assert here != answers(str(tiny_model), CHATS)


@pytest.mark.integration
def test_layers_named_by_a_pattern_are_named_one_by_one(tiny_model: Path, tmp_path: Path) -> None:
    """A regular expression can take for ever, so none is kept; which layers are meant, the matrices tell."""
    there = save_lora(tiny_model, tmp_path / "there", target_modules=r".*layers\.1\.self_attn\.(q|v)_proj")
    adapter = import_adapter("Patterns", files_of(there), str(tiny_model))
    written = json.loads((get_settings().home / adapter.path / CONFIG).read_text())
    assert sorted(written["target_modules"]) == [f"model.layers.1.self_attn.{name}_proj" for name in "qv"]
    assert written["base_model_name_or_path"] == tiny_model.name
    assert answers(str(tiny_model), CHATS, get_settings().home / adapter.path) == answers(str(tiny_model), CHATS, there)


@pytest.mark.integration
def test_wrong_base_is_refused_with_the_first_matrix_that_does_not_fit(
    brought: dict[str, bytes], tiny_model: Path, bundled: Path
) -> None:
    with pytest.raises(UserError, match=r"does not fit .*SmolLM2.* is 4 by 64, where 4 by 1536 would fit"):
        import_adapter("Wrong", brought, "bundled/SmolLM2-135M-Instruct")
    with pytest.raises(UserError, match="trained on other/Model-7B, not on HuggingFaceTB/SmolLM2"):
        import_adapter(
            "Wrong", edited(brought, base_model_name_or_path="other/Model-7B"), "bundled/SmolLM2-135M-Instruct"
        )
    assert lists.adapters() == []
    assert list((get_settings().home / "adapters").iterdir()) == [], "nothing is left of what was refused"


@pytest.mark.integration
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda files: edited(files, peft_type="PROMPT_TUNING"), "peft_type"),
        (lambda files: edited(files, r=0), "r:"),
        (lambda files: edited(files, r=10**9), "r:"),
        (lambda files: edited(files, r=8), "does not fit"),
        (lambda files: edited(files, lora_alpha="many"), "lora_alpha"),
        (lambda files: edited(files, rank_pattern={"(a+)+$": 4}), "rank_pattern"),
        (lambda files: edited(files, modules_to_save=["(a+)+$"]), "modules_to_save"),
        (lambda files: edited(files, use_dora=True), "does not fit"),
        (lambda files: files | {CONFIG: b"[" * 100_000}, "JSON"),
        (lambda files: files | {CONFIG: b'"' + b"x" * 2_000_000 + b'"'}, "2 MB"),
        (lambda files: files | {WEIGHTS: files[WEIGHTS][:-50]}, "damaged"),
        (lambda files: files | {WEIGHTS: b"PK\x03\x04 not tensors"}, "damaged"),
        (lambda files: {CONFIG: files[CONFIG]}, f"no {WEIGHTS}"),
        (lambda files: {CONFIG: files[CONFIG], "adapter_model.bin": b"\x80\x04"}, "pickled"),
        (lambda files: files | {f"b/{name}": files[name] for name in FILES}, "2 adapters"),
        (lambda files: {f"a/{CONFIG}": files[CONFIG], f"b/{WEIGHTS}": files[WEIGHTS]}, "It has no"),
        (lambda files: {}, "It has no"),
    ],
)
def test_what_is_not_a_sound_adapter_is_refused(
    brought: dict[str, bytes],
    tiny_model: Path,
    change: Callable[[dict[str, bytes]], dict[str, bytes]],
    said: str,
) -> None:
    with pytest.raises(UserError) as caught:
        import_adapter("Bad", change(brought), str(tiny_model))
    assert said in str(caught.value) and len(str(caught.value)) < 600
    assert lists.adapters() == []


@pytest.mark.integration
def test_numbers_that_are_none_are_refused(brought: dict[str, bytes], tiny_model: Path) -> None:
    from safetensors.torch import load, save

    tensors = load(brought[WEIGHTS])
    tensors[next(iter(tensors))].fill_(float("inf"))
    with pytest.raises(UserError, match="not numbers"):
        import_adapter("Infinite", brought | {WEIGHTS: save(tensors)}, str(tiny_model))


def link(target: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(WEIGHTS)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    entry.comment = target.encode()
    return entry


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../../adapter_config.json", "leads out"),
        ("/etc/adapter_config.json", "leads out"),
        ("a\\..\\adapter_config.json", "leads out"),
        (link("/etc/passwd"), "link"),
    ],
)
def test_archive_that_leads_elsewhere_is_refused(name: Any, said: str) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, b"{}")
    with pytest.raises(UserError, match=said):
        files_in_zip(out.getvalue(), "evil.zip")


def test_bombs_and_what_is_no_archive_are_refused() -> None:
    with pytest.raises(UserError, match=r"evil\.zip: .*decompression bomb"):
        files_in_zip(zipped({WEIGHTS: bytes(200_000_000)}), "evil.zip")
    with pytest.raises(UserError, match="damaged"):
        files_in_zip(b"PK nothing", "broken.zip")


def test_pickles_are_named_but_never_unpacked() -> None:
    found = files_in_zip(zipped({"adapter_model.bin": b"\x80\x04evil", CONFIG: b"{}"}), "old.zip")
    assert found == {"adapter_model.bin": b"", CONFIG: b"{}"}


def test_base_that_an_adapter_names_is_told_before_it_is_chosen() -> None:
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "Qwen/Qwen2.5-7B-Instruct"}
    assert named_base({WEIGHTS: b"", CONFIG: json.dumps(config).encode()}) == "Qwen/Qwen2.5-7B-Instruct"
    assert named_base({CONFIG: b"{}"}) == ""
