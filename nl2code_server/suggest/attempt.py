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
from .agree import agreed
from .budget import Budget
from .generate import generate
from .judge import Candidate, examples_of, judge
from .rank import order
from .record import record
from .tries import Try, hint_for, lead_for, next_try

if TYPE_CHECKING:
    from ..endpoint.client import ChatClient
    from ..feedback.events import Origin
    from .pipeline import Suggester

log = logging.getLogger(__name__)

_CAN_AGREE = 3
"""Good candidates from which on some can agree against others."""
_DOING: dict[Origin, str] = {"greedy": "generating", "sample": "trying again", "repair": "repairing"}


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
        self._stage("connecting to the model")
        client = await self.suggester.connect()
        self.capabilities = await client.capabilities()
        self.trace.model = self.capabilities.model
        job, settings = self.plan.job, self.suggester.settings
        examples = examples_of(job)
        lead = lead_for(job.snapshot, job.instruction.text, self.plan.prompt.frame, examples)
        hint = hint_for(lead, examples)
        budget = Budget(settings.budget_seconds, settings.budget_tokens)
        while not budget.spent(self.tokens):
            step = next_try(
                self.plan.prompt,
                self.candidates,
                wanted=job.candidates,
                fresh=job.fresh,
                lead=lead,
                hint=hint,
                show=bool(settings.endpoint),  # behind one there may be a model that learns from it
            )
            if step is None:
                break
            await self._try(client, step, budget)
        await self._compare()

    async def _compare(self) -> None:
        """Find out which of several good candidates agree."""
        sandbox, job = self.suggester.sandbox, self.plan.job
        good = [candidate for candidate in self.candidates if candidate.status != "failed"]
        if sandbox is not None and len(good) >= _CAN_AGREE:
            self._stage("comparing")
            self.candidates = await agreed(job, self.plan.placement.scope, self.candidates, sandbox)

    async def _try(self, client: ChatClient, step: Try, budget: Budget) -> None:
        """Get one answer and judge it."""
        number = len(self.candidates) + 1
        self._stage(_DOING[step.origin] + (f" ({number})" if number > 1 else ""))
        answer = await generate(
            client,
            await self._outgoing(client.endpoint, step.prompt),
            step.sampling(random.getrandbits(31)),
            max_tokens=budget.tokens_for_next(self.tokens, self._most(step)),
            seconds=budget.seconds_for_next() if self.candidates else None,
            lead=step.lead,
            hint=step.hint,
            failed=[one.answer.raw for one in self.candidates if one.status == "failed"],
            on_text=self._on_text,
        )
        self._stage("checking")
        candidate = await judge(
            self.plan.job,
            self.plan.placement,
            self.plan.prompt.frame,
            answer,
            new_id(),
            comment=self.suggester.settings.comment,
            sandbox=self.suggester.sandbox,
            origin=step.origin,
            before=self.candidates,
        )
        self.candidates.append(candidate)
        self.trace.raw.append(answer.raw)
        self.trace.checks.append(list(candidate.checks))
        self.trace.examples.append(list(candidate.examples))

    def _most(self, step: Try) -> int:
        most = self.suggester.settings.max_tokens
        return min(most, step.most) if step.most else most

    async def _outgoing(self, endpoint: Endpoint, prompt: Prompt) -> Prompt:
        """Return a prompt as it may leave: without secrets, if it goes to another machine."""
        if is_loopback(urlsplit(endpoint.url).hostname or "") or not self.suggester.settings.redact:
            return prompt
        from ..feedback.redact import redact_all

        messages, head = await asyncio.to_thread(redact_all, [prompt.messages, prompt.frame.head])
        return replace(prompt, messages=messages, frame=replace(prompt.frame, head=head))

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
