"""Move code to another depth and another unit of indentation, without changing what it means."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from . import syntax

if TYPE_CHECKING:
    from tree_sitter import Node

_TAB = 8
"""Columns of a tab, as Python counts them."""


def reindent(code: str, *, indent: str, unit: str) -> str:
    """Return `code` (its first line unindented) with `indent` in front and `unit` for each level of its own.

    Lines within brackets keep their distance from the line that their statement starts on. Lines that begin inside a
    string are left alone, but for docstrings, which move with their definition.
    """
    code = code.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    rows = _rows(code)
    lines = code.split("\n")
    step = _step(
        [_width(lines[number]) for number, row in enumerate(rows) if row.starts and lines[number].strip()]
    )
    levels: list[int] = [_width(lines[0])]
    made: list[str] = []
    for number, (line, row) in enumerate(zip(lines, rows, strict=True)):
        if row.text:
            made.append(line)
            continue
        stripped = line.lstrip(" \t\f")
        if not stripped.strip():
            made.append("")
            continue
        width = _width(line)
        if row.starts:
            own = _next_width(lines, rows, number) if stripped.startswith("#") else width
            while len(levels) > 1 and levels[-1] > own:
                levels.pop()
            if own > levels[-1]:
                levels.append(own)
            base, offset = indent + unit * (len(levels) - 1), 0
        else:
            offset = max(width - levels[-1], 0)
        made.append(base + unit * (offset // step) + " " * (offset % step) + stripped.rstrip("\n"))
    return "\n".join(made)


@dataclass(frozen=True, slots=True)
class _Row:
    starts: bool
    """Whether a statement or a comment starts here: its indentation counts."""
    text: bool = False
    """Whether it begins inside a string."""


def _rows(code: str) -> list[_Row]:
    """Classify the lines of a text."""
    rows = [_Row(True)] * (code.count("\n") + 1)
    stack = [syntax.parse(code.encode("utf-8", "replace")).root_node]
    while stack:
        node = stack.pop()
        first, last = node.start_point.row, node.end_point.row
        if first == last:
            continue
        if node.type == "string":
            for row in range(first + 1, last + 1):
                rows[row] = _Row(False, text=not _is_docstring(node))
            continue
        if node.type in _BRACKETS:
            for row in range(first + 1, last + 1):
                rows[row] = _Row(False)
        elif node.type == "line_continuation":
            rows[last] = _Row(False)
        stack.extend(node.children)
    return rows


_BRACKETS = frozenset(
    {"argument_list", "parameters", "lambda_parameters", "list", "dictionary", "set", "tuple", "subscript"}
    | {"list_comprehension", "dictionary_comprehension", "set_comprehension", "generator_expression"}
    | {
        "parenthesized_expression",
        "concatenated_string",
        "import_from_statement",
        "with_clause",
        "type_parameter",
    }
    | {"list_pattern", "tuple_pattern", "case_pattern"}
)


def _is_docstring(string: Node) -> bool:
    statement = string.parent
    block = statement.parent if statement else None
    if not statement or statement.type != "expression_statement" or statement.child_count != 1:
        return False
    if not block or block.type not in ("block", "module"):
        return False
    first = next((child for child in block.named_children if child.type != "comment"), None)
    return first == statement


def _width(line: str) -> int:
    space = line[: len(line) - len(line.lstrip(" \t\f"))]
    return len(space.rpartition("\f")[2].expandtabs(_TAB))


def _step(widths: list[int]) -> int:
    """Return the code's own unit, in columns: the smallest step between the depths of its statements."""
    depths = sorted(set(widths))
    return min((deeper - one for one, deeper in pairwise(depths)), default=4)


def _next_width(lines: list[str], rows: list[_Row], number: int) -> int:
    """Return the depth that a comment line belongs to: that of the statement below, if it is not less deep."""
    width = _width(lines[number])
    for line, row in zip(lines[number + 1 :], rows[number + 1 :], strict=True):
        if row.starts and line.strip() and not line.lstrip().startswith("#"):
            return min(width, _width(line)) if _width(line) <= width else _width(line)
    return width
