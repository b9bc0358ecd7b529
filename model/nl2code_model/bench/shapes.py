"""Models with weights made at random, in the shapes of Qwen2.5-Coder: as fast as the real ones, and no use else."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nl2code_server.errors import ConfigError

_FIELDS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "tie_word_embeddings",
)
SHAPES: dict[str, tuple[int, int, int, int, int, int, bool]] = {
    "tiny": (64, 128, 2, 4, 2, 2048, False),
    "0.5b": (896, 4864, 24, 14, 2, 151936, True),
    "1.5b": (1536, 8960, 28, 12, 2, 151936, True),
    "7b": (3584, 18944, 28, 28, 4, 152064, False),
}
START, END = "<|im_start|>", "<|im_end|>"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def model(shape: str, device: str, dtype: str = "bfloat16") -> Any:
    """Make a model on a device; the same each time. No token ends its answers."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config

    fields: dict[str, Any] = dict(zip(_FIELDS, SHAPES[shape], strict=True))
    config = Qwen2Config(
        **fields,
        max_position_embeddings=32768,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    torch.manual_seed(0)
    auto: Any = AutoModelForCausalLM
    with torch.device(device):
        made = auto.from_config(config, dtype=getattr(torch, dtype), attn_implementation="sdpa")
    return made.eval().requires_grad_(False)


def tokenizer(shape: str) -> Any:
    """Make a tokenizer that reads text letter by letter, and has a text for every token of the shape."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    size = SHAPES[shape][_FIELDS.index("vocab_size")]
    words = [f"Ġx{number}" for number in range(size - len(letters) - 2)]
    bpe = models.BPE(vocab={word: number for number, word in enumerate([*letters, *words])}, merges=[])
    made = Tokenizer(bpe)
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (START, END)])
    wrap: Any = PreTrainedTokenizerFast
    return wrap(tokenizer_object=made, chat_template=TEMPLATE)


def write(shape: str, folder: Path, device: str = "cpu", dtype: str = "bfloat16") -> Path:
    """Write a model and its tokenizer, as `serve --model` takes them; return the folder."""
    model(shape, device, dtype).save_pretrained(folder)
    tokenizer(shape).save_pretrained(folder)
    return folder


@contextmanager
def written(shapes: Sequence[str], device: str) -> Iterator[list[str]]:
    """Write models for as long as they are needed; give their folders."""
    if unknown := [shape for shape in shapes if shape not in SHAPES]:
        raise ConfigError(f"there is no shape {unknown[0]!r}", f"use one of {', '.join(SHAPES)}")
    with tempfile.TemporaryDirectory(prefix="nl2code-bench-") as folder:
        made = [Path(folder) / f"random-{shape}" for shape in shapes]
        for shape, path in zip(shapes, made, strict=True):
            write(shape, path, _fast(device))
        yield [str(path) for path in made]


def _fast(device: str) -> str:
    import torch

    return "cuda" if device in ("auto", "cuda") and torch.cuda.is_available() else "cpu"
