"""One instruction worked on from the first answer to the last: how often to try, when to stop, what to log."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..config import is_loopback
from ..endpoint import Capabilities, Endpoint
from ..errors import ModelMissing, Nl2CodeError
from ..feedback.identity import new_id
from ..lang.placement import Placement
from ..lang.prompt import Prompt
from . import Job, Outcome, Suggestion, Trace
from .generate import GREEDY, Sampling, generate
from .judge import Candidate, examples_of, judge
from .rank import order
from .record import record

if TYPE_CHECKING:
    from .pipeline import Suggester

log = logging.getLogger(__name__)

TRIES = 5
"""Answers at most for one instruction whose first answer cannot be used or fails its example."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A job with all that follows from it before the model is asked."""

    job: Job
    placement: Placement
    prompt: Prompt
    sizes: dict[str, int]


class Attempt:
    """The work on one plan. `run` may be called once."""

    def __init__(
        self,
        suggester: Suggester,
        plan: Plan,
        on_stage: Callable[[str], None],
        on_text: Callable[[str], None] | None = None,
    ) -> None:
        self.suggester = suggester
        self.plan = plan
        self.request_id = new_id()
        self.time = time.time()
        self.candidates: list[Candidate] = []
        self.offered: list[Candidate] = []
        self.capabilities = Capabilities(model="", server="", prefill=False)
        self.outcome = "cancelled"
        self.reason = ""
        self.failure: Nl2CodeError | None = None
        self._on_stage = on_stage
        self._on_text = on_text
        self._started = time.monotonic()
        instruction = plan.job.instruction
        self.trace = Trace(
            instruction=instruction.text,
            kind=instruction.kind,
            detected=instruction.reason,
            prompt="\n\n".join([*(text for _, text in plan.prompt.messages), plan.prompt.prefill]),
        )

    @property
    def seconds(self) -> float:
        """Seconds since the work began."""
        return time.monotonic() - self._started

    @property
    def tokens(self) -> int:
        """Tokens generated so far."""
        return sum(candidate.answer.tokens for candidate in self.candidates)

    async def run(self) -> Outcome:
        """Ask, judge, ask again if need be; log whatever comes of it."""
        try:
            await self._try_all()
            self.outcome, self.reason = "nothing", self._why_nothing()
        except ModelMissing as error:
            self.outcome, self.reason = type(error).__name__, str(error)
            raise
        except Nl2CodeError as error:
            log.warning("request %s: %s", self.request_id, error)
            self.outcome, self.reason = type(error).__name__, str(error)
            self.failure = error
        finally:
            # What came before a failure is still good.
            self.offered = order(candidate for candidate in self.candidates if candidate.harmless)
            if self.offered and self.outcome != "cancelled":
                self.outcome, self.reason = "ok", ""
            self.trace.result = self.reason or self.outcome
            if self.suggester.feedback:
                record(self, self.suggester.feedback)
        return self._result()

    async def _try_all(self) -> None:
        job = self.plan.job
        self._stage("connecting to the model")
        client = await self.suggester.connect()
        self.capabilities = await client.capabilities()
        self.trace.model = self.capabilities.model
        prompt = await self._outgoing(client.endpoint)
        deadline = self._started + self.suggester.settings.request_timeout
        for number in range(max(TRIES, job.candidates)):
            sampled = number > 0 or job.fresh
            # A seed of our own makes each try repeatable from the log.
            sampling = Sampling(0.8, 0.95, random.getrandbits(31)) if sampled else GREEDY
            self._stage("generating" if number == 0 else f"trying again ({number + 1})")
            answer = await generate(
                client,
                prompt,
                sampling,
                max_tokens=self.suggester.settings.max_tokens,
                on_text=self._on_text,
            )
            self._stage("checking")
            candidate = await judge(
                job,
                self.plan.placement,
                self.plan.prompt.frame,
                answer,
                new_id(),
                comment=self.suggester.settings.comment,
                sandbox=self.suggester.sandbox,
            )
            self.candidates.append(candidate)
            self.trace.raw.append(answer.raw)
            self.trace.checks.append(list(candidate.checks))
            self.trace.examples.append(list(candidate.examples))
            if self._enough(job) or time.monotonic() > deadline:
                return

    async def _outgoing(self, endpoint: Endpoint) -> Prompt:
        """Return the prompt as it may leave: without secrets, if it goes to another machine."""
        prompt = self.plan.prompt
        if is_loopback(urlsplit(endpoint.url).hostname or "") or not self.suggester.settings.redact:
            return prompt
        from ..feedback.redact import redact_all

        messages, head = await asyncio.to_thread(redact_all, [prompt.messages, prompt.frame.head])
        return replace(prompt, messages=messages, frame=replace(prompt.frame, head=head))

    def _enough(self, job: Job) -> bool:
        best = order(candidate for candidate in self.candidates if candidate.status != "failed")
        if examples_of(job) and self.suggester.sandbox:
            # An example that could not be run will not run next time either.
            settled = any(candidate.status in ("verified", "valid") for candidate in best)
        else:
            settled = bool(best)
        return settled and len(self.candidates) >= job.candidates

    def _why_nothing(self) -> str:
        for candidate in self.candidates:
            for check in candidate.checks:
                if not check.ok:
                    return f"no usable answer: {check.detail or check.check}"
        return "the model gave no answer"

    def _stage(self, name: str) -> None:
        self.trace.stages.append((name, round(self.seconds, 3)))
        self._on_stage(name)

    def _result(self) -> Outcome:
        plan = self.plan
        suggestions = tuple(
            Suggestion(
                id=candidate.id,
                request_id=self.request_id,
                code=candidate.code,
                instruction=plan.job.instruction,
                placement=plan.placement,
                edits=candidate.edits,
                status=candidate.status,
                checks=candidate.checks,
                examples=candidate.examples,
                imports=candidate.imports,
            )
            for candidate in self.offered
        )
        return Outcome(
            request_id=self.request_id,
            snapshot=plan.job.snapshot,
            suggestions=suggestions,
            reason=self.reason,
            model=self.capabilities.model,
            seconds=round(self.seconds, 3),
            tokens=self.tokens,
            trace=self.trace,
            failure=self.failure,
        )
