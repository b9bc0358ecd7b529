"""Which candidates agree? They run on inputs made from the signature; those with the same outputs form a group."""

from __future__ import annotations

import ast
import asyncio
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice, product

from ..lang.examples import Example
from . import Job
from .judge import Candidate
from .program import FUNCTIONS, Program, parse, runnable
from .sandbox import Interpreter, Limits

SECONDS = 3.0
"""For all candidates together."""
_INPUTS = 8
_LIMITS = Limits(seconds=0.3, deadline=1.5)

_VALUES: dict[str, tuple[str, ...]] = {
    "int": ("0", "1", "7", "12", "-3"),
    "float": ("0.5", "2.0", "-1.5"),
    "str": ("'abc'", "'Hello World'", "''", "'a1b22'"),
    "bool": ("True", "False"),
    "list": ("[3, 1, 2]", "[1, 1, 5, 4]", "[]"),
    "list[str]": ("['b', 'a', 'cc']", "['x']", "[]"),
    "list[list]": ("[[1, 2], [3, 4]]", "[[5]]"),
    "tuple": ("(3, 1, 2)", "(1, 1)"),
    "dict": ("{'a': 1, 'b': 2}", "{}"),
    "set": ("{1, 2, 3}", "set()"),
}
# What a parameter without annotation may be, by its name.
_NAMES = (
    (re.compile(r"matrix|grid|board|rows|lists\b|nested"), "list[list]"),
    (re.compile(r"words|strings|names|lines|tokens|texts"), "list[str]"),
    (
        re.compile(
            r"^(n|k|m|i|j|a|b|c|x|y|z|num|number|count|size|index|limit|year|month|day|base|width|height)\d?$"
        ),
        "int",
    ),
    (
        re.compile(
            r"^(s|st|str\d?|string\d?|text|word|name|line|char|pattern|sentence|prefix|suffix|sep)\d?$"
        ),
        "str",
    ),
    (re.compile(r"^(rate|ratio|price|amount|radius|r|temperature|weight)$"), "float"),
    (re.compile(r"dict|map|mapping|counts|d$"), "dict"),
    (re.compile(r"tup"), "tuple"),
    (re.compile(r"^(is_|has_|flag|reverse)"), "bool"),
    (re.compile(r"set$"), "set"),
    (re.compile(r"l\d?$|list|arr|nums|numbers|values|items|seq|data|s$"), "list"),
)


async def agreed(
    job: Job, scope: Sequence[str], candidates: Sequence[Candidate], sandbox: Interpreter
) -> list[Candidate]:
    """Return the candidates, each with the size of its group; 0 where none agrees, nothing ran, or time was up.

    Verified and failed candidates stay apart: only equals are compared.
    """
    groups: dict[str, list[Candidate]] = {}
    try:
        async with asyncio.timeout(SECONDS):
            for candidate in candidates:
                outputs = await _outputs(job, scope, candidate, candidates, sandbox)
                if outputs:
                    groups.setdefault(f"{candidate.status} {outputs}", []).append(candidate)
    except TimeoutError:
        return list(candidates)
    sizes = {one.id: len(group) for group in groups.values() if len(group) > 1 for one in group}
    return [replace(one, agreement=sizes.get(one.id, 0)) for one in candidates]


async def _outputs(
    job: Job,
    scope: Sequence[str],
    candidate: Candidate,
    candidates: Sequence[Candidate],
    sandbox: Interpreter,
) -> str:
    """Return what a candidate gives for the inputs; empty if that says nothing."""
    if candidate.status == "failed" or not candidate.edits:
        return ""
    function = _function(candidate.code, scope, job, candidate)
    if function is None:
        return ""
    # All get the inputs of the most frequent signature, so that guesses from names do not part them.
    signatures = Counter(
        ast.unparse(one.args)
        for one in (_function(each.code, scope, job, each) for each in candidates)
        if one is not None
    )
    calls = list(inputs(ast.parse(f"def _({signatures.most_common(1)[0][0]}): ...").body[0], function.name))
    program = await asyncio.to_thread(_program, job, scope, candidate, calls)
    source = f"{program.context}\n{program.code}"
    results = await sandbox.run(source, [example.call for example in program.examples], limits=_LIMITS)
    if not any(result.outcome == "value" for result in results):
        return ""
    return repr([(result.outcome, result.exception or result.text) for result in results])


def _program(job: Job, scope: Sequence[str], candidate: Candidate, calls: Sequence[str]) -> Program:
    after = job.snapshot.edited(candidate.edits)
    return runnable(after, candidate.code, scope, [Example(call, "None") for call in calls], job.modules)


def _function(
    code: str, scope: Sequence[str], job: Job, candidate: Candidate
) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """Return the function that a candidate defines, or whose body it is."""
    tree = parse(code)
    functions = [node for node in tree.body if isinstance(node, FUNCTIONS)] if tree else []
    if functions:
        used = {
            node.id for function in functions for node in ast.walk(function) if isinstance(node, ast.Name)
        }
        return next((one for one in reversed(functions) if one.name not in used), functions[-1])
    whole = parse(job.snapshot.edited(candidate.edits).text) if scope else None
    inside = [node for node in ast.walk(whole) if isinstance(node, FUNCTIONS)] if whole else []
    return next((one for one in inside if one.name == scope[-1]), None)


def inputs(function: ast.stmt, name: str) -> Iterator[str]:
    """Yield calls of a function with arguments of the kinds that its parameters seem to want."""
    assert isinstance(function, FUNCTIONS)
    parameters = [*function.args.posonlyargs, *function.args.args]
    required = parameters[: len(parameters) - len(function.args.defaults)] or parameters[:1]
    required = [one for one in required if one.arg not in ("self", "cls")]
    choices = [_VALUES[_kind(one)] for one in required]
    rows = list(zip(*(values * 3 for values in choices), strict=False)) if choices else [()]
    mixed = [*rows[: _INPUTS // 2], *islice(product(*choices), 1, None, 3)]
    for row in islice(dict.fromkeys(mixed), _INPUTS):
        yield f"{name}({', '.join(row)})"


def _kind(parameter: ast.arg) -> str:
    if parameter.annotation is not None:
        annotation = ast.unparse(parameter.annotation).replace("typing.", "").lower()
        outer = re.match(r"\w+", annotation.removeprefix("optional["))
        outer_name = (
            {"sequence": "list", "iterable": "list", "mapping": "dict"}.get(outer[0], outer[0])
            if outer
            else ""
        )
        inner = re.search(r"\[\s*(\w+)", annotation)
        exact = f"{outer_name}[{inner[1]}]" if inner else outer_name
        if found := next((kind for kind in (exact, outer_name) if kind in _VALUES), ""):
            return found
    return next((kind for pattern, kind in _NAMES if pattern.search(parameter.arg.lower())), "int")
