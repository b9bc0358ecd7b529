"""Put code into a file: re-indented, in the file's own line endings, with the blank lines that belong there.

The layout, whatever the cursor:

- The code starts on the line below the comment (or the stub's head, docstring, comment). The first blank line there,
  with whatever white space is on it, is the slot that it takes; a placeholder and the blank lines above it go, too.
- Other blank lines stay. Some are added where a definition would otherwise stand too close to the code below:
  two at module level, one in a class or function, those already there counted.
- Whether the file ends in a line ending stays as it is. Nothing else is touched.

A cursor on the blank line below the comment so gives the same file as one at the comment's end. On a blank line
further down, that line is the slot and the blank lines in between stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from . import Edit, Point, syntax
from .docstring import with_docstring
from .document import Snapshot
from .instruction.comments import blocks
from .instruction.values import Instruction
from .placement import Placement, openers, stub_of
from .reindent import reindent
from .style import indent_unit

__all__ = ["Inline", "apply", "inline", "reindent", "splice"]


@dataclass(frozen=True, slots=True)
class Inline:
    """A change whose first part shows as ghost text at the cursor.

    `edit` lies on the cursor's row, starts at or before the cursor, and replaces nothing but white space or a
    placeholder. `follow_up` is made in the text after `edit` and gives the rest: all of it at once, in its points.
    """

    edit: Edit
    follow_up: tuple[Edit, ...] = ()


def apply(snapshot: Snapshot, edits: Iterable[Edit]) -> str:
    """Return the text with the edits made. Raises ValueError if they overlap."""
    source = snapshot.source
    parts: list[bytes] = []
    done = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        start, end = snapshot.offset(edit.start), snapshot.offset(edit.end)
        if start < done:
            raise ValueError("edits overlap")
        parts += [source[done:start], edit.text.encode("utf-8", "replace")]
        done = end
    return b"".join([*parts, source[done:]]).decode()


def splice(
    snapshot: Snapshot,
    instruction: Instruction,
    placement: Placement,
    code: str,
    *,
    comment: str = "keep",
) -> tuple[Edit, ...]:
    """Return the edits that bring `code` (line feeds, first line unindented) into the file, in the text's order.

    `comment` is `keep`, `remove`, or `docstring`, which keeps the comment where it can not become one.
    """
    change = _change(snapshot, instruction, placement, code, comment)
    start, text = change.after, change.eol + change.text
    cuts = list(change.cuts)
    if cuts and cuts[-1].end > change.after:
        start, text = cuts.pop().start, change.text  # the comment right above goes: the code takes its line
    return (*cuts, Edit(start, change.end, text + change.eol * change.gap))


def inline(
    snapshot: Snapshot,
    instruction: Instruction,
    placement: Placement,
    code: str,
    cursor: Point,
    *,
    comment: str = "keep",
) -> Inline | None:
    """Return the same change for ghost text at the cursor; None if the code can not start there.

    It can at the end of the line that the code goes below, on the blank lines below that, and on the placeholder.
    """
    change = _change(snapshot, instruction, placement, code, comment)
    made = _at_end(snapshot, change, cursor) if cursor[0] == change.after[0] else None
    if cursor[0] > change.after[0]:
        made = _below(snapshot, change, cursor[0])
    if made is None:
        return None
    edit, above, below = made
    deletions = [*change.cuts, above, _moved(below, edit)]
    return Inline(edit, tuple(one for one in deletions if one.start != one.end))


@dataclass(frozen=True, slots=True)
class _Change:
    """The change as it is without a cursor: what stands between `after` and `end` becomes the code."""

    after: Point
    end: Point
    text: str
    """The code with its indentation, without a final line ending."""
    gap: int
    """Blank lines to add below it."""
    eol: str
    cuts: tuple[Edit, ...]
    """What goes in front of `after`, in order: comment lines with their line endings, a placeholder."""
    level: int
    defines: bool
    """Whether the code ends in a definition."""


def _change(
    snapshot: Snapshot, instruction: Instruction, placement: Placement, code: str, comment: str
) -> _Change:
    after, remove = placement.after, placement.remove
    code = code.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    stub = stub_of(snapshot, instruction)
    if comment == "docstring":
        documented = with_docstring(code, instruction.text, body=stub is not None)
        if documented is None or (stub and stub.docstring):
            comment = "keep"
        else:
            code = documented
    text = reindent(code, indent=placement.indent, unit=indent_unit(snapshot)).replace("\n", snapshot.eol)
    cuts = [] if comment == "keep" else _comment_lines(snapshot, instruction)
    end = after
    if remove and remove[1] > after:
        end = remove[1]
    else:
        if remove:
            cuts.append(_cut(snapshot, remove))
        row = after[0] + 1
        # The last line is a slot only if there is something on it: an empty one is the end of the line above.
        if row < len(snapshot.lines) and snapshot.lines[row] and not snapshot.lines[row].strip():
            end = (row, len(snapshot.line(row)))
    level = len(placement.indent.encode())
    defines = _ends_in_definition(code)
    gap = _gap(snapshot, after[0], end[0], level, defines)
    cuts.sort(key=lambda cut: cut.start)
    return _Change(after, end, text, gap, snapshot.eol, tuple(cuts), level, defines)


def _comment_lines(snapshot: Snapshot, instruction: Instruction) -> list[Edit]:
    rows = range(instruction.start_row, instruction.end_row + 1)
    return [
        Edit((block.start[0], 0), (block.end[0] + 1, 0), "")
        for block in blocks(snapshot, rows)
        if not block.never
        and block.start >= instruction.start
        and block.end <= max(instruction.end, block.start)
    ]


def _cut(snapshot: Snapshot, remove: tuple[Point, Point]) -> Edit:
    """Take away a placeholder that the code comes to stand below, and its line if nothing else is on it."""
    (row, column), (last, end) = remove
    before, behind = snapshot.line(row)[:column], snapshot.line(last)[end:]
    if not before.strip():
        if not behind.strip():
            return Edit((row, 0), (last + 1, 0), "")
        end += syntax.indent_width(behind)
    return Edit((row, column), (last, end), "")


def _ends_in_definition(code: str) -> bool:
    statements = [
        node
        for node in syntax.parse(code.encode("utf-8", "replace")).root_node.named_children
        if node.type != "comment"
    ]
    return bool(statements) and statements[-1].type in (
        "function_definition",
        "class_definition",
        "decorated_definition",
    )


_DEFINES = (b"def ", b"class ", b"async def ", b"@")
_CONTINUES = (b"else", b"elif", b"except", b"finally", b"case ")


def _gap(snapshot: Snapshot, after: int, end: int, level: int, defines: bool) -> int:
    """Return how many blank lines are missing between code that ends on row `end` and what follows."""
    row = end + 1
    while row < len(snapshot.lines) and not snapshot.lines[row].strip():
        row += 1
    if row >= len(snapshot.lines):
        return 0
    width = syntax.indent_width(snapshot.lines[row])
    first = row
    while row < len(snapshot.lines) - 1 and snapshot.lines[row].lstrip().startswith(b"#"):
        row += 1
    following = snapshot.lines[row].lstrip()
    wanted = 0
    if width > level or (width < level and following.startswith(_CONTINUES)):
        pass
    elif (
        following.startswith(_DEFINES)
        or (width == level and defines)
        or _leaves(snapshot, after, level, width)
    ):
        wanted = 1 if width else 2
    return max(0, wanted - (first - end - 1))


def _leaves(snapshot: Snapshot, after: int, level: int, width: int) -> bool:
    """Tell whether a line `width` deep is outside a definition that the code is inside of."""
    return any(
        syntax.indent_width(snapshot.lines[row]) >= width
        and snapshot.lines[row].lstrip().startswith(_DEFINES)
        for row in openers(snapshot, after + 1, level)
    )


_Shown = tuple[Edit, Edit, Edit]
"""What to show, and what to delete above and below it, in the points of the text as it is; either may be nothing."""


def _at_end(snapshot: Snapshot, change: _Change, cursor: Point) -> _Shown | None:
    """Show the code behind the line that it goes below."""
    (row, column), end = change.after, change.end
    line = snapshot.line(row)
    if cursor[1] > (end[1] if end[0] == row else len(line)) or line[cursor[1] : column].strip():
        return None
    start = min(cursor[1], column)
    kept = line[start:column].decode() + change.eol + change.text
    nothing = Edit(end, end, "")
    if end[0] == row:
        return Edit((row, start), end, kept + change.eol * change.gap), nothing, nothing
    text, rest = _onto(change.gap, change.eol, change.after, end)
    return Edit((row, start), change.after, kept + text), nothing, rest


def _onto(gap: int, eol: str, start: Point, end: Point) -> tuple[str, Edit]:
    """Return what to add behind the code, and what to delete between it and `end`, which is on a later row.

    The line ending that is there anyway serves as the first of the gap.
    """
    if gap:
        return eol * (gap - 1), Edit((start[0] + 1, 0), end, "")
    return "", Edit(start, end, "")


def _below(snapshot: Snapshot, change: _Change, row: int) -> _Shown | None:
    """Show the code on a blank line, or in the place of the placeholder."""
    first, end = change.after[0] + 1, change.end
    start, line_end = (row, 0), (row, len(snapshot.line(row)))
    nothing = Edit(end, end, "")
    above = Edit((first, 0), start, "")
    if not _held(snapshot, change):
        if not _blank(snapshot, first, row + 1):
            return None
        return Edit(start, line_end, change.text + _tail(snapshot, change, row)), nothing, nothing
    if row < end[0] and _blank(snapshot, row, row + 1):
        text, rest = _onto(change.gap, change.eol, line_end, end)
        return Edit(start, line_end, change.text + text), above, rest
    if row == end[0] and _blank(snapshot, first, row):
        return Edit(start, end, change.text + change.eol * change.gap), above, nothing
    if row > end[0] and _blank(snapshot, end[0] + 1, row + 1):
        return Edit(start, line_end, change.text + _tail(snapshot, change, row)), above, nothing
    return None


def _blank(snapshot: Snapshot, start: int, stop: int) -> bool:
    return not any(snapshot.lines[row].strip() for row in range(start, stop))


def _tail(snapshot: Snapshot, change: _Change, row: int) -> str:
    """Return what comes behind code that takes a blank line; the file goes on ending in a line ending if it does."""
    gap = _gap(snapshot, change.after[0], row, change.level, change.defines)
    return change.eol * (gap + (not snapshot.lines[row]))


def _held(snapshot: Snapshot, change: _Change) -> bool:
    """Tell whether a placeholder stands where the code goes."""
    return bool(snapshot.source[snapshot.offset(change.after) : snapshot.offset(change.end)].strip())


def _moved(deletion: Edit, edit: Edit) -> Edit:
    """Return a deletion below an edit, which lies on one row, in the points of the text after it."""
    return Edit(_point(deletion.start, edit), _point(deletion.end, edit), "")


def _point(point: Point, edit: Edit) -> Point:
    added = edit.text.encode("utf-8", "replace").splitlines(True) or [b""]
    if added[-1][-1:] in (b"\n", b"\r"):
        added.append(b"")
    row = point[0] + len(added) - 1
    if point[0] > edit.end[0]:
        return row, point[1]
    before = edit.start[1] if len(added) == 1 else 0
    return row, before + len(added[-1]) + point[1] - edit.end[1]
