"""ODEX as it is published: what programmers asked in Spanish, Japanese, Russian (or English), with tests."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from .tasks import Problem

_HEAD = re.compile(r"def\s+(\w+)\s*\((.*?)\)\s*:", re.DOTALL)


def problems(rows: Sequence[dict[str, Any]], language: str) -> list[Problem]:
    """Read the rows of one file; where a question has several answers, each with its tests, ids are counted."""
    seen: Counter[str] = Counter()
    found = []
    for row in rows:
        number = str(row["task_id"])
        seen[number] += 1
        name = f"{language}-{number}" + (f"-{seen[number]}" if seen[number] > 1 else "")
        found.append(_problem(row, name, language))
    return found


def _problem(row: dict[str, Any], name: str, language: str) -> Problem:
    head = _HEAD.match(row["prompt"])
    if head is None or head[1] != row["entry_point"]:
        raise ValueError(f"task {name} has no head")
    # Their harness runs tests and answer in one space of names: what the tests define, the answer may use.
    given = "".join(f"\nvars(task).setdefault({one!r}, {one})" for one in _defined(row["test_start"]))
    tests = tuple(f"{row['test_start']}{body}{given}\ncheck({head[1]})" for body in row["test"])
    return Problem(
        name,
        "odex",
        " ".join(row["intent"].split()),
        head[1],
        f"def {head[1]}({head[2]}):",
        "",
        tests,
        shown=0,
        reference=(row["prompt"] + row["canonical_solution"] + row["suffix"]).rstrip(),
        natural_language=language,
        libraries=tuple(row["library"]),
    )


def _defined(start: str) -> list[str]:
    """Return the functions, classes and constants that stand above the tests; imports are the answer's business."""
    names = []
    for node in ast.parse(f"{start}\n    pass").body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name != "check":
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return names
