"""Offers of one file that are not accepted yet: taken or not, as far as the text tells; what was written instead.

Little is looked at unless an edit is right at the place of an offer. What a client says of itself always counts more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..feedback.inference import Place, read, written
from ..feedback.tracker import Span, Splice, first_unit, reach, touches
from .journal import Journal, Page, compare

if TYPE_CHECKING:
    from ..feedback.events import EventKind
    from .offers import Offer

QUIET = 1.0
"""Seconds without an edit at the place, until what stands there counts: clients make one change of several edits."""
PATIENCE = 600.0
"""Seconds until an offer that was left alone is forgotten, and until what was written instead counts."""
_ARRIVES = 10.0  # seconds that accepted code may take to appear
_OUTCOMES = {"accepted", "partially_accepted", "rejected", "dismissed", "ignored", "superseded"}


@dataclass(slots=True, eq=False)
class Watched:
    """An offer whose fate is open, or one that was turned down and whose place is still watched."""

    offer: Offer
    place: Place
    code: str
    span: Span
    since: float
    turned: bool = False
    accepted: bool = False
    """Whether the client says so, while the code has not appeared yet."""
    touched: float | None = None
    """When its place was last edited, until that was looked at."""
    chunk: bool = False
    """Whether a piece of text was put in at once, as by a key that takes the next word."""
    text: str = ""
    """What was last found in its place."""

    @property
    def open(self) -> bool:
        """Whether nobody knows yet what becomes of it."""
        return not self.turned and not self.accepted

    @property
    def lasts(self) -> float:
        """How many seconds it is watched."""
        return _ARRIVES if self.accepted else PATIENCE

    @property
    def due(self) -> float:
        if self.touched is not None and not self.turned:
            return self.touched + QUIET
        return self.since + self.lasts


class Watch:
    """The watched offers of one file; `taken` is told of one whose code is there, and where."""

    def __init__(
        self,
        page: Page,
        journal: Journal,
        clock: Callable[[], float],
        taken: Callable[[str, str, Span], None],
    ) -> None:
        self._page = page
        self._journal = journal
        self._clock = clock
        self._tell_taken = taken
        self._watched: list[Watched] = []

    def __iter__(self) -> Iterator[Watched]:
        return iter(self._watched)

    @property
    def due(self) -> float:
        """When something is to be looked at next."""
        return min((one.due for one in self._watched), default=float("inf"))

    # --- what is told ---------------------------------------------------------------------------------------------

    def add(self, offer: Offer) -> None:
        """Watch an offer, in the place of an earlier one for the same instruction."""
        known = self._find(offer)
        if known is not None and not known.open:
            return
        made = _watched(offer, known.since if known else self._clock())
        for other in tuple(self._watched):
            if other is known:
                self._watched.remove(other)
            elif (
                other.open
                and other.span.start == made.span.start
                and other.offer.suggestion.request_id != offer.suggestion.request_id
            ):
                self._log("superseded", other, "newer-offer")
                self._watched.remove(other)
        self._watched.append(made)

    def accept(self, offer: Offer) -> None:
        """The client says that an offer was taken: its code is there, or will be."""
        found = self._find(offer)
        if found is not None:
            found.accepted, found.since = True, self._clock()
            if not self._taken(found):
                found.touched = None

    def turn_down(self, offer: Offer) -> None:
        """The client says that an offer is not wanted."""
        found = self._find(offer)
        if found is not None:
            self._turn_down(found)

    def take_in(self, one: Watched, span: Span) -> None:
        """Watch on, here, the place of an offer that was turned down in a file of another name."""
        one.span = span
        self._watched.append(one)

    def changed(self, splices: Sequence[Splice], *, chunk: bool) -> bool:
        """Follow an edit; tell whether it was at the place of an offer."""
        anywhere = False
        for one in tuple(self._watched):
            near = False
            for splice in splices:
                if splice.first <= one.span.end:
                    near = near or touches(one.span, splice)
                    one.span = reach(one.span, splice)
            if near:
                anywhere = True
                one.chunk = one.chunk or chunk
                one.touched = self._clock()
                if not one.turned:
                    self._taken(one)
        return anywhere

    def saved(self) -> None:
        """Look at what was written in the place of offers that were turned down."""
        for one in self._watched:
            if one.turned:
                self._instead(one, "save")

    def leave(self, cause: str) -> None:
        """Give up the offers that are still open."""
        for one in self._watched:
            if one.open:
                self._log("ignored", one, cause)
        self._watched = [one for one in self._watched if one.turned]

    def ring(self) -> None:
        """Judge what is due."""
        now = self._clock()
        for one in [one for one in self._watched if one.due <= now]:
            if one.turned:
                self._instead(one, "10min")
                self._watched.remove(one)
            else:
                self._settle(one)

    # --- what the text tells --------------------------------------------------------------------------------------

    def _find(self, offer: Offer) -> Watched | None:
        wanted = offer.suggestion.id
        return next((one for one in self._watched if one.offer.suggestion.id == wanted), None)

    def _taken(self, one: Watched) -> bool:
        """Find the code of an offer in its place; if it is there, the offer was accepted."""
        reading = read(one.place, one.code, self._page.text(one.span).split("\n"))
        if reading.what != "taken":
            return False
        if not one.accepted:
            self._journal.event("accepted", one.offer, source="inferred", cause="text-appeared")
        start, end = one.span
        # Whatever else was offered or watched for this instruction is settled with it, without a verdict.
        self._watched = [
            other for other in self._watched if other.span.end <= start or other.span.start >= end
        ]
        suggestion = one.offer.suggestion
        span = Span(start + reading.span.start, start + reading.span.end)
        self._tell_taken(suggestion.id, suggestion.request_id, span)
        return True

    def _settle(self, one: Watched) -> None:
        """Judge an offer by what stands in its place, now that nothing is being typed there."""
        one.touched = None
        if self._clock() - one.since >= one.lasts:
            self._watched.remove(one)
            if one.open:
                self._log("ignored", one, "left-alone")
            return
        if one.accepted:
            return
        reading = read(one.place, one.code, self._page.text(one.span).split("\n"))
        if reading.what == "instruction":
            self._watched.remove(one)
            self._log("superseded", one, "instruction-changed")
        elif reading.what == "partly" and one.chunk and one.offer.inserted is not None:
            self._taken_partly(one, reading.taken)
        elif reading.what == "other":
            self._log("ignored", one, "typed-over")
            self._turn_down(one)
        one.chunk = one.chunk and reading.what == "partly"

    def _taken_partly(self, one: Watched, length: int) -> None:
        if length > one.offer.taken:
            one.offer.taken = length
            self._journal.event(
                "partially_accepted",
                one.offer,
                source="inferred",
                accepted_length=length,
                cause="text-appeared",
            )

    def _turn_down(self, one: Watched) -> None:
        one.turned, one.since, one.touched = True, self._clock(), None

    def _log(self, kind: EventKind, one: Watched, cause: str) -> None:
        """Log that an offer was not taken, unless it is known already what came of it."""
        if not _OUTCOMES & one.offer.logged.keys():
            # From offering to now: nobody tells from when on it was seen.
            visible = round((self._clock() - one.since) * 1000)
            self._journal.event(kind, one.offer, source="inferred", cause=cause, visible_ms=visible)

    def _instead(self, one: Watched, checkpoint: str) -> None:
        """Log what the user has written in the place of an offer that was turned down."""
        lines = self._page.text(one.span).split("\n")
        span = written(one.place, lines)
        text = "\n".join(first_unit(lines[span.start : span.end])) if span else ""
        if not text or text == one.text:
            return
        one.text = text
        suggestion = one.offer.suggestion
        ids = suggestion.id, suggestion.request_id
        compare(self._journal, "instead", ids, (one.code, text), checkpoint)


def _watched(offer: Offer, since: float) -> Watched:
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
    return Watched(offer, place, edit.text, Span(start, end), since)
