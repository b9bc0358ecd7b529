"""Work that several may wait for: shared while it runs, kept when it is done, stopped when nobody waits any more.

Some of it is begun ahead, before anybody asks; the counts tell what became of that.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

# Nobody ends an instruction with these; more is about to be typed.
_DANGLING = re.compile(
    r"""(?:\b(?:an?|the|of|in|on|at|to|for|from|with|by|as|and|or|but|that|which|whose|this|these|its?|into|using
    |e\.?g\.?|i\.?e\.?|is|are|not|if|when|than)|[,;:(\[{=<>+*/-]|->|\b\w+\([^)]*)\s*\Z""",
    re.IGNORECASE | re.VERBOSE,
)


def unfinished(instruction: str) -> bool:
    """Tell, from its last word, whether an instruction goes on."""
    return _DANGLING.search(instruction) is not None


@dataclass(slots=True)
class Ahead:
    """What was begun before it was asked for, and what it was good for. An answer's tokens count as they come."""

    asked: int = 0
    """Questions of editors and users."""
    ready: int = 0
    """Of these, those whose answer was there."""
    joined: int = 0
    """And those whose answer was under way."""
    begun: int = 0
    """Answers begun ahead."""
    dropped: int = 0
    """Of these, those that were stopped before anybody asked."""
    tokens: int = 0
    """Generated ahead."""
    tokens_used: int = 0
    """Of these, those of answers that somebody asked for in time."""
    warmed: int = 0
    """Prompts whose first part was evaluated ahead."""


@dataclass(slots=True)
class _Running(Generic[T]):
    task: asyncio.Task[T]
    waiting: int = 0
    ahead: bool = False
    """Begun ahead, and nobody has asked for it yet."""
    stale: bool = False
    """Not worth going on with once nobody waits."""


class SharedWork(Generic[T]):
    """Results by key. Of equal keys one computation runs, however many ask.

    Work that nobody waits for any more goes on for `linger` seconds, in case that the same is asked again.
    `cost` is what a result has cost, in tokens.
    """

    def __init__(
        self, *, keep: int = 64, linger: float = 0.0, cost: Callable[[T], int] = lambda _: 0
    ) -> None:
        self.ahead = Ahead()
        self._keep = keep
        self._linger = linger
        self._cost = cost
        self._done: OrderedDict[Hashable, T] = OrderedDict()
        self._unasked: set[Hashable] = set()
        """Keys of results made ahead that nobody has asked for."""
        self._running: dict[Hashable, _Running[T]] = {}

    def get(self, key: Hashable) -> T | None:
        """Return a finished result."""
        if key in self._done:
            self._done.move_to_end(key)
        return self._done.get(key)

    def forget(self, key: Hashable) -> None:
        """Drop a finished result, so that the next one who asks starts anew."""
        self._done.pop(key, None)
        self._unasked.discard(key)

    def outdate(self) -> None:
        """Take note that what is asked next is something else: work that nobody waits for ends at once."""
        for key, run in list(self._running.items()):
            run.stale = True
            if run.waiting == 0:
                self._stop(key, run)

    async def share(
        self,
        key: Hashable,
        start: Callable[[], Awaitable[T]],
        *,
        worth_keeping: Callable[[T], bool],
        ahead: bool = False,
    ) -> T:
        """Return the result for `key`, from memory, from the work under way or from new work.

        The work is cancelled when the last of those who wait for it is cancelled; failures are not kept.
        `ahead` says that nobody has asked for it yet.
        """
        self.ahead.asked += not ahead
        if (done := self.get(key)) is not None:
            if not ahead:
                self.ahead.ready += 1
                self._used(key, done)
            return done
        run = self._running.get(key)
        if run is None:
            run = self._begin(key, start, worth_keeping, ahead)
        elif not ahead:
            self.ahead.joined += 1
        early = run.ahead and not ahead
        run.ahead = run.ahead and ahead
        run.waiting += 1
        try:
            result = await asyncio.shield(run.task)
        finally:
            run.waiting -= 1
            if run.waiting == 0 and not run.task.done():
                await self._left(key, run)
        if early:
            self.ahead.tokens_used += self._cost(result)
        return result

    async def close(self) -> None:
        """Cancel all that runs."""
        tasks = [run.task for run in self._running.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=2)

    def _used(self, key: Hashable, result: T) -> None:
        if key in self._unasked:
            self._unasked.discard(key)
            self.ahead.tokens_used += self._cost(result)

    def _begin(
        self,
        key: Hashable,
        start: Callable[[], Awaitable[T]],
        worth_keeping: Callable[[T], bool],
        ahead: bool,
    ) -> _Running[T]:
        run = _Running(asyncio.ensure_future(_run(start)), ahead=ahead)
        self._running[key] = run
        self.ahead.begun += ahead

        def ended(task: asyncio.Task[T]) -> None:
            self._remove(key, run)
            if task.cancelled() or task.exception() is not None or not worth_keeping(task.result()):
                return
            self._done[key] = task.result()
            if run.ahead:
                self._unasked.add(key)
            while len(self._done) > self._keep:
                self._unasked.discard(self._done.popitem(last=False)[0])

        run.task.add_done_callback(ended)
        return run

    async def _left(self, key: Hashable, run: _Running[T]) -> None:
        """Nobody waits any more: the work ends now, or soon."""
        if self._linger and not run.stale:
            asyncio.get_running_loop().call_later(self._linger, self._stop_if_left, key, run)
        else:
            self._stop(key, run)
            await asyncio.wait([run.task], timeout=2)

    def _stop_if_left(self, key: Hashable, run: _Running[T]) -> None:
        if run.waiting == 0:
            self._stop(key, run)

    def _stop(self, key: Hashable, run: _Running[T]) -> None:
        self._remove(key, run)
        if run.task.cancel():
            self.ahead.dropped += run.ahead

    def _remove(self, key: Hashable, run: _Running[T]) -> None:
        if self._running.get(key) is run:
            del self._running[key]


async def _run(start: Callable[[], Awaitable[T]]) -> T:
    return await start()
