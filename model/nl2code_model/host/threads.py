"""How many threads compute: all cores while they are free, fewer beside a busy neighbour. Learns from the answers.

Threads wait for each other at every step of a token. When another program takes one's core, all wait for that one,
and fewer threads are faster; llama.cpp's number of threads is set when a model is loaded: a change costs a second.
"""

from __future__ import annotations

from collections import deque
from statistics import median

ENOUGH = 16
"""Tokens of an answer from which on its speed says something."""
KEPT = 5
"""Answers that a speed is the median of."""
COLLAPSE = 0.55
"""Part of the best speed seen below which another number is tried."""
GAIN = 1.15
"""A number must be so much faster to be worth the loading."""
REST = 20
"""Answers between two changes: what is gained must not go into loading."""


class Threads:
    """Chooses a number of threads, at most `most`, from the speeds of answers."""

    def __init__(self, most: int) -> None:
        self.now = most
        """Threads that compute."""
        self._most = most
        self._speeds: dict[int, deque[float]] = {}
        self._best = 0.0
        self._since = REST

    def measured(self, tokens: int, seconds: float) -> None:
        """Learn from an answer that was alone: tokens after the first, and the seconds that they took."""
        if tokens < ENOUGH or seconds <= 0:
            return
        self._speeds.setdefault(self.now, deque(maxlen=KEPT)).append(tokens / seconds)
        self._since += 1
        if (speed := self._speed(self.now)) is not None:
            self._best = max(self._best, speed)

    def better(self) -> int | None:
        """Return a number that is likely faster now; None as long as this one will do."""
        speed = self._speed(self.now)
        if speed is None or self._since < REST or self._most == 1:
            return None
        other = self._most if self.now < self._most else max(1, self._most - 1)
        known = self._speed(other)
        # What was measured before the collapse says nothing about now: it is tried and compared.
        if self.now == self._most:
            return other if speed < COLLAPSE * self._best else None
        return other if known is None or speed * GAIN < known or self._since >= 3 * REST else None

    def changed(self, threads: int) -> None:
        """Take note that so many compute from now on; what the number did at other times is forgotten."""
        self.now = threads
        self._speeds.pop(threads, None)
        self._since = 0

    def _speed(self, threads: int) -> float | None:
        speeds = self._speeds.get(threads, ())
        return median(speeds) if len(speeds) >= KEPT else None
