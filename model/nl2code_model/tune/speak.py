"""What a model answers, with an adapter and without: by the engine that serves, stopped where the product stops."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nl2code_server.lang.prompt import restore
from nl2code_server.lang.unit import complete, extract, repeats
from nl2code_server.platform import write_private

from ..host.engine import Chunk, Engine, Generation, Message
from .rows import Asked, fingerprint

AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Said:
    """One greedy answer."""

    raw: str
    code: str
    """What the product would cut out of it, imports included; empty if there is no code."""
    tokens: int
    repeated: bool


class Kept:
    """Answers in a file, so that a run that was killed asks for none of them twice."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}

    def get(self, asked: Asked) -> Said | None:
        """Return the answer to a request, if it is there."""
        found = self._known.get(_key(asked))
        return Said(**found) if found else None

    def put(self, asked: Asked, said: Said) -> None:
        """Keep an answer."""
        self._known[_key(asked)] = asdict(said)
        write_private(self._path, json.dumps(self._known))


def _key(asked: Asked) -> str:
    return fingerprint([asked.messages, asked.prefill, asked.depth])[:24]


@contextlib.asynccontextmanager
async def speaking(
    model: str, *, engine: str = "auto", device: str = "auto", threads: int = 0
) -> AsyncIterator[Engine]:
    """Load a model in the engine that would serve it here."""
    from ..host.serve import Options, choose_engine

    speaker = choose_engine(Options(engine=engine, model=model, device=device, threads=threads))
    await speaker.start()
    try:
        yield speaker
    finally:
        await speaker.stop()


async def answers(
    engine: Engine,
    asked: Sequence[Asked],
    *,
    max_tokens: int,
    kept: Kept | None = None,
    tell: Callable[[int], None] = lambda _: None,
) -> list[Said]:
    """Return the greedy answers to requests, in their order; `tell` hears how many there are.

    Those in `kept` are not asked for again, and what is asked for is put there.
    """
    free = asyncio.Semaphore(AT_ONCE)
    done = 0

    async def one(request: Asked) -> Said:
        nonlocal done
        said = kept.get(request) if kept else None
        if said is None:
            async with free:
                said = await answer(engine, request, max_tokens=max_tokens)
            if kept:
                kept.put(request, said)
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
