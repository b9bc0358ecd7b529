"""What can be said of new code without running it: does the file parse, are its names there, is it annotated."""

from __future__ import annotations

import ast
import builtins
import collections
import datetime
import io
import pathlib
import re
import types
import warnings
from collections.abc import Iterator, Mapping

from nl2code_server.lang.names import undefined

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

# Attributes of what small programs hold in their hands. Modules count as known altogether.
_KNOWN_TYPES = (
    str, bytes, int, float, complex, list, tuple, dict, set, frozenset, object, type, BaseException, OSError,
    collections.Counter, collections.deque, collections.defaultdict, collections.OrderedDict,
    datetime.datetime, datetime.date, datetime.time, datetime.timedelta,
    io.StringIO, io.BytesIO, pathlib.Path, re.Pattern, re.Match, types.SimpleNamespace, types.FunctionType,
)  # fmt: skip
_OTHERS = """
cursor execute executemany executescript fetchone fetchall fetchmany commit rollback row_factory lastrowid rowcount
status reason headers getheader getcode urlopen send_response send_header end_headers wfile rfile path command
writerow writerows reader fieldnames group groups hexdigest digest put get_nowait acquire release
"""
_KNOWN = {name for kind in _KNOWN_TYPES for name in dir(kind)} | set(_OTHERS.split())


def parses(text: str, before: str) -> bool:
    """Say whether a file compiles; one that did not before need not now."""
    return _tree(text) is not None or _tree(before) is None


def is_python(text: str) -> bool:
    """Say whether a text compiles by itself."""
    return _tree(text) is not None


def new_names(before: str, after: str) -> list[str]:
    """Return the functions and classes at module level that the second text has and the first has not."""
    old = {node.name for node in _definitions(_tree(before))}
    return [node.name for node in _definitions(_tree(after)) if node.name not in old]


def the_new_one(before: str, after: str) -> str:
    """Return the name of what was asked for: the last public definition that no other new one uses."""
    names = new_names(before, after)
    tree = _tree(after)
    public = [name for name in names if not name.startswith("_")] or names
    used = {
        inner.id
        for node in _definitions(tree)
        if node.name in names
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name) and inner.id != node.name
    }
    return next((name for name in reversed(public) if name not in used), public[-1] if public else "")


def undefined_names(before: str, after: str) -> list[str]:
    """Return the names that the new code uses and nobody defines."""
    return list(undefined(before, after))


def invented(files: Mapping[str, str], target: str, after: str) -> list[str]:
    """Return the names of the project that the new code uses and that do not exist there.

    These are members imported from a module of the project that it does not define, and attributes of anything but a
    library module that nothing in the project, no common type and not the new code itself has.
    """
    before, tree = _tree(files[target]), _tree(after)
    if tree is None:
        return []
    modules = {path.removesuffix(".py").replace("/", "."): _tree(text) for path, text in files.items()}
    known = {name for one in (before, *modules.values()) for name in _all_names(one)} | _KNOWN
    libraries = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name not in modules
    }
    own = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and not _loads(node)}
    own |= {inner.name for inner in ast.walk(tree) if isinstance(inner, (*FUNCTIONS, ast.ClassDef))}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in modules and not node.level:
            there = set(_all_names(modules[node.module]))
            found += [alias.name for alias in node.names if alias.name != "*" and alias.name not in there]
        elif isinstance(node, ast.Attribute) and _loads(node) and node.attr not in known | own:
            root = _root(node)
            if root not in libraries and not _called_from_library(node, libraries):
                found.append(node.attr)
    return sorted(set(found))


def annotated(before: str, after: str) -> bool | None:
    """Say whether every new function has annotations throughout; None if there is no new function."""
    old = {ast.dump(node) for node in _functions(_tree(before))}
    fresh = [node for node in _functions(_tree(after)) if ast.dump(node) not in old]
    return all(_is_annotated(node) for node in fresh) if fresh else None


def _is_annotated(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    given = all(one.annotation for one in arguments if one.arg not in ("self", "cls"))
    return given and (node.returns is not None or node.name == "__init__")


def _tree(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _definitions(tree: ast.Module | None) -> list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    return [node for node in tree.body if isinstance(node, (*FUNCTIONS, ast.ClassDef))] if tree else []


def _functions(tree: ast.Module | None) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)] if tree else []


def _all_names(tree: ast.Module | None) -> Iterator[str]:
    """Yield every identifier of a module: names, attributes, parameters, definitions, imports."""
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).rpartition(".")[2]


def _loads(node: ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Load)


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _called_from_library(node: ast.Attribute, libraries: set[str]) -> bool:
    """Say whether this is an attribute of what a library's function returned, as `json.loads(x).get`."""
    value = node.value
    while isinstance(value, (ast.Call, ast.Attribute, ast.Subscript)):
        value = value.func if isinstance(value, ast.Call) else value.value
    return isinstance(value, ast.Name) and (value.id in libraries or hasattr(builtins, value.id))
