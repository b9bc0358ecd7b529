"""What was accepted in a project before, out of the feedback log: the instruction and the code that was kept."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..lang.similar import Snippet, most_similar

if TYPE_CHECKING:
    from ..feedback.events import EventKind
    from ..feedback.store import Logged

MOST = 4
_TELLING: tuple[EventKind, ...] = ("accepted", "edited", "kept", "rejected")
_NEWEST = 600  # events that are looked at
_LONGEST = 1500  # characters of a snippet
_KEPT = 0.5
"""Share of a suggestion that must be left: what was rewritten beyond it was meant for something else."""


def similar_accepted(database: Path, project: str, instruction: str) -> list[Snippet]:
    """Return what was accepted in this project for instructions like this one, the most similar first."""
    from ..feedback.store import Store

    if not project or not database.is_file():
        return []
    with Store(database) as store:
        events = list(store.events(kinds=_TELLING, project=project, limit=_NEWEST))
    fitting = [one for one in kept(events) if len(one.code) <= _LONGEST]
    return most_similar(instruction, fitting, most=MOST)


def all_accepted(database: Path) -> tuple[str, ...]:
    """Return the code that was accepted anywhere, the newest first: what a model tuned here has learnt by heart."""
    from ..feedback.store import Store

    if not database.is_file():
        return ()
    with Store(database) as store:
        events = list(store.events(kinds=_TELLING, limit=_NEWEST))
    return tuple(one.code for one in kept(events))


def kept(events: Iterable[Logged]) -> list[Snippet]:
    """Return what is left of each suggestion that was accepted, newest first. `events` come oldest first."""
    accepted: set[str] = set()
    left: dict[str, Snippet | None] = {}
    for logged in events:
        event = logged.event
        key = event.suggestion_id
        if event.event == "accepted":
            accepted.add(key)
            left.setdefault(key, Snippet(logged.instruction, logged.text))
        elif event.event == "rejected" or (event.kept_ratio is not None and event.kept_ratio < _KEPT):
            left[key] = None
        elif event.final_text and event.final_text.strip():
            left[key] = Snippet(logged.instruction, event.final_text)
    found = [left[key] for key in reversed(left) if key in accepted]
    return [one for one in found if one and one.instruction.strip() and one.code.strip()]
