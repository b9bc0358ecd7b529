"""What becomes of suggestions, as far as the text tells: taken or not, kept, edited, written otherwise.

Clients that tell nothing are understood from their edits; what a client says of itself always counts more. Costs
nothing at a keystroke unless something is offered or followed in that file, and little unless it is right there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ..feedback.inference import Place, read, written
from ..feedback.tracker import (
    CHECKPOINTS,
    Span,
    Splice,
    first_unit,
    follow,
    reach,
    relocate,
    similarity,
    splice_between,
    splice_of,
    touches,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ..feedback.events import EventKind, Source
    from ..feedback.store import Unfinished
    from ..lang.document import Document, Snapshot
    from .offers import Offer
    from .transport import Change

log = logging.getLogger(__name__)

QUIET = 1.0
"""Seconds without an edit at the place, until what stands there counts: clients make one change of several edits."""
PATIENCE = 600.0
"""Seconds until an offer that was left alone is forgotten, and until what was written instead counts."""
_ARRIVES = 10.0  # seconds that accepted code may take to appear
_RENAMED = 60.0  # seconds in which a closed file may be opened under another name
_LONGEST = 3600.0  # seconds to wait for a save
_PAIRS = ("()", "[]", "{}", '""', "''", '""""""', "''''''")


class Journal(Protocol):
    """What the session does for outcomes."""

    def event(self, kind: EventKind, offer: Offer, *, source: Source, **details: Any) -> None:
        """Log what happened to an offer, unless it is known."""

    def record(
        self, kind: EventKind, suggestion_id: str, request_id: str, source: Source, **details: Any
    ) -> None:
        """Log an event."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that no request waits for."""


@dataclass(slots=True, eq=False)
class _Watched:
    """An offer whose fate is open, or one that was turned down and whose place is still watched."""

    offer: Offer
    place: Place
    code: str
    span: Span
    since: float
    turned: bool = False
    accepted: bool = False
    touched: float | None = None
    """When its place was last edited, until that was looked at."""
    chunk: bool = False
    """Whether a piece of text was put in at once, as by a key that takes the next word."""
    text: str = ""
    """What was last found in its place."""

    @property
    def due(self) -> float:
        if self.touched is not None and not self.turned:
            return self.touched + QUIET
        return self.since + (_ARRIVES if self.accepted else PATIENCE)


@dataclass(slots=True, eq=False)
class _Followed:
    """Accepted code, followed through edits."""

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


