"""What is done in pauses of typing, before anybody asks: an answer begun, a prompt's first part evaluated.

Only where it costs nobody anything: with the local model host, when that runs already, and never on battery.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import Nl2CodeError
from ..platform import on_battery
from .preload import parsed

if TYPE_CHECKING:
    from ..lang.document import Document, Snapshot
    from ..lang.instruction import Instruction
    from ..suggest.pipeline import Suggester
    from .session import Session
    from .transport import Change

log = logging.getLogger(__name__)

PAUSE = 0.25
"""Seconds without a key after which a finished instruction is answered."""
LONG_PAUSE = 1.0
"""The same for one that seems to go on, and for what follows the opening of a file."""
_POWER_SECONDS = 30.0
"""How long the answer to "on battery?" holds."""
_LONGEST = 5_000
"""Lines of a file that is searched for instructions when it is opened."""


class Pauses:
    """Watches the edits of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._last: tuple[Document, tuple[int, int] | None] | None = None
        """The document edited or opened last, and where in it, in the client's units."""
        self._when = 0.0
        self._pause = PAUSE
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._power: tuple[float, bool] | None = None

    def opened(self, document: Document) -> None:
        """Somebody looks at a file: they may ask about it soon."""
        self._note(document, None, LONG_PAUSE)

    def changed(self, document: Document, changes: Sequence[Change]) -> None:
        """Take note of an edit. Runs at each keystroke."""
        if not changes:
            return
        replaced, text = changes[-1]
        if not _adds_space(changes):
            self._stop()
            if (suggester := self._session.suggester) is not None:
                suggester.outdate()
        row, column = (replaced[0], replaced[1]) if replaced else (0, 0)
        rows = text.count("\n")
        column = len(text) - text.rfind("\n") - 1 if rows else column + len(text)
        self._note(document, (row + rows, column), PAUSE)

    def closed(self, document: Document) -> None:
        """Forget a document."""
        if self._last is not None and self._last[0] is document:
            self._last = None

    def close(self) -> None:
        """Stop."""
        self._stop()
        self._last = None
        if self._timer is not None:
            self._timer.cancel()

    def _note(self, document: Document, where: tuple[int, int] | None, pause: float) -> None:
        loop = asyncio.get_running_loop()
        self._last, self._when, self._pause = (document, where), loop.time(), pause
        if self._timer is None:  # one for many keystrokes
            self._timer = loop.call_later(pause, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        left = self._when + self._pause - loop.time()
        self._timer = loop.call_later(left, self._look) if left > 0 else None
        if self._timer is None and self._last is not None and not self._session.settings.endpoint:
            self._stop()
            self._task = asyncio.create_task(self._work(*self._last))

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _work(self, document: Document, where: tuple[int, int] | None) -> None:
        try:
            snapshot = await parsed(document.snapshot())
            if await self._drains():
                return
            await self._session.preload.ready()
            suggester = await self._local_suggester()
            if suggester is not None:
                await self._ahead(suggester, snapshot, where)
        except Nl2CodeError as error:  # whoever asks will be told
            log.info("nothing is done ahead: %s", error)
        except Exception:
            log.exception("work ahead of a question failed")

    async def _ahead(self, suggester: Suggester, snapshot: Snapshot, where: tuple[int, int] | None) -> None:
        from ..suggest import Job
        from ..suggest.speculate import unfinished

        found, row = await asyncio.to_thread(self._look_for, snapshot, where)
        if found is None or where is None:
            await suggester.warm(Job(snapshot, found or _stand_in(snapshot, row), trigger="pause"))
            return
        if unfinished(found.text):
            await asyncio.sleep(LONG_PAUSE - PAUSE)
        job = Job(snapshot, found, candidates=self._session.settings.candidates, trigger="pause")
        await suggester.suggest(job, ahead=True)

    def _look_for(self, snapshot: Snapshot, where: tuple[int, int] | None) -> tuple[Instruction | None, int]:
        """Return the instruction that was edited, or the first of a file that was opened; and a row near it."""
        from ..lang.instruction import Mode, at, find
        from . import ghost

        mode: Mode = self._session.settings.mode  # type: ignore[assignment]
        last = len(snapshot.lines) - 1
        if where is None:
            listed = find(snapshot, mode) if last < _LONGEST else []
            found = next((one for one in listed if one.fires), None)
            return found, found.start_row if found else last
        cursor = snapshot.to_point(*where)
        found = at(snapshot, cursor[0], mode, attention="cursor")
        if found is not None and found.fires and ghost.fits(snapshot, found, cursor):
            return found, found.start_row
        return None, min(cursor[0] + 1, last)

    async def _local_suggester(self) -> Suggester | None:
        from ..endpoint.process import running_host

        with suppress(Nl2CodeError):
            if await running_host(self._session.settings) is not None:
                return self._session.suggester_in_force()
        return None

    async def _drains(self) -> bool:
        now = time.monotonic()
        if self._power is None or now - self._power[0] > _POWER_SECONDS:
            self._power = now, await asyncio.to_thread(on_battery)
        return self._power[1]


def _adds_space(changes: Sequence[Change]) -> bool:
    """Tell whether an edit leaves what was written before as it is: an instruction is finished by a new line."""
    return all(
        replaced is not None and replaced[:2] == replaced[2:] and not text.strip()
        for replaced, text in changes
    )


def _stand_in(snapshot: Snapshot, row: int) -> Instruction:
    """Return an instruction without words, where one may be written next."""
    from ..lang.instruction import Instruction

    return Instruction("comment", "", (row, 0), (row, len(snapshot.line(row))), fires=False, reason="")
