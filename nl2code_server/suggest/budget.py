"""How much time and how many tokens one instruction may still take."""

from __future__ import annotations

import time

_LEAST = 16
"""Tokens below which an answer is not worth asking for."""


class Budget:
    """Limits on all answers for one instruction together; 0 is no limit. The first answer always gets its chance."""

    def __init__(self, seconds: float, tokens: int) -> None:
        self._tokens = tokens
        self._ends = time.monotonic() + seconds if seconds else None

    def spent(self, tokens: int) -> bool:
        """Tell whether there is nothing left for another answer after so many tokens."""
        seconds = self.seconds_for_next()
        return (seconds is not None and seconds <= 0) or bool(
            self._tokens and tokens and self._tokens - tokens < _LEAST
        )

    def seconds_for_next(self) -> float | None:
        """Return how long the next answer may take."""
        return None if self._ends is None else self._ends - time.monotonic()

    def tokens_for_next(self, tokens: int, most: int) -> int:
        """Return how long the next answer may get after so many tokens, if `most` is the longest of all."""
        return min(most, max(_LEAST, self._tokens - tokens)) if self._tokens else most
