"""Would this code make the file worse? Every check compares the file with and without it. Nothing is run."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from . import Edit, syntax
from .document import Snapshot
from .instruction.stubs import is_placeholder
from .placement import Placement
from .reindent import reindent

if TYPE_CHECKING:
    from tree_sitter import Node


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a candidate: `compiles`, `syntax`, `adds`, `duplicate`, `names`, `examples`, …"""

    check: str
    ok: bool
    detail: str = ""


def validate(snapshot: Snapshot, edits: Sequence[Edit], placement: Placement) -> tuple[Check, ...]:
    """Check a change to a file: `compiles`, `syntax`, `adds`, `duplicate`, in this order.

    Where the file compiles, it must afterwards. Where it does not (half-typed elsewhere, or newer than our Python),
    a definition around the code must, or the code alone if those are broken anyway.
    """
    after = snapshot.edited(edits)
    rows = _new_rows(edits, placement)
    return (
        _compiles(snapshot, after, rows, placement),
        _syntax(snapshot, after, rows),
        _adds(after, rows),
        _duplicate(after, rows, placement),
    )


def _new_rows(edits: Sequence[Edit], placement: Placement) -> range:
    """Return the rows that the code takes in the file after the edits."""
    shift = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        if edit.end >= placement.after and edit.text:
            leading = len(edit.text) - len(edit.text.lstrip("\r\n"))
            first = edit.start[0] + shift + _line_count(edit.text[:leading])
            return range(first, first + _line_count(edit.text.strip("\r\n")) + 1)
        shift += _line_count(edit.text) - (edit.end[0] - edit.start[0])
    return range(placement.after[0] + shift, placement.after[0] + shift)


def _line_count(text: str) -> int:
    return len(re.findall(r"\r\n|\r|\n", text))


def _compiles(before: Snapshot, after: Snapshot, rows: range, placement: Placement) -> Check:
    broken = compile_error(before.text)
    if not broken:
        return _check(compile_error(after.text))
    around = _definitions_around(after, rows)
    errors = [compile_error(_module(after, one)) for one in around]
    if not all(errors):
        return Check("compiles", True, f"in its definition; the file did not before: {broken}")
    for one, error in zip(around, errors, strict=True):
        without = [
            *_lines(after, range(one.start, rows.start)),
            f"{placement.indent}pass",
            *_lines(after, range(rows.stop, one.stop)),
        ]
        if not compile_error("\n".join(["if 1:", *without] if without[0][:1].isspace() else without)):
            return _check(error)
    return _check(compile_error(_alone(after, rows, placement)), "by itself: ")


def _check(error: str, how: str = "") -> Check:
    return Check("compiles", not error, f"{how}{error}" if error else "")


def _alone(after: Snapshot, rows: range, placement: Placement) -> str:
    """Return the code as a file of its own, inside a function and a loop where its place may be in such."""
    if placement.place in ("module", "class") or not placement.scope:
        return _module(after, rows)
    # Whether the `def` is asynchronous, or a loop around, can not be relied on in a broken file.
    return "async def _():\n while 1:\n" + reindent(_text(after, rows), indent="  ", unit=" ")


def _module(after: Snapshot, rows: range) -> str:
    """Return rows as a file of its own; text in strings keeps its depth."""
    text = _text(after, rows)
    return f"if 1:\n{text}" if text[:1].isspace() else text


def _lines(snapshot: Snapshot, rows: range) -> list[str]:
    return [snapshot.line(row).decode() for row in rows if row < len(snapshot.lines)]


def _text(snapshot: Snapshot, rows: range) -> str:
    return "\n".join(_lines(snapshot, rows)) + "\n"


