"""Stubs: definitions whose body is still to be written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from .. import Point, syntax
from ..document import Snapshot
from .comments import Block, blocks, cleaned_docstring

if TYPE_CHECKING:
    from tree_sitter import Node, Query


@dataclass(frozen=True, slots=True)
class Stub:
    """A `def` or `class` without a body, and what describes it."""

    name: str
    signature: str
    start: Point
    end: Point
    head_end: Point
    """Just behind the head's colon."""
    docstring: str
    docstring_end: Point | None
    above: Block | None
    inside: tuple[Block, ...]
    body: tuple[Point, Point] | None
    """The placeholder statement."""
    hollow: bool
    """Whether there is nothing that Python could run, not even a docstring."""
    siblings: int
    """How many functions of its class or module have a placeholder for a body, itself included."""
    never: str
    """Why this is meant to be empty; empty if it does not look so."""

    @property
    def comments(self) -> tuple[Block, ...]:
        """The comments that describe it."""
        return (self.above, *self.inside) if self.above else self.inside

    @property
    def text(self) -> str:
        """Comment above, docstring, comments inside; the bare name where nothing else says what is asked."""
        parts = [
            self.above.text if self.above else "",
            self.docstring,
            *(block.text for block in self.inside),
        ]
        return "\n".join(part for part in parts if part)


def stubs(snapshot: Snapshot, rows: range | None = None) -> list[Stub]:
    """Return the stubs that have a line in `rows`, in the order of the text."""
    found = [_stub(snapshot, node) for node in _definitions(snapshot, rows)]
    made = sorted((stub for stub in found if stub), key=lambda stub: stub.start)
    if rows is None:
        return made
    return [stub for stub in made if stub.start[0] < rows.stop and stub.end[0] >= rows.start]


@cache
def _query() -> Query:
    from tree_sitter import Query

    return Query(syntax.language(), "[(function_definition) (class_definition)] @found")


def _definitions(snapshot: Snapshot, rows: range | None) -> list[Node]:
    from tree_sitter import QueryCursor

    cursor = QueryCursor(_query())
    if rows is not None:
        first, last = _code_above(snapshot, rows.start), _code_below(snapshot, rows.stop - 1)
        cursor.set_byte_range(snapshot.offset((first, 0)), snapshot.offset((last + 1, 0)))
    return cursor.captures(snapshot.tree.root_node).get("found", [])


def _code_above(snapshot: Snapshot, row: int) -> int:
    """Return the nearest row, upwards, that holds code: where the tree ends a definition without a body."""
    while row > 0 and not syntax.is_code(snapshot.lines[row]):
        row -= 1
    return row


def _code_below(snapshot: Snapshot, row: int) -> int:
    """Return the nearest row, downwards, that is not part of a comment block: what the block stands above."""
    last = len(snapshot.lines) - 1
    while row < last and snapshot.lines[row].lstrip().startswith((b"#", b"@")):
        row += 1
    return row


_RAISES = re.compile(rb"raise\s+NotImplementedError\b")


def is_placeholder(node: Node) -> bool:
    """Tell whether a statement only holds the place of one: `pass`, `...`, `raise NotImplementedError`."""
    if node.type == "expression_statement":
        return node.child_count == 1 and node.children[0].type == "ellipsis"
    return node.type == "pass_statement" or (
        node.type == "raise_statement" and bool(_RAISES.match(node.text or b""))
    )


