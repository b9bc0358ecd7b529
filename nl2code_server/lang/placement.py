"""Where the code for an instruction goes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from . import Point, syntax
from .document import Snapshot
from .instruction.stubs import Stub, stubs
from .instruction.values import Instruction
from .style import indent_unit

Place = Literal["module", "class", "body", "stub"]


@dataclass(frozen=True, slots=True)
class Placement:
    """The place that the code for one instruction takes in its file."""

    place: Place
    """`module`: function, class or statements at module level. `class`: methods or attributes in a class body.
    `body`: statements inside a function or a block. `stub`: the body of a `def` or `class` that has none."""
    after: Point
    """The code starts on a new line below this point: the end of the comment, of the stub's head or docstring."""
    indent: str
    """White space in front of the code's first line, as in this file."""
    scope: tuple[str, ...] = ()
    """Names of the classes and functions around it, outermost first; a stub's own name is the last."""
    remove: tuple[Point, Point] | None = None
    """A placeholder statement, which the code replaces."""


def place(snapshot: Snapshot, instruction: Instruction) -> Placement:
    """Return the place for the code of an instruction found in this snapshot.

    Indentation decides, not the tree: a tree ends a body at its last statement, and falls apart around syntax errors.
    """
    if stub := stub_of(snapshot, instruction):
        return _in_stub(snapshot, stub)
    indent = _indent(snapshot, instruction)
    around = openers(snapshot, instruction.start_row, len(indent.encode()))
    inner = _DEFINITION.match(snapshot.line(around[0])) if around else None
    kind: Place = "module" if not around else "class" if inner and inner[1] == b"class" else "body"
    return Placement(kind, instruction.end, indent, _names(snapshot, around), instruction.body)


def stub_of(snapshot: Snapshot, instruction: Instruction) -> Stub | None:
    """Return the stub behind an instruction of that kind."""
    if instruction.kind != "stub":
        return None
    found = stubs(snapshot, range(instruction.start_row, instruction.end_row + 1))
    return next((stub for stub in found if stub.start == instruction.start), None)


def _in_stub(snapshot: Snapshot, stub: Stub) -> Placement:
    head_row, body = stub.head_end[0], stub.body
    first = snapshot.offset(stub.head_end) - len(stub.signature.encode())
    def_row = snapshot.point(first)[0]
    around = openers(snapshot, def_row, syntax.indent_width(snapshot.lines[def_row]))
    ends = [stub.head_end, *(block.end for block in stub.inside)]
    if stub.docstring_end:
        ends.append(stub.docstring_end)
    after = max(ends)
    remove = body
    if body and body[0][0] == head_row:
        remove = (stub.head_end, body[1])
    if not remove or remove[0] != after:
        after = (after[0], len(snapshot.line(after[0])))
    return Placement(
        "stub", after, _body_indent(snapshot, stub, def_row), (*_names(snapshot, around), stub.name), remove
    )


def _body_indent(snapshot: Snapshot, stub: Stub, def_row: int) -> str:
    """Return the indentation of the statements that are there, else that of comments, else a unit below the head."""
    head = _white_space(snapshot, def_row)
    rows = [stub.body[0][0]] if stub.body else []
    if stub.docstring_end:
        rows.append(syntax.statement_row(snapshot, stub.docstring_end[0]))
    rows += [block.start[0] for block in stub.inside]
    for row in rows:
        own = _white_space(snapshot, row)
        if row > stub.head_end[0] and len(own) > len(head):
            return own
    return head + indent_unit(snapshot)


_DEFINITION = re.compile(rb"\s*(?:async\s+)?(class|def)\s+(\w+)")


def _indent(snapshot: Snapshot, instruction: Instruction) -> str:
    """Return the indentation that code below a comment must have: that of a block which is open there.

    The comment's own indentation says which; one that fits no block is taken for the next smaller that does.
    """
    row, column = instruction.start
    above = _code_row(snapshot, row, -1)
    if above is None:
        return ""
    statement = syntax.statement_row(snapshot, above)
    width = syntax.indent_width(snapshot.lines[statement])
    below = _code_row(snapshot, instruction.end_row, 1)
    below_width = syntax.indent_width(snapshot.lines[below]) if below is not None else 0
    if _opens_block(snapshot, above):
        if below is not None and below_width > width:
            return _white_space(snapshot, below)  # the block has a body, which says how deep it is
        if column > width:
            return _white_space(snapshot, row)
        if above == row - 1 and column == width:
            return _white_space(snapshot, statement) + indent_unit(snapshot)
    rows = [statement, *openers(snapshot, statement, width)]
    widths = {syntax.indent_width(snapshot.lines[one]): one for one in rows}
    level = max((one for one in widths if one <= column), default=0)
    if below_width > level and below_width in widths:
        level = below_width  # the comment stands to the left of a block that goes on below it
    return _white_space(snapshot, widths[level]) if level in widths else ""


def _code_row(snapshot: Snapshot, row: int, step: int) -> int | None:
    """Return the next row with code on it, upwards or downwards."""
    row += step
    while 0 <= row < len(snapshot.lines):
        if syntax.is_code(snapshot.lines[row]):
            return row
        row += step
    return None


def _opens_block(snapshot: Snapshot, row: int) -> bool:
    line = snapshot.line(row)
    comments = syntax.comments(snapshot, range(row, row + 1))
    code = line[: comments[0].column] if comments else line
    return code.rstrip().endswith(b":")


def openers(snapshot: Snapshot, row: int, width: int) -> list[int]:
    """Return the rows whose statements open the blocks around code on `row` that is `width` deep, innermost first."""
    found = []
    while row > 0 and width > 0:
        row -= 1
        line = snapshot.lines[row]
        if not line[:width].strip() or not syntax.is_code(line):
            continue
        row = syntax.statement_row(snapshot, row)
        if (indent := syntax.indent_width(snapshot.lines[row])) < width:
            width = indent
            found.append(row)
    return found


def _names(snapshot: Snapshot, openers: list[int]) -> tuple[str, ...]:
    matches = (_DEFINITION.match(snapshot.line(row)) for row in reversed(openers))
    return tuple(match[2].decode() for match in matches if match)


def _white_space(snapshot: Snapshot, row: int) -> str:
    """Return a row's indentation. Python starts counting again behind a form feed."""
    line = snapshot.lines[row]
    return line[: syntax.indent_width(line)].decode().rpartition("\f")[2]
