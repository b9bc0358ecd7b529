"""Read from the text at a suggestion's place what the user has done with it. Pure: lines in, a verdict out.

White space is left out of all comparisons: clients indent anew, formatters reflow, auto-pairs leave closers behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .tracker import Span, compact, first_unit

_NOWHERE = Span(0, 0)

What = Literal["open", "taken", "partly", "other", "instruction"]
"""Nothing has happened; the code is there; its beginning is; something else is; the instruction was changed."""


@dataclass(frozen=True, slots=True)
class Place:
    """The rows of an instruction and those below it that its code goes to, when a suggestion was offered."""

    instruction: tuple[str, ...]
    below: tuple[str, ...]
    """What stood there: blank lines, or a placeholder."""
    placeholder: str = ""
    """What the code takes the place of on the last row of the instruction, as in `def f(): ...`."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the lines at a place say. `span` counts from the first of them."""

    what: What
    span: Span = _NOWHERE
    """Where the code or the text of the user is."""
    taken: int = 0
    """Characters of the code that are there, from its start."""


def read(place: Place, code: str, now: Sequence[str]) -> Reading:
    """Tell what has become of an offer of `code` at a place whose lines are `now` these."""
    lines = [(row, text) for row, line in enumerate(now) if (text := compact(line))]
    texts = [text for _, text in lines]
    wanted = _compacted(code.splitlines())
    before = _compacted((*place.instruction, *place.below))
    at = _find(wanted, texts)
    if at is not None and _find(wanted, before) is None:
        return Reading("taken", Span(lines[at][0], lines[at + len(wanted) - 1][0] + 1), len(code))
    rest = written(place, now)
    if rest is None:
        return Reading("instruction")
    unit = first_unit(now[rest.start : rest.end])
    new = "".join(_compacted(unit))
    if not new:
        return Reading("open")
    whole = "".join(wanted)
    for typed in (new, new.rstrip(")]}\"'")):
        if typed and whole.startswith(typed):
            return Reading("partly", rest, _length(code, len(typed)))
    return Reading("other", rest)


def written(place: Place, now: Sequence[str]) -> Span | None:
    """Return the lines below the instruction that were not there before; None if the instruction is not what it was.

    Lines that were there, such as a placeholder, are left out where they stand at the end or at the start.
    """
    known = _compacted(place.instruction)
    lines = [(row, text) for row, line in enumerate(now) if (text := compact(line))]
    texts = [text for _, text in lines]
    at = _find(known, texts)
    if at is None and known and (placeholder := compact(place.placeholder)):
        at = _find([*known[:-1], known[-1].removesuffix(placeholder)], texts)
    if at is None:
        return None
    rest = lines[at + len(known) :]
    for old in _compacted(place.below):
        if rest and rest[-1][1] == old:
            rest.pop()
        elif rest and rest[0][1] == old:
            rest.pop(0)
    return Span(rest[0][0], rest[-1][0] + 1) if rest else Span(len(now), len(now))


def _compacted(lines: Sequence[str]) -> list[str]:
    return [text for line in lines if (text := compact(line))]


def _find(wanted: Sequence[str], lines: Sequence[str]) -> int | None:
    count = len(wanted)
    return next(
        (at for at in range(len(lines) - count + 1) if list(lines[at : at + count]) == list(wanted)),
        None if wanted else 0,
    )


def _length(code: str, characters: int) -> int:
    """Return how long the start of `code` is that holds so many characters other than white space."""
    for index, character in enumerate(code):
        if not character.isspace():
            characters -= 1
            if not characters:
                return index + 1
    return len(code)
