"""Which functions code reaches, by their full names: through imports, other names for them, and strings."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from dataclasses import dataclass

_ROUNDS = 3
"""How long a chain of names for names is followed."""
_GIVE_PATHS = frozenset(
    ("resolve", "absolute", "expanduser", "joinpath", "with_suffix", "with_name", "cwd", "home")
)


@dataclass(frozen=True, slots=True)
class Reached:
    """A function that code calls or passes on. `name` is `?.method` where its owner is not known."""

    name: str
    how: str = ""
    """An argument that says more: `shell=True`."""
    safe: bool = False
    """Whether an argument makes it harmless: a safe loader."""

    @property
    def label(self) -> str:
        """The name as a person would write it."""
        name = self.name.replace("?.", "….")
        return f"{name}, {self.how}" if self.how else name


def reached(tree: ast.Module) -> Iterator[Reached]:
    """Yield what a module reaches, as often as it does, as far as that can be told without running it."""
    names = _Names(tree)
    seen: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = names.of(node.func)
            if name and name != "?":
                seen.add(id(node.func))
                yield Reached(name, _how(node), _safe(name, node, names))
                continue
            if isinstance(node.func, ast.Attribute):
                seen.add(id(node.func))
                yield Reached(f"?.{node.func.attr}")
        elif isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and id(node) not in seen:
            # A function that is passed on: `map(os.remove, paths)`. ast.walk gives a call before what it calls.
            if isinstance(node.ctx, ast.Load) and (name := names.of(node)) and "." in name and name != "?":
                inner = node.value if isinstance(node, ast.Attribute) else None
                if not isinstance(inner, ast.Call):
                    yield Reached(name)
                seen.update(id(part) for part in ast.walk(node))
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and names.of(node):
                yield Reached(names.of(node))


def _how(call: ast.Call) -> str:
    for keyword in call.keywords:
        plain = isinstance(keyword.value, ast.Constant)
        if keyword.arg == "shell" and not (plain and not keyword.value.value):  # type: ignore[attr-defined]
            return "shell=True"
        if keyword.arg == "verify" and plain and keyword.value.value is False:  # type: ignore[attr-defined]
            return "verify=False"
    return ""


def _safe(name: str, call: ast.Call, names: _Names) -> bool:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in ("yaml.load", "yaml.load_all"):
        loader = given.get("Loader") or (call.args[1] if len(call.args) > 1 else None)
        return loader is not None and names.of(loader).rpartition(".")[2] in ("SafeLoader", "CSafeLoader")
    if name == "torch.load":
        return _is(given.get("weights_only"), True)
    if name == "numpy.load":
        return "allow_pickle" not in given or _is(given["allow_pickle"], False)
    if name == "importlib.import_module":
        return bool(call.args) and isinstance(call.args[0], ast.Constant)
    return name == "compile" and bool(call.args) and isinstance(call.args[0], ast.Constant)


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


class _Names:
    """What the names of a module stand for. One table for all its scopes: better a name too many than one missed."""

    def __init__(self, tree: ast.Module) -> None:
        self._known: dict[str, str] = {}
        self._stars: list[str] = []
        self._own: set[str] = set()
        nodes = list(ast.walk(tree))
        for node in nodes:
            self._imported(node)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self._own.add(node.name)
            elif isinstance(node, ast.arg):
                self._own.add(node.arg)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self._own.add(node.id)
        for _ in range(_ROUNDS):
            before = len(self._known)
            for node in nodes:
                self._assigned(node)
            if len(self._known) == before:
                break

    def of(self, node: ast.AST) -> str:
        """Return the full name of what an expression stands for; `?` or nothing where that is not known."""
        if isinstance(node, ast.Name):
            return self._name(node.id)
        if isinstance(node, ast.Attribute):
            owner = self.of(node.value)
            return self._member(owner, node.attr) if owner else ""
        if isinstance(node, ast.Call):
            return self._result(node)
        if isinstance(node, ast.Subscript):
            return self._item(node)
        if isinstance(node, ast.NamedExpr | ast.Await | ast.Starred):
            return self.of(node.value)
        if isinstance(node, ast.IfExp):
            return self.of(node.body) or self.of(node.orelse)
        if isinstance(node, ast.BoolOp):
            return next((name for value in node.values if (name := self.of(value))), "")
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            return self.of(node.left)  # a path below a path
        return ""

    def _name(self, name: str) -> str:
        if name in self._known:
            return self._known[name]
        if name == "__builtins__":
            return "builtins"
        if name in self._own:
            return ""
        if hasattr(builtins, name):
            return name
        if self._stars:
            return f"{self._stars[0]}.{name}" if len(self._stars) == 1 else ""
        return name  # a module whose import is missing, it may be

    def _member(self, owner: str, name: str) -> str:
        if owner in ("builtins", "__builtins__"):
            return name
        return self._real(f"{owner}.{name}")

    def _real(self, name: str) -> str:
        """Follow the ways in which a module is reached through another."""
        for other, real in (("os.path.os", "os"), ("shutil.os", "os"), ("subprocess.os", "os")):
            if name == other or name.startswith(f"{other}."):
                return real + name[len(other) :]
        return name

    def _result(self, call: ast.Call) -> str:
        """Return what a call gives: a module, a member by its name, or an instance, called like its class."""
        function = self.of(call.func)
        texts = [
            one.value for one in call.args if isinstance(one, ast.Constant) and isinstance(one.value, str)
        ]
        if function in ("__import__", "importlib.import_module", "importlib.__import__"):
            return texts[0] if texts else ""
        if function == "getattr" and len(call.args) > 1:
            owner = self.of(call.args[0])
            return self._member(owner, texts[0]) if owner and texts else ""
        if function in ("globals", "vars", "locals"):
            return self.of(call.args[0]) if call.args else "builtins"
        if function in ("functools.partial", "contextlib.closing", "contextlib.suppress") and call.args:
            return self.of(call.args[0])
        last = function.rpartition(".")[2]
        # `Path(x)` is called Path: `Path(x).unlink` is then `Path.unlink`. So are what its methods give.
        if last[:1].isupper():
            return function
        owner, _, method = function.rpartition(".")
        given_back = method in _GIVE_PATHS
        return owner if owner.endswith("Path") and given_back else ""

    def _item(self, node: ast.Subscript) -> str:
        """Return what an item of a namespace is: `globals()["eval"]`, `sys.modules["os"]`."""
        key = node.slice
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            return ""
        owner = self.of(node.value)
        if owner == "sys.modules":
            return key.value
        if (
            owner in ("__builtins__", "builtins")
            or owner.endswith(".__dict__")
            or isinstance(node.value, ast.Call)
        ):
            found = owner.removesuffix(".__dict__")
            return self._member(found, key.value) if found else ""
        return ""

    def _imported(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                self._known[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.name == "*":
                    self._stars.append(node.module or "")
                    continue
                module = "" if node.level else f"{node.module}."
                # What a module of the project holds is not known by its name.
                self._known[alias.asname or alias.name] = (
                    self._real(f"{module}{alias.name}") if module else "?"
                )

    def _assigned(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            self._bind(node.targets[0], node.value)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            self._bind(node.target, node.value)
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            self._bind(node.optional_vars, node.context_expr)
        elif isinstance(node, ast.arguments):
            plain = [*node.posonlyargs, *node.args]
            pairs = [
                *zip(plain[len(plain) - len(node.defaults) :], node.defaults, strict=True),
                *zip(node.kwonlyargs, node.kw_defaults, strict=True),
            ]
            for argument in [*plain, *node.kwonlyargs]:
                if argument.annotation is not None:
                    self._bind_name(argument.arg, self._annotated(argument.annotation))
            for argument, default in pairs:
                if default is not None:
                    self._bind_name(argument.arg, self.of(default))

    def _annotated(self, node: ast.expr) -> str:
        """Return the class that an annotation names: `Path`, `Path | None`, `"Path"`."""
        if isinstance(node, ast.BinOp):
            return self._annotated(node.left)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            return self._name(node.value)
        return self.of(node)

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self._bind_name(target.id, self.of(value))
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, other in zip(target.elts, value.elts, strict=False):
                self._bind(one, other)

    def _bind_name(self, name: str, meaning: str) -> None:
        # A builtin type in an annotation says nothing; a name that is bound twice keeps what says most.
        if "." in meaning or meaning in ("eval", "exec", "compile", "__import__"):
            self._known.setdefault(name, meaning)
