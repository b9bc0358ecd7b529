"""Does the code do what the examples say? They run in the sandbox, with what the code needs from its file."""

from __future__ import annotations

import ast
import asyncio
import builtins
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..lang.examples import Example
from . import ExampleRun, Status
from .program import FUNCTIONS, bound, called_by, needed_context, parse, runnable, uses
from .sandbox import Interpreter, Limits, Result

__all__ = ["Verification", "needed_context", "runnable", "verify"]

_BUILTINS = frozenset(dir(builtins))
_GOT = "_nl2code_got"


@dataclass(frozen=True, slots=True)
class Verification:
    """`verified`: every example has its value. `failed`: one has not. `valid`: it could not be decided."""

    status: Status
    runs: tuple[ExampleRun, ...]
    """The examples that were decided."""
    reason: str


async def verify(
    code: str,
    context: str,
    examples: Sequence[Example],
    sandbox: Interpreter,
    *,
    limits: Limits | None = None,
    deadline: float = 8.0,
) -> Verification:
    """Run the examples against `code`, with `context` in front of it; `deadline` in seconds for all of them."""
    if not examples:
        return Verification("valid", (), "no examples")
    program = _Program.read(code, context)
    if program is None:
        return Verification("valid", (), "the code cannot be run apart from its file")
    relevant = [example for example in examples if _names(example) & program.names]
    if not relevant:
        return _about_something_else(program, examples)

    limits = limits or Limits()
    end = asyncio.get_running_loop().time() + deadline
    runs: list[ExampleRun] = []
    doubts: list[str] = []
    for example in relevant:
        left = end - asyncio.get_running_loop().time()
        if left <= 0:
            doubts.append(f"no time left for {example.call}")
            break
        run = await _run(program, example, sandbox, replace(limits, deadline=min(limits.deadline, left)))
        if isinstance(run, str):
            doubts.append(run)
            continue
        runs.append(run)
        if run.got.startswith("no result"):
            break
    failed = [run for run in runs if not run.ok]
    if failed:
        return Verification("failed", tuple(runs), _told(failed[0]))
    if doubts:
        return Verification("valid", tuple(runs), doubts[0])
    return Verification("verified", tuple(runs), f"{len(runs)} of {len(runs)} examples pass")


def _told(run: ExampleRun) -> str:
    wanted = run.expected if run.expected.startswith("raise ") else f"give {run.expected}"
    return f"{run.call} should {wanted}, gives {run.got}"


async def _run(program: _Program, example: Example, sandbox: Interpreter, limits: Limits) -> ExampleRun | str:
    """Run one example; a string says why it could not be decided."""
    source = "\n".join((program.context, program.code, _setup(program, example)))
    call = f"({_GOT} := ({example.call}))"
    same = f"True if {_GOT} == ({example.expected}) else {_near(example)}"
    expressions = [call] if example.raises else [call, same]
    results = await sandbox.run(source, expressions, limits=limits)
    got = results[0]
    expected = example.expected or f"raise {example.raises}"
    if got.outcome == "unrunnable":
        return got.text
    if got.outcome == "stopped":
        return ExampleRun(example.call, expected, got.text, False)
    if got.outcome == "raised":
        if example.raises and _is_a(got.exception, example.raises):
            return ExampleRun(example.call, expected, got.text, True)
        if doubt := await _not_its_fault(program, got, sandbox, limits):
            return doubt
        return ExampleRun(example.call, expected, got.text, False)
    if example.raises:
        return ExampleRun(example.call, expected, got.text, False)
    if results[1].outcome != "value":
        return f"cannot compare with {example.expected}: {results[1].text}"
    if results[1].text == "True":
        if indexed := _indexed(program):
            return f"the sandbox can index a {indexed}, Python cannot"
        lazy = _lazy(program, example)
        return ExampleRun(example.call, expected, lazy or got.text, not lazy)
    return _doubt(program, example, got.text) or ExampleRun(example.call, expected, got.text, False)


def _near(example: Example) -> str:
    """Return the comparison with a number that may have been rounded."""
    if not example.tolerance:
        return "False"
    return f"isinstance({_GOT}, float) and abs({_GOT} - ({example.expected})) <= {example.tolerance!r}"


# What people use in examples without a thought about imports.
_OBVIOUS = frozenset({"collections", "datetime", "decimal", "fractions", "itertools", "json", "math", "re"})


def _setup(program: _Program, example: Example) -> str:
    """Return what to run before an example: the modules that it uses, its own statements."""
    missing = (_names(example) & _OBVIOUS) - program.names - program.given
    own = _own_setup(program, example)
    return "\n".join([*(f"import {name}" for name in sorted(missing)), own])


def _own_setup(program: _Program, example: Example) -> str:
    """Return the example's setup without imports of the very code that is being tried."""
    tree = parse(example.setup) or ast.Module([], [])
    own = [node for node in tree.body if isinstance(node, ast.ImportFrom) and bound([node]) <= program.names]
    return ast.unparse(ast.Module([n for n in tree.body if n not in own], [])) if own else example.setup


async def _not_its_fault(program: _Program, got: Result, sandbox: Interpreter, limits: Limits) -> str:
    """Say why an exception does not speak against the code: it comes from the example, or from the file around."""
    missing = re.match(r"NameError: name '(\w+)' is not defined", got.text)
    if missing and missing[1] not in program.names | program.given:
        # The file may define it in a way that was not taken along. If not, the check of names says so.
        user = "code" if missing[1] in uses(program.tree) else "example"
        return f"the {user} uses {missing[1]}, which is not defined in what could be run"
    if program.context:
        alone = await sandbox.run(program.context, ["None"], limits=limits)
        if alone[0].outcome != "value":
            return f"what it needs from the file does not run in the sandbox: {alone[0].text}"
    return ""