@dataclass(slots=True)
class _File:
    watched: list[_Watched] = field(default_factory=list)
    followed: list[_Followed] = field(default_factory=list)
    closed: tuple[float, list[str]] | None = None
    """When it was closed, and the lines that it had then."""


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

    # --- what the session tells -----------------------------------------------------------------------------------

    def told(self, kind: EventKind, offer: Offer) -> None:
        """Take note of what the server did with an offer, or of what the client says of it."""
        if kind == "offered":
            self._offered(offer)
        elif (found := self._watched(offer)) is None:
            return
        elif kind == "accepted":
            found.accepted, found.since = True, self._clock()
            if not self._taken(found):
                found.touched = None
        elif kind in ("rejected", "dismissed"):
            self._turn_down(found)
        self._arm()

    def changed(self, document: Document, changes: Sequence[Change], before: Snapshot | None) -> None:
        """Follow an edit. Runs at each keystroke."""
        file = self._files.get(document.uri)
        if file is None:
            return
        if before is None:
            splices = [splice_of(replaced, text) for replaced, text in changes if replaced is not None]
        else:
            splices = [splice_between(before.lines[before.origin :], self._lines(document.uri) or ())]
        chunk = before is None and any(_is_chunk(replaced, text) for replaced, text in changes)
        for followed in file.followed:
            self._follow(followed, splices)
        anywhere = False
        for watched in tuple(file.watched):
            near = False
            for splice in splices:
                if splice.first <= watched.span.end:
                    near = near or touches(watched.span, splice)
                    watched.span = reach(watched.span, splice)
            if near:
                anywhere = True
                watched.chunk = watched.chunk or chunk
                watched.touched = self._clock()
                if not watched.turned:
                    self._taken(watched)
        if anywhere:
            self._arm()

    def saved(self, uri: str) -> None:
        """Measure what a file holds that is saved now."""
        file = self._files.get(uri)
        if file is None:
            return
        for followed in tuple(file.followed):
            text = self._text(uri, followed.span)
            if text != followed.saved:
                followed.saved = text
                self._measure(uri, followed, "save")
        for watched in file.watched:
            if watched.turned:
                self._instead(watched, "save")

    def closed(self, uri: str) -> None:
        """Let go of the offers in a file; keep what was accepted there in mind, in case it is opened again."""
        file = self._files.get(uri)
        if file is None:
            return
        for watched in file.watched:
            if not watched.turned and not watched.accepted:
                self._ignored(watched, "closed")
        file.watched.clear()
        file.closed = (self._clock(), [line.decode() for line in self._lines(uri) or ()])
        self._arm()

    def opened(self, uri: str) -> None:
        """Find accepted code again in a file that was closed, renamed, or edited by a server that has died."""
        lines = [line.decode() for line in self._lines(uri) or ()]
        for name, file in tuple(self._files.items()):
            if file.closed and (name == uri or self._clock() - file.closed[0] < _RENAMED):
                was = file.closed[1]
                found = [(one, relocate(was[one.span.start : one.span.end], lines)) for one in file.followed]
                if not any(span for _, span in found) and name != uri:
                    continue
                del self._files[name]
                self._files.setdefault(uri, _File()).followed += [
                    _moved(one, span) for one, span in found if span is not None
                ]
        if self._orphans:
            from ..feedback.identity import file_id

            for orphan in self._orphans.pop(file_id(uri), []):
                self._adopt(uri, orphan, lines)
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
            for watched in file.watched:
                if not watched.turned and not watched.accepted:
                    self._ignored(watched, "session-ended")
        self._files.clear()

    # --- offers ---------------------------------------------------------------------------------------------------

    def _offered(self, offer: Offer) -> None:
        file = self._files.setdefault(offer.uri, _File())
        known = self._watched(offer)
        if known is not None and (known.accepted or known.turned):
            return
        if any(followed.suggestion_id == offer.suggestion.id for followed in file.followed):
            return
        made = _watched(offer, known.since if known else self._clock())
        for other in tuple(file.watched):
            if other is known:
                file.watched.remove(other)
            elif (
                not other.turned
                and not other.accepted
                and other.span.start == made.span.start
                and other.offer.suggestion.request_id != offer.suggestion.request_id
            ):
                self._superseded(other, "newer-offer")
                file.watched.remove(other)
        file.watched.append(made)

    def _watched(self, offer: Offer) -> _Watched | None:
        file = self._files.get(offer.uri)
        wanted = offer.suggestion.id
        return (
            next((one for one in file.watched if one.offer.suggestion.id == wanted), None) if file else None
        )

    def _taken(self, watched: _Watched) -> bool:
        """Find the code of an offer in its place; if it is there, the offer was accepted."""
        uri = watched.offer.uri
        lines = self._text(uri, watched.span)
        reading = read(watched.place, watched.code, lines.split("\n"))
        if reading.what != "taken":
            return False
        if not watched.accepted:
            self._journal.event("accepted", watched.offer, source="inferred", cause="text-appeared")
        start = watched.span.start
        span = Span(start + reading.span.start, start + reading.span.end)
        file = self._files[uri]
        # Whatever else was offered or watched for this instruction is settled with it, without a verdict.
        file.watched = [
            one
            for one in file.watched
            if one.span.end <= watched.span.start or one.span.start >= watched.span.end
        ]
        suggestion = watched.offer.suggestion
        file.followed.append(
            _Followed(suggestion.id, suggestion.request_id, self._text(uri, span), span, self._clock())
        )
        return True

    def _settle(self, watched: _Watched) -> None:
        """Judge an offer by what stands in its place, now that nothing is being typed there."""
        now, uri = self._clock(), watched.offer.uri
        lines = self._text(uri, watched.span).split("\n")
        reading = read(watched.place, watched.code, lines)
        watched.touched = None
        if now - watched.since >= (_ARRIVES if watched.accepted else PATIENCE):
            self._files[uri].watched.remove(watched)
            if not watched.accepted:
                self._ignored(watched, "left-alone")
        elif watched.accepted:
            return
        elif reading.what == "instruction":
            self._files[uri].watched.remove(watched)
            self._superseded(watched, "instruction-changed")
        elif reading.what == "partly" and watched.chunk and watched.offer.inserted is not None:
            if reading.taken > watched.offer.taken:
                watched.offer.taken = reading.taken
                self._journal.event(
                    "partially_accepted",
                    watched.offer,
                    source="inferred",
                    accepted_length=reading.taken,
                    cause="text-appeared",
                )
        elif reading.what == "other":
            self._ignored(watched, "typed-over")
            self._turn_down(watched)
        watched.chunk = watched.chunk and reading.what == "partly"

    def _turn_down(self, watched: _Watched) -> None:
        watched.turned, watched.since, watched.touched = True, self._clock(), None

    def _ignored(self, watched: _Watched, cause: str) -> None:
        self._verdict("ignored", watched, cause)

    def _superseded(self, watched: _Watched, cause: str) -> None:
        self._verdict("superseded", watched, cause)

    def _verdict(self, kind: EventKind, watched: _Watched, cause: str) -> None:
        """Log that an offer was not taken, unless it is known already what came of it."""
        if not _OUTCOMES & watched.offer.logged.keys():
            # From offering to now: nobody tells from when on it was seen.
            visible = round((self._clock() - watched.since) * 1000)
            self._journal.event(kind, watched.offer, source="inferred", cause=cause, visible_ms=visible)

    def _instead(self, watched: _Watched, checkpoint: str) -> None:
        """Log what the user has written in the place of an offer that was turned down."""
        lines = self._text(watched.offer.uri, watched.span).split("\n")
        span = written(watched.place, lines)
        text = "\n".join(first_unit(lines[span.start : span.end])) if span else ""
        if not text or text == watched.text:
            return
        watched.text = text
        suggestion = watched.offer.suggestion
        self._log("instead", (suggestion.id, suggestion.request_id), (watched.code, text), checkpoint, "")

    # --- accepted code --------------------------------------------------------------------------------------------

    def _follow(self, followed: _Followed, splices: Sequence[Splice]) -> None:
        for splice in splices:
            span = follow(followed.span, splice)
            if followed.span.end > followed.span.start:
                followed.undone = span.end == span.start
            followed.span = span

    def _measure(self, uri: str, followed: _Followed, checkpoint: str) -> None:
        text = self._text(uri, followed.span)
        cause = "" if text.strip() else "undone" if followed.undone else "deleted"
        edited = text not in (followed.code, followed.edited) and bool(text.strip())
        followed.edited = text if edited else followed.edited
        ids = followed.suggestion_id, followed.request_id
        self._log("kept", ids, (followed.code, text), checkpoint, cause, edited=edited)

    def _log(
        self,
        kind: EventKind,
        ids: tuple[str, str],
        texts: tuple[str, str],
        checkpoint: str,
        cause: str,
        *,
        edited: bool = False,
    ) -> None:
        """Compare texts off the event loop, and log what came out."""

        async def log_it() -> None:
            ratio = round(await asyncio.to_thread(similarity, *texts), 4)
            details: dict[str, Any] = {"kept_ratio": ratio, "checkpoint": checkpoint, "final_text": texts[1]}
            self._journal.record(kind, *ids, "inferred", cause=cause, **details)
            if edited and ratio < 1:
                self._journal.record("edited", *ids, "inferred", **details)

        self._journal.spawn(log_it())

    def _adopt(self, uri: str, orphan: Unfinished, lines: Sequence[str]) -> None:
        age = time.time() - orphan.accepted.time
        span = relocate(orphan.text.splitlines(), lines) if orphan.text else None
        # What was due while nobody looked stays unknown.
        left = [name for name, due in CHECKPOINTS.items() if due > age and name not in orphan.done]
        if span is None or not left or age < 0:
            return
        ids = orphan.accepted.suggestion_id, orphan.accepted.request_id
        file = self._files.setdefault(uri, _File())
        file.followed.append(_Followed(*ids, orphan.text, span, self._clock() - age, left))

    # --- time -----------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Set the one timer to what is due first."""
        due = float("inf")
        for file in self._files.values():
            due = min([due, *(one.due for one in file.watched), *(one.due for one in file.followed)])
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
        now = self._clock()
        for uri, file in tuple(self._files.items()):
            for watched in [one for one in file.watched if one.due <= now]:
                if watched.turned:
                    self._instead(watched, "10min")
                    file.watched.remove(watched)
                else:
                    self._settle(watched)
            for followed in [one for one in file.followed if one.due <= now]:
                self._pass_checkpoint(uri, file, followed)
            if not file.watched and not file.followed:
                self._files.pop(uri, None)
        self._arm()

    def _pass_checkpoint(self, uri: str, file: _File, followed: _Followed) -> None:
        if followed.left:
            checkpoint = followed.left.pop(0)
            # Of a closed file nobody knows what happens to it: unknown.
            if file.closed is None:
                self._measure(uri, followed, checkpoint)
            if followed.left or followed.saved is None:
                return
        file.followed.remove(followed)

    def _text(self, uri: str, span: Span) -> str:
        lines = self._lines(uri) or ()
        return "\n".join(line.decode().rstrip("\r\n") for line in lines[span.start : span.end])


