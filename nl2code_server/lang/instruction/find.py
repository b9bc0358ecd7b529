"""Find the instructions of a file, or the one at a cursor, and decide which of them are requests."""

from __future__ import annotations

from .. import Point, syntax
from ..document import Snapshot
from .comments import Block, blocks
from .score import Below, judge_comment, judge_stub
from .stubs import Stub, end_of, is_placeholder, start_of, stubs
from .values import Attention, Instruction, Mode

_FAR = 400
"""Rows beyond which nothing is looked for: in a file of comments alone, each would be compared with all others."""


def find(
    snapshot: Snapshot,
    mode: Mode = "auto",
    rows: range | None = None,
    *,
    attention: Attention = "none",
) -> list[Instruction]:
    """Return every comment block and stub that has a line in `rows` (default: all), with the decision about each.

    A comment that describes a stub is part of the stub. Nothing is pointed at unless `attention` says otherwise (of
    all of them), so only what asks for code by its own wording and place fires.
    """
    return _find(snapshot, mode, attention, rows)


def at(
    snapshot: Snapshot, row: int, mode: Mode = "auto", *, attention: Attention = "none"
) -> Instruction | None:
    """Return the instruction that contains `row`, or ends above it with only blank lines between; innermost first.

    `attention` says how much the user points at it, which decides what may fire:

    - `cursor`, an automatic request: any prose above an empty place, since nobody rests there by accident; and a
      comment directly above code, if its wording asks for code. Ask so when the cursor is at the comment's end.
    - `invoked`, an explicit request: every comment but directives, licences, code and the like, in every mode.
    """
    if not 0 <= row < len(snapshot.lines):
        return None
    above = row
    while above > 0 and not snapshot.lines[above].strip():
        above -= 1
    first = above
    while first > max(0, above - _FAR) and not syntax.is_code(snapshot.lines[first - 1]):
        first -= 1  # up to the comment whose placeholder the row may be
    found = _find(snapshot, mode, attention, range(first, row + 1))
    containing = [one for one in found if one.start_row <= row and _last_row(one) >= above]
    return max(containing, key=lambda one: one.start, default=None)


def _last_row(one: Instruction) -> int:
    return max(one.end_row, one.body[1][0]) if one.body else one.end_row


def _find(snapshot: Snapshot, mode: Mode, attention: Attention, rows: range | None) -> list[Instruction]:
    found_stubs = stubs(snapshot, rows)
    found = [_of_stub(stub, mode, attention) for stub in found_stubs]
    described = {block.start for stub in found_stubs for block in stub.comments}
    found += [
        _of_comment(snapshot, block, mode, attention)
        for block in blocks(snapshot, rows)
        if block.start not in described
    ]
    return sorted(found, key=lambda one: one.start)


def _of_stub(stub: Stub, mode: Mode, attention: Attention) -> Instruction:
    fires, reason = judge_stub(stub, mode, attention)
    return Instruction(
        "stub", stub.text, stub.start, stub.end, fires, reason, signature=stub.signature, body=stub.body
    )


def _of_comment(snapshot: Snapshot, block: Block, mode: Mode, attention: Attention) -> Instruction:
    below, body = ("code", None) if block.never else _below(snapshot, block)
    beneath = _beneath(snapshot, block) if below in ("blank", "code") and not block.never else ""
    fires, reason = judge_comment(block, below, _above(snapshot, block), mode, attention, beneath=beneath)
    return Instruction(block.kind, block.text, block.start, block.end, fires, reason, body=body)


def _below(snapshot: Snapshot, block: Block) -> tuple[Below, tuple[Point, Point] | None]:
    """Say what stands below a block, and where the placeholder is, if that is it."""
    row = first = block.end[0] + 1
    while row < len(snapshot.lines) and not snapshot.lines[row].strip():
        row += 1
    if row >= len(snapshot.lines):
        return "end", None
    width = syntax.indent_width(snapshot.lines[row])
    if width >= block.start[1] and (body := _placeholder(snapshot, row)):
        return "placeholder", body
    if row > first:
        return "blank", None
    return ("dedent" if width < block.start[1] else "code"), None


def _placeholder(snapshot: Snapshot, row: int) -> tuple[Point, Point] | None:
    """Return the placeholder on a row, if it is all that its block holds."""
    start = (row, syntax.indent_width(snapshot.lines[row]))
    node = snapshot.tree.root_node.descendant_for_point_range(start, (row, start[1] + 1))
    while node and node.parent and node.parent.type not in ("block", "module", "ERROR"):
        node = node.parent
    if not node or not is_placeholder(node) or not node.parent or node.parent.type != "block":
        return None
    if node.start_point != start or any(
        child.type != "comment" and child != node for child in node.parent.named_children
    ):
        return None
    return start_of(node), end_of(node)


def _above(snapshot: Snapshot, block: Block) -> str:
    """Return the line directly above a block, stripped; empty if it is blank or there is none."""
    row = block.start[0]
    return snapshot.line(row - 1).decode("utf-8", "replace").strip() if row else ""


def _beneath(snapshot: Snapshot, block: Block) -> str:
    """Return the next line of code below a block, stripped; empty if there is none near it."""
    for row in range(block.end[0] + 1, min(block.end[0] + _FAR, len(snapshot.lines))):
        if syntax.is_code(snapshot.lines[row]):
            return snapshot.line(row).decode("utf-8", "replace").strip()
    return ""
