"""The wire between server and model: the OpenAI chat-completions API. Knows no LSP and no Python syntax."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypedDict


class Message(TypedDict):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model answers."""

    url: str
    """Base URL, normalised to end in `/v1`."""
    api_key: str = field(default="", repr=False)
    model: str = ""
    """Model name to ask for; empty takes the first that the endpoint lists."""
    local: bool = False
    """Whether this is our own host on this machine."""
    adapter: str = ""
    """Tuned adapter that our own host serves."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One generation."""

    messages: tuple[Message, ...]
    prefill: str = ""
    """Start of the answer, given to the model where it can continue one; never part of the stream."""
    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: bool = False


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer number `index`."""

    index: int
    text: str
    logprob: float | None = None
    """Sum of the log-probabilities of this piece's tokens, where asked for and given."""
    tokens: int = 1
    finish_reason: str = ""
    """Empty while the answer goes on; then `stop`, `length` or what the endpoint says."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a generation cost, all answers together: the last thing in a stream, where the endpoint tells."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an endpoint can do beyond the plain API, found by asking it once."""

    model: str
    """The model that answers."""
    server: str
    """`nl2code`, `llamacpp`, `vllm`, … or `unknown`: a key of quirks.toml."""
    prefill: bool
    """Continues a trailing assistant message instead of answering it."""
    adapter: str = ""
    """The tuned adapter that is active, if it says."""
