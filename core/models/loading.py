"""From a model's id to weights in memory: bundled, from a hub, or from a folder; whole or in four bits."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from core.errors import UserError
from core.models.catalogue import BUNDLED_MODEL, bundled_gguf
from core.settings import get_settings

if TYPE_CHECKING:
    import torch


@dataclass
class LoadedModel:
    """Weights and tokenizer, ready to generate or to train. `context` is the longest sequence, in tokens."""

    id: str
    model: Any
    tokenizer: Any
    device: torch.device
    context: int


def compute_device() -> str:
    """ "cuda:0" where there is a GPU, else "cpu"; LOWEST_RUNG_DEVICE overrides."""
    wanted = get_settings().device
    if wanted != "auto":
        return wanted
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"


def model_source(model_id: str) -> str:
    """What transformers should open: the converted folder of the bundled model, else the id or folder as given."""
    return str(bundled_folder()) if model_id == BUNDLED_MODEL else model_id


def bundled_folder() -> Path:
    """The bundled model as safetensors under the home folder, converted at the first call (about 20 s).

    Two processes may ask at once: a lock lets one convert, and a rename makes the result appear whole.
    """
    models = get_settings().home / "models"
    models.mkdir(parents=True, exist_ok=True)
    folder = models / "SmolLM2-135M-Instruct"
    with FileLock(models / "convert.lock"):
        if not folder.is_dir():
            scratch = Path(tempfile.mkdtemp(dir=models, prefix="converting-"))
            try:
                _convert(bundled_gguf(), scratch)
                scratch.rename(folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _quieten()
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # The reader marks the model as quantised although it holds plain floats by now; such a model refuses to be saved.
    model.hf_quantizer = None
    model.is_quantized = False
    del model.config.quantization_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)


def load_tokenizer(model_id: str) -> Any:
    """The model's tokenizer, padding on the left as generation needs it. Raises UserError."""
    from transformers import AutoTokenizer

    with _explained(model_id):
        tokenizer = AutoTokenizer.from_pretrained(model_source(model_id), trust_remote_code=False)
    if tokenizer.chat_template is None:
        raise UserError(
            f"{model_id} has no chat template, so it cannot be asked a question.",
            "Choose the instruct or chat variant of this model.",
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return tokenizer


def load_model(model_id: str, *, four_bit: bool = False, exact_on: str | None = None) -> LoadedModel:
    """Open a model for generation or training; safetensors only, and never code from the hub.

    `four_bit` holds the frozen weights as NF4 with double quantisation (Dettmers et al. 2023), on a GPU or a CPU.
    Weights are bf16 on a GPU and fp32 on a CPU, where bf16 is emulated and several times slower; `exact_on` names a
    device to hold them on in fp32.
    Raises UserError when the model does not exist, needs a token, is not a language model, or ships pickles only.
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from core.models.products import with_fast_products

    device = torch.device(exact_on or compute_device())
    dtype = torch.bfloat16 if device.type == "cuda" and exact_on is None else torch.float32
    quantization = (
        BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
        if four_bit
        else None
    )
    _quieten()
    tokenizer = load_tokenizer(model_id)
    with _explained(model_id):
        model = AutoModelForCausalLM.from_pretrained(
            model_source(model_id),
            dtype=dtype,
            device_map={"": device},
            quantization_config=quantization,
            use_safetensors=True,
            trust_remote_code=False,
        )
    with_fast_products(model).eval()
    if four_bit and device.type == "cpu":
        _keep_gradients(model)
    context = getattr(model.config, "max_position_embeddings", None) or 2048
    return LoadedModel(model_id, model, tokenizer, device, context)


def _keep_gradients(model: Any) -> None:
    """Without this a QLoRA run on a CPU with AVX512-BF16 would learn next to nothing after its first evaluation.

    There bitsandbytes (0.50) repacks the weights, for good, at the first pass in evaluation mode, for a faster kernel
    that has no gradient.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def _quieten() -> None:
    """Keep the libraries' own progress bars and notices to developers out of logs and terminals; ours tell enough."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl|peft)\.")


class _explained:
    """Turn what the hub client says about a model that cannot be opened into a sentence with a way forward."""

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        from safetensors import SafetensorError

        text = str(error)
        name = self.model_id
        if isinstance(error, SafetensorError) and "deserializing" in text:
            raise UserError(
                f"The weights of {name} are cut short or damaged.", "Download or copy them again."
            ) from error
        if not isinstance(error, (OSError, ValueError)) or getattr(error, "errno", None):
            return
        if "gated" in text or "401" in text or "403" in text:
            remedy = "Accept its licence on the hub, then set HF_TOKEN to a token that may read it."
            raise UserError(f"{name} is gated: the hub asks for permission.", remedy) from error
        if "trust_remote_code" in text:
            remedy = "Choose a model whose architecture transformers knows; code from a hub is never run."
            raise UserError(f"{name} needs code of its own to run.", remedy) from error
        if "safetensors" in text:
            remedy = "Choose a repository with .safetensors weights; pickled weights can run code and are not opened."
            raise UserError(f"{name} has no safetensors weights.", remedy) from error
        if Path(name).is_dir():
            remedy = "It needs config.json, a tokenizer and .safetensors weights, as save_pretrained writes them."
            raise UserError(f"The folder {name} is not a model: {text.splitlines()[0]}", remedy) from error
        remedy = f"Check the spelling and the network, or use the bundled model {BUNDLED_MODEL}, which needs neither."
        raise UserError(f"The model {name} could not be opened.", remedy) from error
