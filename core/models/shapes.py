"""From a published config.json to the shape that memory and speed are told from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.models.estimate import Shape

# Families whose blocks are attention and a gated feed-forward layer, and nothing else, as Shape has it. A test builds
# one network of each and counts. Mixtures of experts and state-space models are others.
GATED_DECODERS = frozenset(
    [
        "cohere",
        "cohere2",
        "gemma",
        "gemma2",
        "gemma3_text",
        "granite",
        "llama",
        "ministral",
        "mistral",
        "olmo2",
        "olmo3",
        "qwen2",
        "qwen3",
        "seed_oss",
        "smollm3",
    ]
)


def read_config(folder: Path) -> Any:
    """The config.json of a folder with the defaults of its family filled in; runs no code of the model's own.

    Raises OSError or ValueError where there is none, or none that transformers knows.
    """
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def shape_of(config: Any) -> Shape | None:
    """The shape of a decoder with gated feed-forward layers; None for what is built otherwise."""
    if config.model_type not in GATED_DECODERS:
        return None
    # Families without a number of their own for these leave the field out, or empty.
    kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Shape(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        heads=config.num_attention_heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab=config.vocab_size,
        tied=bool(config.tie_word_embeddings),
    )
