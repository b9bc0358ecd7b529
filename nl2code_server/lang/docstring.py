"""Make an instruction the docstring of the code that was written for it."""

from __future__ import annotations

import ast
import warnings


def with_docstring(code: str, text: str, *, body: bool) -> str | None:
    """Return `code` with `text` as docstring; None if it has one, or is not something that can have one.

    `body` says that the code is the body of a definition; otherwise it must start with a definition.
    """
    if not text:
        return None
    if body:
        return None if code.lstrip().startswith(('"""', "'''")) else f"{_literal(text, '')}\n{code}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            statements = ast.parse(code).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    definition = statements[0] if statements else None
    if not isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return None
    first = definition.body[0]
    if ast.get_docstring(definition) is not None or first.lineno == definition.lineno:
        return None
    decorators = getattr(first, "decorator_list", [])
    row = min([first.lineno, *(one.lineno for one in decorators)]) - 1
    lines = code.split("\n")
    indent = lines[row][: len(lines[row]) - len(lines[row].lstrip())]
    return "\n".join([*lines[:row], _literal(text, indent), *lines[row:]])


def _literal(text: str, indent: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    lines = escaped.split("\n")
    if len(lines) == 1 and not escaped.endswith('"'):
        return f'{indent}"""{escaped}"""'
    return "\n".join(f"{indent}{line}" if line else "" for line in ['"""' + lines[0], *lines[1:], '"""'])
