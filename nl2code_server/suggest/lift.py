"""Code that stands inside a class or a function, made into a program that its examples can call."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..lang.examples import Example
from .program import DEFINITIONS, FUNCTIONS, bound, called_by, is_quiet, parse, uses

Function = ast.FunctionDef | ast.AsyncFunctionDef


def lifted(
    around: str, code: str, scope: Sequence[str], examples: Sequence[Example]
) -> tuple[str, tuple[Example, ...]] | None:
    """Return a program and its examples for `code` inside `around`, the outermost definition that `scope` names.

    None if the examples call that definition by name, so that it runs as it is, or if nothing of it can be called.
    """
    tree = parse(around)
    used = set().union(*(called_by(example) for example in examples))
    if tree is None or not tree.body or scope[0] in used:
        return None
    own = parse(code)
    # The body of a stub defines nothing that the examples know, its head does.
    names = {node.name for node in own.body if isinstance(node, DEFINITIONS)} if own else set()
    names = names if names & used else {scope[-1]}
    wanted = sorted(names & used)
    path = list(_path(tree.body, [name for name in scope if name not in names]))
    found = _definition(path[-1].body if path else tree.body, wanted[0]) if wanted else None
    if found is None or not path:
        return None
    if isinstance(path[-1], ast.ClassDef):
        return _method(path, found, examples) if isinstance(found, FUNCTIONS) else None
    return _nested(path, found, examples)


def trimmed(around: str, examples: Sequence[Example]) -> str:
    """Leave those methods of a class out that nobody calls: the sandbox may lack what they need."""
    tree = parse(around)
    outer = tree.body[-1] if tree and tree.body else None
    if tree is None or not isinstance(outer, ast.ClassDef):
        return around
    methods = {node.name: node for node in outer.body if isinstance(node, FUNCTIONS)}
    kept = {name for name in methods if name.startswith("__")}
    queue: list[ast.AST] = [node for node in outer.body if node not in methods.values()]
    queue += [methods[name] for name in kept]
    queue += [tree for example in examples for tree in (parse(example.call), parse(example.setup)) if tree]
    while queue:
        for name in _attributes(queue.pop()) & (methods.keys() - kept):
            kept.add(name)
            queue.append(methods[name])
    if len(kept) == len(methods):
        return around
    outer.body = [node for node in outer.body if not isinstance(node, FUNCTIONS) or node.name in kept]
    outer.body = outer.body or [ast.Pass()]
    return ast.unparse(tree)


def _attributes(tree: ast.AST) -> set[str]:
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return names | {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _path(body: Sequence[ast.stmt], names: Sequence[str]) -> Iterator[ast.ClassDef | Function]:
    """Yield the definitions that lie on the way to an inner place, outermost first."""
    for name in names:
        found = _definition(body, name)
        if found is None:
            return
        yield found
        body = found.body


def _definition(body: Sequence[ast.stmt], name: str) -> ast.ClassDef | Function | None:
    """Return the last definition of a name among statements, blocks such as `if` included."""
    found = None
    for statement in body:
        if isinstance(statement, DEFINITIONS):
            found = statement if statement.name == name else found
        else:
            inner = [child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.stmt)]
            found = _definition(inner, name) or found
    return found


def _method(
    path: Sequence[ast.ClassDef | Function], method: Function, examples: Sequence[Example]
) -> tuple[str, tuple[Example, ...]] | None:
    """Let examples that call a method like a function call it: on an instance, or without its `self`."""
    decorators = {ast.unparse(one) for one in method.decorator_list}
    if decorators - {"staticmethod", "classmethod"} or not all(isinstance(one, ast.ClassDef) for one in path):
        return None
    parameters = [*method.args.posonlyargs, *method.args.args]
    bound_to = parameters[0].arg if parameters and "staticmethod" not in decorators else ""
    if bound_to not in ("self", "cls"):
        bound_to = ""
    body = ast.Module(method.body, [])
    if not bound_to or bound_to not in uses(body):
        method.decorator_list = []
        if bound_to:
            _drop_first(method.args)
        return ast.unparse(method), tuple(examples)
    if bound_to == "cls" or not _made_of_nothing(path[-1]):
        return None
    owner = ".".join(one.name for one in path)
    return ast.unparse(path[0]), tuple(
        _on_instance(example, method.name, f"{owner}()") for example in examples
    )


def _drop_first(arguments: ast.arguments) -> None:
    (arguments.posonlyargs or arguments.args).pop(0)
    count = len(arguments.posonlyargs) + len(arguments.args)
    arguments.defaults = arguments.defaults[-count:] if count else []


def _made_of_nothing(owner: ast.ClassDef | Function) -> bool:
    """Tell whether a class can be called without arguments, as far as it says itself."""
    init = _definition(owner.body, "__init__")
    if init is None:
        fields = [node for node in owner.body if isinstance(node, ast.AnnAssign)]
        return not owner.decorator_list or all(field.value is not None for field in fields)
    if not isinstance(init, FUNCTIONS):
        return False
    given = init.args
    required = len(given.posonlyargs) + len(given.args) - len(given.defaults)
    return required <= 1 and None not in given.kw_defaults


def _on_instance(example: Example, name: str, instance: str) -> Example:
    tree = ast.parse(example.call, mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            node.func = ast.Attribute(ast.parse(instance, mode="eval").body, name, ast.Load())
    return replace(example, call=ast.unparse(tree))


def _nested(
    path: Sequence[ast.ClassDef | Function], inner: ast.ClassDef | Function, examples: Sequence[Example]
) -> tuple[str, tuple[Example, ...]] | None:
    """Take a nested function out with what it needs of the functions around it; None if that cannot be had."""
    statements: list[ast.stmt] = [inner]
    for function in reversed(path):
        if isinstance(function, ast.ClassDef):
            return None
        local = {arg.arg for arg in ast.walk(function.args) if isinstance(arg, ast.arg)} | bound(
            function.body
        )
        needed = _needed(function.body, statements)
        free = set().union(*(uses(one) for one in [*needed, *statements])) - bound([*needed, *statements])
        inside = {arg.arg for one in statements for arg in ast.walk(one) if isinstance(arg, ast.arg)}
        inside |= {
            node.id
            for one in statements
            for node in ast.walk(one)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        if free & (local - inside):
            return None
        statements = [*needed, *statements]
    return "\n".join(map(ast.unparse, statements)), tuple(examples)


def _needed(body: Sequence[ast.stmt], users: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Return the quiet statements that give `users` their names, transitively, in order."""
    providers = [one for one in body if one not in users and is_quiet(one)]
    taken: list[ast.stmt] = []
    wanted = set().union(*(uses(one) for one in users))
    grown = True
    while grown:
        more = [one for one in providers if one not in taken and bound([one]) & wanted]
        taken += more
        wanted |= set().union(*(uses(one) for one in more))
        grown = bool(more)
    return [one for one in providers if one in taken]
