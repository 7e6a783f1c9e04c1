"""Opening models: what cannot be opened says why and what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from core.errors import UserError
from core.models.catalogue import BUNDLED_EMBEDDER, BUNDLED_MODEL, bundled_gguf, catalogue
from core.models.embedding import load_embedder
from core.models.loading import bundled_folder, load_model
from core.models.open import open_generator


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to be spoilt."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def refusal(model_id: str | Path) -> UserError:
    with pytest.raises(UserError) as caught:
        load_model(str(model_id))
    assert caught.value.remedy
    return caught.value


def test_unknown_model_suggests_the_bundled_one() -> None:
    error = refusal("nobody/no-such-model")
    assert "nobody/no-such-model could not be opened" in error.what
    assert BUNDLED_MODEL in error.remedy


def test_folder_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    error = refusal(tmp_path)
    assert "is not a model" in error.what and "config.json" in error.remedy


def test_folder_with_a_broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    assert "is not a model" in refusal(folder).what


def test_pickled_weights_are_not_opened(folder: Path) -> None:
    import torch

    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    error = refusal(folder)
    assert "no safetensors weights" in error.what and "pickled" in error.remedy


def test_weights_cut_short_by_a_broken_download(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "cut short" in refusal(folder).what


def test_model_without_chat_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    error = refusal(folder)
    assert "no chat template" in error.what and "instruct" in error.remedy


def test_model_that_brings_code_of_its_own_is_not_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "homemade", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(f"open({str(folder / 'was-run')!r}, 'w')")
    refusal(folder)
    assert not (folder / "was-run").exists()


def test_unknown_embedder_suggests_the_bundled_one() -> None:
    with pytest.raises(UserError, match="nobody/no-such-encoder could not be opened") as caught:
        load_embedder("nobody/no-such-encoder")
    assert BUNDLED_EMBEDDER in caught.value.remedy


def test_remote_model_without_a_service_says_which_setting() -> None:
    with pytest.raises(UserError, match="LOWEST_RUNG_GENERATION_URL"):
        open_generator("remote/anything")


def test_catalogue_begins_with_what_is_bundled() -> None:
    assert catalogue()[0].id == BUNDLED_MODEL
    assert catalogue("embedding")[0].id == BUNDLED_EMBEDDER


def test_tiny_model_opens_ready_to_generate(tiny_model: Path) -> None:
    loaded = load_model(str(tiny_model))
    assert (loaded.context, loaded.tokenizer.padding_side) == (512, "left")
    assert loaded.tokenizer.pad_token is not None and not loaded.model.training


@pytest.mark.integration
def test_bundled_model_is_converted_once_and_whole(bundled: Path) -> None:
    written = (bundled / "model.safetensors").stat().st_mtime_ns
    assert bundled_folder() == bundled
    assert (bundled / "model.safetensors").stat().st_mtime_ns == written
    assert bundled_gguf().is_file()
    assert [p.name for p in bundled.resolve().parent.iterdir() if p.name.startswith("converting")] == []
    loaded = load_model(BUNDLED_MODEL)
    assert sum(p.numel() for p in loaded.model.parameters()) == pytest.approx(135e6, rel=0.01)
