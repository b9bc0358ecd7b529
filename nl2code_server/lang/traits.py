"""What code looks like, as numbers that a ranking may weigh: size, annotations, how sure the model was. Pure."""

from __future__ import annotations

import ast
import math
import warnings

VERSION = 1
"""Of what the names below mean; written beside weights for them."""
RANKING = "ranking.json"
"""File of such weights in the user's data folder: tuning writes it, the language server reads it."""
NAMES = (
    "logprob",
    "greedy",
    "lines",
    "characters",
    "annotated",
    "documented",
    "comments",
    "imports",
    "loops",
    "comprehensions",
    "functions",
)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def traits(code: str, mean_logprob: float | None, *, greedy: bool) -> tuple[float, ...]:
    """Return the numbers that `NAMES` names; what cannot be known is 0."""
    lines = [line.strip() for line in code.splitlines() if line.strip()]
    nodes = _nodes(code)
    functions = [node for node in nodes if isinstance(node, _FUNCTIONS)]
    annotated = sum(_is_annotated(node) for node in functions)
    documented = sum(ast.get_docstring(node) is not None for node in functions)
    return (
        mean_logprob or 0.0,
        float(greedy),
        math.log1p(len(lines)),
        math.log1p(len(code)),
        annotated / len(functions) if functions else 0.0,
        documented / len(functions) if functions else 0.0,
        sum(line.startswith("#") for line in lines) / max(1, len(lines)),
        math.log1p(sum(isinstance(node, (ast.Import, ast.ImportFrom)) for node in nodes)),
        math.log1p(sum(isinstance(node, _LOOPS) for node in nodes)),
        math.log1p(sum(isinstance(node, _COMPREHENSIONS) for node in nodes)),
        math.log1p(len(functions)),
    )


def _nodes(code: str) -> list[ast.AST]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(ast.walk(ast.parse(code)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _is_annotated(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    asked = [one for one in arguments if one.arg not in ("self", "cls")]
    return node.returns is not None and all(one.annotation for one in asked)
