"""Which Python a project supports at the least, and what of new code is newer than that."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from functools import lru_cache

Version = tuple[int, int]

# Members of the standard library that models like to use; syntax is found in the tree.
_LIBRARY: dict[str, dict[str, Version]] = {
    "asyncio": {"TaskGroup": (3, 11), "timeout": (3, 11), "to_thread": (3, 9)},
    "datetime": {"UTC": (3, 11)},
    "enum": {"StrEnum": (3, 11)},
    "functools": {"cache": (3, 9)},
    "itertools": {"pairwise": (3, 10), "batched": (3, 12)},
    "math": {"lcm": (3, 9)},
    "typing": {
        "Annotated": (3, 9), "TypeAlias": (3, 10), "ParamSpec": (3, 10), "Self": (3, 11), "Never": (3, 11),
        "assert_never": (3, 11), "LiteralString": (3, 11), "override": (3, 12),
    },
}  # fmt: skip
_MODULES: dict[str, Version] = {"graphlib": (3, 9), "zoneinfo": (3, 9), "tomllib": (3, 11)}
_METHODS: dict[str, Version] = {"removeprefix": (3, 9), "removesuffix": (3, 9)}
_GENERIC = frozenset({"dict", "frozenset", "list", "set", "tuple", "type"})
_OLDEST = (3, 0)


def lowest(specifier: str) -> Version | None:
    """Return the oldest Python that a version specifier (`>=3.9,<4`, `^3.10`, `==3.11.*`) lets in, if it says."""
    found = []
    for operator, major, minor in re.findall(r"(>=|~=|===?|\^|~|>)\s*(\d+)(?:\.(\d+))?", specifier):
        # `>3.8` lets 3.8.1 in: only a bare minor version tells nothing more.
        found.append((int(major), int(minor or 0)) if operator else _OLDEST)
    return max(found, default=None)


def written(version: Version) -> str:
    """Write a version as people do."""
    return f"{version[0]}.{version[1]}"


def too_new(before: str, after: str, minimum: Version) -> tuple[str, ...]:
    """Return what the second text uses, the first does not, and Python `minimum` lacks, one clause each.

    Empty as well where nothing can be said: the text does not parse.
    """
    added = dict(_features(after).items() - _features(before).items())
    return tuple(
        f"{feature} needs Python {written(version)}"
        for feature, version in added.items()
        if version > minimum
    )


@lru_cache(maxsize=8)
def _features(source: str) -> dict[str, Version]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    deferred = any(
        isinstance(node, ast.ImportFrom) and node.module == "__future__" and _names(node) & {"annotations"}
        for node in tree.body
    )
    found: dict[str, Version] = {}
    for node in ast.walk(tree):
        found.update(_of_node(node, source))
        if not deferred:
            for annotation in _annotations(node):
                found |= _of_annotation(annotation)
    return found


def _of_node(node: ast.AST, source: str) -> Iterator[tuple[str, Version]]:
    kind = type(node).__name__  # by name: our own Python may not have them all
    if isinstance(node, ast.Match):
        yield "`match`", (3, 10)
    elif isinstance(node, ast.NamedExpr):
        yield "`:=`", (3, 8)
    elif kind == "TryStar":
        yield "`except*`", (3, 11)
    elif kind == "TypeAlias":
        yield "a `type` statement", (3, 12)
    elif isinstance(node, ast.With | ast.AsyncWith):
        if len(node.items) > 1 and _parenthesised(node, source):
            yield "`with` in parentheses", (3, 10)
    elif isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name in _MODULES:
                yield f"the module {alias.name}", _MODULES[alias.name]
    elif isinstance(node, ast.ImportFrom):
        yield from _of_import(node)
    elif isinstance(node, ast.Attribute):
        yield from _of_attribute(node)
    elif kind in ("JoinedStr", "TemplateStr"):
        if kind == "TemplateStr":
            yield "a t-string", (3, 14)
        elif _nests_quotes(node, source):
            yield "an f-string with its own quotes or a backslash in its braces", (3, 12)
    elif isinstance(node, ast.arguments) and node.posonlyargs:
        yield "`/` among parameters", (3, 8)
    elif isinstance(node, ast.Call) and _zips_strictly(node):
        yield "`zip(strict=…)`", (3, 10)
    if getattr(node, "type_params", None):
        yield "type parameters in brackets", (3, 12)


def _of_import(node: ast.ImportFrom) -> Iterator[tuple[str, Version]]:
    if node.level or not node.module:
        return
    if node.module in _MODULES:
        yield f"the module {node.module}", _MODULES[node.module]
    for name in _names(node) & _LIBRARY.get(node.module, {}).keys():
        yield f"{node.module}.{name}", _LIBRARY[node.module][name]


def _of_attribute(node: ast.Attribute) -> Iterator[tuple[str, Version]]:
    if node.attr in _METHODS:
        yield f"`.{node.attr}`", _METHODS[node.attr]
    if isinstance(node.value, ast.Name) and node.attr in (members := _LIBRARY.get(node.value.id, {})):
        yield f"{node.value.id}.{node.attr}", members[node.attr]


def _zips_strictly(node: ast.Call) -> bool:
    by_name = isinstance(node.func, ast.Name) and node.func.id == "zip"
    return by_name and any(keyword.arg == "strict" for keyword in node.keywords)


def _annotations(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the annotations that Python evaluates as it runs; those of local variables it does not."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns:
        yield node.returns
    elif isinstance(node, ast.arg) and node.annotation:
        yield node.annotation
    elif isinstance(node, ast.ClassDef | ast.Module):
        yield from (inner.annotation for inner in node.body if isinstance(inner, ast.AnnAssign))


def _of_annotation(annotation: ast.expr) -> dict[str, Version]:
    found: dict[str, Version] = {}
    for node in ast.walk(annotation):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            found["`X | Y` as a type"] = (3, 10)
        elif (
            isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in _GENERIC
        ):
            found[f"`{node.value.id}[…]` as a type"] = (3, 9)
    return found


def _parenthesised(node: ast.With | ast.AsyncWith, source: str) -> bool:
    """Ask CPython whether one pair of parentheses holds all items: a feature that it knows the age of."""
    segment = (ast.get_source_segment(source, node) or "").removeprefix("async").lstrip()
    body = ast.get_source_segment(source, node.body[0]) or ""
    head = segment[: segment.find(body, segment.find(":"))].rstrip()
    if not re.match(r"with\s*\(", head):
        return False
    try:
        ast.parse(f"{head} pass", feature_version=(3, 8))
    except SyntaxError as error:
        return "arenthesized context" in str(error.msg)
    return False


def _nests_quotes(node: ast.AST, source: str) -> bool:
    """Tell whether an f-string has its own quotes or a backslash inside its braces."""
    segment = ast.get_source_segment(source, node)
    opening = re.match(r"[fFrR]{1,2}(\"\"\"|'''|\"|')", segment or "")
    if segment is None or opening is None:
        return False  # a part of a concatenation
    quote = opening[1]
    inner = segment[opening.end() : len(segment) - len(quote)]
    return any(quote in part or "\\" in part for part in re.findall(r"(?<!\{)\{([^{}]*)\}", inner))


def _names(node: ast.ImportFrom) -> set[str]:
    return {alias.name for alias in node.names}
