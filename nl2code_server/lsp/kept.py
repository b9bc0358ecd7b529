"""Accepted code of one file: followed through edits, measured at each checkpoint and when it is saved."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..feedback.tracker import CHECKPOINTS, Span, Splice, follow, relocate
from .journal import Journal, Page, compare

if TYPE_CHECKING:
    from ..feedback.store import Unfinished

_LONGEST = 3600.0  # seconds to wait for a save


@dataclass(slots=True, eq=False)
class Followed:
    """One piece of accepted code."""

    suggestion_id: str
    request_id: str
    code: str
    """As it stood in the file when it was taken."""
    span: Span
    since: float
    left: list[str] = field(default_factory=lambda: list(CHECKPOINTS))
    saved: str | None = None
    """What was last saved of it."""
    edited: str = ""
    """What was last logged as edited."""
    undone: bool = False
    """Whether it went in one stroke."""

    @property
    def due(self) -> float:
        return self.since + (CHECKPOINTS[self.left[0]] if self.left else _LONGEST)


class Kept:
    """The accepted code of one file."""

    def __init__(self, page: Page, journal: Journal, clock: Callable[[], float]) -> None:
        self._page = page
        self._journal = journal
        self._clock = clock
        self._followed: list[Followed] = []

    def __iter__(self) -> Iterator[Followed]:
        return iter(self._followed)

    def __contains__(self, suggestion_id: str) -> bool:
        return any(one.suggestion_id == suggestion_id for one in self._followed)

    @property
    def due(self) -> float:
        """When something is to be measured next."""
        return min((one.due for one in self._followed), default=float("inf"))

    def add(self, suggestion_id: str, request_id: str, span: Span) -> None:
        """Follow what was taken just now."""
        code = self._page.text(span)
        self._followed.append(Followed(suggestion_id, request_id, code, span, self._clock()))

    def take_in(self, one: Followed, span: Span) -> None:
        """Follow on, here, what was followed in a file of another name."""
        one.span = span
        self._followed.append(one)

    def adopt(self, orphan: Unfinished, lines: Sequence[str]) -> None:
        """Follow on what was accepted in a server that has died, if it is still there."""
        age = time.time() - orphan.accepted.time
        span = relocate(orphan.text.splitlines(), lines) if orphan.text else None
        # What was due while nobody looked stays unknown.
        left = [name for name, due in CHECKPOINTS.items() if due > age and name not in orphan.done]
        if span is None or not left or age < 0:
            return
        ids = orphan.accepted.suggestion_id, orphan.accepted.request_id
        self._followed.append(Followed(*ids, orphan.text, span, self._clock() - age, left))

    def changed(self, splices: Sequence[Splice]) -> None:
        """Follow an edit."""
        for one in self._followed:
            for splice in splices:
                span = follow(one.span, splice)
                if one.span.end > one.span.start:
                    one.undone = span.end == span.start
                one.span = span

    def saved(self) -> None:
        """Measure what is saved now, unless the same was saved before."""
        for one in self._followed:
            text = self._page.text(one.span)
            if text != one.saved:
                one.saved = text
                self._measure(one, "save")

    def ring(self, *, closed: bool) -> None:
        """Measure what is due. Of a closed file nobody knows what happens to it: unknown."""
        now = self._clock()
        for one in [one for one in self._followed if one.due <= now]:
            if one.left:
                checkpoint = one.left.pop(0)
                if not closed:
                    self._measure(one, checkpoint)
                if one.left or one.saved is None:
                    continue
            self._followed.remove(one)

    def _measure(self, one: Followed, checkpoint: str) -> None:
        text = self._page.text(one.span)
        cause = "" if text.strip() else "undone" if one.undone else "deleted"
        edited = text not in (one.code, one.edited) and bool(text.strip())
        one.edited = text if edited else one.edited
        ids = one.suggestion_id, one.request_id
        compare(self._journal, "kept", ids, (one.code, text), checkpoint, cause=cause, edited=edited)