@lru_cache(maxsize=8)
def compile_error(text: str) -> str:
    """Return why CPython rejects a text as a module, or nothing. Parsing alone would let `return` stand anywhere."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text.removeprefix("\ufeff"), "<file>", "exec", dont_inherit=True)
    except SyntaxError as error:
        return f"{error.msg}, line {error.lineno}" if error.lineno else str(error.msg)
    except (ValueError, MemoryError, RecursionError) as error:
        return str(error) or "too deeply nested"
    return ""


def _definitions_around(after: Snapshot, rows: range) -> list[range]:
    """Return the rows of the definitions that hold all of `rows` and more, innermost first."""
    found = []
    column = syntax.indent_width(after.lines[rows.start])
    node = after.tree.root_node.descendant_for_point_range((rows.start, column), (rows.start, column))
    while node:
        if node.type in ("function_definition", "class_definition"):
            held = range(node.start_point.row, node.end_point.row + 1)
            if held.start < rows.start and held.stop >= rows.stop:
                found.append(held)
        node = node.parent
    return found


def _syntax(before: Snapshot, after: Snapshot, rows: range) -> Check:
    """Check that the tree gains no errors. Those that sound code sets off in a tree already broken do not count."""
    added = syntax.problems(after.tree) - syntax.problems(before.tree)
    own = syntax.problems(syntax.parse(_plain(after, rows))) if added > 0 else 0
    return Check("syntax", not own, f"{added} more syntax errors" if own else "")


def _plain(after: Snapshot, rows: range) -> bytes:
    return reindent(_text(after, rows), indent="", unit="    ").encode()


def _adds(after: Snapshot, rows: range) -> Check:
    statements = _statements(syntax.parse(_plain(after, rows)).root_node)
    ok = any(not _is_empty(statement) for statement in statements)
    return Check("adds", ok, "" if ok else "holds nothing but comments and placeholders")


def _statements(node: Node) -> list[Node]:
    return [child for child in node.named_children if child.type != "comment"]


def _is_empty(node: Node) -> bool:
    """Tell whether a statement does nothing: a placeholder, a string, a function that holds only such."""
    if node.type == "decorated_definition":
        definition = node.child_by_field_name("definition")
        return definition is not None and _is_empty(definition)
    if node.type == "function_definition":
        body = node.child_by_field_name("body")
        return body is None or all(_is_empty(child) for child in _statements(body))
    if node.type == "expression_statement" and node.child_count == 1 and node.children[0].type == "string":
        return True
    return is_placeholder(node)


# With these decorators a name is meant to be defined more than once.
_REDEFINES = re.compile(rb"@(?:[\w.]+\.(?:setter|getter|deleter|register)|(?:\w+\.)*overload|property)\b")


def _duplicate(after: Snapshot, rows: range, placement: Placement) -> Check:
    """Check that the code defines nothing that is already defined beside it, nor what it stands inside of."""
    around = placement.scope[-1] if placement.scope and placement.place in ("body", "stub") else ""
    column = len(placement.indent.encode())
    for node in _defined(after.tree.root_node, rows):
        name = _name(node)
        if node.start_point.column != column or not node.parent:
            continue
        if name == around:
            return Check("duplicate", False, f"defines {name} inside {name}")
        for other in node.parent.named_children:
            if other.start_point.row not in rows and _name(other) == name and not _redefines(node, other):
                return Check("duplicate", False, f"{name} is already defined")
    return Check("duplicate", True)


def _defined(root: Node, rows: range) -> list[Node]:
    """Return the outermost definitions that start in `rows`."""
    found, stack = [], [root]
    while stack:
        node = stack.pop()
        if node.end_point.row < rows.start or node.start_point.row >= rows.stop:
            continue
        if node.start_point.row in rows and _name(node):
            found.append(node)
        else:
            stack.extend(node.named_children)
    return found


def _name(node: Node) -> str:
    """Return the name that a definition defines, decorated or not; empty for other nodes."""
    if node.type == "decorated_definition":
        node = node.child_by_field_name("definition") or node
    if node.type not in ("function_definition", "class_definition"):
        return ""
    name = node.child_by_field_name("name")
    return (name.text or b"").decode() if name else ""


def _redefines(*nodes: Node) -> bool:
    return any(
        _REDEFINES.match(child.text or b"")
        for node in nodes
        for child in node.named_children
        if child.type == "decorator"
    )
