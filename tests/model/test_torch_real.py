"""The torch engine with real weights: converted once, it answers the main job, and says what llama.cpp says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.door import MARK, door, events
from e2e.serving import serving
from nl2code_model.host.engine import Chunk, Engine, Generation, Message
from nl2code_model.host.llamacpp import LlamaCpp
from nl2code_model.host.slots import common_prefix
from nl2code_model.host.torch_engine import TorchEngine
from nl2code_model.models.catalog import locate
from nl2code_server.lang.context import collect
from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.instruction import at
from nl2code_server.lang.placement import place
from nl2code_server.lang.prompt import build
from nl2code_server.platform import physical_cores

pytestmark = [pytest.mark.model, pytest.mark.timeout(900)]

MODEL = "qwen2.5-coder-0.5b"
TOKENS = 48
NEAR_TIE = 0.5
"""Nats between two tokens that rounding may swap: 5-bit weights as 5-bit products, or as bfloat16 ones."""
INSTRUCTIONS = (
    "write a function computing the gcd of two numbers",
    "请编写一个Python函数，用于计算两个数的最大公约数。",
    "write a function that reverses a string",
    "write a function that tells whether a number is prime",
    "write a function computing the n-th Fibonacci number",
    "write a function that counts the vowels of a text",
    "write a function that flattens a nested list",
    "write a function that removes duplicates from a list and keeps the order",
    "write a function that parses a date like 2024-05-01 into a tuple of integers",
    "write a function computing the median of a list",
    "write a function that merges two sorted lists",
    "write a function that transposes a matrix",
    "write a function that checks whether brackets are balanced",
    "write a function that returns the most frequent word of a text",
    "write a class for a stack with push, pop and peek",
    "write a function that converts a Roman numeral to an integer",
    "schreibe eine Funktion, die die Quersumme einer Zahl berechnet",
    "écris une fonction qui calcule la factorielle d'un nombre",
    "文字列が回文かどうかを判定する関数を書いてください",
    "write a decorator that prints how long a call takes, <|im_end|> and <tool_call> are text",
)


def question(instruction: str) -> Generation:
    """Return what the product asks a host for a file of this one comment."""
    snapshot = Snapshot.from_text(f"# {instruction}\n", uri="file:///x.py")
    found = at(snapshot, 0, attention="invoked")
    assert found
    placement = place(snapshot, found)
    prompt = build(instruction, placement, collect(snapshot, found, placement, tokens=400))
    messages = tuple(Message(role, content) for role, content in prompt.messages)  # type: ignore[arg-type]
    return Generation(messages, prefill=prompt.prefill, max_tokens=TOKENS, stop=("```",))


async def text_of(engine: Engine, generation: Generation) -> str:
    return "".join([piece.text async for piece in engine.generate(generation) if isinstance(piece, Chunk)])


async def test_the_main_job_through_the_language_server(real_model: Path) -> None:
    seconds = []
    for _ in range(2):
        began = time.monotonic()
        async with serving(MODEL, threads=physical_cores()) as record:
            seconds.append(time.monotonic() - began)
            assert (record.engine, record.model) == ("torch", MODEL)
            if len(seconds) == 1:
                continue
            async with door(None) as editor:
                for instruction in INSTRUCTIONS[:2]:
                    result = await editor.completed(f"# {instruction}{MARK}\n", timeout=60, again=4)
                    namespace: dict[str, Any] = {}
                    exec(result, namespace)
                    functions = [
                        value for name, value in namespace.items() if callable(value) and name[0] != "_"
                    ]
                    assert 6 in [function(12, 18) for function in functions], result
                await events("accepted", "accepted")
    print(f"\nfirst start, with conversion {seconds[0]:.1f} s; second start {seconds[1]:.1f} s")


@dataclass(frozen=True)
class Both:
    """What both engines make of one instruction."""

    instruction: str
    same_prompt: bool
    length: int
    """Tokens of the torch engine's answer."""
    differ_at: int | None
    """The first token that is another; none if all are the same."""
    gap: float
    """How much less likely the other's token there is, in nats, to the torch engine."""


@pytest.fixture
async def both(real_model: Path) -> AsyncIterator[tuple[TorchEngine, LlamaCpp]]:
    torch = TorchEngine(MODEL, device="cpu", threads=physical_cores())
    llama = LlamaCpp(locate(MODEL), threads=physical_cores())
    try:
        await torch.start()
        await llama.start()
        yield torch, llama
    finally:
        await llama.stop()
        await torch.stop()


async def compare(torch: TorchEngine, llama: LlamaCpp, instruction: str) -> Both:
    asked = question(instruction)
    prompt = await torch.prompt(asked)
    same_prompt = prompt == await llama.prompt(asked)
    texts = [await text_of(engine, asked) for engine in (torch, llama)]
    decoder: Any = torch._decoder
    ours, theirs = [decoder.text.text_tokens(text) for text in texts]
    same = common_prefix(ours, theirs)
    if same == min(len(ours), len(theirs)):  # the rest is whether one more token fits
        return Both(instruction, same_prompt, len(ours), None, 0.0)
    gap = await asyncio.to_thread(_gap, torch, [*prompt, *ours[:same]], ours[same], theirs[same])
    return Both(instruction, same_prompt, len(ours), same, gap)


def _gap(engine: TorchEngine, before: list[int], ours: int, theirs: int) -> float:
    """Evaluate anew, while the engine rests, how sure the choice was."""
    import torch

    assert engine._loaded
    with torch.inference_mode():
        logits = engine._loaded.model(input_ids=torch.tensor([before]), use_cache=False).logits[0, -1].float()
    chances = logits.log_softmax(-1)
    return float(chances[ours] - chances[theirs])


async def test_both_engines_say_the_same(both: tuple[TorchEngine, LlamaCpp]) -> None:
    """Equal prompts, and answers that part only where two tokens are nearly as likely."""
    compared = [await compare(*both, instruction) for instruction in INSTRUCTIONS]
    print()
    for found in compared:
        where = "same" if found.differ_at is None else f"token {found.differ_at}, {found.gap:+.2f} nats"
        print(f"{found.length:3} tokens  {where:22} {found.instruction}")
    same = sum(found.differ_at is None for found in compared)
    print(f"{same} of {len(compared)} answers are the same")
    assert all(found.same_prompt for found in compared)
    assert same >= len(compared) // 2
    assert all(abs(found.gap) < NEAR_TIE for found in compared)
