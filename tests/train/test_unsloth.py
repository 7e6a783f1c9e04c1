"""Unsloth is refused where it cannot run, with the reason; that it trains is for a CUDA GPU (bench/gpu_train.py)."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from core.errors import UserError
from core.settings import get_settings
from core.train import unsloth
from core.train.recipe import Recipe


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of that name whose import fails the test; returns its metadata file."""
    site = tmp_path / "site"
    (site / "unsloth").mkdir(parents=True)
    (site / "unsloth" / "__init__.py").write_text("raise AssertionError('imported although it was refused')")
    metadata = site / "unsloth-2026.10.9.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(_metadata())
    monkeypatch.syspath_prepend(str(site))
    return metadata


def _metadata(*needs: str) -> str:
    lines = ["Metadata-Version: 2.1", "Name: unsloth", "Version: 2026.10.9"]
    return "\n".join(lines + [f"Requires-Dist: {need}" for need in needs]) + "\n"


def _on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOWEST_RUNG_DEVICE", "cuda:0")
    get_settings.cache_clear()


def test_without_the_package_it_is_refused() -> None:
    if unsloth.find_spec("unsloth"):
        pytest.skip("Unsloth is installed here.")
    assert "not installed" in unsloth.available()
    with pytest.raises(UserError) as refusal:
        unsloth.load(Recipe(method="qlora", engine="unsloth"))
    assert "Unsloth cannot be used here" in refusal.value.what and "trl" in refusal.value.remedy


def test_without_a_gpu_it_is_refused_and_not_imported(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOWEST_RUNG_DEVICE", "cpu")
    get_settings.cache_clear()
    assert "needs an NVIDIA GPU" in unsloth.available()
    with pytest.raises(UserError, match="needs an NVIDIA GPU"):
        unsloth.load(Recipe(engine="unsloth"))


def test_beside_versions_it_does_not_know_it_is_refused(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _on_cuda(monkeypatch)
    installed.write_text(_metadata("trl<=0.9,>=0.8", "rich", "transformers>=4.52", 'peft>99; extra == "studio"'))
    assert unsloth.available() == f"Unsloth 2026.10.9 asks for trl <=0.9,>=0.8 ({version('trl')})."


def test_beside_versions_it_knows_it_may_run(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _on_cuda(monkeypatch)
    installed.write_text(_metadata(f"trl=={version('trl')}", "transformers>=4.52"))
    assert unsloth.available() == ""


@pytest.mark.parametrize("method", ["full", "dora"])
def test_methods_without_a_fast_path_are_refused(method: str, installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _on_cuda(monkeypatch)
    with pytest.raises(UserError, match=f"no fast path for the method {method}"):
        unsloth.load(Recipe.model_validate({"method": method, "engine": "unsloth"}))
