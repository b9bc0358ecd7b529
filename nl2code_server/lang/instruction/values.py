"""What an instruction is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .. import Point

Kind = Literal["comment", "todo", "marker", "stub"]
Mode = Literal["auto", "marker", "manual"]
Attention = Literal["none", "cursor", "invoked"]
"""How much the user points at one comment or stub: not at all (the whole file is searched), with the cursor at its
end or in the empty place below, or by asking for code there in so many words."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One comment block or stub, and the decision about it.

    `comment` is an own-line block of comments, `todo` a TODO or FIXME, `marker` a block that addresses the
    tool (`# ai: …`, `… AI!`), `stub` a `def` or `class` without a body, together with the docstring or comment that
    describes it (inside it or right above it).
    """

    kind: Kind
    text: str
    """What is asked, without comment marks, TODO or `ai:`; the lines of a block joined with a line feed."""
    start: Point
    """First byte of the comment block; of the stub, or of the comment above it, for a stub."""
    end: Point
    """End of the last comment line (without its line ending); end of the stub for a stub."""
    fires: bool
    """Whether this is taken for a request in the mode that was asked for."""
    reason: str
    """Why it fires, or why not: one clause for a person, shown by `instructions --all` and by the hover."""
    signature: str = ""
    """A stub's own head as in the file (`def gcd(a: int, b: int) -> int:`), decorators left out; else empty."""
    body: tuple[Point, Point] | None = None
    """The placeholder (`pass`, `...`, `raise NotImplementedError`) that holds the code's place, if there is one: a
    stub's, or the only statement of a block that the comment opens."""

    @property
    def start_row(self) -> int:
        """Row of the first line."""
        return self.start[0]

    @property
    def end_row(self) -> int:
        """Row of the last line."""
        return self.end[0]
