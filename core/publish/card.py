"""The README.md of what is exported: what it is, how it was checked, and how to start it."""

from __future__ import annotations

from typing import Any

import yaml

from core.markdown import flat, for_markdown
from core.models.catalogue import catalogue
from core.models.package import client_code, public_name, vllm_command
from core.store.tables import Adapter
from core.train.card import HUB_LICENSES

MADE_OF = {
    "lora": "a LoRA adapter",
    "qlora": "a LoRA adapter that was trained with the base in four bits (NF4)",
    "rslora": "a rank-stabilised LoRA adapter",
    "dora": "a DoRA adapter",
}
NF4 = (
    "The adapter was trained while its base was held in four bits (NF4). It is merged into the whole base, with which "
    "Lowest Rung answers too; on a base in four bits its answers may differ."
)


def merged_card(adapter: Adapter, check: str) -> str:
    """Of a merged model; the adapter's own card lies beside it. `check`: what the check said."""
    base = public_name(adapter.base_model)
    made = f"{_line(base)} trained whole" if adapter.method == "full" else f"{MADE_OF[adapter.method]} merged into it"
    return f"""{front_matter(adapter, "transformers")}
# {_line(adapter.name)}, merged

A language model of its own, in 32 bits: {_line(base)}, with {made}. It needs neither the base nor the adapter beside
it. Data, recipe and figures of the training are in `adapter-card.md`.

{_line(check)}
{NF4 if adapter.method == "qlora" else ""}

## Use it

Run this beside the folder `merged`:

```python
{client_code(base, "merged", "full")}```

On a machine with a GPU, behind an OpenAI-compatible server:

```
{vllm_command(base, 0, "merged", "full")}
```
"""


def gguf_card(adapter: Adapter, file: str, check: str) -> str:
    """Of a GGUF file with its Modelfile."""
    base = public_name(adapter.base_model)
    return f"""{front_matter(adapter, "gguf")}
# {_line(adapter.name)}, GGUF

{_line(base)} with what was trained from it, in one file for llama.cpp and the programs built on it.

{_line(check)}
{NF4 if adapter.method == "qlora" else ""}

## Use it

With Ollama, in this folder:

```
ollama create my-model -f Modelfile
ollama run my-model
```

With llama.cpp:

```
llama-server -m {file}
```
"""


def front_matter(adapter: Adapter, library: str) -> str:
    """The metadata which the Hugging Face hub reads."""
    base = public_name(adapter.base_model)
    facts: dict[str, Any] = {"library_name": library, "pipeline_tag": "text-generation", "tags": ["lowest-rung"]}
    if "/" in base:
        facts["base_model"] = base  # a folder of somebody's machine would be no name there
    known = next((entry.license for entry in catalogue() if entry.id == adapter.base_model), "")
    license_ = str(adapter.notes.get("license") or known)
    if license_.lower() in HUB_LICENSES:
        facts["license"] = license_.lower()
    elif license_:
        facts |= {"license": "other", "license_name": flat(license_)}
    return f"---\n{yaml.safe_dump(facts, sort_keys=True)}---\n"


def _line(text: str) -> str:
    return str(for_markdown(text))
