"""One answer of the model, streamed and stopped as soon as the unit that was asked for is complete."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..endpoint import ChatRequest, Delta, Message
from ..lang.prompt import Prompt, defuse, restore
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
    """What the model said, without the prefill but with the lead."""

    raw: str
    sampling: Sampling
    tokens: int
    logprob: float | None
    finish_reason: str
    """`unit` where we stopped it at the complete unit, `repetition` where it looped, `known` where it said again what
    had failed, `budget` where the time was up, else the endpoint's word."""
    first_token_seconds: float
    prefilled: bool


async def generate(
    client: ChatClient,
    prompt: Prompt,
    sampling: Sampling,
    *,
    max_tokens: int,
    seconds: float | None = None,
    lead: str = "",
    hint: str = "",
    failed: Collection[str] = (),
    on_text: Callable[[str], None] | None = None,
) -> Answer:
    """Stream one answer. Cancelling this closes the stream, and with it the work on the host.

    `lead` is how the code is to begin, where the endpoint can go on from it, `hint` the lines above that, no part of
    the answer; `failed` are whole answers that need not be heard again. After `seconds` what has come so far
    is the answer.
    `on_text` is called with each piece as it comes, to show progress: nothing in it is checked yet.
    """
    capabilities = await client.capabilities()
    lead, hint = (lead, hint) if capabilities.prefill else ("", "")
    hearing = _Hearing(prompt, capabilities.prefill, lead, {text.strip() for text in failed}, on_text)
    messages = tuple(Message(role=role, content=content) for role, content in prompt.messages)  # type: ignore[typeddict-item]
    request = ChatRequest(
        messages=messages,
        prefill=prompt.prefill + defuse(hint + lead) if capabilities.prefill else "",
        max_tokens=max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=sampling.seed,
        logprobs=True,
    )
    stream = client.stream(request)
    try:
        async with asyncio.timeout(seconds) as limit:
            async for piece in stream:
                if isinstance(piece, Delta) and hearing.hear(piece):
                    break
    except TimeoutError:
        if not limit.expired():
            raise
        hearing.finish = "budget"
    finally:
        await stream.aclose()
    return Answer(
        hearing.text,
        sampling,
        hearing.tokens,
        hearing.logprob,
        hearing.finish,
        hearing.first_token_seconds,
        capabilities.prefill,
    )


class _Hearing:
    """An answer in the making."""

    def __init__(
        self,
        prompt: Prompt,
        prefilled: bool,
        lead: str,
        failed: set[str],
        on_text: Callable[[str], None] | None,
    ) -> None:
        self.tokens, self.finish = 0, ""
        self.logprob: float | None = None
        self.first_token_seconds = 0.0
        self._prompt, self._prefilled, self._lead, self._failed = prompt, prefilled, lead, failed
        self._on_text = on_text
        self._said = ""
        self._started = time.monotonic()

    @property
    def text(self) -> str:
        """All of it so far. Some models begin anew instead of going on from the lead."""
        said = restore(self._said)
        return said if _begins_anew(said, self._lead) else self._lead + said

    def hear(self, piece: Delta) -> bool:
        """Take a piece of the stream, and tell whether that is enough."""
        self.first_token_seconds = self.first_token_seconds or time.monotonic() - self._started
        if self._on_text:
            self._on_text(piece.text if self._said else self._lead + piece.text)
        self._said += piece.text
        self.tokens += piece.tokens
        if piece.logprob is not None:
            self.logprob = (self.logprob or 0.0) + piece.logprob
        self.finish = piece.finish_reason or self.finish
        if "\n" not in piece.text:
            return False
        text = self.text
        if complete(text, self._prompt.frame, prefilled=self._prefilled):
            self.finish = "unit"
        elif repeats(text):
            self.finish = "repetition"
        elif text.strip() in self._failed:
            self.finish = "known"
        return self.finish in ("unit", "repetition", "known")


def _begins_anew(said: str, lead: str) -> bool:
    """Tell whether an answer has the lead itself, perhaps below an import."""
    return bool(lead) and bool(re.search(rf"^[ \t]*{re.escape(lead.strip())}(?!\w)", said, re.MULTILINE))
