"""The suggestions that a session has offered, and what has been logged about each."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..lang import Edit
    from ..lang.document import Snapshot
    from ..suggest import Suggestion

_KEPT = 256


@dataclass(slots=True)
class Offer:
    """One suggestion in the hands of the client."""

    suggestion: Suggestion
    uri: str
    snapshot: Snapshot
    """The text that it was offered for."""
    inserted: Edit | None = None
    """What the client puts into that text when it takes the ghost text; None if it was not offered as such."""
    follow_up: tuple[Edit, ...] = ()
    """What is left to do after that, in the text after it."""
    logged: dict[str, str] = field(default_factory=dict)
    """Kinds of events logged already, with their sources: each once, except a partial acceptance that grows."""
    taken: int = 0
    """Characters accepted so far, piece by piece."""


class Offers:
    """The offers that can still be accepted, by id; the oldest give way."""

    def __init__(self) -> None:
        self._offers: OrderedDict[str, Offer] = OrderedDict()

    def get(self, suggestion_id: str) -> Offer | None:
        """Return an offer that is remembered."""
        return self._offers.get(suggestion_id)

    def put(self, offer: Offer) -> Offer:
        """Remember an offer. Made again, it keeps its log; ghost text of it may still be shown, and is remembered."""
        known = self._offers.pop(offer.suggestion.id, None)
        kept = offer
        if known is not None:
            offer.logged, offer.taken = known.logged, known.taken
            if offer.inserted is None and known.inserted is not None:
                kept = known
        self._offers[offer.suggestion.id] = kept
        if len(self._offers) > _KEPT:
            self._offers.popitem(last=False)
        return offer
