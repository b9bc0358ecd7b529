"""Pure functions on Python source: text in, values out. No I/O, no asyncio, no LSP types in here.

Positions are tree-sitter points: `(row, column)`, both 0-based, the column in UTF-8 bytes. Client
positions (UTF-8, UTF-16 or UTF-32 units) are converted at the edge, by `document`.
"""

from __future__ import annotations

from dataclasses import dataclass

Point = tuple[int, int]
"""`(row, column in bytes)`, 0-based."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the text between two points of one snapshot. `text` has the file's own line endings."""

    start: Point
    end: Point
    text: str
