"""Generated code as a program of its own: the definition it became part of, and what that needs from its file."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ..lang.examples import UNIT, Example

if TYPE_CHECKING:
    from tree_sitter import Node

    from ..lang.document import Snapshot

_MAX_STATEMENT = 200_000
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS = (*FUNCTIONS, ast.ClassDef)
_BINDING = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Pass, *DEFINITIONS)


class Program(NamedTuple):
    """Code that can be run apart from its file."""

    code: str
    context: str
    """What it needs from its file and from the project, to be run before it."""
    examples: tuple[Example, ...]
    """The examples as they call it there."""


def runnable(
    after: Snapshot,
    code: str,
    scope: Sequence[str] = (),
    examples: Sequence[Example] = (),
    modules: Mapping[str, Snapshot] | None = None,
) -> Program:
    """Return what to run for `code` that stands in `after`, the file as it would be.

    In a stub, a method or a body, what runs is the outermost definition around it, named by `scope`; or the function
    alone that the examples call. `modules` are those that the file can import from its project.
    """
    from .inline import inlined
    from .lift import lifted, trimmed

    unit, examples = code, _named(tuple(examples), code, scope)
    if scope:
        around = [_text(node) for node in after.tree.root_node.named_children if scope[0] in _defines(node)]
        last = code.strip().rsplit("\n", 1)[-1].strip()
        unit = next((text for text in reversed(around) if last in text), code)
        unit, examples = lifted(unit, code, scope, examples) or (trimmed(unit, examples), examples)
    stars = [_text(node) for node in after.tree.root_node.named_children if _is_star(node)] if modules else []
    context = "\n".join([*stars, needed_context(after, unit, examples)])
    users = [unit, *(source for one in examples for source in (one.call, one.expected, one.setup))]
    return Program(unit, inlined(context, users, modules or {}), examples)


def _named(examples: tuple[Example, ...], code: str, scope: Sequence[str]) -> tuple[Example, ...]:
    """Put the name of the function into examples that do not say it; without a function they are left out."""
    if not any(UNIT in example.call for example in examples):
        return examples
    tree = parse(code)
    functions = [node.name for node in tree.body if isinstance(node, FUNCTIONS)] if tree else []
    used = set().union(*(uses(node) for node in tree.body)) if tree else set()
    main = [name for name in functions if name not in used] or functions or list(scope[-1:])
    if not main:
        return tuple(example for example in examples if UNIT not in example.call)
    return tuple(replace(example, call=example.call.replace(UNIT, main[-1])) for example in examples)


def needed_context(snapshot: Snapshot, code: str, examples: Iterable[Example] = ()) -> str:
    """Return the imports, constants and definitions of the file that the code refers to, transitively, in file order.

    Annotations do not count, and statements that do something are left out. Works in a file that does not parse.
    """
    tree = parse(code)
    if tree is None:
        return ""
    wanted = uses(tree)
    for example in examples:
        for source in (example.call, example.expected, example.setup):
            wanted |= uses(parse(source) or tree)
    known = bound(tree.body)
    providers: dict[str, list[int]] = {}
    nodes = snapshot.tree.root_node.named_children
    for index, node in enumerate(nodes):
        for name in _defines(node) - known:
            providers.setdefault(name, []).append(index)

    taken: dict[int, str] = {}
    queue = sorted(wanted)
    while queue:
        for index in providers.pop(queue.pop(), ()):
            if index in taken:
                continue
            taken[index] = _text(nodes[index])
            inner = parse(taken[index])
            queue.extend(uses(inner) if inner else ())
    return "\n".join(taken[index] for index in sorted(taken))


def parse(source: str) -> ast.Module | None:
    """Parse, without a word about what is odd in code that is not ours."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def uses(tree: ast.AST) -> set[str]:
    """Return the names that are read, those in annotations of functions left out."""
    names: set[str] = set()
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            names.add(node.id)
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns"):
                continue
            children = value if isinstance(value, list) else [value]
            stack.extend(child for child in children if isinstance(child, ast.AST))
    return names


def called_by(example: Example) -> list[str]:
    """Return the plain names that an example calls, the outermost first."""
    tree = parse(example.call)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)] if tree else []
    names = [node.func.id for node in calls if isinstance(node.func, ast.Name)]
    return [name for name in names if name != UNIT]


def bound(body: Sequence[ast.stmt]) -> set[str]:
    """Return the names that statements bind, those inside functions and classes left out."""
    names: set[str] = set()
    for statement in body:
        if isinstance(statement, DEFINITIONS):
            names.add(statement.name)
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
        else:
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    names.add(node.id)
                elif isinstance(node, (ast.Import, ast.ImportFrom, *DEFINITIONS)):
                    names |= bound([node])
    return names


def _defines(node: Node) -> set[str]:
    """Return the names that a top-level statement defines; none for one that does something besides."""
    inner = node.child_by_field_name("definition") if node.type == "decorated_definition" else node
    if inner is not None and inner.type in ("function_definition", "class_definition"):
        name = inner.child_by_field_name("name")
        return {_text(name)} if name is not None else set()
    if node.type == "comment" or node.end_byte - node.start_byte > _MAX_STATEMENT:
        return set()
    tree = parse(_text(node))
    return bound(tree.body) if tree is not None and all(map(is_quiet, tree.body)) else set()


def _is_star(node: Node) -> bool:
    return node.type == "import_from_statement" and any(
        c.type == "wildcard_import" for c in node.named_children
    )


def is_quiet(statement: ast.stmt) -> bool:
    """Tell whether a statement does nothing but bind names."""
    stack = [statement]
    while stack:
        inner = stack.pop()
        if isinstance(inner, (ast.If, ast.Try)):
            stack += [*inner.body, *inner.orelse]
        if isinstance(inner, ast.Try):
            stack += [*inner.finalbody, *(last for handler in inner.handlers for last in handler.body)]
        if not isinstance(inner, (ast.If, ast.Try, *_BINDING)):
            return False
    return True


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
