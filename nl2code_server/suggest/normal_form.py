"""When are two pieces of code the same program? When they differ in layout, comments, docstrings and local names."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .program import FUNCTIONS, parse


def normal_form(code: str) -> str:
    """Return a text that is equal for programs that are the same; the code itself if it does not parse.

    The parameters of an outermost function keep their names, because a caller may use them.
    """
    # A block around it makes `return` and a bare method parse wherever the unit stands.
    tree = parse(f"if True:\n{_indented(code)}")
    if tree is None:
        return code
    try:
        for node in ast.walk(tree):
            _strip(node)
        for function in _outermost(tree):
            _rename_locals(function)
        return ast.dump(tree)
    except RecursionError:
        return code


def _indented(code: str) -> str:
    return "\n".join(f" {line}" if line.strip() else line for line in code.split("\n"))


def _strip(node: ast.AST) -> None:
    """Take docstrings and the annotations of functions off."""
    body = getattr(node, "body", None)
    if isinstance(body, list) and len(body) > 1 and _is_text(body[0]):
        del body[0]
    if isinstance(node, FUNCTIONS):
        node.returns = None
    if isinstance(node, ast.arg):
        node.annotation = None


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _outermost(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FUNCTIONS):
            yield child
        else:
            yield from _outermost(child)


def _rename_locals(function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    """Number the local names of a function, and of what is inside it, by their first appearance."""
    inside = [node for node in ast.walk(function) if node is not function]
    own = {arg.arg for arg in ast.walk(function.args) if isinstance(arg, ast.arg)}
    outer = {name for node in inside if isinstance(node, (ast.Global, ast.Nonlocal)) for name in node.names}
    names: dict[str, str] = {}
    for node in inside:
        name = _binds(node)
        if name and name not in own | outer:
            names.setdefault(name, f"_{len(names)}")
    for node in inside:
        if isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
        elif isinstance(node, ast.arg):
            node.arg = names.get(node.arg, node.arg)
        elif isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.ExceptHandler)) and node.name:
            node.name = names.get(node.name, node.name)


def _binds(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id if isinstance(node.ctx, ast.Store) else ""
    if isinstance(node, ast.arg):
        return node.arg
    if isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.ExceptHandler)):
        return node.name or ""
    return ""
