"""The import statements of a file as values, and those that nobody provides."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node

    from .document import Snapshot


@dataclass(frozen=True, slots=True)
class Import:
    """One module named by an import statement; `import a, b` gives two."""

    module: str
    """As written, dots in front included: `shop.prices`, `.helpers`, `..`."""
    names: tuple[tuple[str, str], ...] = ()
    """Member and the name that it gets here, of `from module import …`; a star is a member."""
    bound: str = ""
    """The name that `import module` gives here: that of `as`, else the first part of the module's."""
    row: int = 0
    guarded: bool = False
    """Whether it may fail: in a `try` with handlers, or for type checkers only."""

    @property
    def top(self) -> str:
        """The top-level package; empty for a relative import."""
        return self.module.partition(".")[0]


def imports(snapshot: Snapshot) -> list[Import]:
    """Return the imports of a file in order, those inside functions and conditions included."""
    return list(_imports(snapshot.tree.root_node))


def unknown_imports(before: Snapshot, after: Snapshot, known: Collection[str]) -> tuple[str, ...]:
    """Return, sorted, the packages that the second text imports, the first did not, and nobody knows.

    Relative and guarded imports are left out, and so is what the file imports already: it may well know better.
    """
    old = {one.top for one in imports(before)}
    new = {one.top for one in imports(after) if one.top and not one.guarded}
    return tuple(sorted(name for name in new - old if name not in known))


def _imports(root: Node) -> Iterator[Import]:
    stack = [(root, False)]
    while stack:
        node, guarded = stack.pop()
        if node.type == "import_statement":
            yield from _plain(node, guarded)
        elif node.type == "import_from_statement":
            yield _from(node, guarded)
        elif node.type not in _LEAVES:
            guards = guarded or _guards(node)
            stack.extend((child, guards) for child in reversed(node.named_children))


_LEAVES = frozenset({"expression_statement", "comment", "return_statement", "assert_statement", "parameters"})


def _guards(node: Node) -> bool:
    if node.type == "try_statement":
        return any(child.type in ("except_clause", "except_group_clause") for child in node.children)
    if node.type == "if_statement":
        condition = node.child_by_field_name("condition")
        return condition is not None and b"TYPE_CHECKING" in (condition.text or b"")
    return False


def _plain(node: Node, guarded: bool) -> Iterator[Import]:
    for child in node.children_by_field_name("name"):
        module, alias = _aliased(child)
        yield Import(module, (), alias or module.partition(".")[0], node.start_point.row, guarded)


def _from(node: Node, guarded: bool) -> Import:
    module = node.child_by_field_name("module_name")
    pairs = [_aliased(child) for child in node.children_by_field_name("name")]
    names = [(member, alias or member) for member, alias in pairs]
    if any(child.type == "wildcard_import" for child in node.children):
        names = [("*", "*")]
    return Import(_text(module), tuple(names), "", node.start_point.row, guarded)


def _aliased(node: Node) -> tuple[str, str]:
    if node.type == "aliased_import":
        return _text(node.child_by_field_name("name")), _text(node.child_by_field_name("alias"))
    return _text(node), ""


def _text(node: Node | None) -> str:
    text = (node.text or b"").decode("utf-8", "replace") if node else ""
    return "".join(text.split())
