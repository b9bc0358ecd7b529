"""What a module offers, in short: heads, first docstring lines, fields, constants."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tree_sitter import Node

    from .document import Snapshot

SymbolKind = Literal["function", "class", "constant"]

_LONGEST_VALUE = 72
_LONGEST_SCHEMA = 600
_LONGEST_DOC = 110
_SECRET = re.compile(r"key|token|secret|passw|credential|auth", re.IGNORECASE)
_TABLE = re.compile(r"\bcreate\s+table\b", re.IGNORECASE)
_CALLED = re.compile(r"(?:async )?def (\w+\(.*\))(?: ->.*)?: \.\.\.\Z")
_RAISED = re.compile(r"class \w+\([^)]*(?:Error|Exception|Warning)\b")
_KEPT_DECORATORS = re.compile(
    r"@(?:[\w.]+\.)?(?:dataclass|property|cached_property|classmethod|staticmethod|abstractmethod|overload"
    r"|contextmanager|asynccontextmanager|setter)\b"
)


@dataclass(frozen=True, slots=True)
class Symbol:
    """One public name of a module."""

    name: str
    kind: SymbolKind
    text: str
    """What there is to know to use it, as Python, line feeds, four-space indentation."""
    brief: str
    """The same on one line."""
    uses: frozenset[str] = frozenset()
    """Names in its annotations and fields."""
    row: int = 0

    @property
    def head(self) -> str:
        """How it is called, or its name: `format_cents(cents)`, `NotFound`."""
        match = _CALLED.match(self.brief)
        return match[1] if match else self.name

    @property
    def raised(self) -> bool:
        """Whether it is an exception, as far as its bases' names tell."""
        return bool(_RAISED.match(self.brief))


@lru_cache(maxsize=96)
def symbols(snapshot: Snapshot) -> tuple[Symbol, ...]:
    """Return what a module defines at its top level, in order; of a name defined twice, the first."""
    found: dict[str, Symbol] = {}
    for node in _statements(snapshot.tree.root_node):
        for symbol in _symbols(node):
            found.setdefault(symbol.name, symbol)
    return tuple(found.values())


def members(definition: Node, *, private: bool = False) -> list[str]:
    """Return the body of a class in short: fields, what `__init__` sets, heads of methods, public or all."""
    body = definition.child_by_field_name("body")
    lines: list[str] = []
    for node in _statements(body) if body is not None else ():
        inner = _definition(node)
        if inner.type == "function_definition":
            lines += _method(node, inner, private=private)
        elif inner.type == "class_definition":
            lines.append(f"{_head(inner)} ...")
        elif (field := _assignment(node)) and (private or not field.name.startswith("_")):
            lines.append(field.brief)
    return lines


def docstring(definition: Node) -> str:
    """Return the first line of a definition's docstring; empty without one."""
    body = definition.child_by_field_name("body")
    first = next((child for child in body.named_children if child.type != "comment"), None) if body else None
    if first is None or first.type != "expression_statement" or not first.named_children:
        return ""
    string = first.named_children[0]
    if string.type != "string":
        return ""
    text = "".join(_text(child) for child in string.children if child.type == "string_content").strip()
    line = text.split("\n", 1)[0].strip()
    return line if len(line) <= _LONGEST_DOC else line[:_LONGEST_DOC].rsplit(" ", 1)[0] + " …"


def _statements(block: Node) -> Iterator[Node]:
    """Yield statements, those of plain conditions and of `try` included: a version check may define things."""
    for node in block.named_children:
        if node.type in ("if_statement", "try_statement"):
            for inner in node.named_children:
                if inner.type == "block":
                    yield from _statements(inner)
        elif node.type != "comment":
            yield node


def _symbols(node: Node) -> Iterator[Symbol]:
    inner = _definition(node)
    if inner.type in ("function_definition", "class_definition"):
        name = inner.child_by_field_name("name")
        if name is not None and _text(name):
            yield _function(node, inner) if inner.type == "function_definition" else _class(node, inner)
    elif constant := _assignment(node):
        yield constant


def _function(node: Node, inner: Node) -> Symbol:
    head, doc = _head(inner), docstring(inner)
    lead = "".join(f"{line}\n" for line in _decorators(node))
    text = f'{lead}{head}\n    """{doc}"""' if doc else f"{lead}{head} {_only_return(inner)}"
    return Symbol(_name(inner), "function", text, f"{head} ...", _annotated(inner), inner.start_point.row)


