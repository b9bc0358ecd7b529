"""What becomes of suggestions in one session: which file each is in, under which name, and when to look again.

Costs nothing at a keystroke unless something is offered or followed in that file.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..feedback.tracker import Span, relocate, splice_between, splice_of
from .journal import Journal, Page
from .kept import Kept
from .watch import Watch

if TYPE_CHECKING:
    from ..feedback.events import EventKind
    from ..feedback.store import Unfinished
    from ..lang.document import Document, Range, Snapshot
    from .offers import Offer
    from .transport import Change

_RENAMED = 60.0  # seconds in which a closed file may be opened under another name
_PAIRS = ("()", "[]", "{}", '""', "''", '""""""', "''''''")


@dataclass(slots=True)
class _File:
    page: Page
    watch: Watch
    kept: Kept
    closed: tuple[float, list[str]] | None = None
    """When it was closed, and the lines that it had then."""

    @property
    def due(self) -> float:
        return min(self.watch.due, self.kept.due)


class Outcomes:
    """The offers and the accepted code of one session, by file."""

    def __init__(
        self,
        journal: Journal,
        lines: Callable[[str], Sequence[bytes] | None],
        *,
        clock: Callable[[], float] = time.monotonic,
        later: Callable[[float, Callable[[], None]], asyncio.TimerHandle] | None = None,
    ) -> None:
        self._journal = journal
        self._lines = lines
        self._clock = clock
        self._later = later or (lambda delay, run: asyncio.get_running_loop().call_later(delay, run))
        self._files: dict[str, _File] = {}
        self._orphans: dict[str, list[Unfinished]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._rings = float("inf")

    def told(self, kind: EventKind, offer: Offer) -> None:
        """Take note of what the server did with an offer, or of what the client says of it."""
        if kind == "offered":
            file = self._file(offer.uri)
            if offer.suggestion.id not in file.kept:
                file.watch.add(offer)
        elif (known := self._files.get(offer.uri)) is None:
            return
        elif kind == "accepted":
            known.watch.accept(offer)
        elif kind in ("rejected", "dismissed"):
            known.watch.turn_down(offer)
        self._arm()

    def changed(self, document: Document, changes: Sequence[Change], before: Snapshot | None) -> None:
        """Follow an edit. Runs at each keystroke."""
        file = self._files.get(document.uri)
        if file is None:
            return
        if before is None:
            splices = [splice_of(replaced, text) for replaced, text in changes if replaced is not None]
            chunk = any(_is_chunk(replaced, text) for replaced, text in changes)
        else:
            splices = [splice_between(before.lines[before.origin :], file.page.rows)]
            chunk = False
        file.kept.changed(splices)
        if file.watch.changed(splices, chunk=chunk):
            self._arm()

    def saved(self, uri: str) -> None:
        """Measure what a file holds that is saved now."""
        file = self._files.get(uri)
        if file is not None:
            file.kept.saved()
            file.watch.saved()

    def closed(self, uri: str) -> None:
        """Let go of the offers in a file; keep the rest in mind, in case it is opened again."""
        file = self._files.get(uri)
        if file is not None:
            file.watch.leave("closed")
            file.closed = (self._clock(), _texts(file.page))
            self._arm()

    def opened(self, uri: str) -> None:
        """Find what is followed again in a file that was closed, renamed, or edited by a server that has died."""
        lines = _texts(Page(uri, self._lines))
        for name, file in tuple(self._files.items()):
            if file.closed and (name == uri or self._clock() - file.closed[0] < _RENAMED):
                self._reopened(name, file, uri, lines)
        if self._orphans:
            from ..feedback.identity import file_id

            for orphan in self._orphans.pop(file_id(uri), []):
                self._file(uri).kept.adopt(orphan, lines)
        self._arm()

    def resume(self, unfinished: Sequence[Unfinished]) -> None:
        """Take over what servers that have died still had to measure."""
        for one in unfinished:
            self._orphans.setdefault(one.file_id, []).append(one)

    def close(self) -> None:
        """The session is over. What was accepted can be found again by the next one."""
        if self._timer is not None:
            self._timer.cancel()
        for file in self._files.values():
            file.watch.leave("session-ended")
        self._files.clear()

    def _file(self, uri: str) -> _File:
        file = self._files.get(uri)
        if file is None:
            page = Page(uri, self._lines)
            kept = Kept(page, self._journal, self._clock)
            file = self._files[uri] = _File(page, Watch(page, self._journal, self._clock, kept.add), kept)
        return file

    def _reopened(self, name: str, file: _File, uri: str, lines: Sequence[str]) -> None:
        """Move what is found again in a file that was closed as `name` to `uri`."""
        assert file.closed
        was = file.closed[1]

        def now(span: Span) -> Span | None:
            return relocate(was[span.start : span.end], lines)

        followed = [(one, span) for one in file.kept if (span := now(one.span))]
        watched = [(one, span) for one in file.watch if (span := now(one.span))]
        if name != uri and not followed and not watched:
            return
        del self._files[name]
        present = self._file(uri)
        for one, span in followed:
            present.kept.take_in(one, span)
        for other, span in watched:
            present.watch.take_in(other, span)

    def _arm(self) -> None:
        """Set the one timer to what is due first."""
        due = min((file.due for file in self._files.values()), default=float("inf"))
        if due >= self._rings and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._rings = due
        if due < float("inf"):
            self._timer = self._later(max(0.0, due - self._clock()), self._ring)

    def _ring(self) -> None:
        self._timer, self._rings = None, float("inf")
        for uri, file in tuple(self._files.items()):
            file.watch.ring()
            file.kept.ring(closed=file.closed is not None)
            if file.due == float("inf"):
                self._files.pop(uri, None)
        self._arm()


def _texts(page: Page) -> list[str]:
    return [line.decode() for line in page.rows]


def _is_chunk(replaced: Range | None, text: str) -> bool:
    """Tell whether a change puts in more than a key types."""
    at_one_point = replaced is not None and replaced[:2] == replaced[2:]
    return at_one_point and len(text.strip()) > 1 and text.strip() not in _PAIRS
