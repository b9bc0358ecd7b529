"""What a file imports from its project, as definitions of its own: the sandbox knows no modules but its library."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from .program import DEFINITIONS, FUNCTIONS, bound, is_quiet, parse, uses

if TYPE_CHECKING:
    from ..lang.document import Snapshot

_SPACE = "_nl2code_module"


def inlined(context: str, users: Iterable[str], modules: Mapping[str, Snapshot]) -> str:
    """Return `context` with definitions in place of its imports from `modules`.

    They keep their names where no other thing has them. `users` is the source that will run beside the context.
    """
    tree = parse(context)
    sources = [found for source in users if (found := parse(source)) is not None]
    if tree is None or not modules or not any(map(_is_import, tree.body)):
        return context
    inliner = _Inliner(modules, [tree, *sources])
    body = [new for statement in tree.body for new in inliner.replaced(statement, "")]
    if not inliner.definitions and not inliner.spaces:
        return context
    space = [ast.parse(f"class {_SPACE}: pass").body[0]] if inliner.spaces else []
    return ast.unparse(ast.fix_missing_locations(ast.Module([*space, *inliner.definitions, *body], [])))


def _is_import(statement: ast.stmt) -> bool:
    return isinstance(statement, (ast.Import, ast.ImportFrom))


class _Inliner:
    """Collects definitions from modules, each once, under a name that is free."""

    def __init__(self, modules: Mapping[str, Snapshot], sources: list[ast.Module]) -> None:
        self.definitions: list[ast.stmt] = []
        self.spaces = 0
        """How many modules are used as objects."""
        self._modules = modules
        self._sources = sources
        self._trees: dict[str, ast.Module | None] = {}
        self._names: dict[tuple[str, str], str] = {}
        own = [one for source in sources for one in source.body if not _is_import(one)]
        self._used = bound(own)

    def replaced(self, statement: ast.stmt, home: str) -> list[ast.stmt]:
        """Return what stands for an import statement of module `home`; any other statement stands for itself."""
        if isinstance(statement, ast.ImportFrom):
            return self._from(statement, home)
        if isinstance(statement, ast.Import):
            return self._import(statement)
        return [statement]

    def _from(self, statement: ast.ImportFrom, home: str) -> list[ast.stmt]:
        module = _resolved(home, statement)
        kept, new = [], []
        for alias in statement.names:
            name, asname = alias.name, alias.asname or alias.name
            inner = f"{module}{'' if module.endswith('.') else '.'}{name}"
            if name == "*" and module not in self._modules:
                continue  # of what nobody knows nothing can be missed
            if name == "*" and (tree := self._tree(module)):
                for each in sorted(bound(tree.body) & self._wanted()):
                    new += _alias(each, self.take(module, each))
            elif (found := self.take(module, name)) is not None:
                new += _alias(asname, found)
            elif inner in self._modules:
                new += self._object(inner, asname)
            else:
                kept.append(alias)
        if not kept:
            return new
        return [ast.ImportFrom(statement.module, kept, statement.level), *new]

    def _import(self, statement: ast.Import) -> list[ast.stmt]:
        kept, new = [], []
        for alias in statement.names:
            if alias.name not in self._modules:
                kept.append(alias)
            elif alias.asname or "." not in alias.name:
                new += self._object(alias.name, alias.asname or alias.name)
            else:
                parts = alias.name.split(".")
                paths = [".".join(parts[: end + 1]) for end in range(len(parts) - 1)]
                new += [one for path in paths for one in ast.parse(f"{path} = {_SPACE}()").body]
                new += self._object(alias.name, alias.name)
        return [*([ast.Import(kept)] if kept else []), *new]

    def _object(self, module: str, name: str) -> list[ast.stmt]:
        """Return statements that make an object of a module, with those of its names that are used."""
        self.spaces += 1
        made = ast.parse(f"{name} = {_SPACE}()").body
        for attribute in sorted(self._attributes(name)):
            if (found := self.take(module, attribute)) is not None:
                made += ast.parse(f"{name}.{attribute} = {found}").body
        return list(made)

    def take(self, module: str, name: str) -> str | None:
        """Add the definition of a name in a module, with what it needs; return the name that it has now."""
        if (module, name) in self._names:
            return self._names[module, name]
        tree = self._tree(module)
        if tree is None or name not in bound(tree.body):
            return None
        statements = [one for one in tree.body if name in bound([one]) and is_quiet(one)]
        if not statements:
            return None
        given = bound(statements)
        for each in sorted(given):
            self._names.setdefault((module, each), self._free(each))
        for statement in statements:
            for needed in sorted(uses(statement) - given):
                self.take(module, needed)
        renamed = {each: new for (home, each), new in self._names.items() if home == module and each != new}
        for statement in statements:
            for one in self.replaced(statement, module):
                if one not in self.definitions:
                    self.definitions.append(_Renamer(renamed).visit(one) if renamed else one)
        return self._names[module, name]

    def _free(self, name: str) -> str:
        free, number = name, 1
        while free in self._used:
            free, number = f"{name}_{number}", number + 1
        self._used.add(free)
        return free

    def _tree(self, module: str) -> ast.Module | None:
        if module not in self._trees:
            snapshot = self._modules.get(module)
            self._trees[module] = parse(snapshot.text) if snapshot is not None else None
            if tree := self._trees[module]:
                self._sources.append(tree)
        return self._trees[module]

    def _wanted(self) -> set[str]:
        return set().union(*(uses(source) for source in self._sources))

    def _attributes(self, name: str) -> set[str]:
        return {
            node.attr
            for source in self._sources
            for node in ast.walk(source)
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == name
        }


def _resolved(home: str, statement: ast.ImportFrom) -> str:
    """Return the module that an import in `home` means, by the name under which it is known."""
    if not statement.level or not home:
        return "." * statement.level + (statement.module or "")
    parts = home.split(".")
    package = ".".join(parts[: len(parts) - statement.level])
    if not package.strip("."):
        package = home[: len(home) - len(home.lstrip("."))]
        return package + (statement.module or "")
    return f"{package}.{statement.module}" if statement.module else package


def _alias(name: str, found: str | None) -> list[ast.stmt]:
    return list(ast.parse(f"{name} = {found}").body) if found and found != name else []


class _Renamer(ast.NodeTransformer):
    """Renames top-level names in a statement, but not the locals of the same name."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = dict(names)

    def visit_Name(self, node: ast.Name) -> ast.Name:
        node.id = self._names.get(node.id, node.id)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        return self._definition(node)  # type: ignore[return-value]

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AsyncFunctionDef:
        return self._definition(node)  # type: ignore[return-value]

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        return self._definition(node)  # type: ignore[return-value]

    def _definition(self, node: ast.stmt) -> ast.stmt:
        assert isinstance(node, DEFINITIONS)
        node.name = self._names.get(node.name, node.name)
        local = bound(node.body)
        if isinstance(node, FUNCTIONS):
            local |= {arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg)}
            node.args.defaults = [self.visit(one) for one in node.args.defaults]
            node.args.kw_defaults = [one and self.visit(one) for one in node.args.kw_defaults]
        node.decorator_list = [self.visit(one) for one in node.decorator_list]
        if isinstance(node, ast.ClassDef):
            node.bases = [self.visit(one) for one in node.bases]
        inner = _Renamer({old: new for old, new in self._names.items() if old not in local})
        node.body = [inner.visit(one) for one in node.body]
        return node
