"""The top level of a syntax tree as plain values, and the rows that belong to strings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node, Tree

_DEFINITIONS = ("function_definition", "class_definition")


@dataclass(frozen=True, slots=True)
class Span:
    """One statement; rows are 0-based and inclusive. `name` is empty unless it defines something."""

    kind: str
    name: str
    start_row: int
    """Where it begins, decorators included."""
    head_row: int
    """Where its `def` or `class` stands."""
    body_row: int
    """First row of its body; the head's row for what has none."""
    end_row: int


def top_level(tree: Tree) -> list[Span]:
    """Return the statements at the top level in order, comments left out."""
    return [_span(node) for node in tree.root_node.named_children if node.type != "comment"]


def rows_inside_strings(tree: Tree) -> set[int]:
    """Return the rows that begin inside a string: their indentation is text, not structure."""
    rows: set[int] = set()
    stack = [tree.root_node]
    while stack:
        node = stack.pop()
        if node.start_point.row == node.end_point.row:
            continue
        if node.type == "string":
            rows.update(range(node.start_point.row + 1, node.end_point.row + 1))
        else:
            stack.extend(node.children)
    return rows


def _span(node: Node) -> Span:
    definition = node.child_by_field_name("definition") if node.type == "decorated_definition" else node
    assert definition is not None  # the grammar gives every decorated definition one
    name = body = None
    if definition.type in _DEFINITIONS:
        name = definition.child_by_field_name("name")
        body = definition.child_by_field_name("body")
    head_row = definition.start_point.row
    end = node.end_point
    return Span(
        kind=definition.type,
        name=name.text.decode("utf-8", "replace") if name is not None and name.text else "",
        start_row=node.start_point.row,
        head_row=head_row,
        body_row=body.start_point.row if body is not None else head_row,
        end_row=end.row if end.column or end.row == node.start_point.row else end.row - 1,
    )
