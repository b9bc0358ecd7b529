"""A look at a task set itself: do the published answers pass its tests here, and does code that does nothing fail?"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from nl2code_server.lang.names import insert_imports, missing_imports, undefined
from nl2code_server.lang.placement import place
from nl2code_server.lang.splice import apply, splice

from . import judging
from .chat import instruction_of
from .isolate import SECONDS, Isolation
from .tasks import Anchor, Problem
from .transplant import Case, case

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def check(tasks: Sequence[Anchor | Problem], *, seconds: float = SECONDS) -> dict[str, Any]:
    """Run the tests of each task on its reference and on a body that does nothing."""
    failing: dict[str, str] = {}
    given_away: list[str] = []
    with Isolation() as isolation:
        for task in tasks:
            placed = case(task)
            for code, imports, right in ((*_answer(task), True), (nothing(task), (), False)):
                text = put(placed, code, imports)
                files = {**placed.files, placed.target: judging.runnable(placed, text)}
                verdict = isolation.run(files, judging.tests(placed, text), seconds=seconds)
                if right and not verdict.passed:
                    failing[task.id] = next((reason for reason in verdict.reasons if reason), "no tests")
                elif not right and verdict.passed:
                    given_away.append(task.id)
    passed = len(tasks) - len(failing)
    return {"tasks": len(tasks), "references_pass": passed, "failing": failing, "given_away": given_away}


def put(placed: Case, code: str, imports: Sequence[str] = ()) -> str:
    """Return a case's file with code at its place, and with the imports that it needs."""
    snapshot, instruction = placed.snapshot, instruction_of(placed)
    edits = splice(snapshot, instruction, place(snapshot, instruction), code)
    wanted = imports or list(missing_imports(undefined(snapshot.text, apply(snapshot, edits)), code).values())
    return apply(snapshot, (*insert_imports(snapshot, wanted), *edits))


def _answer(task: Anchor | Problem) -> tuple[str, tuple[str, ...]]:
    return task.reference, task.imports if isinstance(task, Anchor) else ()


def nothing(task: Anchor | Problem) -> str:
    """Return code of the right form that does nothing."""
    if isinstance(task, Problem):
        return f"{task.signature}\n    pass"
    definitions = [
        node for node in ast.parse(task.reference).body if isinstance(node, (*FUNCTIONS, ast.ClassDef))
    ]
    for node in definitions:
        node.decorator_list = []
        methods = [inner for inner in node.body if isinstance(inner, FUNCTIONS)]
        if isinstance(node, ast.ClassDef) and methods:
            for method in methods:
                if method.name != "__init__":
                    method.body = [ast.Pass()]
        else:
            node.body = [ast.Pass()]
    return "\n\n".join(map(ast.unparse, definitions)) or "pass"
