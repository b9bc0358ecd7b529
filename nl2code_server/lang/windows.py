"""Which lines around the code the model sees. A model host evaluates anew what stands behind the first change in a
prompt, so the first of these lines stays the same while others are typed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from zlib import crc32

from .document import Snapshot

if TYPE_CHECKING:
    from tree_sitter import Node

_STEPS = 4
"""A part's size counts in quarters of what it may take, so that the other parts seldom change with it."""


def above(snapshot: Snapshot, end: int, skip: set[int], budget: int) -> tuple[str, int]:
    """Return lines above row `end` without those to skip, and the first row taken."""
    row = _first_fitting(snapshot, end, skip, budget)
    if row > 0:
        row = _landmark(snapshot, row, end, skip, budget // 2)
    text = "\n".join(_text(snapshot, at) for at in range(row, end) if at not in skip).strip("\n")
    return re.sub(r"\n{4,}", "\n\n\n", text), row


def below(snapshot: Snapshot, start: int, budget: int) -> tuple[str, int]:
    """Return the lines from row `start` that fit, and the row behind the last one taken."""
    lines: list[str] = []
    row = start
    while row < len(snapshot.lines):
        text = _text(snapshot, row)
        budget -= len(text) + 1
        if budget < 0:
            break
        lines.append(text)
        row += 1
    return "\n".join(lines).strip("\n"), row


def charged(text: str, budget: int, *, cut: bool) -> int:
    """Return what a part counts for: all that it may take if it was cut, else its size in whole steps."""
    step = max(1, budget // _STEPS)
    return budget if cut else min(budget, -(-len(text) // step) * step)


def _first_fitting(snapshot: Snapshot, end: int, skip: set[int], budget: int) -> int:
    for row in range(end - 1, -1, -1):
        if row not in skip:
            budget -= len(_text(snapshot, row)) + 1
            if budget < 0:
                return row + 1
    return 0


def _landmark(snapshot: Snapshot, first: int, end: int, skip: set[int], slack: int) -> int:
    """Return the row of the most prominent statement among the next `slack` characters.

    Whatever is typed above or below, it stays the most prominent one until it no longer fits or a more prominent one
    comes within reach. A checksum of its text decides between equals: their order would change with each line.
    """
    last = first
    while last < end and slack > 0:
        slack -= len(_text(snapshot, last)) + 1
        last += 1
    depths = _statements(snapshot.tree.root_node, first, last)

    def prominence(row: int) -> tuple[int, bool, int]:
        follows = row > 0 and bool(snapshot.line(row - 1).strip())
        return depths[row], follows, crc32(snapshot.line(row).strip())

    return min((row for row in depths if row not in skip), key=prominence, default=first)


def _statements(root: Node, first: int, last: int) -> dict[int, int]:
    """Return the rows from `first` to before `last` where statements begin, with the blocks around each."""
    rows: dict[int, int] = {}
    stack = [(root, 0)]
    while stack:
        node, depth = stack.pop()
        for child in node.named_children:
            if child.end_point.row < first or child.start_point.row >= last:
                continue
            if node.type in ("module", "block") and child.start_point.row >= first:
                rows[child.start_point.row] = min(depth, rows.get(child.start_point.row, depth))
            stack.append((child, depth + (child.type == "block")))
    return rows


def _text(snapshot: Snapshot, row: int) -> str:
    return snapshot.line(row).decode("utf-8", "replace")
