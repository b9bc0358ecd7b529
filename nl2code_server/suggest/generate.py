"""One answer of the model, streamed and stopped as soon as the unit that was asked for is complete."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..endpoint import ChatRequest, Delta, Message
from ..lang.prompt import Prompt, restore
from ..lang.unit import complete, repeats

if TYPE_CHECKING:
    from ..endpoint.client import ChatClient


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is drawn."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, without the prefill."""

    raw: str
    sampling: Sampling
    tokens: int
    logprob: float | None
    finish_reason: str
    """`unit` where we stopped it at the complete unit, `repetition` where it looped, else the endpoint's word."""
    first_token_seconds: float
    prefilled: bool


async def generate(
    client: ChatClient,
    prompt: Prompt,
    sampling: Sampling,
    *,
    max_tokens: int,
    on_text: Callable[[str], None] | None = None,
) -> Answer:
    """Stream one answer. Cancelling this closes the stream, and with it the work on the host.

    `on_text` is called with each piece as it comes, to show progress: nothing in it is checked yet.
    """
    capabilities = await client.capabilities()
    started = time.monotonic()
    messages = tuple(Message(role=role, content=content) for role, content in prompt.messages)  # type: ignore[typeddict-item]
    request = ChatRequest(
        messages=messages,
        prefill=prompt.prefill if capabilities.prefill else "",
        max_tokens=max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=sampling.seed,
        logprobs=True,
    )
    text, tokens, finish = "", 0, ""
    logprob: float | None = None
    first = 0.0
    stream = client.stream(request)
    try:
        async for piece in stream:
            if not isinstance(piece, Delta):
                continue
            first = first or time.monotonic() - started
            text += piece.text
            if on_text:
                on_text(piece.text)
            tokens += piece.tokens
            if piece.logprob is not None:
                logprob = (logprob or 0.0) + piece.logprob
            finish = piece.finish_reason or finish
            if "\n" not in piece.text:
                continue
            if complete(restore(text), prompt.frame, prefilled=capabilities.prefill):
                finish = "unit"
                break
            if repeats(text):
                finish = "repetition"
                break
    finally:
        await stream.aclose()
    return Answer(restore(text), sampling, tokens, logprob, finish, first, capabilities.prefill)
