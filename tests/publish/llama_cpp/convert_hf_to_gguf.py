"""In the place of llama.cpp's converter, which no package ships: writes a real GGUF file of a model of the Llama kind.

It takes the same arguments and uses the same library; the tests read its files back.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file

TYPES = {"f32": gguf.GGMLQuantizationType.F32, "f16": gguf.GGMLQuantizationType.F16}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--outfile", type=Path)
    parser.add_argument("--outtype", choices=list(TYPES))
    parser.add_argument("--model-name")
    given = parser.parse_args()
    config = json.loads((given.model / "config.json").read_text())
    if config["model_type"] != "llama":
        raise SystemExit(f"Model {config['architectures'][0]} is not supported")
    writer = gguf.GGUFWriter(given.outfile, "llama")
    writer.add_name(given.model_name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    add_tokenizer(writer, given.model, config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, tensor in load_file(given.model / "model.safetensors").items():
        heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(name.split(".")[-2])
        if heads:
            tensor = interleaved(tensor, config[heads])
        kind = TYPES[given.outtype] if tensor.ndim > 1 else gguf.GGMLQuantizationType.F32
        stored = gguf.quants.quantize(tensor, kind)
        writer.add_tensor(names.get_name(name, (".weight", ".bias")), stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"Model successfully exported to {given.outfile}")


def add_tokenizer(writer: Any, folder: Path, config: dict[str, Any]) -> None:
    file = json.loads((folder / "tokenizer.json").read_text())
    tokens = {i: text for text, i in file["model"]["vocab"].items()}
    special = {token["id"] for token in file["added_tokens"]}
    tokens |= {token["id"]: token["content"] for token in file["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([tokens[i] for i in range(len(tokens))])
    kinds = (gguf.TokenType.CONTROL, gguf.TokenType.NORMAL)
    writer.add_token_types([kinds[i not in special] for i in range(len(tokens))])
    writer.add_token_merges([" ".join(pair) for pair in file["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_chat_template((folder / "chat_template.jinja").read_text())


def interleaved(weight: Any, heads: int) -> Any:
    """Rows in the order in which llama.cpp turns pairs of them."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, columns))


if __name__ == "__main__":
    main()
