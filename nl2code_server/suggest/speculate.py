"""Work that several may wait for: shared while it runs, kept when it is done, stopped when nobody waits any more."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedWork(Generic[T]):
    """Results by key. Of equal keys one computation runs, however many ask."""

    def __init__(self, *, keep: int = 64) -> None:
        self._keep = keep
        self._done: OrderedDict[Hashable, T] = OrderedDict()
        self._running: dict[Hashable, tuple[asyncio.Task[T], list[int]]] = {}

    def get(self, key: Hashable) -> T | None:
        """Return a finished result."""
        if key in self._done:
            self._done.move_to_end(key)
        return self._done.get(key)

    def forget(self, key: Hashable) -> None:
        """Drop a finished result, so that the next one who asks starts anew."""
        self._done.pop(key, None)

    async def share(
        self, key: Hashable, start: Callable[[], Awaitable[T]], *, worth_keeping: Callable[[T], bool]
    ) -> T:
        """Return the result for `key`, from memory, from the work under way or from new work.

        The work is cancelled when the last of those who wait for it is cancelled; failures are not kept.
        """
        if (done := self.get(key)) is not None:
            return done
        if key in self._running:
            task, waiting = self._running[key]
        else:
            task, waiting = asyncio.ensure_future(_run(start)), [0]
            self._running[key] = task, waiting
        waiting[0] += 1
        try:
            result = await asyncio.shield(task)
        finally:
            waiting[0] -= 1
            if waiting[0] == 0:
                if self._running.get(key, (None,))[0] is task:
                    del self._running[key]
                if not task.done():
                    task.cancel()
                    await asyncio.wait([task], timeout=2)
        if worth_keeping(result):
            self._done[key] = result
            while len(self._done) > self._keep:
                self._done.popitem(last=False)
        return result

    async def close(self) -> None:
        """Cancel all that runs."""
        tasks = [task for task, _ in self._running.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=2)


async def _run(start: Callable[[], Awaitable[T]]) -> T:
    return await start()
