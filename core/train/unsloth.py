"""Unsloth as the engine: its rewritten layers and checkpointing under the same trainer, on a CUDA GPU.

It changes transformers, PEFT and TRL as it is imported, so it is imported here alone, and only beside versions that it
says it knows. Read in unsloth 2026.10.9 (`FastLanguageModel`).
"""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from core.errors import UserError
from core.models.loading import LoadedModel, compute_device, load_tokenizer, model_source
from core.settings import get_settings
from core.train.recipe import Method, Recipe

# The others run through Unsloth without its fast paths, and so without its point.
METHODS = ("lora", "qlora", "rslora")
# The libraries that Unsloth rewrites: beside versions it does not know, it breaks in ways that are hard to read.
REWRITTEN = ("transformers", "trl", "peft", "bitsandbytes")


def available(method: Method = "qlora") -> str:
    """Why Unsloth cannot train here with this method, as a sentence; empty where it can."""
    if method not in METHODS:
        return f"It has no fast path for the method {method}, only for {', '.join(METHODS)}."
    if find_spec("unsloth") is None:
        return "It is not installed (pip install unsloth, in an environment of its own)."
    if not compute_device().startswith("cuda"):
        return "It needs an NVIDIA GPU, and training runs on the CPU here."
    wanted = _unmet()
    return f"Unsloth {version('unsloth')} asks for {' and '.join(wanted)}." if wanted else ""


def load(recipe: Recipe) -> LoadedModel:
    """The base model with its adapter, as `setup.prepare` gives it. Raises UserError where Unsloth cannot be used."""
    missing = available(recipe.method)
    if missing:
        raise UserError(f"Unsloth cannot be used here: {missing}", "Choose the engine trl, which runs everywhere.")
    # It asks the hub for a file to count its users, and writes what it compiles into the working folder.
    os.environ["UNSLOTH_DISABLE_STATISTICS"] = "1"
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(get_settings().home / "unsloth"))
    import torch
    from unsloth import FastLanguageModel

    source = model_source(recipe.model)
    context = _context(source)
    model, _ = FastLanguageModel.from_pretrained(
        model_name=source,
        # Longer than the model reads would stretch its positions.
        max_seq_length=min(recipe.max_length, context),
        dtype=torch.bfloat16,
        load_in_4bit=recipe.method == "qlora",
        load_in_16bit=recipe.method != "qlora",
        device_map={"": compute_device()},
        # The model that was asked for, not one of Unsloth's own copies of it.
        use_exact_model_name=True,
        use_gradient_checkpointing="unsloth",
        random_state=recipe.seed,
        use_safetensors=True,
        trust_remote_code=False,
    )
    model = FastLanguageModel.get_peft_model(
        model,
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=recipe.targets,
        use_rslora=recipe.method == "rslora",
        use_gradient_checkpointing="unsloth",
        random_state=recipe.seed,
    )
    # Our own tokenizer: Unsloth's may have another padding token, and the prompt must be the one that serving uses.
    return LoadedModel(recipe.model, model, load_tokenizer(recipe.model), torch.device(compute_device()), context)


def _context(source: str) -> int:
    from transformers import AutoConfig

    return int(AutoConfig.from_pretrained(source, trust_remote_code=False).max_position_embeddings)


def _unmet() -> list[str]:
    """What the installed Unsloth asks of the libraries that it rewrites, and does not find."""
    from packaging.requirements import Requirement

    unmet = []
    for text in requires("unsloth") or ():
        wanted = Requirement(text)
        if wanted.name not in REWRITTEN or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            found = "not installed"
        if found == "not installed" or not wanted.specifier.contains(found, prereleases=True):
            unmet.append(f"{wanted.name} {wanted.specifier} ({found})")
    return unmet
