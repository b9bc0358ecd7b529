"""Attributes that new code reads of the project's own objects and that their classes do not have."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from .document import Snapshot

_EXCEPTION = frozenset(dir(OSError)) | {"add_note", "code", "errno"}
# What the usual bases bring along. A class with any other base may have anything.
_BASES: dict[str, frozenset[str]] = {
    "object": frozenset(),
    "ABC": frozenset(),
    "Protocol": frozenset(),
    "Generic": frozenset(),
    "NamedTuple": frozenset({"_asdict", "_replace", "_fields", "count", "index"}),
    "Enum": frozenset({"name", "value"}),
    "IntEnum": frozenset({"name", "value", *dir(int)}),
    "StrEnum": frozenset({"name", "value", *dir(str)}),
    "Exception": _EXCEPTION,
    "ValueError": _EXCEPTION,
    "KeyError": _EXCEPTION,
    "LookupError": _EXCEPTION,
    "RuntimeError": _EXCEPTION,
    "OSError": _EXCEPTION,
}
_GIVEN = frozenset(dir(object)) | {"__dict__", "__name__", "__qualname__", "__module__", "__annotations__"}
_OF_CLASSES = frozenset(dir(type)) | {
    "__members__",
    "__dataclass_fields__",
    "_fields",
    "_make",
    "_field_defaults",
}
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class _Class:
    bases: tuple[str, ...]
    members: frozenset[str]


def missing_attributes(before: str, after: str, modules: Iterable[Snapshot]) -> tuple[str, ...]:
    """Return, sorted, what the second text reads of objects whose class lacks it, and the first does not.

    Whose object a variable holds is told by `self`, by an annotation, or by a name that is a class's own (`order`)
    and is bound by a parameter or a loop; a class may be read by its name as well. Where anything is uncertain,
    nothing is said.
    """
    tree = _tree(after)
    if tree is None or not (known := _known(tree, modules)):
        return ()
    found = set(_lacking(tree, known))
    old = _tree(before) if found else None
    return tuple(sorted(found - set(_lacking(old, known)) if old else found))


def offered_instead(missing: str, source: str, modules: Iterable[Snapshot]) -> tuple[str, ...]:
    """Return, sorted, what the class of `Class.attribute` does have for others to use."""
    tree = _tree(source)
    known = _known(tree, modules) if tree is not None else {}
    members = known.get(missing.partition(".")[0], frozenset())
    return tuple(sorted(name for name in members if not name.startswith("_")))


def _known(tree: ast.Module, modules: Iterable[Snapshot]) -> dict[str, frozenset[str]]:
    """Return the members of the classes of which all are known."""
    classes: dict[str, _Class] = {}
    for module in modules:
        classes |= _classes_of(module)
    classes |= dict(_classes(tree))
    return {name: members for name in classes if (members := _members(name, classes)) is not None}


@lru_cache(maxsize=96)
def _classes_of(module: Snapshot) -> Mapping[str, _Class]:
    tree = _tree(module.text)
    return dict(_classes(tree)) if tree is not None else {}


def _tree(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _classes(tree: ast.Module) -> Iterator[tuple[str, _Class]]:
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        bases = tuple(_last(base.value if isinstance(base, ast.Subscript) else base) for base in node.bases)
        decorators = {_last(one.func if isinstance(one, ast.Call) else one) for one in node.decorator_list}
        if node.keywords or decorators - {"dataclass", "total_ordering", "final", "runtime_checkable"}:
            bases = (*bases, "?")
        yield node.name, _Class(bases, frozenset(_own_members(node)))


def _own_members(node: ast.ClassDef) -> Iterator[str]:
    locals_ = {
        id(name)
        for function in ast.walk(node)
        if isinstance(function, _Function)
        for name in ast.walk(function)
        if isinstance(name, ast.Name)
    }
    for inner in ast.walk(node):
        if inner is node or id(inner) in locals_:
            continue
        if isinstance(inner, _Function | ast.ClassDef):
            yield inner.name
        elif isinstance(inner, ast.Attribute) and not isinstance(inner.ctx, ast.Load):
            yield inner.attr
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            yield inner.id
        elif isinstance(inner, ast.Constant) and isinstance(inner.value, str) and inner.value.isidentifier():
            yield inner.value  # of `setattr`, `__slots__` and their like


def _members(name: str, classes: Mapping[str, _Class], depth: int = 0) -> frozenset[str] | None:
    """Return all members of a class; None if they cannot be known."""
    one = classes[name]
    members = one.members | _GIVEN
    if depth > 8 or {"__getattr__", "__getattribute__", "setattr"} & one.members:
        return None
    for base in one.bases:
        inherited = _BASES.get(base)
        if inherited is None and base in classes and base != name:
            inherited = _members(base, classes, depth + 1)
        if inherited is None:
            return None
        members |= inherited
    return members


def _lacking(tree: ast.Module, known: Mapping[str, frozenset[str]]) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, _Function):
                    yield from _in_function(inner, known, node.name if node.name in known else "")
        elif isinstance(node, _Function):
            yield from _in_function(node, known, "")


def _in_function(function: _Function, known: Mapping[str, frozenset[str]], owner: str) -> Iterator[str]:
    holds = dict(_holders(function, known))
    decorators = {_last(one) for one in function.decorator_list}
    parameters = [*function.args.posonlyargs, *function.args.args]
    if owner and parameters and not decorators & {"classmethod", "staticmethod"}:
        holds[parameters[0].arg] = owner
    bound = {argument.arg for argument in ast.walk(function) if isinstance(argument, ast.arg)}
    bound |= {name.id for name in ast.walk(function) if isinstance(name, ast.Name) and not _is_read(name)}
    for node in ast.walk(function):
        if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and _is_read(node)):
            continue
        name = node.value.id
        kind = holds.get(name, "")
        if not kind and name in known and name not in bound:  # of the class itself
            kind = "" if node.attr in _OF_CLASSES else name
        if kind and node.attr not in known[kind]:
            yield f"{kind}.{node.attr}"


def _is_read(node: ast.Name | ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Load)


def _holders(function: _Function, known: Mapping[str, frozenset[str]]) -> Iterator[tuple[str, str]]:
    """Yield the variables that hold an object of a class, as far as can be told."""
    by_name = {_snake(name): name for name in known}
    assigned = {
        name.id for node in ast.walk(function) for target in _targets(node) for name in _names(target)
    }
    for node in ast.walk(function):
        if isinstance(node, ast.arg) and node.arg not in assigned:
            if node.annotation is None:
                kind = by_name.get(node.arg, "")
            else:
                said = set(re.findall(r"[A-Za-z_]\w*", ast.unparse(node.annotation)))
                kind = said.pop() if len(said) == 1 and said <= known.keys() else ""
            if kind:
                yield node.arg, kind
        elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension) and isinstance(
            node.target, ast.Name
        ):
            name = node.target.id
            if name in by_name and name not in assigned:
                yield name, by_name[name]


def _targets(node: ast.AST) -> Iterator[ast.expr]:
    """Yield what a statement binds, loops and parameters apart."""
    if isinstance(node, ast.Assign):
        yield from node.targets
    elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr):
        yield node.target
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        yield node.optional_vars
    elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension) and not isinstance(
        node.target, ast.Name
    ):
        yield node.target


def _names(target: ast.expr) -> Iterator[ast.Name]:
    yield from (
        node for node in ast.walk(target) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    )


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else "?"
