"""How much of what was evaluated before anybody asked has been of use."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from .engine import Counts
from .slots import common_prefix


class Warmth:
    """What was warmed lately. Waste is the difference between the two counts."""

    def __init__(self, counts: Counts, keep: int = 8) -> None:
        self._counts = counts
        self._warmed: deque[tuple[Sequence[int], int]] = deque(maxlen=keep)

    def warmed(self, prompt: Sequence[int], start: int) -> None:
        """Note that a prompt was evaluated from token `start` on."""
        self._counts.warmed_tokens += len(prompt) - start
        self._warmed.append((prompt, start))

    def asked(self, prompt: Sequence[int], cached: int) -> None:
        """Count what a request found warm, each token once."""
        for entry in list(self._warmed):
            warm, start = entry
            end = min(common_prefix(warm, prompt), cached)
            if end > start:
                self._counts.warmed_tokens_used += end - start
                self._warmed.remove(entry)
                if end < len(warm):  # another request may go on from there
                    self._warmed.append((warm, end))