def _is_a(raised: str, wanted: str) -> bool:
    """Tell whether `except wanted` would have caught it."""
    if raised == wanted:
        return True
    raised_class, wanted_class = getattr(builtins, raised, None), getattr(builtins, wanted, None)
    return (
        isinstance(raised_class, type)
        and isinstance(wanted_class, type)
        and issubclass(raised_class, wanted_class)
    )


def _about_something_else(program: _Program, examples: Sequence[Example]) -> Verification:
    called = {name: example for example in reversed(examples) for name in called_by(example)}
    unknown = [name for name in called if name not in program.given and name not in _BUILTINS]
    if not unknown:
        return Verification("valid", (), "no example calls this code")
    name = unknown[-1]
    if name in program.methods:
        return Verification("valid", (), f"{name} is a method, the example calls it as a function")
    if name in program.inner:
        return Verification("valid", (), f"{name} needs what the function around it has")
    if not program.definitions:
        return Verification("valid", (), "the code defines no function that an example could call")
    example = called[name]
    run = ExampleRun(
        example.call, example.expected or f"raise {example.raises}", f"no function {name}", False
    )
    defined = " and ".join(program.definitions)
    return Verification("failed", (run,), f"name: the example calls {name}, the code defines {defined}")


# What the sandbox does otherwise than CPython


def _doubt(program: _Program, example: Example, got: str) -> str:
    """Say why a wrong value may be the sandbox's doing."""
    source = f"{program.context}\n{program.code}"
    if _same_elements(got, example.expected) and re.search(r"\bset\b|\bfrozenset\b|[{][^{}:]+[}]", source):
        return "the order of a set is not the same in the sandbox"
    if "re." in source and re.search(r"\\\d\w", source):
        return "the sandbox reads a group reference followed by a letter otherwise"
    return ""


def _same_elements(one: str, two: str) -> bool:
    try:
        left, right = ast.literal_eval(one), ast.literal_eval(two)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
    if type(left) is not type(right) or not isinstance(left, (list, tuple, str)):
        return False
    return Counter(map(repr, left)) == Counter(map(repr, right))


_ITERATORS = frozenset({"map", "filter", "zip", "enumerate", "reversed"})


def _lazy(program: _Program, example: Example) -> str:
    """Name the iterator that CPython gives where the sandbox gives a list; no value in an example equals it."""
    call = ast.parse(example.call, mode="eval").body
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        return ""
    for function in program.tree.body:
        if isinstance(function, FUNCTIONS) and function.name == call.func.id:
            names = _iterator_names(function)
            returned = [_iterator(node.value, names) for node in _returns(function)]
            return next((name for name in returned if name), "")
    return ""


def _indexed(program: _Program) -> str:
    """Name the iterator that is measured or indexed, which works in the sandbox alone."""
    names = _iterator_names(program.tree)
    for node in ast.walk(program.tree):
        if isinstance(node, ast.Subscript) and (name := _iterator(node.value, names)):
            return name
        measured = node.args[:1] if isinstance(node, ast.Call) and ast.unparse(node.func) == "len" else []
        if measured and (name := _iterator(measured[0], names)):
            return name
    return ""


def _iterator_names(tree: ast.AST) -> dict[str, str]:
    """Return the variables that hold an iterator, with what it is."""
    return {
        target.id: _iterator(node.value, {})
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _iterator(node: ast.expr | None, names: dict[str, str]) -> str:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _ITERATORS:
        return f"{node.func.id} object"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return "iterator" if node.func.attr in ("elements", "finditer") else ""
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    return "generator" if isinstance(node, ast.GeneratorExp) else ""


def _returns(function: ast.AST) -> Iterator[ast.Return]:
    """Yield the return statements of a function, not those of functions inside it."""
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.Return):
            yield node
        elif not isinstance(node, (*FUNCTIONS, ast.Lambda, ast.ClassDef)):
            yield from _returns(node)


# Syntax


@dataclass(frozen=True, slots=True)
class _Program:
    """The code under test, and what its syntax tells."""

    code: str
    context: str
    tree: ast.Module
    names: frozenset[str]
    """What it defines at its top level."""
    given: frozenset[str]
    """What the context defines, and what is imported."""

    @classmethod
    def read(cls, code: str, context: str) -> _Program | None:
        tree, around = parse(code), parse(context)
        if tree is None or around is None:
            return None
        if any(map(_is_main, tree.body)):
            tree.body = [node for node in tree.body if not _is_main(node)]
            code = ast.unparse(tree)
        imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        names = bound([node for node in tree.body if node not in imports])
        return cls(code, context, tree, frozenset(names), frozenset(bound([*around.body, *imports])))

    @property
    def definitions(self) -> list[str]:
        return [node.name for node in self.tree.body if isinstance(node, (*FUNCTIONS, ast.ClassDef))]

    @property
    def methods(self) -> set[str]:
        classes = [node for node in self.tree.body if isinstance(node, ast.ClassDef)]
        return {node.name for outer in classes for node in outer.body if isinstance(node, FUNCTIONS)}

    @property
    def inner(self) -> set[str]:
        """Functions inside functions."""
        functions = [node for node in ast.walk(self.tree) if isinstance(node, FUNCTIONS)]
        return {node.name for node in functions if node not in self.tree.body} - self.methods


def _is_main(statement: ast.stmt) -> bool:
    """Recognise `if __name__ == "__main__"`, which holds in the sandbox."""
    return isinstance(statement, ast.If) and "__name__" in uses(statement.test)


def _names(example: Example) -> set[str]:
    """Return the names that the example's call and setup use."""
    trees = (parse(example.call), parse(example.setup))
    return set().union(*(uses(tree) for tree in trees if tree is not None))
