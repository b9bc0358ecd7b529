"""Stop strings found in a stream, whatever the pieces it comes in."""

from __future__ import annotations


class StopFilter:
    """Passes text on up to the first stop string, and holds back what may yet become one."""

    def __init__(self, stop: tuple[str, ...]) -> None:
        self._stop = stop
        self._held = ""
        self.found = False

    def feed(self, text: str) -> str:
        """Take a piece and return what can be shown by now."""
        text = self._held + text
        self._held = ""
        starts = [at for at in map(text.find, self._stop) if at >= 0]
        if starts:
            self.found = True
            return text[: min(starts)]
        held = self._undecided(text)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def rest(self) -> str:
        """Return what was held back, once nothing more can follow."""
        rest, self._held = self._held, ""
        return rest

    def _undecided(self, text: str) -> int:
        """Return the length of the longest end of `text` that begins a stop string."""
        longest = min(len(text), max(map(len, self._stop), default=1) - 1)
        return next((n for n in range(longest, 0, -1) if any(s.startswith(text[-n:]) for s in self._stop)), 0)
