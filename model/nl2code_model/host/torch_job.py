"""A generation on its way through the worker: what was asked, each candidate's state, and what is sent back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from .engine import Chunk, Counts, FinishReason, Generation, Usage
from .stops import StopFilter
from .torch_sampling import Sampler
from .torch_text import Answer


class Job:
    """One request. `send` and `cancelled` are all that two threads share."""

    def __init__(self, generation: Generation, *, warms: bool = False) -> None:
        self.generation = generation
        self.warms = warms
        """Whether its prompt is all that matters."""
        self.cancelled = False
        """Set by the event loop, looked at by the worker before each step."""
        self.sent: asyncio.Queue[Chunk | Usage | Exception] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self.prompt: list[int] = []
        self.cached = 0
        self.tokens = 0

    def send(self, item: Chunk | Usage | Exception) -> None:
        """Hand a result to the event loop; it may be gone."""
        try:
            self._loop.call_soon_threadsafe(self.sent.put_nowait, item)
        except RuntimeError:
            self.cancelled = True

    def finish(self) -> None:
        """Send what the request has cost: the last thing."""
        self.send(Usage(len(self.prompt), self.tokens, self.cached))


class Candidate:
    """One answer in the making."""

    def __init__(self, job: Job, index: int, answer: Answer, ends: frozenset[int], limit: int) -> None:
        asked = job.generation
        self.job = job
        self.sampler = Sampler(
            asked.temperature, asked.top_p, None if asked.seed is None else asked.seed + index
        )
        self.last = 0
        """The token chosen last, which the model has not seen yet."""
        self.over = False
        """Whether nothing more is taken: it came to its end, or nobody waits for it."""
        self._index = index
        self._answer = answer
        self._ends = ends
        self._left = min(asked.max_tokens, limit)
        self._stop = StopFilter(asked.stop)
        self._unsent = 0
        self._logprob = 0.0

    def accept(self, token: int, logprob: float, counts: Counts) -> bool:
        """Take the next token, send what it shows, and say whether the answer goes on."""
        self.last = token
        self._left -= 1
        self._unsent += 1
        self._logprob += logprob
        self.job.tokens += 1
        counts.generated_tokens += 1
        ended = token in self._ends
        last = ended or self._left == 0
        text = self._stop.feed("" if ended else self._answer.feed(token))
        if last and not self._stop.found:
            text += self._stop.feed(self._answer.rest())
        reason: FinishReason = ""
        if self._stop.found:
            reason = "stop"
        elif last:
            text, reason = text + self._stop.rest(), "stop" if ended else "length"
        # Tokens whose text is held back go with the piece that shows it.
        if text or reason:
            shown = self._logprob if self.job.generation.logprobs else None
            self.job.send(Chunk(self._index, text, self._unsent, shown, reason))
            self._unsent, self._logprob = 0, 0.0
        self.over = bool(reason)
        return not self.over


@dataclass(slots=True)
class Pace:
    """How fast prompts are evaluated, to cut them into slices of a known time."""

    smallest: int
    largest: int
    tokens: int = field(init=False)
    """Tokens that fit into a second."""

    def __post_init__(self) -> None:
        self.tokens = self.smallest * 2

    def slice(self, seconds: float) -> int:
        """Return how many tokens to evaluate at once so that it takes about this long."""
        return min(max(int(self.tokens * seconds), self.smallest), self.largest)

    def measured(self, tokens: int, seconds: float) -> None:
        """Learn from a slice; small ones say little."""
        if tokens >= self.smallest and seconds > 0:
            self.tokens = max(1, int(tokens / seconds))
