"""The house keeps its walls: who may import whom, who may do what, and how long a module gets."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {"nl2code_server": ROOT / "nl2code_server", "nl2code_model": ROOT / "model" / "nl2code_model"}
LONGEST = 600

# What each room may import of the house, besides itself.
BASE = ("nl2code_server.errors", "nl2code_server.config", "nl2code_server.platform")
LEAVES = ("nl2code_server.lang", "nl2code_server.endpoint", "nl2code_server.feedback")
DIRECTIONS: dict[str, tuple[str, ...]] = {
    "nl2code_server.errors": (),
    "nl2code_server.config": BASE,
    "nl2code_server.platform": BASE,
    "nl2code_server.lang": (),
    "nl2code_server.endpoint": BASE,
    "nl2code_server.feedback": BASE,
    "nl2code_server.suggest": (*BASE, *LEAVES),
    "nl2code_server.lsp": (*BASE, *LEAVES, "nl2code_server.suggest"),
    "nl2code_server.cli": ("nl2code_server",),
    "nl2code_server.__main__": ("nl2code_server",),
    "nl2code_model": (
        *BASE,
        "nl2code_server.lang",
        "nl2code_server.feedback",
        "nl2code_server.endpoint.runtime",
    ),
}

# Where a library may be named, anywhere in a module.
CONFINED: dict[str, tuple[str, ...]] = {
    "typer": ("nl2code_server.cli", "nl2code_model.cli"),
    "click": ("nl2code_server.cli", "nl2code_model.cli"),
    "rich": ("nl2code_server.cli", "nl2code_model.cli"),
    "lsprotocol": ("nl2code_server.lsp",),
    "pygls": ("nl2code_server.lsp",),
    "pydantic_monty": ("nl2code_server.suggest.sandbox",),
    "detect_secrets": ("nl2code_server.feedback",),
    "sqlite3": ("nl2code_server.feedback",),
    "sqlcipher3": ("nl2code_server.feedback.database",),
    "keyring": ("nl2code_server.feedback.keys",),
    "torch": ("nl2code_model",),
    "transformers": ("nl2code_model",),
    "numpy": ("nl2code_model",),
    "xllamacpp": ("nl2code_model",),
    "gguf": ("nl2code_model",),
    "starlette": ("nl2code_model",),
    "uvicorn": ("nl2code_model",),
}
# Too slow for the start of the language server: imported inside functions.
LAZY = (
    "httpx2",
    "pydantic_monty",
    "detect_secrets",
    "sqlcipher3",
    "keyring",
    "tree_sitter",
    "tree_sitter_python",
)

INPUT_OUTPUT_NAMES = """
asyncio ctypes fileinput ftplib glob http io logging mmap multiprocessing os pathlib pickle platform
select selectors shutil signal smtplib socket sqlite3 ssl subprocess sys tempfile time urllib webbrowser
"""
INPUT_OUTPUT = frozenset(INPUT_OUTPUT_NAMES.split())


@dataclass(frozen=True)
class Import:
    """One imported module (or a member of one), resolved to its absolute name."""

    target: str
    line: int
    lazy: bool
    """Inside a function."""
    typing: bool
    """Under `if TYPE_CHECKING`, so never executed."""


@dataclass(frozen=True)
class Module:
    """A source file of the house."""

    name: str
    source: str
    package: bool = False

    @property
    def tree(self) -> ast.Module:
        return _parsed(self.source)

    def inside(self, rooms: tuple[str, ...]) -> bool:
        return any(_within(self.name, room) for room in rooms)

    @property
    def room(self) -> str:
        return max((room for room in DIRECTIONS if _within(self.name, room)), key=len, default="")

    def imports(self) -> Iterator[Import]:
        yield from _imports(self, self.tree, False, False)


@cache
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


def _within(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def _imports(module: Module, node: ast.AST, lazy: bool, typing: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, lazy, typing)
        elif isinstance(child, ast.ImportFrom):
            parts = module.name.split(".")
            base = parts[: len(parts) - child.level + module.package] if child.level else []
            prefix = ".".join([*base, *([child.module] if child.module else [])])
            for alias in child.names:
                yield Import(f"{prefix}.{alias.name}", child.lineno, lazy, typing)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for statement in child.body:
                yield from _imports(module, ast.Module([statement], []), lazy, True)
            for statement in child.orelse:
                yield from _imports(module, ast.Module([statement], []), lazy, typing)
        else:
            function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _imports(module, child, lazy or function, typing)


@cache
def modules() -> tuple[Module, ...]:
    found = []
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join((package, *(parts[:-1] if is_package else parts)))
            found.append(Module(name, path.read_text(encoding="utf-8"), is_package))
    return tuple(found)


# The rules, as functions from a module to what is wrong with it


def wrong_direction(module: Module) -> list[str]:
    allowed = (module.room, *DIRECTIONS.get(module.room, ()))
    house = [i for i in module.imports() if i.target.partition(".")[0] in FOLDERS]
    wrong = [i for i in house if not any(_within(i.target, room) for room in allowed)]
    # A package's own names (its version, its contracts) are not those of its rooms.
    wrong = [i for i in wrong if i.target not in ("nl2code_server.__version__", "nl2code_model.__version__")]
    return [f"{module.name}:{i.line} imports {i.target}" for i in wrong]


def not_confined(module: Module) -> list[str]:
    wrong = []
    for found in module.imports():
        library = found.target.partition(".")[0]
        if library in CONFINED and not module.inside(CONFINED[library]):
            wrong.append(f"{module.name}:{found.line} imports {found.target}")
    return wrong


def not_lazy(module: Module) -> list[str]:
    eager = [i for i in module.imports() if not i.lazy and not i.typing]
    wrong = [i for i in eager if i.target.partition(".")[0] in LAZY]
    return [f"{module.name}:{i.line} imports {i.target} at its start" for i in wrong]


def impure(module: Module) -> list[str]:
    """Report what a pure module does not do: talk to the world, or lean on a library."""
    wrong = []
    for found in module.imports():
        library = found.target.partition(".")[0]
        pure = library in ("tree_sitter", "tree_sitter_python", "nl2code_server")
        if library in INPUT_OUTPUT or not (pure or library in sys.stdlib_module_names):
            wrong.append(f"{module.name}:{found.line} imports {found.target}")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and node.id in ("open", "print", "input", "breakpoint"):
            wrong.append(f"{module.name}:{node.lineno} uses {node.id}")
        if isinstance(node, (ast.AsyncFunctionDef, ast.Await)):
            wrong.append(f"{module.name}:{node.lineno} is asynchronous")
    return wrong


RUNNERS = (
    "subprocess",
    "multiprocessing",
    "runpy",
    "importlib",
    "pty",
    "code",
    "codeop",
    "concurrent.interpreters",
    "ctypes",
    "doctest",
    "timeit",
    "trace",
    "pdb",
    "profile",
    "cProfile",
)
UNSAFE = ("pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib")
READERS = ("importlib.resources", "importlib.metadata")


def runs_code(module: Module) -> set[str]:
    """Return the ways in which a module could run code that is given to it, or start a program."""
    ways: set[str] = set()
    for found in module.imports():
        reads = any(_within(found.target, reader) for reader in READERS)
        ways |= {way for way in (*RUNNERS, *UNSAFE) if _within(found.target, way) and not reads}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and node.id in ("exec", "eval", "compile", "__import__"):
            ways.add(node.id)
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if name.startswith("asyncio.create_subprocess") or name.startswith("builtins."):
                ways.add(name)
            if name in ("types.CodeType", "typing.get_type_hints"):
                ways.add(name)
            if name.startswith(("os.system", "os.popen", "os.exec", "os.spawn", "os.posix_spawn", "os.fork")):
                ways.add(name)
            if node.attr in ("load", "loads") and name.split(".")[0] in ("torch", *UNSAFE):
                ways.add(name)
    return ways


# Model output runs in `suggest.sandbox` alone, which needs none of these: its library keeps the processes.
ALLOWED: dict[str, dict[str, str]] = {
    "nl2code_server.platform": {
        "subprocess": "starts the detached model host, asks ps and sysctl",
        "ctypes": "asks Windows about processes and memory",
    },
    "nl2code_server.endpoint.process": {
        "subprocess": "holds the model host that it started",
        "asyncio.create_subprocess_exec": "runs `nl2code model pull` and `nl2code serve`",
    },
    "nl2code_server.cli.app": {"importlib": "loads the command groups that are installed, by name"},
    "nl2code_server.cli.doctor": {"subprocess": "asks the host's interpreter what it has"},
    "nl2code_server.cli.doctor_network": {"subprocess": "runs the server that it watches"},
    "nl2code_server.cli.doctor_editors": {"subprocess": "asks editors and their servers for their versions"},
    "nl2code_server.lang.validate": {"compile": "asks CPython whether it accepts the file; never runs it"},
    "nl2code_server.lsp.preload": {"importlib": "imports modules by names written in it"},
    "nl2code_server.lsp.faststart": {"importlib": "imports lsprotocol by names written in it"},
    "nl2code_model.bench.client": {"subprocess": "starts the hosts that it measures"},
    "nl2code_model.bench.roofline": {
        "ctypes": "reads memory as fast as it can",
        "subprocess": "reads a GPU's memory in a process that gives it back",
    },
    "nl2code_model.bench.server": {"subprocess": "starts the servers that it measures, has npm fetch one"},
    "nl2code_model.bench.editor": {
        "asyncio.create_subprocess_exec": "starts the language servers it measures"
    },
    "nl2code_model.bench.suggest": {"subprocess": "starts the tutorial that it measures"},
    "nl2code_model.evaluate.client": {"subprocess": "starts the language server that it measures"},
    "nl2code_model.evaluate.product": {"subprocess": "stops the model host that the measured server started"},
    "nl2code_model.report.prospects": {"subprocess": "asks `nl2code tune --dry-run`"},
    "nl2code_model.evaluate.isolate": {"subprocess": "starts the process that runs hidden tests"},
    "nl2code_model.evaluate.inside": {
        "compile": "reads hidden tests",
        "exec": "runs hidden tests on model output, behind walls, when somebody types `nl2code eval`",
        "os.fork": "gives each run a process of its own",
        "ctypes": "puts up the walls: namespaces of the kernel",
    },
    "nl2code_model.host.llamacpp_process": {"asyncio.create_subprocess_exec": "the engine's own process"},
    "nl2code_model.tune.experiment": {"subprocess": "runs `nl2code tune` and `host stop`"},
    "nl2code_model.tune.history": {"subprocess": "reads the user's own git history, with git's hooks off"},
    "nl2code_model.tune.run": {"subprocess": "starts the training processes"},
    "nl2code_model.models.sources": {
        "importlib": "asks whether pip is there",
        "subprocess": "downloads wheels as data with pip or uv",
    },
}


# The tests


def test_the_whole_house_is_seen() -> None:
    names = {module.name for module in modules()}
    assert {"nl2code_server", "nl2code_server.lang.document", "nl2code_server.suggest.sandbox"} <= names
    assert {"nl2code_model", "nl2code_model.host"} <= names
    assert all(module.room or module.name == "nl2code_server" for module in modules())


@pytest.mark.parametrize("rule", [wrong_direction, not_confined], ids=lambda rule: rule.__name__)
def test_everywhere(rule: object) -> None:
    assert callable(rule)
    assert [wrong for module in modules() for wrong in rule(module)] == []


def test_lang_is_pure() -> None:
    pure = [module for module in modules() if _within(module.name, "nl2code_server.lang")]
    assert [wrong for module in pure for wrong in impure(module)] == []


def test_the_server_imports_slow_libraries_when_it_needs_them() -> None:
    server = [module for module in modules() if _within(module.name, "nl2code_server")]
    assert [wrong for module in server for wrong in not_lazy(module)] == []


def test_the_server_does_not_know_the_model_half() -> None:
    # The doctor asks another interpreter whether it has that half.
    server = [
        m for m in modules() if _within(m.name, "nl2code_server") and m.name != "nl2code_server.cli.doctor"
    ]
    assert [module.name for module in server if "nl2code_model" in module.source] == []


def test_only_known_places_run_code_or_start_programs() -> None:
    found = {(module.name, way) for module in modules() for way in runs_code(module)}
    known = {(name, way) for name, ways in ALLOWED.items() for way in ways}
    assert sorted(found - known) == [], "not allowed: see ALLOWED"
    assert sorted(known - found) == [], "no longer needed: take it out of ALLOWED"


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_a_module_says_what_it_is_for_and_stays_short(module: Module) -> None:
    marker = module.package and not module.source.strip()
    assert marker or ast.get_docstring(module.tree), "no docstring"
    assert len(module.source.splitlines()) <= LONGEST


# The rules themselves can fail


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("nl2code_server.lang.x", "from ..suggest import pipeline"),
        ("nl2code_server.lang.x", "def f():\n    from .. import errors"),
        ("nl2code_server.endpoint.x", "from nl2code_server.lang import Edit"),
        ("nl2code_server.feedback.x", "import nl2code_server.endpoint.client"),
        ("nl2code_server.suggest.x", "if TYPE_CHECKING:\n    from ..lsp import server"),
        ("nl2code_server.lsp.x", "from ..cli import app"),
        ("nl2code_server.suggest.x", "class A:\n    def f(self):\n        import nl2code_model.host"),
        ("nl2code_model.x", "from nl2code_server.suggest import pipeline"),
        ("nl2code_model.x", "from nl2code_server.endpoint import client"),
    ],
)
def test_a_wrong_direction_is_seen(name: str, source: str) -> None:
    assert wrong_direction(Module(name, source))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("nl2code_server.lang.x", "from . import Edit\nfrom .document import Snapshot\nimport ast"),
        ("nl2code_server.suggest.x", "from ..lang import Edit\nfrom ..errors import Nl2CodeError"),
        (
            "nl2code_server.lsp.features.x",
            "from ...suggest.pipeline import Suggester\nfrom ..server import Server",
        ),
        ("nl2code_model.x", "from nl2code_server.endpoint.runtime import Runtime\nfrom .host import app"),
    ],
)
def test_a_right_direction_passes(name: str, source: str) -> None:
    assert wrong_direction(Module(name, source)) == []


def test_relative_imports_are_resolved() -> None:
    source = "from . import a\nfrom ..b import c\nfrom .d.e import f"
    inside = [i.target for i in Module("one.two.three", source).imports()]
    assert inside == ["one.two.a", "one.b.c", "one.two.d.e.f"]
    package = [i.target for i in Module("one.two", source, package=True).imports()]
    assert package == ["one.two.a", "one.b.c", "one.two.d.e.f"]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("nl2code_server.suggest.x", "import rich.console"),
        ("nl2code_server.feedback.x", "def f():\n    import typer"),
        ("nl2code_server.suggest.x", "from lsprotocol import types"),
        ("nl2code_server.suggest.verify", "def f():\n    import pydantic_monty"),
        ("nl2code_server.endpoint.x", "def f():\n    import torch"),
    ],
)
def test_a_library_outside_its_room_is_seen(name: str, source: str) -> None:
    assert not_confined(Module(name, source))


def test_an_eager_import_is_seen() -> None:
    assert not_lazy(Module("nl2code_server.endpoint.x", "import httpx2"))
    assert not_lazy(Module("nl2code_server.endpoint.x", "try:\n    import httpx2\nexcept ImportError: pass"))
    assert not not_lazy(Module("nl2code_server.endpoint.x", "def f():\n    import httpx2"))
    assert not not_lazy(Module("nl2code_server.endpoint.x", "if TYPE_CHECKING:\n    import httpx2"))


@pytest.mark.parametrize(
    "source",
    [
        "import os",
        "from pathlib import Path",
        "def f():\n    import socket",
        "open('x')",
        "import httpx2",
        "async def f(): ...",
    ],
)
def test_impurity_is_seen(source: str) -> None:
    assert impure(Module("nl2code_server.lang.x", source))
    assert not impure(Module("nl2code_server.lang.x", "import re\nfrom tree_sitter import Node"))


@pytest.mark.parametrize(
    "source",
    [
        "exec(code)",
        "run = eval",
        "compile(code, '', 'exec')",
        "import subprocess",
        "from subprocess import run",
        "import importlib",
        "from importlib import import_module",
        "import runpy",
        "import pickle",
        "import os\nos.system('x')",
        "import os\nos.execv('x', [])",
        "import asyncio\nasyncio.create_subprocess_exec('x')",
        "import torch\ntorch.load('x')",
        "import builtins\nbuiltins.exec('x')",
        "import ctypes",
        "import doctest",
        "from timeit import timeit",
        "import types\ntypes.CodeType(0)",
        "import typing\ntyping.get_type_hints(f)",
    ],
)
def test_a_way_to_run_code_is_seen(source: str) -> None:
    assert runs_code(Module("nl2code_server.suggest.x", source))
    assert not runs_code(
        Module(
            "nl2code_server.suggest.x", "import re\nre.compile('x')\nfrom importlib.resources import files"
        )
    )
