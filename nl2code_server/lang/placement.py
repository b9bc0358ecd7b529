"""Where the code for an instruction goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from . import Point

Place = Literal["module", "class", "body", "stub"]


@dataclass(frozen=True, slots=True)
class Placement:
    """The place that the code for one instruction takes in its file."""

    place: Place
    """`module`: function, class or statements at module level. `class`: methods or attributes in a class body.
    `body`: statements inside a function or a block. `stub`: the body of a `def` or `class` that has none."""
    after: Point
    """The code starts on a new line below this point: the end of the comment, of the stub's head, of its docstring."""
    indent: str
    """White space in front of the code's first line, as in this file."""
    scope: tuple[str, ...] = ()
    """Names of the classes and functions around it, outermost first; a stub's own name is the last."""
    remove: tuple[Point, Point] | None = None
    """A stub's placeholder statement, which the code replaces."""
