"""The way from an instruction to suggestions: context, prompt, generation, verdicts, more tries, ranking, log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ..config import Settings
from ..feedback.identity import file_id
from ..lang.context import Context, Extent, collect
from ..lang.document import Snapshot
from ..lang.placement import Placement, place
from ..lang.prompt import build, build_stable
from . import Job, Outcome, Trace
from .attempt import Attempt, Plan
from .judge import edits_for
from .sandbox import Sandbox
from .speculate import Ahead, SharedWork
from .surroundings import Surroundings

if TYPE_CHECKING:
    from ..endpoint import Endpoint
    from ..endpoint.client import ChatClient
    from ..feedback.log import FeedbackLog

CONTEXT_TOKENS = 400  # two to three seconds of prompt on two CPU cores, cold
ENDPOINT_CONTEXT_TOKENS = 2000

LINGER = 0.5  # s

Tell = Callable[[str], None]


class Suggester:
    """Makes suggestions for one session. Holds nothing of a document across a wait but its immutable snapshot."""

    def __init__(
        self,
        settings: Settings,
        feedback: FeedbackLog | None,
        *,
        session_id: str,
        client: str = "nl2code",
        project: str = "",
        on_status: Tell | None = None,
        opened: Callable[[], Mapping[str, Snapshot]] = dict,
    ) -> None:
        """`opened` gives the texts of all open editors by URI, for a project whose files are being edited."""
        self.settings = settings
        self.feedback = feedback
        self.session_id = session_id
        self.client = client
        self.project = project
        self._on_status = on_status or (lambda _: None)
        # An editor takes its question back at each key, also at the one that ends the line of the comment.
        linger = 0.0 if settings.endpoint else LINGER
        self._work: SharedWork[Outcome] = SharedWork(linger=linger, cost=lambda outcome: outcome.tokens)
        self.sandbox = Sandbox() if settings.verify else None
        self._chat: ChatClient | None = None
        self._last: Trace | None = None
        database = feedback.path if feedback else None
        self._surroundings = Surroundings(settings, project, database, opened)

    def last(self) -> Trace | None:
        """Return the story of the last decision."""
        return self._last

    @property
    def ahead(self) -> Ahead:
        """What was begun before it was asked for."""
        return self._work.ahead

    async def suggest(
        self,
        job: Job,
        *,
        on_stage: Tell | None = None,
        on_text: Tell | None = None,
        ahead: bool = False,
    ) -> Outcome:
        """Make suggestions for a job.

        Failures are told in `Outcome.reason`; only `ModelMissing` is raised, because a person must be asked first.
        `on_stage` is told what is being done, `on_text` the unchecked text as it streams.
        The same prompt asked for again is answered by the work under way or by its result, unless `job.fresh`.
        `ahead` says that nobody has asked for it yet.
        """
        from ..endpoint.process import adapter_in_force

        job, placement, context = await self._context(job)
        prompt = build(job.instruction.text, placement, context)
        # Files are read for both, the second once.
        adapter = await asyncio.to_thread(adapter_in_force, self.settings)
        if self.feedback:
            await asyncio.to_thread(file_id, job.snapshot.uri)
        key = (prompt.hash, job.snapshot.uri, job.candidates, adapter)
        if job.fresh:
            self._work.forget(key)
        plan = Plan(job, placement, prompt, context.sizes)
        attempt = Attempt(self, plan, on_stage or (lambda _: None), self._counted if ahead else on_text)
        outcome = await self._work.share(
            key, attempt.run, worth_keeping=lambda done: bool(done.suggestions), ahead=ahead
        )
        if not ahead:
            self._last = outcome.trace
        return self._rebound(outcome, plan)

    async def warm(self, job: Job) -> None:
        """Have the local host evaluate the part of the prompt that will be the same whatever is asked there.

        Starts no host, and sends nothing anywhere else.
        """
        from ..endpoint import ChatRequest, Message
        from ..endpoint.process import running_host

        if self.settings.endpoint or (endpoint := await running_host(self.settings)) is None:
            return
        job, placement, context = await self._context(job)
        prompt = build_stable(placement, context)
        messages = tuple(Message(role=role, content=content) for role, content in prompt.messages)  # type: ignore[typeddict-item]
        self.ahead.warmed += await self._client(endpoint).warm(ChatRequest(messages))

    def outdate(self) -> None:
        """The user types on: what was begun for the text before is of no use, unless somebody still waits for it."""
        self._work.outdate()

    async def _context(self, job: Job) -> tuple[Job, Placement, Context]:
        placement = place(job.snapshot, job.instruction)
        chosen = ENDPOINT_CONTEXT_TOKENS if self.settings.endpoint else CONTEXT_TOKENS
        tokens = self.settings.context_tokens or chosen
        job, around = await self._surroundings.of(job)
        extent: Extent = self.settings.context  # type: ignore[assignment]
        context = await asyncio.to_thread(
            collect, job.snapshot, job.instruction, placement, tokens=tokens, around=around, extent=extent
        )
        return job, placement, context

    def _counted(self, _: str) -> None:
        self.ahead.tokens += 1

    async def connect(self) -> ChatClient:
        """Return a client for the endpoint in force, starting the local host if need be."""
        from ..endpoint.process import ensure_host

        endpoint = await ensure_host(self.settings, on_status=self._on_status)
        if self._chat is not None and self._chat.endpoint != endpoint:
            await self._chat.close()  # of a host that is gone
        return self._client(endpoint)

    def _client(self, endpoint: Endpoint) -> ChatClient:
        from ..endpoint.client import ChatClient

        if self._chat is None or self._chat.endpoint != endpoint:
            self._chat = ChatClient(endpoint, request_timeout=self.settings.request_timeout)
        return self._chat

    async def close(self) -> None:
        """Stop all work and let go of connections and of the sandbox."""
        await self._work.close()
        await self._surroundings.close()
        if self._chat is not None:
            await self._chat.close()
            self._chat = None
        if self.sandbox:
            await self.sandbox.close()

    def _rebound(self, outcome: Outcome, plan: Plan) -> Outcome:
        """Fit suggestions that were made for an earlier state of the file to the one that is asked about."""
        job = plan.job
        if outcome.snapshot is job.snapshot:
            return outcome
        suggestions = tuple(
            replace(
                suggestion,
                instruction=job.instruction,
                placement=plan.placement,
                edits=edits_for(
                    job, plan.placement, suggestion.code, suggestion.imports, comment=self.settings.comment
                ),
            )
            for suggestion in outcome.suggestions
        )
        return replace(outcome, snapshot=job.snapshot, suggestions=suggestions)
