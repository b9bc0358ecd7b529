"""Carry what was found in one text of a file over to a later one, or find that it cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..lang import Edit, Point
from ..lang.document import Snapshot
from ..lang.instruction import Instruction, at
from ..lang.names import insert_imports
from ..lang.placement import place
from ..lang.splice import splice
from ..lang.validate import validate
from ..suggest import Suggestion


@dataclass(frozen=True, slots=True)
class Drift:
    """Rows `first` to `last` (excluded) of the old text have become other rows; what follows moved by `shift`."""

    first: int
    last: int
    shift: int

    def row(self, row: int) -> int | None:
        """Return where a row of the old text is now; None if it was changed."""
        if row < self.first:
            return row
        return row + self.shift if row >= self.last else None

    def point(self, point: Point) -> Point | None:
        """Return where a point of the old text is now."""
        row = self.row(point[0])
        return None if row is None else (row, point[1])

    def edits(self, edits: Sequence[Edit], *, intact: range = range(0)) -> tuple[Edit, ...] | None:
        """Return the edits for the new text; None if rows that they touch, or that must be intact, were changed."""
        if any(self.row(row) is None for row in intact):
            return None
        moved = []
        for edit in edits:
            start, end = self.point(edit.start), self.point(edit.end)
            if start is None or end is None:
                return None
            moved.append(replace(edit, start=start, end=end))
        return tuple(moved)


def drift(old: Snapshot, new: Snapshot) -> Drift:
    """Compare two texts of a file by rows, whatever their line endings."""
    before, after = old.lines, new.lines
    shorter = min(len(before), len(after))
    first = 0
    while first < shorter and _same(before[first], after[first]):
        first += 1
    tail = 0
    while tail < shorter - first and _same(before[-1 - tail], after[-1 - tail]):
        tail += 1
    return Drift(first, len(before) - tail, len(after) - len(before))


def _same(one: bytes, other: bytes) -> bool:
    return one is other or one == other or one.rstrip(b"\r\n") == other.rstrip(b"\r\n")


def moved_instruction(instruction: Instruction, old: Snapshot, new: Snapshot) -> Instruction | None:
    """Return the same instruction in a later text, wherever edits elsewhere have moved it."""
    start = drift(old, new).point(instruction.start)
    found = at(new, start[0], attention="invoked") if start else None
    if found is None or found.start != start:
        return None
    return found if (found.kind, found.text) == (instruction.kind, instruction.text) else None


def moved(suggestion: Suggestion, old: Snapshot, new: Snapshot, *, comment: str) -> Suggestion | None:
    """Fit a suggestion to a later text of its file; None if its place has changed or the code does not fit there."""
    if old is new:
        return suggestion
    instruction = moved_instruction(suggestion.instruction, old, new)
    if instruction is None:
        return None
    placement = place(new, instruction)
    if (placement.place, placement.scope) != (suggestion.placement.place, suggestion.placement.scope):
        return None
    code = splice(new, instruction, placement, suggestion.code, comment=comment)
    edits = (*insert_imports(new, suggestion.imports), *code)
    if not all(check.ok for check in validate(new, edits, placement)):
        return None
    return replace(suggestion, instruction=instruction, placement=placement, edits=edits)


def behind(edits: Sequence[Edit], made: Edit) -> tuple[Edit, ...]:
    """Return edits of other rows, given in the points of a text, in those of the text after the edit `made`."""
    lines = made.text.encode("utf-8", "replace").splitlines(True)
    grown = sum(line.endswith((b"\n", b"\r")) for line in lines) - (made.end[0] - made.start[0])
    return tuple(
        replace(edit, start=(edit.start[0] + grown, edit.start[1]), end=(edit.end[0] + grown, edit.end[1]))
        if edit.start[0] > made.end[0]
        else edit
        for edit in edits
    )
