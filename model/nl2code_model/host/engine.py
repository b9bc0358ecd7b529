"""What an engine is to the host: a chat goes in, a stream of chunks comes out. Knows no HTTP and no library."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from nl2code_server.errors import HostError

FinishReason = Literal["", "stop", "length"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Generation:
    """A request, checked: values an engine can rely on."""

    messages: tuple[Message, ...]
    prefill: str = ""
    """Start of the answer, continued and not repeated."""
    max_tokens: int = 512
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    seed: int | None = None
    """Candidate `i` is sampled with `seed + i`."""
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: bool = False
    adapter: str = ""
    """Tuned adapter that must answer; empty takes the one in force."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of candidate `index`. A candidate's last chunk, and no other, has a finish reason."""

    index: int
    text: str
    tokens: int
    logprob: float | None = None
    """Sum of its tokens' log-probabilities under the model, before temperature; where asked for."""
    finish_reason: FinishReason = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """The last thing that a generation gives: what it cost, all candidates together."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


@dataclass(slots=True)
class Counts:
    """What an engine has done since it started; a prompt token counts when its evaluation is begun."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    warmed_tokens: int = 0
    """Of `prompt_tokens`, those evaluated before anybody asked."""
    warmed_tokens_used: int = 0
    """Of these, those that a request found there."""
    restarts: int = 0


class Engine(Protocol):
    """A model that is loaded once and answers chats."""

    name: str
    model: str
    """Id of the model, as `/v1/models` lists it."""
    context: int
    """Longest prompt and answer together, in tokens."""
    parallel: int
    """Generations that it works on at once; the host queues the others."""
    prefill: bool
    """Whether it continues the start of an answer as clients write it, code fence and all."""
    adapter: str
    """The tuned adapter in force; empty is the model itself."""
    counts: Counts

    async def start(self) -> None:
        """Load the model; raise `HostError` if that cannot be."""

    async def stop(self) -> None:
        """End everything that belongs to the engine."""

    def generate(self, generation: Generation) -> AsyncGenerator[Chunk | Usage, None]:
        """Answer. Closing the generator stops the work. Raises the errors below."""
        ...

    async def warm(self, generation: Generation) -> None:
        """Evaluate a chat's prompt, so that answers to what begins like it start sooner. May be cancelled."""

    async def use_adapter(self, name: str, folder: Path | None) -> None:
        """Put a LoRA adapter in force, or none; raise `HostError` and keep the one before if that cannot be."""

    async def metrics(self) -> str:
        """Return figures of the engine's own, as Prometheus text; may be empty."""
        ...

    @property
    def failure(self) -> str:
        """Why it cannot answer now; empty while it can."""
        ...


class EngineFailed(HostError):
    """The engine broke down under a request. It is being started again."""


class PromptTooLong(HostError):
    """The prompt does not fit into the context."""

    def __init__(self, tokens: int, context: int) -> None:
        super().__init__(
            f"the prompt has {tokens} tokens, the context {context}",
            "shorten the prompt or ask for less context",
        )
        self.tokens = tokens
        self.context = context


class AdapterUnknown(HostError):
    """The engine has no such adapter."""


class ChatNotSupported(HostError):
    """The model's chat template cannot render these messages."""
