"""Which candidate comes first. A new kind of evidence is one more element of `evidence`."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Protocol, TypeVar

from . import Status

_CLASS: dict[Status, int] = {"verified": 0, "valid": 1, "failed": 2}


class Ranked(Protocol):
    """What ranking looks at."""

    @property
    def status(self) -> Status: ...
    @property
    def code(self) -> str: ...
    @property
    def mean_logprob(self) -> float | None: ...
    @property
    def greedy(self) -> bool: ...


R = TypeVar("R", bound=Ranked)


def evidence(candidate: Ranked) -> tuple[float, ...]:
    """Return what speaks for a candidate, the weightiest first, smaller is better."""
    return (
        _CLASS[candidate.status],
        0 if candidate.greedy else 1,
        -(candidate.mean_logprob if candidate.mean_logprob is not None else -10.0),
    )


def order(candidates: Iterable[R]) -> list[R]:
    """Return the candidates best first, each program once."""
    seen: set[str] = set()
    kept: list[R] = []
    for candidate in sorted(candidates, key=evidence):
        program = normal_form(candidate.code)
        if program not in seen:
            seen.add(program)
            kept.append(candidate)
    return kept


def normal_form(code: str) -> str:
    """Return a text that is equal for programs that differ in layout, comments and docstrings alone."""
    try:
        tree = ast.parse(f"if True:\n{_indented(code)}")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and len(body) > 1 and _is_text(body[0]):
            del body[0]
    return ast.dump(tree)


def _indented(code: str) -> str:
    # A function or loop around it makes `return` and a bare method parse wherever the unit stands.
    return "\n".join(f" {line}" if line.strip() else line for line in code.split("\n"))


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
