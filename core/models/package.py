"""An adapter to take away: one zip that PEFT and vLLM open anywhere, with how to do it written inside."""

from __future__ import annotations

import io
import json
import shlex
import zipfile
from pathlib import Path

from core.errors import UserError
from core.models.catalogue import BUNDLED_MODEL
from core.settings import get_settings
from core.store.tables import Adapter

# What PEFT needs; everything else in the folder belongs to the training.
FILES = ("adapter_model.safetensors", "adapter_config.json")
# A zip is made in memory and sent through the browser. Larger results, such as whole models, are copied as files.
MOST_BYTES = 2 * 1024**3
# Where the bundled model's weights are published, for machines that have not installed this product.
PUBLISHED = {BUNDLED_MODEL: "HuggingFaceTB/SmolLM2-135M-Instruct"}


def published_name(model_id: str) -> str:
    """The id under which others find the base model."""
    return PUBLISHED.get(model_id, model_id)


def public_name(model_id: str) -> str:
    """The same for texts that travel: of a folder its name alone, since where it lies is nobody else's business."""
    return Path(model_id).name if Path(model_id).is_absolute() else published_name(model_id)


def client_code(base_model: str, folder: str = "adapter", method: str = "lora") -> str:
    """Python that answers one question with what was trained, needing only transformers and peft."""
    tuned = method != "full"
    peft = "from peft import PeftModel\n" if tuned else ""
    attach = f"model = PeftModel.from_pretrained(model, {folder!r})\n" if tuned else ""
    return f"""{peft}from transformers import AutoModelForCausalLM, AutoTokenizer

base = {(published_name(base_model) if tuned else folder)!r}
tokenizer = AutoTokenizer.from_pretrained(base)
model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
{attach}
messages = [{{"role": "user", "content": "Hello"}}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
output = model.generate(**inputs, max_new_tokens=128, do_sample=False)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
"""


def vllm_arguments(base_model: str, rank: int, folder: str = "adapter", method: str = "lora") -> list[str]:
    """What `vllm serve` is told, to answer as my-adapter, or as my-model where the folder holds a model of its own."""
    if method == "full":
        return [folder, "--served-model-name", "my-model"]
    lora = ["--enable-lora", "--max-lora-rank", str(vllm_rank(rank)), "--lora-modules", f"my-adapter={folder}"]
    return [published_name(base_model), *lora]


def vllm_rank(rank: int) -> int:
    """The largest rank that vLLM should be ready for: it knows these and no others."""
    return next((size for size in (8, 16, 32, 64, 128, 256, 320, 512) if size >= rank), 512)


def vllm_command(base_model: str, rank: int, folder: str = "adapter", method: str = "lora") -> str:
    """The command that puts the adapter behind vLLM's OpenAI-compatible server, on a machine with a GPU."""
    written = shlex.join(["vllm", "serve", *vllm_arguments(base_model, rank, folder, method)])
    return written.replace(" --enable-lora", " \\\n  --enable-lora").replace(" --lora-modules", " \\\n  --lora-modules")


def adapter_zip(adapter: Adapter, card: str) -> bytes:
    """What was trained, with its model card as README.md.

    Raises UserError when files are gone, or a whole model is too large to go through a browser.
    """
    folder = get_settings().home / adapter.path
    whole = adapter.method == "full"
    needed = ("config.json",) if whole else FILES
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise UserError(f"The adapter {adapter.name} has lost {' and '.join(missing)}.", "Train it again.")
    files = [path for path in sorted(folder.iterdir()) if path.name != "README.md"] if whole else [folder / FILES[0]]
    size = sum(path.stat().st_size for path in files)
    if size > MOST_BYTES:
        raise UserError(
            f"{adapter.name} holds {size / 1e9:.1f} GB, too much to send through a browser.",
            f"Copy the folder {adapter.path} out of the home folder instead.",
        )
    inside = "model" if whole else "adapter"
    out = io.BytesIO()
    # Weights do not shrink; storing them is quick.
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for path in files:
            archive.write(path, f"{inside}/{path.name}")
        if not whole:
            archive.writestr(f"{inside}/{FILES[1]}", public_config(folder / FILES[1], adapter.base_model))
        archive.writestr(f"{inside}/README.md", card)
    return out.getvalue()


def public_config(path: Path, base_model: str) -> str:
    """PEFT's configuration, in which the trainer wrote where the base model lies on this machine."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = public_name(base_model)
    return json.dumps(config, indent=2) + "\n"