_OUTCOMES = {"accepted", "partially_accepted", "rejected", "dismissed", "ignored", "superseded"}


def _watched(offer: Offer, since: float) -> _Watched:
    """Read from an offer where its code goes, and what stands there."""
    origin = offer.snapshot.origin  # rows here are those of the client
    suggestion, lines = offer.suggestion, offer.snapshot.lines[origin:]
    start, after = suggestion.instruction.start_row - origin, suggestion.placement.after[0] - origin
    edit = suggestion.edits[-1]  # the code's own; those before it are imports and cuts
    ends = [after, edit.end[0] - origin, *([offer.inserted.end[0] - origin] if offer.inserted else [])]
    end = min(max(ends) + 1, len(lines))
    texts = [line.decode().rstrip("\r\n") for line in lines[start:end]]
    split = after + 1 - start
    remove = suggestion.placement.remove
    placeholder = ""
    if remove is not None and remove[0][0] - origin == after:
        placeholder = lines[after][remove[0][1] :].decode()
    place = Place(tuple(texts[:split]), tuple(texts[split:]), placeholder)
    return _Watched(offer, place, edit.text, Span(start, end), since)


def _moved(followed: _Followed, span: Span) -> _Followed:
    followed.span = span
    return followed


def _is_chunk(replaced: Any, text: str) -> bool:
    """Tell whether a change puts in more than a key types."""
    at_one_point = replaced is not None and replaced[:2] == replaced[2:]
    return at_one_point and len(text.strip()) > 1 and text.strip() not in _PAIRS
