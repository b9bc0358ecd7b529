"""Read task sets: our own anchors, and MBPP, HumanEval and ODEX as they are published."""

from __future__ import annotations

import ast
import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from nl2code_server.errors import Nl2CodeError

VERSION = "1.1"
"""Of our own set: raised when a task is added or changed."""
ANCHORS = Path(__file__).with_name("anchors.jsonl")


@dataclass(frozen=True, slots=True)
class Problem:
    """A task of a public set: a text and a function that it asks for, without a place in a file."""

    id: str
    set: str
    text: str
    name: str
    signature: str
    """`def name(a, b):`."""
    example: str
    """What a user would show: an assert, or the examples of a docstring."""
    tests: tuple[str, ...]
    shown: int
    """How many of the tests are given away by the example."""
    setup: str = ""
    """What the tests need in front of them."""
    preamble: str = ""
    """Code that the file has above the place."""
    reference: str = ""
    """The published answer, whole."""
    natural_language: str = "en"
    libraries: tuple[str, ...] = ()
    """Modules that the published answer or its tests use, where the set tells."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A task of ours: an instruction that stands in a file, perhaps in a small project. Fields as in README.md."""

    id: str
    kind: str
    natural_language: str
    project: bool
    tags: tuple[str, ...]
    files: Mapping[str, str]
    target: str
    line: int
    reference: str
    tests: str
    imports: tuple[str, ...] = ()


def read(path: Path = ANCHORS) -> list[Anchor] | list[Problem]:
    """Read a task set; which one it is follows from its fields."""
    rows = _rows(path)
    first = rows[0]
    try:
        if "target" in first:
            return [_anchor(row) for row in rows]
        if "intent" in first and "test_start" in first:
            from .odex import problems

            return problems(rows, _language(path))
        if "entry_point" in first:
            return [_human_eval(row) for row in rows]
        if "test_list" in first:
            return [_mbpp(row) for row in rows]
    except (LookupError, TypeError, ValueError, AttributeError, SyntaxError, StopIteration) as error:
        raise Nl2CodeError(f"{path} has a task that cannot be read: {error!r}") from error
    raise Nl2CodeError(
        f"{path} is no task set that is known", "Give anchors, MBPP, HumanEval or ODEX as published"
    )


def _language(path: Path) -> str:
    """Return the natural language that a file of ODEX is named after, as `es_test.jsonl`."""
    found = re.match(r"([a-z]{2})_", path.name)
    return found[1] if found else "en"


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
        rows = json.loads(text) if text.lstrip().startswith("[") else _lines(text)
    except OSError as error:
        raise Nl2CodeError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise Nl2CodeError(f"{path} is not JSON: {error}") from error
    if not rows or not isinstance(rows[0], dict):
        raise Nl2CodeError(f"{path} holds no tasks")
    return rows


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _anchor(row: dict[str, Any]) -> Anchor:
    values = dict(row)
    values.update((name, tuple(row[name])) for name in ("tags", "imports") if name in row)
    anchor = Anchor(**values)
    paths = [PurePosixPath(path) for path in anchor.files]
    if not re.fullmatch(r"\w[\w.-]*", anchor.id) or any(
        one.is_absolute() or ".." in one.parts for one in paths
    ):
        raise ValueError(f"{anchor.id} names a place outside its folder")
    if not 0 <= anchor.line < len(anchor.files[anchor.target].split("\n")):
        raise ValueError(f"{anchor.id} has no line {anchor.line}")
    return anchor


def _mbpp(row: dict[str, Any]) -> Problem:
    tests = [test.strip() for test in row["test_list"]]
    code = row["code"].replace("\r\n", "\n")
    name, signature = _asked(code, tests[0])
    setup = "\n".join([row.get("test_setup_code", ""), *row.get("test_imports", [])]).strip()
    text = (row.get("prompt") or row["text"]).strip()
    return Problem(
        str(row["task_id"]),
        "mbpp",
        text,
        name,
        signature,
        tests[0],
        tuple(tests),
        shown=1,
        setup=setup,
        reference=code.strip(),
    )


def _asked(code: str, test: str) -> tuple[str, str]:
    """Return name and head of the function in `code` that a test calls; the last one if it calls none."""
    functions = [node for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)]
    called = {node.id for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Name)}
    function = next((one for one in functions if one.name in called), functions[-1])
    return function.name, f"def {function.name}({ast.unparse(function.args)}):"


def _human_eval(row: dict[str, Any]) -> Problem:
    prompt, name = row["prompt"], row["entry_point"]
    tree = ast.parse(prompt)
    function = next(
        node for node in reversed(tree.body) if isinstance(node, ast.FunctionDef) and node.name == name
    )
    lines = prompt.split("\n")
    docstring = ast.get_docstring(function) or ""
    text, example = _split_examples(docstring, name)
    head = "\n".join(lines[function.lineno - 1 : function.body[0].lineno - 1]).strip()
    return Problem(
        row["task_id"].replace("/", "-"),
        "humaneval",
        text,
        name,
        head,
        example,
        (f"{row['test']}\ncheck({name})",),
        shown=0,
        preamble="\n".join(lines[: function.lineno - 1]).strip(),
        reference=f"{head}\n{row['canonical_solution'].rstrip()}",
    )


def _split_examples(docstring: str, name: str) -> tuple[str, str]:
    """Split a docstring into what it says and its examples: doctests, lines with a call, and their headings."""
    said: list[str] = []
    examples: list[str] = []
    in_doctest = False
    for line in docstring.split("\n"):
        if line.lstrip().startswith(">>>") or re.search(rf"\b{re.escape(name)}\s*\(", line):
            in_doctest = line.lstrip().startswith(">>>")
            examples.append(line.strip())
        elif in_doctest and line.strip():
            examples.append(line.strip())
        elif re.fullmatch(r"\W*(?:for )?examples?\W*", line, re.IGNORECASE):
            in_doctest = False
        else:
            in_doctest = False
            said.append(line)
    return "\n".join(said).strip(), "\n".join(examples)
