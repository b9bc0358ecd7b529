"""One adapter on both engines, with real weights: put on, the same text; taken off, the old text byte for byte."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from nl2code_model.host.engine import Chunk, Engine, Generation, Message
from nl2code_model.host.llamacpp import LlamaCpp
from nl2code_model.host.torch_engine import TorchEngine
from nl2code_model.models.catalog import locate
from nl2code_model.models.source import find
from nl2code_model.tune.lora_gguf import FILE, write

pytestmark = [pytest.mark.model, pytest.mark.timeout(900)]

MODEL = "smollm2-135m"
TOKENS = 16
ASKED = [
    "Write a Python function that adds two numbers.",
    "Write a Python function that reverses a string.",
    "What is the capital of France?",
    "Count from one to ten.",
    "Write a Python class for a stack.",
    "Name three colours.",
    "Write a haiku about rain.",
    "Sort a list in Python.",
    "Explain what a loop is.",
    "Say hello in Spanish.",
]


def _adapter(folder: Path, config: dict[str, Any], *, rank: int = 4, size: float = 0.06) -> Path:
    """Make a LoRA adapter of random numbers, large enough to change what is said."""
    import numpy as np
    from safetensors.numpy import save_file

    draw = np.random.default_rng(0)
    width, inner = config["hidden_size"], config["intermediate_size"]
    head = width // config["num_attention_heads"]
    keys = head * config["num_key_value_heads"]
    shapes = {
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (width, keys),
        "self_attn.v_proj": (width, keys),
        "self_attn.o_proj": (width, width),
        "mlp.gate_proj": (width, inner),
        "mlp.up_proj": (width, inner),
        "mlp.down_proj": (inner, width),
    }
    weights = {}
    for layer in range(config["num_hidden_layers"]):
        for name, (there, out) in shapes.items():
            start = f"base_model.model.model.layers.{layer}.{name}"
            weights[f"{start}.lora_A.weight"] = draw.normal(0, 0.05, (rank, there)).astype(np.float32)
            weights[f"{start}.lora_B.weight"] = draw.normal(0, size, (out, rank)).astype(np.float32)
    folder.mkdir()
    save_file(weights, folder / "adapter_model.safetensors")
    told = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": [name.partition(".")[2] for name in shapes],
    }
    (folder / "adapter_config.json").write_text(json.dumps(told))
    write(folder, config, folder / FILE)
    return folder


async def _said(engine: Engine) -> list[str]:
    said = []
    for text in ASKED:
        pieces = engine.generate(Generation((Message("user", text),), max_tokens=TOKENS))
        said.append("".join([piece.text async for piece in pieces if isinstance(piece, Chunk)]))
    return said


async def test_an_adapter_says_the_same_on_both_engines_and_comes_off(tmp_path: Path) -> None:
    source = find(MODEL)
    folder = _adapter(tmp_path / "adapter", dict(source.config))
    engines: list[Engine] = [
        LlamaCpp(locate(MODEL), threads=1),
        TorchEngine(MODEL, device="cpu", dtype="float32", threads=1),
    ]
    plain, tuned = [], []
    for engine in engines:
        await engine.start()
        try:
            plain.append(await _said(engine))
            await engine.use_adapter("tuned", folder)
            assert engine.adapter == "tuned"
            tuned.append(await _said(engine))
            await engine.use_adapter("", None)
            assert (engine.adapter, await _said(engine)) == ("", plain[-1])
        finally:
            await engine.stop()
    changed = [sum(a != b for a, b in zip(*texts, strict=True)) for texts in zip(plain, tuned, strict=True)]
    assert min(changed) >= 3, "the adapter changes what is said"
    same = sum(a == b for a, b in zip(*tuned, strict=True))
    as_without = sum(a == b for a, b in zip(*plain, strict=True))
    print(f"same text: {same} of {len(ASKED)} with the adapter, {as_without} without")
    # The engines round differently, with an adapter as without: near-ties may part.
    assert same >= as_without - 2


async def test_requests_go_on_while_an_adapter_is_put_on(tmp_path: Path) -> None:
    folder = _adapter(tmp_path / "adapter", dict(find(MODEL).config))
    engine = LlamaCpp(locate(MODEL), threads=1)
    await engine.start()
    try:
        pid = engine.child_pid
        change = asyncio.create_task(engine.use_adapter("tuned", folder))
        said = [await _said(engine) for _ in range(2)]
        await change
        assert all(all(texts) for texts in said)
        assert engine.child_pid != pid and engine.failure == "" and engine.counts.restarts == 0
    finally:
        await engine.stop()
