"""A LoRA adapter as the GGUF file that llama.cpp loads. Needs no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nl2code_server.errors import HostError

from ..host.torch_adapters import CONFIG, WEIGHTS

FILE = "adapter.gguf"
_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
ARCHITECTURES = ("llama", "qwen2")
"""Model types whose layers have these names, in transformers and in llama.cpp."""


def convertible(model_config: dict[str, Any]) -> bool:
    """Say whether adapters of a model can be written for llama.cpp."""
    return model_config.get("model_type") in ARCHITECTURES


def write(adapter: Path, model_config: dict[str, Any], target: Path) -> int:
    """Write the adapter in a folder as GGUF and return how many tensors it has; raise `HostError` if it cannot be."""
    import gguf
    import numpy as np
    from safetensors.numpy import load_file

    architecture = str(model_config.get("model_type"))
    if not convertible(model_config):
        raise HostError(
            f"adapters of {architecture} models cannot be written for llama.cpp", "use --engine torch"
        )
    config = json.loads((adapter / CONFIG).read_text())
    if any(config.get(name) for name in ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save")):
        raise HostError(f"the adapter in {adapter} is not plain LoRA", "use --engine torch")
    rank, alpha = config["r"], float(config["lora_alpha"])
    heads = int(model_config["num_attention_heads"])
    kv_heads = int(model_config.get("num_key_value_heads") or heads)
    writer = gguf.GGUFWriter(target, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    # llama.cpp scales by alpha / rank; rsLoRA by alpha / sqrt(rank).
    writer.add_float32("adapter.lora.alpha", alpha * rank**0.5 if config.get("use_rslora") else alpha)
    count = 0
    for name, value in sorted(load_file(adapter / WEIGHTS).items()):
        layer, module, half = _parsed(name)
        array = np.asarray(value, dtype=np.float32)
        if architecture == "llama" and half == "b" and module in ("self_attn.q_proj", "self_attn.k_proj"):
            # The base's rows were interleaved so when it became GGUF, see `models.gguf`.
            array = interleaved(array, heads if module.endswith("q_proj") else kv_heads)
        writer.add_tensor(f"blk.{layer}.{_NAMES[module]}.weight.lora_{half}", np.ascontiguousarray(array))
        count += 1
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return count


def interleaved(array: Any, heads: int) -> Any:
    """Return rows (heads * width, n) in the order that llama.cpp's rotary embedding wants."""
    rows, columns = array.shape
    return array.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _parsed(name: str) -> tuple[str, str, str]:
    """Return layer, module and half of a tensor's name in PEFT."""
    parts = name.split(".")
    try:
        at = parts.index("layers")
        end = next(n for n, part in enumerate(parts) if part in ("lora_A", "lora_B"))
        module = ".".join(parts[at + 2 : end])
        if module not in _NAMES:
            raise ValueError(module)
        return parts[at + 1], module, parts[end][-1].lower()
    except (ValueError, StopIteration) as error:
        raise HostError(
            f"the adapter changes {name}, which llama.cpp cannot", "use --engine torch"
        ) from error
