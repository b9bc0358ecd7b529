"""The import statements of a file as values, and those that nobody provides."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from .syntax import language, parse

if TYPE_CHECKING:
    from tree_sitter import Node, Query

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


@lru_cache(maxsize=96)
def imports(snapshot: Snapshot) -> tuple[Import, ...]:
    """Return the imports of a file in order, those inside functions and conditions included."""
    return tuple(_imports(snapshot.tree.root_node))


_MANY = 4


def unused(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the names that a file imports and has no use for yet; none if there are many, as where a package
    gathers what it offers.

    Who imports before writing tells what the code is to use.
    """
    found = imports(snapshot)
    names = [name for one in found if one.module != "__future__" and not one.guarded for name in _bound(one)]
    rest = "\n".join(_without_comment(snapshot, row) for row in _rows_besides(snapshot))
    waiting = [name for name in dict.fromkeys(names) if not re.search(rf"\b{re.escape(name)}\b", rest)]
    return tuple(waiting) if len(waiting) <= _MANY else ()


def _bound(one: Import) -> list[str]:
    return [name for _, name in one.names if name != "*"] if one.names else [one.bound]


def _rows_besides(snapshot: Snapshot) -> Iterator[int]:
    """Yield the rows that hold no import of the module's own."""
    taken = {
        row
        for node in snapshot.tree.root_node.named_children
        if node.type in ("import_statement", "import_from_statement", "future_import_statement")
        for row in range(node.start_point.row, node.end_point.row + 1)
    }
    yield from (row for row in range(snapshot.top, len(snapshot.lines)) if row not in taken)


def _without_comment(snapshot: Snapshot, row: int) -> str:
    text = snapshot.line(row).decode("utf-8", "replace")
    return "" if text.lstrip().startswith("#") else text


def unknown_imports(before: Snapshot, after: Snapshot, known: Collection[str]) -> tuple[str, ...]:
    """Return, sorted, the packages that the second text imports, the first did not, and nobody knows.

    Relative and guarded imports are left out, and so is what the file imports already: it may well know better.
    """
    old = {one.top for one in imports(before)}
    new = {one.top for one in imports(after) if one.top and not one.guarded}
    return tuple(sorted(name for name in new - old if name not in known))


def missing_members(before: Snapshot, after: Snapshot, modules: Mapping[str, Snapshot]) -> tuple[str, ...]:
    """Return, sorted, what the second text takes from modules of the project that do not have it, and the first not.

    A module has what its text names anywhere: some names are made at run time.
    """
    return tuple(sorted(_missing(after, modules) - _missing(before, modules)))


def _missing(snapshot: Snapshot, modules: Mapping[str, Snapshot]) -> set[str]:
    taken: set[tuple[str, str]] = set()
    bound: dict[str, str] = {}
    for one in imports(snapshot):
        joint = "" if one.module.endswith(".") else "."
        if one.module in modules:
            taken |= {(one.module, member) for member, _ in one.names if member != "*"}
            if not one.names and (one.bound != one.top or one.bound == one.module):
                bound[one.bound] = one.module
        inner = {name: f"{one.module}{joint}{member}" for member, name in one.names}
        bound |= {name: module for name, module in inner.items() if module in modules}
        taken -= {(one.module, module.rpartition(".")[2]) for module in inner.values() if module in modules}
    if bound:
        taken |= set(_attributes(snapshot.tree.root_node, bound))
    return {f"{module}.{member}" for module, member in taken if not _names(modules[module], member)}


def _attributes(root: Node, bound: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the attributes of modules that are read, with the module's name."""
    found: list[tuple[str, str]] = []
    shadowed: set[str] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        stack.extend(node.named_children)
        if node.type == "attribute":
            value, attribute = node.child_by_field_name("object"), node.child_by_field_name("attribute")
            if value is not None and value.type == "identifier" and _text(value) in bound:
                found.append((_text(value), _text(attribute)))
        elif node.type == "identifier" and _text(node) in bound and _binds(node):
            shadowed.add(_text(node))
    yield from ((bound[name], member) for name, member in found if name not in shadowed)


_BINDING = re.compile(r".*parameters?\Z|(?:pattern_list|tuple_pattern|as_pattern_target|named_expression)\Z")


def _binds(node: Node) -> bool:
    """Tell whether an identifier is a parameter or is assigned to."""
    parent = node.parent
    if parent is None:
        return False
    return bool(_BINDING.match(parent.type)) or parent.child_by_field_name("left") == node


def _names(module: Snapshot, member: str) -> bool:
    source = module.source
    dynamic = b"__getattr__" in source or b"globals()" in source or b"import *" in source
    return (
        dynamic
        or member.startswith("__")
        or re.search(rb"\b%b\b" % re.escape(member.encode()), source) is not None
    )


def needed(
    lines: Iterable[str], code: str, project: Mapping[str, str], importable: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the import lines of new code, repaired: without what it does not use, project names from their place.

    `project` is as in `names.missing_imports`; what comes from a package in `importable` that the project's name does
    not come from is left alone, and so are lines that are not understood.
    """
    kept: list[str] = []
    for line in lines:
        found = list(_imports(parse(line.encode("utf-8", "replace")).root_node))
        if not found or any(one.top == "__future__" or ("*", "*") in one.names for one in found):
            kept.append(line)
            continue
        for one in found:
            kept += _repaired(one, code, project, importable)
    return tuple(dict.fromkeys(kept))


def _repaired(
    one: Import, code: str, project: Mapping[str, str], importable: Collection[str]
) -> Iterator[str]:
    if not one.names:
        if _used(one.bound, code):
            alias = f" as {one.bound}" if one.bound != one.top else ""
            yield f"import {one.module}{alias}"
        return
    stay = []
    for member, bound in one.names:
        if not _used(bound, code):
            continue
        line = project.get(member, "") if member == bound else ""
        if line.startswith("from ") and (one.top not in importable or line.split()[1].startswith(one.top)):
            yield line
        else:
            stay.append(member if member == bound else f"{member} as {bound}")
    if stay:
        yield f"from {one.module} import {', '.join(stay)}"


def _used(name: str, code: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(name)}\b", code) is not None


def _imports(root: Node) -> Iterator[Import]:
    from tree_sitter import QueryCursor

    # A query: walking a long file node by node takes a hundred times as long.
    nodes = QueryCursor(_query()).captures(root).get("found", [])
    for node in sorted(nodes, key=lambda node: node.start_byte):
        guarded = _guarded(node)
        if node.type == "import_statement":
            yield from _plain(node, guarded)
        else:
            yield _from(node, guarded)


@cache
def _query() -> Query:
    from tree_sitter import Query

    return Query(language(), "[(import_statement) (import_from_statement)] @found")


def _guarded(node: Node) -> bool:
    around = node.parent
    while around is not None:
        if _guards(around):
            return True
        around = around.parent
    return False


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
