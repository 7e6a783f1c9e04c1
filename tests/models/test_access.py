"""What is known of a model before its weights are opened, and how one that cannot be trained is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from core.errors import UserError
from core.models.access import describe, inspect
from core.models.catalogue import BUNDLED_MODEL, catalogue
from core.models.shapes import GATED_DECODERS, shape_of
from tests.conftest import REPOSITORY

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}
CARD = "---\nlicense: other\nlicense_name: tiny-research\n---\n# Tiny\n"
# What the tests' hub knows: name -> (config, gated, files).
FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "README.md")
HUB: dict[str, tuple[dict[str, Any], bool, tuple[str, ...]]] = {
    "open/llama": (CONFIG, False, (*FILES, "model.safetensors", "consolidated.safetensors")),
    "gated/llama": (CONFIG, True, (*FILES, "model.safetensors")),
    "old/pickled": (CONFIG, False, (*FILES, "pytorch_model.bin")),
    "own/code": (
        CONFIG | {"model_type": "strange", "auto_map": {"AutoConfig": "c.C"}},
        False,
        (*FILES, "model.safetensors"),
    ),
    "packed/gguf": (CONFIG, False, ("README.md", "model-Q4_K_M.gguf")),
    "not/text": (CONFIG | {"model_type": "bert", "architectures": ["BertModel"]}, False, (*FILES, "model.safetensors")),
}


class Hub(BaseHTTPRequestHandler):
    """Answers about models and their configs as the hub does, to those with the token "right" about gated ones too."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: Any) -> None: ...

    def _answer(self, body: bool) -> None:
        self.asked.append(self.path)
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/"):
            name = "/".join(path.removeprefix("/api/models/").split("/")[:2])
        else:
            name = "/".join(path.strip("/").split("/")[:2])
        if name not in HUB:
            return self._send(
                401, b"", body, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
            )
        config, gated, files = HUB[name]
        if path.startswith("/api/models/"):
            told = {
                "id": name,
                "sha": "a" * 40,
                "gated": "manual" if gated else False,
                "siblings": [{"rfilename": file, "size": 4096} for file in files],
                "cardData": {"license": "apache-2.0"},
                "tags": [],
            }
            return self._send(200, json.dumps(told).encode(), body, {})
        if gated and self.headers.get("Authorization") != "Bearer right":
            code = 403 if self.headers.get("Authorization") else 401
            return self._send(code, b"", body, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        if not path.endswith("/config.json"):
            return self._send(404, b"", body, {"X-Error-Code": "EntryNotFound"})
        return self._send(200, json.dumps(config).encode(), body, {"ETag": '"1"', "X-Repo-Commit": "a" * 40})

    def _send(self, status: int, content: bytes, body: bool, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


ASK = """
import json, sys
from dataclasses import asdict
from core.errors import UserError
from core.models.access import inspect
for name in sys.argv[1:]:
    try:
        told = asdict(inspect(name))
    except UserError as error:
        told = {"what": error.what, "remedy": error.remedy}
    print(json.dumps(told))
"""


def ask(names: list[str], endpoint: str, cache: Path, token: str = "") -> list[dict[str, Any]]:
    """What a process of its own is told of these models: the hub's address is read once, when a process begins."""
    given = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": endpoint, "HF_HOME": str(cache)} | (
        {"HF_TOKEN": token} if token else {}
    )
    env = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")}
    done = subprocess.run(
        [sys.executable, "-c", ASK, *names],
        env=env | given,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def told(hub: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    names = [*HUB, "nobody/nothing", "no such name!"]
    return dict(zip(names, ask(names, hub, tmp_path_factory.mktemp("cache")), strict=True))


def test_the_hub_tells_licence_shape_and_size_without_a_weight_being_read(told: dict[str, dict[str, Any]]) -> None:
    facts = told["open/llama"]
    assert facts["license"] == "apache-2.0"
    assert facts["where"] == "hub"
    assert facts["shape"] | {"layers": 2, "hidden": 16, "head_dim": 4, "kv_heads": 2} == facts["shape"]
    assert facts["context"] == 256
    assert facts["weight_bytes"] == 4096  # the second copy of the weights is not counted
    assert not any(path.endswith("safetensors") for path in Hub.asked)


@pytest.mark.parametrize(
    ("name", "what", "remedy"),
    [
        ("gated/llama", "gated: the hub asks for permission", "https://huggingface.co/gated/llama, then set HF_TOKEN"),
        ("old/pickled", "pickled ones, which can run code", ".safetensors"),
        ("own/code", "needs code of its own", "code from a hub is never run"),
        ("packed/gguf", "GGUF file", "the model it was made from"),
        ("not/text", "does not write text", "instruct or chat"),
        ("nobody/nothing", "no model nobody/nothing", "spelling"),
        ("no such name!", "neither a folder nor the name of a model", "look like"),
    ],
)
def test_a_model_that_cannot_be_had_is_refused_with_the_way_forward(
    told: dict[str, dict[str, Any]], name: str, what: str, remedy: str
) -> None:
    assert what in told[name]["what"]
    assert remedy in told[name]["remedy"]


def test_a_gated_model_names_models_that_need_no_permission(told: dict[str, dict[str, Any]]) -> None:
    assert BUNDLED_MODEL in told["gated/llama"]["remedy"]


def test_a_gated_model_is_told_of_with_a_token_that_may_and_refused_with_one_that_may_not(
    hub: str, tmp_path: Path
) -> None:
    (refused,) = ask(["gated/llama"], hub, tmp_path, token="wrong")
    assert "gated" in refused["what"]
    (facts,) = ask(["gated/llama"], hub, tmp_path, token="right")
    assert facts["gated"]
    assert facts["shape"]["layers"] == 2


def test_without_a_network_the_way_forward_is_a_folder_or_the_bundled_model(tmp_path: Path) -> None:
    (refused,) = ask(["open/llama"], "http://127.0.0.1:1", tmp_path)
    assert "could not be reached" in refused["what"]
    assert BUNDLED_MODEL in refused["remedy"]
    with pytest.raises(UserError, match="could not be reached"):
        inspect("somebody/offline-model")  # the tests themselves are offline


def test_models_of_the_catalogue_are_described_without_a_network() -> None:
    for entry in catalogue():
        facts = describe(entry.id)
        assert (facts.shape, facts.gated, facts.license) == (entry.shape, entry.gated, entry.license)
    assert inspect(BUNDLED_MODEL).where == "bundled"


def model_folder(folder: Path, config: dict[str, Any] = CONFIG) -> Path:
    """A model of two small tensors, with a card and the mark of a tokenizer."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "README.md").write_text(CARD)
    save_file({"a": torch.zeros(100, dtype=torch.bfloat16), "b": torch.zeros(20, 5)}, folder / "model.safetensors")
    return folder


def test_a_folder_tells_what_its_files_hold(tmp_path: Path) -> None:
    facts = inspect(str(model_folder(tmp_path / "model")))
    assert facts.where == "folder"
    assert facts.license == "tiny-research"
    assert facts.weight_bytes == 100 * 2 + 100 * 4
    assert facts.dtype_bytes == 3.0
    assert facts.shape is not None
    assert facts.shape.parameters == facts.parameters


def test_a_real_saved_model_is_known_by_its_shape(tiny_model: Path) -> None:
    facts = inspect(str(tiny_model))
    assert facts.shape is not None
    # 2 bytes or 4: whatever it was saved in, norms aside all parameters are the shape's.
    assert facts.weight_bytes is not None
    assert facts.weight_bytes / facts.dtype_bytes == pytest.approx(facts.shape.parameters, rel=0.001)


def test_a_model_that_is_built_otherwise_has_no_shape_and_still_a_size(tmp_path: Path) -> None:
    config = CONFIG | {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"]}
    facts = inspect(str(model_folder(tmp_path / "model", config)))
    assert facts.shape is None
    assert facts.parameters == 200


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _pickles(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-50])


def _no_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"<html>not found</html>")


def _shard_missing(folder: Path) -> None:
    names = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def _no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def _own_code(folder: Path) -> None:
    config = CONFIG | {"model_type": "strange", "auto_map": {"AutoModelForCausalLM": "modeling.Strange"}}
    (folder / "config.json").write_text(json.dumps(config))


def _unknown_kind(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | {"model_type": "strange"}))


def _quantised(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | {"quantization_config": {"quant_method": "gptq"}}))


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (_no_config, "is not a model: it has no config.json"),
        (_broken_config, "is not a model: it has no config.json that can be read"),
        (_pickles, "only pickled ones"),
        (_no_weights, "has no weights"),
        (_cut_short, "cut short or damaged"),
        (_no_header, "cut short or damaged"),
        (_shard_missing, "lacks 1 of 2 files of weights, such as model-2.safetensors"),
        (_no_tokenizer, "has no tokenizer"),
        (_adapter, "holds an adapter, not a model"),
        (_own_code, "needs code of its own to run"),
        (_unknown_kind, "of a kind that transformers does not know"),
        (_quantised, r"quantised already \(gptq\)"),
    ],
)
def test_a_folder_that_cannot_be_trained_is_refused_before_anything_is_loaded(
    spoil: Any, what: str, tmp_path: Path
) -> None:
    folder = model_folder(tmp_path / "model")
    spoil(folder)
    with pytest.raises(UserError, match=what) as caught:
        inspect(str(folder))
    assert caught.value.remedy


def test_a_folder_that_was_mended_is_no_longer_refused(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    tokenizer = (folder / "tokenizer.json").read_text()
    _no_tokenizer(folder)
    with pytest.raises(UserError):
        inspect(str(folder))
    (folder / "tokenizer.json").write_text(tokenizer)
    assert inspect(str(folder)).shape


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("/no/such/folder", "does not exist"),
        ("./no-such-folder", "does not exist"),
        ("model.gguf", "GGUF file"),
        ("remote/gpt", "answered by a service"),
        ("", "neither a folder nor the name of a model|a file, not a model's folder|is not a model"),
    ],
)
def test_what_is_no_model_at_all_is_refused(name: str, what: str) -> None:
    with pytest.raises(UserError, match=what) as caught:
        inspect(name)
    assert caught.value.remedy


def test_a_file_is_no_folder_and_a_folder_of_gguf_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(UserError, match="is a file, not a model's folder"):
        inspect(str(tmp_path / "file.txt"))
    (tmp_path / "gguf").mkdir()
    (tmp_path / "gguf" / "model-Q4.gguf").write_bytes(b"GGUF")
    with pytest.raises(UserError, match="GGUF file"):
        inspect(str(tmp_path / "gguf"))


def test_a_model_downloaded_before_needs_no_hub(hub: str, tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--open--llama" / "snapshots" / ("a" * 40)
    snapshot.parent.mkdir(parents=True)
    shutil.move(model_folder(tmp_path / "model"), snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
    (facts,) = ask(["open/llama"], "http://127.0.0.1:1", tmp_path)
    assert facts["where"] == "cache"
    assert facts["weight_bytes"] == 600


@pytest.mark.parametrize("family", sorted(GATED_DECODERS))
def test_a_network_of_each_family_has_the_layers_that_its_shape_says(family: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {name: value for name, value in CONFIG.items() if name.endswith(("size", "layers", "heads"))}
    config = AutoConfig.for_model(family, **sizes, head_dim=8, pad_token_id=0)
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config)
    shape = shape_of(config)
    assert shape is not None
    head = network.get_output_embeddings()
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    assert sum(layer.weight.numel() for layer in layers) == shape.linear
    assert len(layers) == 7 * shape.layers
    # Norms and biases are all that is left out.
    assert sum(p.numel() for p in network.parameters() if p.dim() > 1) == shape.parameters
