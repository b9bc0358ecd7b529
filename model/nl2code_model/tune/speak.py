"""What a model answers, with an adapter and without: by the engine that serves, stopped where the product stops."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from nl2code_server.lang.prompt import restore
from nl2code_server.lang.unit import complete, extract, repeats

from ..host.engine import Chunk, Engine, Generation, Message
from .rows import Asked

AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Said:
    """One greedy answer."""

    raw: str
    code: str
    """What the product would cut out of it, imports included; empty if there is no code."""
    tokens: int
    repeated: bool


@contextlib.asynccontextmanager
async def speaking(model: str, *, device: str = "auto", threads: int = 0) -> AsyncIterator[Engine]:
    """Load a model in the torch engine, which tuning shares with serving."""
    from ..host.torch_engine import TorchEngine

    engine = TorchEngine(model, device=device, threads=threads)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def answers(
    engine: Engine, asked: Sequence[Asked], *, max_tokens: int, tell: Callable[[int], None] = lambda _: None
) -> list[Said]:
    """Return the greedy answers to requests, in their order; `tell` hears how many there are."""
    free = asyncio.Semaphore(AT_ONCE)
    done = 0

    async def one(request: Asked) -> Said:
        nonlocal done
        async with free:
            said = await answer(engine, request, max_tokens=max_tokens)
        done += 1
        tell(done)
        return said

    return list(await asyncio.gather(*(one(request) for request in asked)))


async def answer(engine: Engine, asked: Asked, *, max_tokens: int) -> Said:
    """Return the greedy answer to one request."""
    messages = tuple(Message(role, content) for role, content in asked.messages)  # type: ignore[arg-type]
    prefill = asked.prefill if engine.prefill else ""
    stream = engine.generate(Generation(messages, prefill=prefill, max_tokens=max_tokens))
    text, tokens, repeated = "", 0, False
    async with contextlib.aclosing(stream) as chunks:
        async for chunk in chunks:
            if not isinstance(chunk, Chunk):
                continue
            text, tokens = text + chunk.text, tokens + chunk.tokens
            if "\n" in chunk.text:
                repeated = repeats(text)
                if repeated or complete(restore(text), asked.frame, prefilled=bool(prefill)):
                    break
    raw = restore(text)
    unit = extract(raw, asked.frame, prefilled=bool(prefill))
    parts = ["\n".join(unit.imports), unit.code] if unit else []
    return Said(raw, "\n\n\n".join(part for part in parts if part), tokens, repeated)
