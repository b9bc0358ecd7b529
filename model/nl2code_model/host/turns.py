"""Whose turn it is: an engine's few places, first come first served, with a bounded queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class QueueFull(Exception):
    """More requests wait than there may."""


class Turns:
    """Hands out places in the order that they were asked for; whoever is cancelled leaves the queue."""

    def __init__(self, places: int, limit: int) -> None:
        self._places = asyncio.Semaphore(places)
        self._limit = limit
        self.running = 0
        self.waiting = 0
        self.on_wanted: Callable[[], None] = lambda: None
        """Told whenever somebody wants a place."""

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold a place; raise `QueueFull` at once if too many wait."""
        if self._places.locked() and self.waiting >= self._limit:
            raise QueueFull
        self.on_wanted()
        self.waiting += 1
        try:
            await self._places.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._places.release()
