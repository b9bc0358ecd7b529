"""The way into the feedback store for whoever makes suggestions: never waits, never raises into a suggestion.

Rows go into a bounded queue; one thread takes secrets out of them and writes them, and only it touches the disk.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import StoreError
from ..platform import paths, process_alive
from .events import CandidateRow, EventRow, RequestRow
from .tracker import CHECKPOINTS

if TYPE_CHECKING:
    from ..config import Settings
    from .rows import AnyRow
    from .store import Store, Unfinished

Level = Literal["full", "no-code", "off"]

log = logging.getLogger(__name__)

CAPACITY = 2000  # rows
_BATCH = 100  # rows
_RETRY_FIRST, _RETRY_LAST = 0.5, 30.0  # s
_REMEMBERED = 256  # requests whose secrets are looked for in later rows
_DAY = 86400.0  # s
_CLOCK_WAS_SET = 3600.0  # s that it may differ from the time that has passed


def database(settings: Settings) -> Path:
    """Return where the feedback store is."""
    return Path(settings.database) if settings.database else paths().data / "feedback.db"


def unfinished(path: Path) -> list[Unfinished]:
    """Return what was accepted in the last minutes in servers that have died since. Reads the disk."""
    if not path.exists():
        return []
    from .store import Store

    try:
        with Store(path) as store:
            found = store.unfinished(time.time() - max(CHECKPOINTS.values()))
    except StoreError as error:
        log.warning("cannot look for unfinished business: %s", error)
        return []
    pids = [(one, one.accepted.data.get("pid")) for one in found]
    return [one for one, pid in pids if isinstance(pid, int) and not process_alive(pid)]


class FeedbackLog:
    """The queue and its writer. The thread begins with the first row and needs no event loop."""

    def __init__(
        self,
        path: Path,
        *,
        level: str = "full",
        redact: bool = True,
        retention_days: int = 0,
        encrypt: bool = False,
        on_problem: Callable[[str], None] | None = None,
        capacity: int = CAPACITY,
    ) -> None:
        self.path = path
        self.level = level
        self._redact = redact
        self._retention_days = retention_days
        self._encrypt = encrypt
        self._on_problem = on_problem
        self._capacity = capacity
        self._queue: deque[AnyRow] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False
        self._in_hand = 0  # rows taken from the queue and not yet written
        self._began = time.time(), time.monotonic()
        self._deadline = float("inf")  # of the writer, once it is to end
        self._dropped = 0
        self._failing = False
        self._known: OrderedDict[str, dict[str, str]] = OrderedDict()

    def record_request(self, row: RequestRow) -> None:
        """Log a request."""
        self._put([row])

    def record_candidates(self, rows: Sequence[CandidateRow]) -> None:
        """Log what the model answered to a request that is logged already."""
        self._put(rows)

    def record_event(self, row: EventRow) -> None:
        """Log what happened to a suggestion that is logged already."""
        self._put([row])

    async def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything recorded so far is on disk; say whether it is."""
        return await asyncio.to_thread(self.written, timeout)

    def written(self, timeout: float = 5.0) -> bool:
        """Do what `flush` does, without an event loop."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue and not self._in_hand, timeout)

    async def close(self, timeout: float = 2.0) -> bool:
        """Write what is left, end the thread; say whether all of it was written in time."""
        return await asyncio.to_thread(self.close_now, timeout)

    def close_now(self, timeout: float = 2.0) -> bool:
        """Do what `close` does, without an event loop."""
        with self._changed:
            self._closing = True
            self._deadline = time.monotonic() + timeout
            self._changed.notify_all()
            thread = self._thread
        if thread is None:
            return True
        thread.join(timeout)
        with self._changed:
            return not self._queue and not self._in_hand

    def _put(self, rows: Sequence[AnyRow]) -> None:
        if self.level == "off" or not rows:
            return
        with self._changed:
            room = self._capacity - len(self._queue)
            if self._closing or room < len(rows):
                # Whole groups: a request without its candidates would be of no use.
                self._dropped += len(rows)
                return
            self._queue.extend(rows)
            if self._thread is None:
                self._loop = _running_loop()
                # A daemon: a disk that hangs must not keep the process from ending.
                self._thread = threading.Thread(target=self._write_all, name="feedback", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    # --- in the writer's thread -----------------------------------------------------------------------------------

    def _write_all(self) -> None:
        store: Store | None = None
        next_purge = 0.0
        try:
            while batch := self._take():
                ready = [self._clean(row) for row in batch]
                delay = _RETRY_FIRST
                while True:
                    try:
                        store = store or self._open()
                        self._write(store, ready)
                        if self._retention_days and time.monotonic() >= next_purge:
                            next_purge = time.monotonic() + _DAY
                            self._purge(store)
                        break
                    except StoreError as error:
                        self._tell_failure(error)
                        if store:
                            store.close()
                            store = None
                        if not self._pause(delay):
                            return
                        delay = min(delay * 2, _RETRY_LAST)
                with self._changed:
                    self._in_hand = 0
                    self._changed.notify_all()
        except Exception:
            log.exception("the feedback log has stopped")
            self._tell("The feedback log has stopped because of a fault in nl2code; see its log")
        finally:
            if store:
                store.close()

    def _take(self) -> list[AnyRow]:
        """Wait for rows; return none when the log is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
            self._in_hand = len(batch)
            return batch

    def _pause(self, seconds: float) -> bool:
        """Wait before another try, less if the log is closed meanwhile; say whether there is time for one."""
        with self._changed:
            closing = self._closing
            left = self._deadline - time.monotonic()
            self._changed.wait_for(lambda: self._closing and not closing, min(seconds, left))
            return time.monotonic() < self._deadline

    def _open(self) -> Store:
        from .store import Store

        store = Store(self.path, encrypt=self._encrypt)
        self._tell_notice(store)
        return store

    def _write(self, store: Store, rows: list[AnyRow]) -> None:
        for refused in store.add(rows):
            log.warning(
                "feedback refused: %s %s: %s", type(refused.row).__name__, _id(refused.row), refused.reason
            )
        self._tell_notice(store)
        if self._failing:
            self._failing = False
            log.warning("feedback is written again")
        with self._changed:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            self._tell(f"{dropped} rows of feedback were lost because they could not be written in time")

    def _purge(self, store: Store) -> None:
        # A purge by a clock that was set forward takes what is not old, and nothing brings it back.
        drift = (time.time() - self._began[0]) - (time.monotonic() - self._began[1])
        if abs(drift) > _CLOCK_WAS_SET:
            log.warning("the clock was set: what is old is left to the next session to delete")
            return
        store.purge(before=time.time() - self._retention_days * _DAY)

    def _clean(self, row: AnyRow) -> AnyRow:
        """Take out what may not be written. A row that cannot be cleaned loses its text."""
        from .redact import redact_row, strip_code

        if self.level == "no-code":
            row = strip_code(row)
        if not self._redact:
            return row
        try:
            return redact_row(row, self._secrets_of(row.request_id))
        except Exception:
            log.exception("a row of feedback could not be cleaned; it is kept without its text")
            return strip_code(row)

    def _secrets_of(self, request_id: str) -> dict[str, str]:
        """Return the secrets that the request's rows have held so far, so that each keeps its placeholder."""
        known = self._known.setdefault(request_id, {})
        self._known.move_to_end(request_id)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return known

    def _tell_notice(self, store: Store) -> None:
        notice, store.notice = store.notice, ""
        if notice:
            self._tell(notice)

    def _tell_failure(self, error: StoreError) -> None:
        log.warning("feedback not written: %s", error)
        if not self._failing:
            self._failing = True
            self._tell(str(error))

    def _tell(self, message: str) -> None:
        if self._on_problem is None:
            return
        if self._loop is not None and not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(self._on_problem, message)
                return
            except RuntimeError:  # it was closed just now
                log.warning("%s", message)
                return
        self._on_problem(message)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _id(row: AnyRow) -> str:
    if isinstance(row, EventRow):
        return f"{row.event} {row.suggestion_id}"
    return row.candidate_id if isinstance(row, CandidateRow) else row.request_id
