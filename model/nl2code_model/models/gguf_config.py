"""What a GGUF file's metadata says, in transformers' words: config, tensor names, tokenizer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from nl2code_server.errors import ModelFileError

from .header import CONTROL, USER_DEFINED, Contents

CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
OUTER = {"token_embd": "model.embed_tokens", "output": "lm_head", "output_norm": "model.norm"}
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
END_OF_ANSWER = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "</s>")
"""Control tokens that end an answer, whichever of them the file calls its end."""

# How text is cut into words before its bytes are paired, by `tokenizer.ggml.pre`.
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_LLAMA3 = _QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
WORDS = {"qwen2": _QWEN2, "llama-bpe": _LLAMA3, "smollm": ""}


def config(contents: Contents) -> dict[str, Any]:
    """Return the model's config; raise `ModelFileError` for a model that the file's metadata cannot describe."""
    values = contents.values
    architecture = values["general.architecture"]
    if architecture not in CLASSES:
        raise _unsupported(f"its architecture {architecture!r} is not one of {', '.join(CLASSES)}")

    def value(name: str, default: Any = None) -> Any:
        found = values.get(f"{architecture}.{name}", default)
        if found is None:
            raise ModelFileError(f"the file does not say {architecture}.{name}", "download it again")
        return found

    names = {tensor.name for tensor in contents.tensors}
    width, heads = value("embedding_length"), value("attention.head_count")
    head = value("attention.key_length", width // heads)
    if value("rope.scaling.type", "none") != "none" or "rope_freqs.weight" in names:
        raise _unsupported("it stretches its positions (rope scaling)")
    if value("rope.dimension_count", head) != head:
        raise _unsupported("it rotates a part of each head only")
    return {
        "model_type": architecture,
        "architectures": [CLASSES[architecture]],
        "dtype": "bfloat16",
        "vocab_size": len(values["tokenizer.ggml.tokens"]),
        "hidden_size": width,
        "intermediate_size": value("feed_forward_length"),
        "num_hidden_layers": value("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": value("attention.head_count_kv", heads),
        "head_dim": head,
        "max_position_embeddings": value("context_length"),
        "rms_norm_eps": value("attention.layer_norm_rms_epsilon"),
        "rope_parameters": {"rope_type": "default", "rope_theta": value("rope.freq_base", 10000.0)},
        "attention_bias": architecture == "llama" and "blk.0.attn_q.bias" in names,
        "tie_word_embeddings": "output.weight" not in names,
        "bos_token_id": values.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": values.get("tokenizer.ggml.eos_token_id"),
        "pad_token_id": values.get("tokenizer.ggml.padding_token_id"),
    }


def generation_config(contents: Contents) -> dict[str, Any]:
    """Return the tokens that an answer may end with."""
    values = contents.values
    kinds = values.get("tokenizer.ggml.token_type", ())
    ends = {
        number
        for number, (token, kind) in enumerate(zip(_tokens(contents), kinds, strict=False))
        if kind == CONTROL and token in END_OF_ANSWER
    }
    if (declared := values.get("tokenizer.ggml.eos_token_id")) is not None:
        ends.add(declared)
    return {"eos_token_id": sorted(ends)}


def tensor_name(architecture: str, name: str) -> str:
    """Return transformers' name of a tensor."""
    if match := re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name):
        number, part, kind = match.groups()
        if part in LAYER:
            return f"model.layers.{number}.{LAYER[part]}.{kind}"
    part, _, kind = name.partition(".")
    if part in OUTER and kind == "weight":
        return f"{OUTER[part]}.weight"
    raise _unsupported(f"{architecture} models have no tensor {name!r}")


def interleaved_heads(contents: Contents, name: str) -> int:
    """Return the heads of a tensor whose rows llama.cpp keeps in another order; 0 for any other tensor."""
    values = contents.values
    if values["general.architecture"] != "llama":
        return 0
    heads: int = values["llama.attention.head_count"]
    if ".attn_q." in name:
        return heads
    return values.get("llama.attention.head_count_kv", heads) if ".attn_k." in name else 0


def write_tokenizer(contents: Contents, folder: Path) -> None:
    """Write the tokenizer, byte-level BPE, in the form that transformers reads."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    values = contents.values
    words = values.get("tokenizer.ggml.pre")
    if values.get("tokenizer.ggml.model") != "gpt2" or words not in WORDS:
        raise _unsupported(f"its tokenizer is {values.get('tokenizer.ggml.model')!r} with {words!r}")
    tokens = _tokens(contents)
    merges = (merge.decode("utf-8", "replace") for merge in values["tokenizer.ggml.merges"])
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: number for number, token in enumerate(tokens)},
            merges=[tuple(merge.split(" ", 1)) for merge in merges],
        )
    )
    in_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not WORDS[words])
    cut = (
        pre_tokenizers.Split(Regex(WORDS[words]), "isolated")
        if WORDS[words]
        else pre_tokenizers.Digits(individual_digits=True)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, in_bytes])  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    tokenizer.add_tokens(
        [
            AddedToken(tokens[number], special=kind == CONTROL, normalized=False)
            for number, kind in enumerate(values.get("tokenizer.ggml.token_type", ()))
            if kind in (CONTROL, USER_DEFINED)
        ]
    )
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    special = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
    numbers = {name: values.get(f"tokenizer.ggml.{key}_token_id") for name, key in special.items()}
    told = {f"{name}_token": tokens[number] for name, number in numbers.items() if number is not None}
    template = values.get("tokenizer.chat_template")
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **told}
    if isinstance(template, str):
        about["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(about, indent=1))


def _tokens(contents: Contents) -> list[str]:
    return [token.decode("utf-8", "replace") for token in contents.values["tokenizer.ggml.tokens"]]


def _unsupported(reason: str) -> ModelFileError:
    return ModelFileError(
        f"this GGUF file cannot be converted for the torch engine: {reason}",
        "use --engine llamacpp, or a folder of safetensors",
    )
