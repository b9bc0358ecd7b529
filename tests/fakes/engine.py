"""An engine that plays a script, and a host process around it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from nl2code_model.host.engine import Chunk, Counts, EngineFailed, Generation, PromptTooLong, Usage
from nl2code_model.host.serve import Options, run_engine
from nl2code_server.errors import HostError

DEFAULT_SCRIPT = ("def", " gcd", "(a, b):", "\n    ", "return", " a")


@dataclass
class FakeEngine:
    """Answers every chat with the same tokens, each after `delay` seconds; `fail_after` tokens it breaks down."""

    script: tuple[str, ...] = DEFAULT_SCRIPT
    delay: float = 0.0
    fail_after: int | None = None
    name: str = "fake"
    model: str = "fake-model"
    context: int = 100
    parallel: int = 1
    prefill: bool = True
    adapter: str = ""
    failure: str = ""
    counts: Counts = field(default_factory=Counts)
    asked: list[Generation] = field(default_factory=list)
    warmed: list[Generation] = field(default_factory=list)
    open: int = 0
    """Generations under way."""

    async def start(self) -> None:
        """Be ready."""

    async def stop(self) -> None:
        """Be done."""

    async def use_adapter(self, name: str, folder: Path | None) -> None:
        if name == "refused":
            raise HostError("the adapter does not fit this model")
        self.adapter = name

    async def warm(self, generation: Generation) -> None:
        self.warmed.append(generation)
        self.open += 1
        try:
            await asyncio.sleep(self.delay)
        finally:
            self.open -= 1

    async def metrics(self) -> str:
        return f"fake_asked_total {len(self.asked)}\n"

    async def generate(self, generation: Generation) -> AsyncGenerator[Chunk | Usage, None]:
        self.asked.append(generation)
        prompt = sum(len(message.content.split()) for message in generation.messages)
        if prompt > self.context:
            raise PromptTooLong(prompt, self.context)
        self.open += 1
        try:
            self.counts.prompt_tokens += prompt
            tokens = 0
            for index in range(generation.n):
                script = self.script[: generation.max_tokens]
                for number, text in enumerate(script):
                    if tokens == self.fail_after:
                        raise EngineFailed("the fake broke down", "try again")
                    await asyncio.sleep(self.delay)
                    self.counts.generated_tokens += 1
                    tokens += 1
                    last = number == len(script) - 1
                    reason = "length" if len(script) < len(self.script) else "stop"
                    logprob = -0.5 if generation.logprobs else None
                    yield Chunk(index, text, 1, logprob, reason if last else "")  # type: ignore[arg-type]
            yield Usage(prompt, tokens, 0)
        finally:
            self.open -= 1


def main() -> None:
    """Run a host around a fake engine, by options given as JSON."""
    asked = json.loads(sys.argv[1])
    paths = {name: Path(asked[name]) for name in ("tls_cert", "tls_key") if name in asked}
    options = Options(**{**asked, **paths})
    engine = FakeEngine(script=("x",) * 1000, delay=0.02)
    run_engine(options, engine, lambda record: print(json.dumps(asdict(record)), flush=True))


if __name__ == "__main__":
    main()