def _class(node: Node, inner: Node) -> Symbol:
    head, doc = _head(inner), docstring(inner)
    lines = [*_decorators(node), head]
    if doc:
        lines.append(f'    """{doc}"""')
    lines += [f"    {line}" for line in members(inner)]
    if lines[-1] == head:
        lines[-1] += " ..."
    uses = frozenset(re.findall(r"[A-Za-z_]\w*", "\n".join(lines)))
    return Symbol(_name(inner), "class", "\n".join(lines), f"{head} ...", uses, inner.start_point.row)


def _method(node: Node, inner: Node, *, private: bool) -> list[str]:
    name = _name(inner)
    if name == "__init__":
        return _fields_set(inner, private=private)
    if name.startswith("_") and not private:
        return []
    doc = docstring(inner)
    said = f'"""{doc}"""' if doc else _only_return(inner)
    return [*_decorators(node), f"{_head(inner)} {said}"]


def _only_return(function: Node) -> str:
    """Return the body where it is one short `return`, which says more than a docstring; else an ellipsis."""
    body = function.child_by_field_name("body")
    if (
        body is not None
        and len(body.named_children) == 1
        and body.named_children[0].type == "return_statement"
    ):
        line = _one_line(_text(body.named_children[0]))
        if len(line) <= _LONGEST_VALUE and "#" not in line:
            return line
    return "..."


def _fields_set(init: Node, *, private: bool) -> list[str]:
    """Return `__init__` with what it sets on `self`."""
    lines = [_head(init)]
    body = init.child_by_field_name("body")
    for node in _statements(body) if body is not None else ():
        assignment = node.named_children[0] if node.named_children else node
        if node.type != "expression_statement" or assignment.type != "assignment":
            continue
        target = _text(assignment.child_by_field_name("left"))
        if target.startswith("self.") and (private or not target.startswith("self._")):
            line = _one_line(_text(assignment))
            lines.append(f"    {line if len(line) <= _LONGEST_VALUE else f'{target} = ...'}")
    if len(lines) == 1:
        lines[0] += " ..."
    return lines


def _assignment(node: Node) -> Symbol | None:
    """Return a constant or a field: a name with a value, an annotation, or both."""
    if node.type != "expression_statement" or not node.named_children:
        return None
    assignment = node.named_children[0]
    target = assignment.child_by_field_name("left") if assignment.type == "assignment" else None
    if target is None or target.type != "identifier" or _text(target).startswith("__"):
        return None
    name, text = _text(target), _text(assignment)
    annotation, value = assignment.child_by_field_name("type"), assignment.child_by_field_name("right")
    line = _one_line(text)
    if value is not None and (
        len(line) > _LONGEST_VALUE or (_SECRET.search(name) and value.type == "string")
    ):
        line = f"{name}: {_text(annotation)} = ..." if annotation is not None else f"{name} = ..."
    full = text if _TABLE.search(text) and len(text) <= _LONGEST_SCHEMA else line
    uses = (
        frozenset(re.findall(r"[A-Za-z_]\w*", _text(annotation))) if annotation is not None else frozenset()
    )
    return Symbol(name, "constant", full, line, uses, node.start_point.row)


def _definition(node: Node) -> Node:
    inner = node.child_by_field_name("definition") if node.type == "decorated_definition" else node
    return inner if inner is not None else node


def _decorators(node: Node) -> list[str]:
    if node.type != "decorated_definition":
        return []
    lines = [_one_line(_text(child)) for child in node.children if child.type == "decorator"]
    return [line for line in lines if _KEPT_DECORATORS.match(line)]


def _head(definition: Node) -> str:
    """Return `def …:` or `class …:` on one line."""
    body = definition.child_by_field_name("body")
    source = definition.text or b""
    end = body.start_byte - definition.start_byte if body is not None else len(source)
    head = _uncommented(source[:end].decode("utf-8", "replace")).rstrip()
    return _one_line(head.rstrip(":").rstrip()) + ":"


def _uncommented(text: str) -> str:
    return re.sub(r"(?m)\s#[^\n\"']*$", "", text)


def _annotated(function: Node) -> frozenset[str]:
    found: set[str] = set()
    for field in ("parameters", "return_type"):
        part = function.child_by_field_name(field)
        if part is not None:
            found |= set(re.findall(r"[A-Za-z_]\w*", _text(part)))
    return frozenset(found)


def _name(definition: Node) -> str:
    name = definition.child_by_field_name("name")
    return _text(name) if name is not None else ""


def _one_line(text: str) -> str:
    line = re.sub(r"\s+", " ", text)
    return re.sub(r",? (?=[)\]}])|(?<=[(\[{]) ", "", line)


def _text(node: Node | None) -> str:
    return (node.text or b"").decode("utf-8", "replace").replace("\r\n", "\n") if node is not None else ""
