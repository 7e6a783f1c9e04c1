"""Every test gets a home folder of its own; nothing is looked up on the network."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no failure: timings gate no test.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home folder of this test: empty, and found by the processes it starts too."""
    from core.settings import get_settings
    from core.store import database

    for name in [name for name in os.environ if name.startswith("LOWEST_RUNG_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "home"
    monkeypatch.setenv("LOWEST_RUNG_HOME", str(folder))
    get_settings.cache_clear()
    url = get_settings().records_url
    yield folder
    database.forget(url)
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def bundled_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `models` folder with the bundled model converted, once for all tests (about 20 s)."""
    from core.models.loading import bundled_folder
    from core.settings import get_settings

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOWEST_RUNG_HOME", str(tmp_path_factory.mktemp("bundled")))
        get_settings.cache_clear()
        folder = bundled_folder()
    get_settings.cache_clear()
    return folder.parent


@pytest.fixture
def bundled(home: Path, bundled_models: Path) -> Path:
    """The bundled model, converted already in this test's home; returns its folder."""
    (home / "models").mkdir(parents=True)
    folder = home / "models" / "SmolLM2-135M-Instruct"
    folder.symlink_to(bundled_models / folder.name)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, bundled_models: Path) -> Path:
    """A folder with a model of random weights that answers in no time, and nonsense; it reads 512 tokens."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(bundled_models / "SmolLM2-135M-Instruct")
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        # Wide enough that the next token depends on the prompt; the usual 0.02 repeats one token forever.
        initializer_range=0.3,
    )
    folder = tmp_path_factory.mktemp("tiny") / "tiny"
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public data beside the repository; tests that read it skip where it is absent."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the shared test data is absent ({folder})")
    return folder
