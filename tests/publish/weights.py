"""Adapters with weights of their own, made without a training: random matrices change answers as learned ones do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.settings import get_settings
from core.store.database import session
from core.store.tables import Adapter

SETTINGS: dict[str, dict[str, Any]] = {
    "lora": {},
    "qlora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
}


def save_lora(base: Path, folder: Path, **settings: Any) -> Path:
    """A folder as peft saves it, whose answers are not the base model's."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    targets = settings.pop("target_modules", ["q_proj", "v_proj", "down_proj"])
    config = LoraConfig(
        r=4, lora_alpha=8, target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM", **settings
    )
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(folder)
    return folder


def an_adapter(base: Path, method: str = "lora", dataset_id: int | None = None, name: str = "Sorting") -> Adapter:
    """One of `base` as a training leaves it; of the method `full` it is a model with other weights."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = get_settings().home / "adapters" / f"{name}-{method}"
    if method == "full":
        model = AutoModelForCausalLM.from_pretrained(base)
        torch.manual_seed(5)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight) * 0.05)
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    else:
        save_lora(base, folder, **SETTINGS[method])
    adapter = Adapter(
        name=name,
        dataset_id=dataset_id,
        base_model=str(base),
        method=method,
        recipe={"model": str(base), "method": method, "rank": 4, "alpha": 8},
        path=folder.relative_to(get_settings().home).as_posix(),
    )
    with session() as db:
        db.add(adapter)
    return adapter
