"""An adapter to take away: one zip that PEFT and vLLM open anywhere, with how to do it written inside."""

from __future__ import annotations

import io
import json
import zipfile

from core.errors import UserError
from core.models.catalogue import BUNDLED_MODEL
from core.settings import get_settings
from core.store.tables import Adapter

# What PEFT needs; everything else in the folder belongs to the training.
FILES = ("adapter_model.safetensors", "adapter_config.json")
# Where the bundled model's weights are published, for machines that have not installed this product.
PUBLISHED = {BUNDLED_MODEL: "HuggingFaceTB/SmolLM2-135M-Instruct"}


def published_name(model_id: str) -> str:
    """The id under which others find the base model."""
    return PUBLISHED.get(model_id, model_id)


def client_code(base_model: str, folder: str = "adapter") -> str:
    """Python that answers one question with the adapter, needing only transformers and peft."""
    return f"""from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = {published_name(base_model)!r}
tokenizer = AutoTokenizer.from_pretrained(base)
model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
model = PeftModel.from_pretrained(model, {folder!r})

messages = [{{"role": "user", "content": "Hello"}}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
output = model.generate(**inputs, max_new_tokens=128, do_sample=False)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
"""


def vllm_command(base_model: str, rank: int, folder: str = "adapter") -> str:
    """The command that puts the adapter behind vLLM's OpenAI-compatible server, on a machine with a GPU."""
    # vLLM accepts these maximum ranks and no others.
    most = next((size for size in (8, 16, 32, 64, 128, 256, 320, 512) if size >= rank), 512)
    return (
        f"vllm serve {published_name(base_model)} \\\n"
        f"  --enable-lora --max-lora-rank {most} \\\n"
        f"  --lora-modules my-adapter={folder}"
    )


def adapter_zip(adapter: Adapter) -> bytes:
    """The adapter's weights and configuration with a README. Raises UserError when its files are gone."""
    folder = get_settings().home / adapter.path
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise UserError(f"The adapter {adapter.name} has lost {' and '.join(missing)}.", "Train it again.")
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    # The trainer wrote where the base model lies on this machine, which is nobody else's business.
    config["base_model_name_or_path"] = published_name(adapter.base_model)
    out = io.BytesIO()
    # Weights do not shrink; storing them is quick.
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.write(folder / "adapter_model.safetensors", "adapter/adapter_model.safetensors")
        archive.writestr("adapter/adapter_config.json", json.dumps(config, indent=2) + "\n")
        archive.writestr("adapter/README.md", _readme(adapter))
    return out.getvalue()


def _readme(adapter: Adapter) -> str:
    loss = "" if adapter.eval_loss is None else f"Evaluation loss: {adapter.eval_loss:.4f} nats per answer token.\n"
    recipe = "\n".join(f"- {name}: {value}" for name, value in adapter.recipe.items() if name != "model")
    return f"""# A LoRA adapter made with Lowest Rung

Base model: {published_name(adapter.base_model)}
{loss}
## Recipe

{recipe}

## Use it

```python
{client_code(adapter.base_model)}```

On a machine with a GPU, behind an OpenAI-compatible server:

```
{vllm_command(adapter.base_model, int(adapter.recipe.get("rank", 16)))}
```
"""
