"""What outcomes are read from and written to: the text of one file, and the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..feedback.tracker import Span, similarity

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ..feedback.events import EventKind, Source
    from .offers import Offer


class Journal(Protocol):
    """What the session does for outcomes."""

    def event(self, kind: EventKind, offer: Offer, *, source: Source, **details: Any) -> None:
        """Log what happened to an offer, unless it is known."""

    def record(
        self, kind: EventKind, suggestion_id: str, request_id: str, source: Source, **details: Any
    ) -> None:
        """Log an event."""

    def finish(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something short that no request waits for, but the end of the session does."""


@dataclass(frozen=True, slots=True)
class Page:
    """One file as the client has it, whenever one looks; without rows while it is not open."""

    uri: str
    lines: Callable[[str], Sequence[bytes] | None]

    @property
    def rows(self) -> Sequence[bytes]:
        """The rows with their line endings."""
        return self.lines(self.uri) or ()

    def text(self, span: Span) -> str:
        """Return some of its rows."""
        return "\n".join(line.decode().rstrip("\r\n") for line in self.rows[span.start : span.end])


def compare(
    journal: Journal,
    kind: EventKind,
    ids: tuple[str, str],
    texts: tuple[str, str],
    checkpoint: str,
    *,
    cause: str = "",
    edited: bool = False,
) -> None:
    """Compare what was offered with what is there, off the event loop, and log what came out.

    `ids` are those of the suggestion and of its request; `edited` asks for a second event if the texts differ.
    """

    async def log_it() -> None:
        ratio = round(await asyncio.to_thread(similarity, *texts), 4)
        details: dict[str, Any] = {"kept_ratio": ratio, "checkpoint": checkpoint, "final_text": texts[1]}
        journal.record(kind, *ids, "inferred", cause=cause, **details)
        if edited and ratio < 1:
            journal.record("edited", *ids, "inferred", **details)

    journal.finish(log_it())
