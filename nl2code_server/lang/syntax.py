"""The Python grammar, and questions to a syntax tree that several modules ask."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

from . import Point

if TYPE_CHECKING:
    from tree_sitter import Language, Node, Query, Tree

    from .document import Snapshot


@dataclass(frozen=True, slots=True)
class Comment:
    """One comment token: from its `#` to the end of its line."""

    row: int
    column: int
    text: str
    own_line: bool
    """Whether nothing but white space stands in front of it."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A class or function around a point."""

    kind: Literal["class", "function"]
    name: str
    head: str
    """From `class`, `def` or `async` to the colon, line breaks kept, decorators left out."""
    start: Point
    """Where the head starts."""
    body: Point
    """Where the first statement of the body starts; just behind the colon if there is none."""
    end: Point
    indent: str
    """The white space in front of the head."""


# Parsing bytes holds the interpreter lock throughout; a callback lets go of it between slices.
_LONG = 1 << 20
_SLICE = 1 << 12


@cache
def language() -> Language:
    """Return the Python grammar; importing it takes some 10 ms, so it waits for the first use."""
    import tree_sitter_python
    from tree_sitter import Language

    return Language(tree_sitter_python.language())


def parse(source: bytes, old: Tree | None = None) -> Tree:
    """Parse a text, re-using what an older tree (edited to fit) has in common with it. Any thread."""
    from tree_sitter import Parser

    parser = Parser(language())  # not thread-safe, and made in a microsecond
    if old is not None:
        return parser.parse(source, old)
    if len(source) < _LONG:
        return parser.parse(source)
    return parser.parse(lambda offset, _point: source[offset : offset + _SLICE])


def comments(snapshot: Snapshot, rows: range | None = None) -> list[Comment]:
    """Return the comments in some rows, or in all of them, in the order of the text."""
    from tree_sitter import QueryCursor

    cursor = QueryCursor(_query("(comment) @found"))
    if rows is not None:
        cursor.set_byte_range(snapshot.offset((rows.start, 0)), snapshot.offset((rows.stop, 0)))
    found = []
    for node in cursor.captures(snapshot.tree.root_node).get("found", []):
        row, column = node.start_point
        if rows is not None and row not in rows:
            continue
        line = snapshot.line(row)  # the token itself keeps the carriage return of a `\r\n`
        own_line = not line[:column].strip(b" \t\f\xef\xbb\xbf")
        found.append(Comment(row, column, line[column:].decode(), own_line))
    return sorted(found, key=lambda comment: comment.row)


def problems(tree: Tree) -> int:
    """Count the ERROR and MISSING nodes of a tree."""
    cursor, count = tree.walk(), 0
    while node := cursor.node:
        count += node.is_error or node.is_missing
        if node.has_error and cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return count
    return count


@cache
def _query(pattern: str) -> Query:
    from tree_sitter import Query

    return Query(language(), pattern)


def enclosing(snapshot: Snapshot, point: Point) -> list[Definition]:
    """Return the definitions whose bodies a line at this point belongs to, outermost first.

    Indentation decides, as it does for Python: that of the line, or the column on a blank one. Trees end a body
    at its last statement and fall apart around half-typed code, so they are asked about single lines only.
    """
    row, column = point
    if not is_code(snapshot.line(row)):
        text = snapshot.line(row)
        limit = indent_width(text) if text.strip() else column
    else:
        row = statement_row(snapshot, row)
        limit = indent_width(snapshot.line(row))
    found: list[Definition] = []
    while row > 0 and limit > 0:
        row -= 1
        line = snapshot.lines[row]
        if not line[:limit].strip() or not is_code(line):
            continue
        row = statement_row(snapshot, row)
        indent = indent_width(snapshot.lines[row])
        if indent >= limit:
            continue
        limit = indent
        if definition := _definition(snapshot, row):
            found.append(definition)
    return found[::-1]


_CLAUSES = frozenset(
    {"elif_clause", "else_clause", "except_clause", "except_group_clause", "finally_clause", "case_clause"}
)
_HOLDS_STATEMENTS = frozenset({"module", "block", "decorated_definition", "ERROR"})
_HEAD = re.compile(r"\s*((?:async\s+)?(def|class)\s+(\w+).*)")


def is_code(line: bytes) -> bool:
    """Tell whether a line holds anything but white space and a comment."""
    text = line.lstrip()
    return bool(text) and not text.startswith(b"#")


def indent_width(line: bytes) -> int:
    """Return the length of a line's leading white space, in bytes."""
    return len(line) - len(line.lstrip(b" \t\f"))


def _leaf(snapshot: Snapshot, row: int) -> Node:
    start = (row, indent_width(snapshot.lines[row]))
    node = snapshot.tree.root_node.descendant_for_point_range(start, (row, start[1] + 1))
    return node or snapshot.tree.root_node


def statement_row(snapshot: Snapshot, row: int) -> int:
    """Return the row on which the statement starts that this line of code is a part of."""
    while True:
        node = _leaf(snapshot, row)
        parent = node.parent
        while parent and parent.type not in _HOLDS_STATEMENTS and parent.start_byte == node.start_byte:
            node, parent = parent, parent.parent
        if node.start_point.row < row and parent:
            row = node.start_point.row  # inside a string
        elif parent and parent.type not in _HOLDS_STATEMENTS and node.type not in _CLAUSES:
            if parent.start_point.row >= row:
                return row
            row = parent.start_point.row  # a line within brackets
        else:
            return row


def _definition(snapshot: Snapshot, row: int) -> Definition | None:
    line = snapshot.line(row)
    indent = line[: indent_width(line)].decode()
    node = _leaf(snapshot, row).parent
    if node and node.type in ("class_definition", "function_definition"):
        name, body = node.child_by_field_name("name"), node.child_by_field_name("body")
        colon = next((child for child in node.children if child.type == ":"), None)
        if name and body and colon:
            return Definition(
                "class" if node.type == "class_definition" else "function",
                snapshot.source[name.start_byte : name.end_byte].decode(),
                snapshot.source[node.start_byte : colon.end_byte].decode(),
                (node.start_point.row, node.start_point.column),
                (body.start_point.row, body.start_point.column),
                (node.end_point.row, node.end_point.column),
                indent,
            )
    return _half_typed(snapshot, row, indent)


def _half_typed(snapshot: Snapshot, row: int, indent: str) -> Definition | None:
    """Read a head for which the tree has no definition, from its line and the indentation below."""
    line = snapshot.line(row)
    match = _HEAD.match(line.decode())
    if not match:
        return None
    end = row
    for below in range(row + 1, len(snapshot.lines)):
        if is_code(snapshot.lines[below]):
            if indent_width(snapshot.lines[below]) <= len(indent):
                break
            end = below
    return Definition(
        "class" if match[2] == "class" else "function",
        match[3],
        match[1].rstrip(),
        (row, len(indent)),
        (row, len(line.rstrip())),
        (end, len(snapshot.line(end))),
        indent,
    )
