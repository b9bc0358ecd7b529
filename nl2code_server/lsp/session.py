"""What one client's session knows and does, whatever the request: settings, suggestions, offers, events, status."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from .. import config
from ..config import Settings
from ..errors import ModelMissing, Nl2CodeError
from .clients import Client
from .offers import Offer, Offers
from .pauses import Pauses
from .preload import Preload
from .status import Board, Report, State
from .workspace import documents, find

if TYPE_CHECKING:
    from ..feedback.events import EventKind, Source
    from ..feedback.log import FeedbackLog
    from ..lang.document import Document, Snapshot
    from ..suggest import Job, Outcome, Trace
    from ..suggest.pipeline import Suggester
    from .download import Download
    from .outcomes import Outcomes
    from .server import Server
    from .transport import Change

log = logging.getLogger(__name__)

_DECISIONS = 64
_START_SECONDS = 60.0
# At the end, within the time that the transport gives: for what is still being measured, then for the log.
_FINISH_SECONDS = 0.4
_WRITE_SECONDS = 1.5
_HOST = "host"
"""The job on the board that stands for the model host's start."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was asked last about an instruction, and what came of it."""

    job: Job
    outcome: Outcome


class Session:
    """Everything that lives as long as the client stays."""

    def __init__(self, ls: Server, flags: Mapping[str, Any]) -> None:
        self.client = Client()
        self.offers = Offers()
        self._outcomes: Outcomes | None = None
        self.preload = Preload()
        self._pauses = Pauses(self)
        self.board = Board(ls.tell_status, ls.warn)
        self.decisions: OrderedDict[tuple[str, str], Decision] = OrderedDict()
        """By URI and text of the instruction, the last one at the end."""
        self._download: Download | None = None
        self.project = ""
        self._id = ""
        self._ls = ls
        self._flags = flags
        self._loaded = config.load(flags=flags)
        self._told: set[str] | None = None
        self._suggester: Suggester | None = None
        self._feedback: FeedbackLog | None = None
        self._working: set[asyncio.Task[Any]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._finishing: set[asyncio.Task[None]] = set()
        self._limits: dict[asyncio.Timeout, float] = {}
        self._starting = False
        self._late: tuple[tuple[str, str], asyncio.Task[Outcome]] | None = None

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._loaded.settings

    @property
    def outcomes(self) -> Outcomes:
        """What becomes of suggestions, followed from the first one on."""
        if self._outcomes is None:
            from .outcomes import Outcomes

            def lines(uri: str) -> Sequence[bytes] | None:
                document = find(self._ls.workspace, uri)
                return document.rows if document else None

            self._outcomes = Outcomes(self, lines)
        return self._outcomes

    @property
    def pops_up(self) -> bool:
        """Whether suggestions are offered in a popup: by default where there is no ghost text."""
        surface = self.settings.surface
        return surface in ("popup", "both") or (surface == "auto" and not self.client.inline_completion)

    def begin(self, client: Client, project: str) -> None:
        """Take note of who the client is."""
        self.client, self.project = client, project
        log.info("client %s, positions in %s", client.label, client.encoding)

    def tell_problems(self) -> None:
        """Tell the user, once each, which settings cannot be used."""
        self._told = self._told or set()
        for problem in self._loaded.problems:
            if problem not in self._told:
                self._told.add(problem)
                log.warning("%s", problem)
                self._ls.warn(f"nl2code: {problem}")

    def configure(self, taste: Mapping[str, Any]) -> None:
        """Take the editor's settings in place of those that it sent before."""
        before, self._loaded = self.settings, config.load(flags=self._flags, editor=taste)
        if self._told is not None:
            self.tell_problems()
        if self.settings != before and self._suggester is not None:
            self.spawn(self._retire(self._suggester, set(self._working)))
            self._suggester = None

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that no request waits for; it ends with the session at the latest."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def finish(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something short that no request waits for, but the end of the session does."""
        task = asyncio.create_task(work)
        self._finishing.add(task)
        task.add_done_callback(self._ended)

    async def suggest(self, job: Job, on_stage: Callable[[str], None] | None = None) -> Outcome:
        """Make suggestions, telling the client what goes on. A missing model is offered for download."""

        def tell(stage: str) -> None:
            if task not in self._working:
                return  # others wait by now for the work that this request began
            self._host_starts(False)
            self.board.begin(task, State.WORKING, stage)
            if on_stage is not None:
                on_stage(stage)

        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._working.add(task)
        self.board.begin(task)
        ends: Report | None = None
        try:
            await self.preload.ready()
            outcome = await self.suggester_in_force().suggest(job, on_stage=tell)
            log.info(
                "request %s: %d suggestions, %.2f s, %d tokens",
                outcome.request_id,
                len(outcome.suggestions),
                outcome.seconds,
                outcome.tokens,
            )
            ends = Report(State.READY, _careful(outcome))
            if outcome.failure is not None:
                ends = Report(State.PROBLEM, outcome.failure.message, outcome.failure.fix)
        except ModelMissing as missing:
            ends = self._offer_download(missing)
            outcome = _nothing(job, str(missing))
        finally:
            self._working.discard(task)
            self._host_starts(False)
            self.board.end(task, ends)
        self._remember(job, outcome)
        return outcome

    async def suggest_within(self, job: Job, seconds: float) -> Outcome | None:
        """Make suggestions, or stop waiting: the work goes on then, for the next request that asks the same.

        The clock stands while the local host starts, which happens once and is told in the status.
        """
        key = (job.snapshot.uri, job.instruction.text)
        if self._late is not None and self._late[0] != key:
            self._late[1].cancel()
            self._late = None
        task = asyncio.create_task(self.suggest(job))
        try:
            async with asyncio.timeout(seconds) as limit:
                self._limits[limit] = seconds
                try:
                    return await asyncio.shield(task)
                finally:
                    del self._limits[limit]
        except TimeoutError:
            if self._late is not None:
                self._late[1].cancel()
            self._late = (key, task)
            return None
        except asyncio.CancelledError:
            task.cancel()
            raise

    def event(self, kind: EventKind, offer: Offer, *, source: Source = "client", **details: Any) -> None:
        """Log what happened to an offer. What can happen once is logged once, and again when the client says so."""
        known = offer.logged.get(kind)
        if kind == "partially_accepted" or known is None or (known, source) == ("inferred", "client"):
            offer.logged[kind] = source
            self.record(kind, offer.suggestion.id, offer.suggestion.request_id, source, **details)
        if source == "client":
            self.outcomes.told(kind, offer)

    def record(
        self, kind: EventKind, suggestion_id: str, request_id: str, source: Source, **details: Any
    ) -> None:
        """Log an event."""
        if self.settings.feedback == "off":
            return
        from ..feedback.events import EventRow

        if kind == "accepted":
            # Another server takes over what is left to measure when this one has died.
            details["data"] = {"pid": os.getpid()}
        row = EventRow(
            event=kind,
            suggestion_id=suggestion_id,
            request_id=request_id,
            source=source,
            time=time.time(),
            **details,
        )
        self._log().record_event(row)

    def opened(self, document: Document) -> None:
        """Find what was accepted in a file before."""
        self._pauses.opened(document)
        if self._outcomes is not None:
            self._outcomes.opened(document.uri)

    def saved(self, uri: str) -> None:
        """Take note of what a file holds that is saved."""
        if self._outcomes is not None:
            self._outcomes.saved(uri)

    def closed(self, document: Document) -> None:
        """Let go of what was offered in a file."""
        self._pauses.closed(document)
        if self._outcomes is not None:
            self._outcomes.closed(document.uri)

    def changed(self, document: Document, changes: Sequence[Change], before: Snapshot | None) -> None:
        """Follow an edit."""
        self._pauses.changed(document, changes)
        if self._outcomes is not None:
            self._outcomes.changed(document, changes, before)

    async def take_over(self) -> None:
        """Follow on what was accepted a moment ago in a server that has died since."""
        from ..feedback.log import database, unfinished

        found = await asyncio.to_thread(unfinished, database(self.settings))
        if found and self.settings.feedback != "off":
            self.outcomes.resume(found)
            for document in documents(self._ls.workspace):
                self.outcomes.opened(document.uri)

    def last_trace(self) -> Trace | None:
        """Return the story of the last decision, if there was one."""
        return self._suggester.last() if self._suggester else None

    async def close(self) -> None:
        """End all work and let go of everything."""
        self._pauses.close()
        if self._outcomes is not None:
            self._outcomes.close()
        if self._finishing:
            await asyncio.wait(self._finishing, timeout=_FINISH_SECONDS)
        tasks = (*self._tasks, *self._finishing, *self._working)
        for task in tasks:
            task.cancel()
        closing: list[Coroutine[Any, Any, object]] = []
        if self._suggester is not None:
            closing.append(self._suggester.close())
        if self._feedback is not None:
            closing.append(self._feedback.close(_WRITE_SECONDS))
        await asyncio.gather(*closing, *tasks, return_exceptions=True)

    @property
    def suggester(self) -> Suggester | None:
        """What makes suggestions, once it was needed."""
        return self._suggester

    def suggester_in_force(self) -> Suggester:
        """Return what makes suggestions under the settings in force."""
        from ..feedback.identity import new_id
        from ..suggest.pipeline import Suggester

        self._id = self._id or new_id()
        if self._suggester is None:
            self._suggester = Suggester(
                self.settings,
                self._log(),
                session_id=self._id,
                client=self.client.label,
                project=self.project,
                on_status=lambda text: self._host_starts(True, text),
                opened=lambda: {one.uri: one.snapshot() for one in documents(self._ls.workspace)},
            )
        return self._suggester

    def _log(self) -> FeedbackLog:
        from ..feedback.log import FeedbackLog, database

        if self._feedback is None:
            self._feedback = FeedbackLog(
                database(self.settings),
                level=self.settings.feedback,
                redact=self.settings.redact,
                retention_days=self.settings.retention_days,
                encrypt=self.settings.encrypt,
                on_problem=lambda text: self._ls.warn(f"nl2code: {text}"),
            )
        return self._feedback

    def _offer_download(self, missing: ModelMissing) -> Report:
        from .download import Download

        self._download = self._download or Download(self._ls)
        return self._download.offer(missing)

    def _host_starts(self, starts: bool, text: str = "") -> None:
        """Tell that the local host is on its way, or is there; set the clocks of those who wait for it."""
        if starts:
            self.board.begin(_HOST, State.STARTING, text)
        if starts or self._starting:
            now = asyncio.get_running_loop().time()
            for limit, seconds in self._limits.items():
                if not limit.expired():
                    limit.reschedule(now + (_START_SECONDS if starts else seconds))
        if not starts:
            self.board.end(_HOST)
        self._starting = starts

    async def _retire(self, suggester: Suggester, working: set[asyncio.Task[Any]]) -> None:
        """Close a suggester once those who wait for it have their answers."""
        try:
            if working:
                await asyncio.wait(working)
        finally:
            await suggester.close()

    def _remember(self, job: Job, outcome: Outcome) -> None:
        key = (job.snapshot.uri, job.instruction.text)
        self.decisions[key] = Decision(job, outcome)
        self.decisions.move_to_end(key)
        if len(self.decisions) > _DECISIONS:
            self.decisions.popitem(last=False)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._finishing.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, Nl2CodeError):
            self.board.end(task, Report(State.PROBLEM, error.message, error.fix))
        else:
            log.error("background work failed", exc_info=error)


def _careful(outcome: Outcome) -> str:
    """Return what the status says of the best suggestion: grey text shows the code and no word about it."""
    from ..suggest.warn import risks

    careful = risks(outcome.suggestions[0]) if outcome.suggestions else ""
    return f"look at this code first: {careful}" if careful else ""


def _nothing(job: Job, reason: str) -> Outcome:
    """Return the outcome of a job that could not be started."""
    from ..suggest import Outcome, Trace

    instruction = job.instruction
    trace = Trace(instruction.text, instruction.kind, instruction.reason, result=reason)
    return Outcome("", job.snapshot, (), reason, model="", seconds=0.0, tokens=0, trace=trace)