def _stub(snapshot: Snapshot, node: Node) -> Stub | None:
    name, block = node.child_by_field_name("name"), node.child_by_field_name("body")
    colon = next((child for child in reversed(node.children) if child.type == ":"), None)
    if not (name and block and colon) or colon.is_missing:
        return None
    statements = [child for child in block.named_children if child.type != "comment"]
    docstring = statements.pop(0) if statements and _is_docstring(statements[0]) else None
    placeholder = statements[0] if len(statements) == 1 and is_placeholder(statements[0]) else None
    if (statements and not placeholder) or any(child.type == "ERROR" for child in block.children):
        return None
    head_end: Point = end_of(colon)
    if docstring and docstring.start_point.row == head_end[0]:
        return None  # nothing can follow it but on the same line
    indent = syntax.indent_width(snapshot.lines[node.start_point.row])
    end: Point = end_of(placeholder or docstring or colon)
    inside, end = _inside(snapshot, head_end, end, indent, open_end=placeholder is None)
    below = end[0] + 1
    while below < len(snapshot.lines) and not snapshot.lines[below].strip():
        below += 1
    if below < len(snapshot.lines) and syntax.indent_width(snapshot.lines[below]) > indent:
        return None  # a body that the tree could not make sense of
    outer = node.parent if node.parent and node.parent.type == "decorated_definition" else node
    above = _above(snapshot, start_of(outer))
    return Stub(
        name=_text(name),
        signature=snapshot.source[node.start_byte : colon.end_byte].decode(),
        start=above.start if above else start_of(outer),
        end=end,
        head_end=head_end,
        docstring_end=end_of(docstring) if docstring else None,
        docstring=cleaned_docstring(_text(docstring)) if docstring else "",
        above=above,
        inside=inside,
        body=(start_of(placeholder), end_of(placeholder)) if placeholder else None,
        hollow=not (placeholder or docstring),
        siblings=_siblings(outer),
        never=_never(node, outer, hollow=not (placeholder or docstring)),
    )


def start_of(node: Node) -> Point:
    """Return where a node starts."""
    return node.start_point.row, node.start_point.column


def end_of(node: Node) -> Point:
    """Return where a node ends."""
    return node.end_point.row, node.end_point.column


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


def _is_docstring(node: Node) -> bool:
    return node.type == "expression_statement" and node.child_count == 1 and node.children[0].type == "string"


def _inside(
    snapshot: Snapshot, head_end: Point, end: Point, indent: int, *, open_end: bool
) -> tuple[tuple[Block, ...], Point]:
    """Return the comments of the body, and where the stub ends with them.

    The tree leaves comments at the end of a body outside. Those right below the last statement belong to it, and
    where no statement holds the place, those below blank lines do, too.
    """
    row = end[0] + 1
    last = end[0]
    while row < len(snapshot.lines):
        line = snapshot.lines[row].strip()
        if line.startswith(b"#") and syntax.indent_width(snapshot.lines[row]) > indent:
            last = row
        elif line or not open_end:
            break
        row += 1
    found = blocks(snapshot, range(head_end[0], last + 1))
    inside = tuple(
        block
        for block in found
        if block.start > head_end and (not block.never or (block.behind_code and block.text))
    )
    if last > end[0]:
        end = (last, len(snapshot.line(last)))
    return inside, end


def _above(snapshot: Snapshot, start: Point) -> Block | None:
    """Return the comment block that ends on the line above, with the same indentation."""
    row, column = start
    if row == 0 or not snapshot.lines[row - 1].lstrip().startswith(b"#"):
        return None
    above = [block for block in blocks(snapshot, range(row - 1, row)) if block.end[0] == row - 1]
    return above[0] if above and not above[0].never and above[0].start[1] == column else None


def _siblings(outer: Node) -> int:
    """Count the functions in the same body that hold no more than a docstring or a placeholder."""
    if not outer.parent or outer.parent.type != "block":
        return 1
    count = 0
    for child in outer.parent.named_children:
        body = child.child_by_field_name("body") if child.type == "function_definition" else None
        if body is None:
            continue
        statements = [one for one in body.named_children if one.type != "comment"]
        count += all(_is_docstring(one) or is_placeholder(one) for one in statements)
    return count


_KEPT_EMPTY = re.compile(rb"@[\w.]*(?:abstract\w*|overload|fixture|protocol)\b")


def _never(node: Node, outer: Node, *, hollow: bool) -> str:
    if any(_KEPT_EMPTY.match(child.text or b"") for child in outer.children if child.type == "decorator"):
        return "is declared to have no body"
    around = outer.parent.parent if outer.parent else None
    bases = (
        around.child_by_field_name("superclasses") if around and around.type == "class_definition" else None
    )
    if bases and re.search(rb"\b(?:Protocol|Interface|ABC)\b", bases.text or b""):
        return "belongs to an interface"
    if node.type == "class_definition" and not hollow and node.child_by_field_name("superclasses"):
        return "is a class that only takes a name of its own"
    return ""
