"""Variants of what is learnt: the instruction in other words, the code under other local names. Pure, by seed."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from .recipe import Augmentation
from .rows import Row, with_instruction

_VERB = re.compile(
    r"^(?:please\s+)?(?:write|create|implement|make|add|define|generate|code)\s+(?:me\s+)?(?=(?:an?|the)\s)",
    re.I,
)
_OPENINGS = ("write ", "implement ", "create ", "add ", "please write ", "")
_CHINESE = re.compile(r"^(?:请)?(?:编写|写|实现|创建)")
_CHINESE_OPENINGS = ("写", "请写", "编写", "请实现", "实现")
_OTHER_NAMES = {
    "result": ("output", "answer", "found"), "res": ("result", "out"), "i": ("k", "index"), "j": ("m", "other"),
    "total": ("amount", "summed"), "count": ("number", "tally"), "item": ("element", "entry"), "x": ("value", "one"),
    "n": ("number", "size"), "s": ("text", "part"), "tmp": ("held", "spare"), "value": ("item", "one"),
    "char": ("letter", "character"), "c": ("char", "letter"), "line": ("row", "text_line"), "word": ("term", "token"),
    "words": ("terms", "tokens"), "lines": ("rows", "text_lines"), "data": ("content", "values"),
}  # fmt: skip


def variants(rows: Sequence[Row], wanted: Augmentation, seed: int) -> list[Row]:
    """Return new rows made of those that are learnt word for word; the same for the same seed."""
    made: list[Row] = []
    for row in rows:
        if not (row.desirable and row.learn):
            continue
        draw = random.Random(f"{seed}/{row.id}")  # noqa: S311 - it decides wording, not secrets
        own: list[Row] = []
        if wanted.paraphrase:
            own += _reworded(row, _paraphrase(row.asked.instruction, draw), "paraphrase")
        if wanted.fill:
            own += _reworded(row, _filled(row.asked.instruction, row.code), "fill")
        if wanted.rename and (renamed := rename_locals(row.code, draw)) is not None:
            own.append(_variant(row, "rename", code=renamed))
        if len(own) > wanted.most:
            own = [own[index] for index in sorted(draw.sample(range(len(own)), wanted.most))]
        made += own
    return made


def _variant(row: Row, name: str, **changes: object) -> Row:
    return replace(row, id=f"{row.id}+{name}", parent=row.id, variant=name, **changes)  # type: ignore[arg-type]


def _reworded(row: Row, instruction: str, name: str) -> list[Row]:
    asked = with_instruction(row.asked, instruction) if instruction else None
    return [_variant(row, name, asked=asked)] if asked else []


def _paraphrase(instruction: str, draw: random.Random) -> str:
    """Return the request with another opening; nothing where its opening is not one that is known."""
    for pattern, openings in ((_VERB, _OPENINGS), (_CHINESE, _CHINESE_OPENINGS)):
        if found := pattern.match(instruction):
            others = [one for one in openings if one.strip() != found[0].strip().lower()]
            return draw.choice(others) + instruction[found.end() :]
    return ""


def _filled(instruction: str, code: str) -> str:
    """Return the request with the head that the answer has; nothing if it names it already."""
    tree = _tree(code)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)] if tree else []
    if len(functions) != 1 or functions[0].name in instruction or "\n" in instruction:
        return ""
    function = functions[0]
    names = ", ".join(one.arg for one in function.args.args if one.arg not in ("self", "cls"))
    return f"{instruction.rstrip(' .。:')}: {function.name}({names})"


def rename_locals(code: str, draw: random.Random) -> str | None:
    """Return the code with one to three local variables renamed throughout; None where nothing can be."""
    tree = _tree(code)
    if tree is None:
        return None
    taken = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    taken |= {node.arg for node in ast.walk(tree) if isinstance(node, (ast.arg, ast.keyword)) and node.arg}
    taken |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    chosen: dict[str, str] = {}
    for name in sorted(_locals(tree)):
        others = [one for one in _OTHER_NAMES.get(name, ()) if one not in taken]
        if others and len(chosen) < 3:
            chosen[name] = draw.choice(others)
            taken.add(chosen[name])
    if not chosen:
        return None
    renamed = _replaced(code, tree, chosen)
    return renamed if _same_but_names(tree, _tree(renamed), chosen) else None


def _locals(tree: ast.Module) -> set[str]:
    """Return the names that are assigned in functions and belong to them alone, in all of the code."""
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    stored = {
        node.id
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    outside = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in inside}
    return stored - outside - set(_bound(tree))


def _bound(tree: ast.Module) -> Iterator[str]:
    """Yield names that a change of their uses would not reach, or that callers know."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            yield from node.names
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            yield node.name
        elif isinstance(node, ast.JoinedStr):  # their places are known from Python 3.12 on
            yield from (inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name))


def _replaced(code: str, tree: ast.Module, names: dict[str, str]) -> str:
    lines = [line.encode() for line in code.split("\n")]
    places = [
        (node.lineno - 1, node.col_offset, node.id)
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id in names
    ]
    for row, column, name in sorted(places, reverse=True):
        line = lines[row]
        lines[row] = line[:column] + names[name].encode() + line[column + len(name.encode()) :]
    return b"\n".join(lines).decode()


def _same_but_names(before: ast.Module, after: ast.Module | None, names: dict[str, str]) -> bool:
    if after is None:
        return False
    for node in ast.walk(before):
        if isinstance(node, ast.Name) and node.id in names:
            node.id = names[node.id]
    return ast.dump(before) == ast.dump(after)


def _tree(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return None
