"""Blocks of own-line comments: where they are, what they say, and which of them never ask for anything."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from .. import Point, syntax
from ..document import Snapshot

CommentKind = Literal["comment", "todo", "marker"]


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive own-line comments with the same indentation, or one comment behind code."""

    kind: CommentKind
    text: str
    start: Point
    end: Point
    never: str = ""
    """Why this can not be an instruction, whoever asks; empty if it can."""
    behind_code: bool = False
    """Whether it shares its line with code."""


def blocks(snapshot: Snapshot, rows: range | None = None) -> list[Block]:
    """Return the comment blocks that have a line in `rows`, each whole, in the order of the text."""
    found = syntax.comments(snapshot, None if rows is None else _whole(snapshot, rows))
    groups: list[list[syntax.Comment]] = []
    for comment in found:
        last = groups[-1][-1] if groups else None
        if last and _continues(last, comment):
            groups[-1].append(comment)
        else:
            groups.append([comment])
    made = [_block(snapshot, group) for group in groups]
    if rows is None:
        return made
    return [block for block in made if block.start[0] < rows.stop and block.end[0] >= rows.start]


def _whole(snapshot: Snapshot, rows: range) -> range:
    """Widen a range of rows so that no block is cut."""
    lines = snapshot.lines
    start, stop = max(rows.start, 0), min(rows.stop, len(lines))
    while start > 0 and lines[start - 1].lstrip().startswith(b"#"):
        start -= 1
    while stop < len(lines) and lines[stop].lstrip().startswith(b"#"):
        stop += 1
    return range(start, stop)


def _continues(last: syntax.Comment, comment: syntax.Comment) -> bool:
    return (
        last.own_line
        and comment.own_line
        and comment.row == last.row + 1
        and comment.column == last.column
        and not _DIRECTIVE.match(last.text)
        and not _DIRECTIVE.match(comment.text)
        and not (last.row < 2 and _CODING.match(last.text))
    )


def _block(snapshot: Snapshot, group: list[syntax.Comment]) -> Block:
    first, last = group[0], group[-1]
    text = _without_marks(group)
    kind, asked = _kind(text)
    return Block(
        kind=kind,
        text=asked,
        start=(first.row, first.column),
        end=(last.row, len(snapshot.line(last.row))),
        never=_never(snapshot, group, text, marked=kind == "marker"),
        behind_code=not first.own_line,
    )


def cleaned_docstring(literal: str) -> str:
    """Return what a docstring literal says: prefix, quotes and indentation removed."""
    return inspect.cleandoc(re.sub(r"^[a-zA-Z]*(\"{3}|'{3}|\"|')|(\"{3}|'{3}|\"|')$", "", literal)).strip()


# Invisible characters that can make a text read otherwise than it is: zero-width, bidirectional, tags.
_INVISIBLE = re.compile("[\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")


def _without_marks(group: list[syntax.Comment]) -> str:
    lines = [re.sub(r"^#+", "", comment.text) for comment in group]
    return textwrap.dedent("\n".join(_INVISIBLE.sub("", line) for line in lines)).strip()


_MARKER_START = re.compile(r"^\s*(?:@ai\b[:：,]?|ai\s*[:：!！])\s*", re.IGNORECASE | re.MULTILINE)
_MARKER_END = re.compile(r"[\s,;]*(?<![A-Za-z0-9_])AI[!！]\s*$", re.IGNORECASE)
_TODO = re.compile(r"^(?:TODO|FIXME)\b\s*(?:\([^)\n]*\)|\[[^\]\n]*\])?\s*[:：]?\s*", re.IGNORECASE)


def _kind(text: str) -> tuple[CommentKind, str]:
    """Return the kind of a block and its text without what marks it."""
    if _MARKER_START.search(text):
        return "marker", _MARKER_START.sub("", text).strip()
    if match := _MARKER_END.search(text):
        return "marker", text[: match.start()].strip()
    if match := _TODO.match(text):
        return "todo", text[match.end() :].strip()
    return "comment", text


_DIRECTIVE = re.compile(
    r"""\#+\s*(?:
        !/ | %% | In\s?\[ | -\*- | </?editor-fold | (?:end)?region\b | vim?: | Local\ Variables:
        | (?:type|fmt|yapf|pylint|isort|mypy|pyright|ruff|pytype|pyre|cython|distutils|coverage|lint|spell-checker
            |cspell|codespell|jupyter|sourcery|requires|dependencies)\s*:
        | (?:noqa|nosec|nopep8|pragma|pyre-\w+|skipcq|nosonar|autoflake|flake8|doctest|///)
            (?!\w)(?!.*\b(?:that|the|a)\b)
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_CODING = re.compile(r"#.*?coding[:=]")
_RULE = re.compile(r"^\W*[-=*~_+#─━═]{3,}")
_LICENCE = re.compile(
    r"""^\W*(?:copyright\b|©) | SPDX- | \bcopyright\ (?:\(c\)|©|\d{4}|notice) | \(c\)\ (?:copyright\ )?\d{4}
    | \ball\ rights\ reserved | \blicen[sc]ed\ (?:under|to)\b | \bpermission\ is\ hereby | \bwithout\ warrant
    | \bunder\ the\ terms\ of | \b(?:MIT|BSD|Apache|GNU)\b.{0,30}\blicen[sc]e | 版权所有 | 著作権""",
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)


def _never(snapshot: Snapshot, group: list[syntax.Comment], text: str, *, marked: bool) -> str:
    """Say why a block can not be an instruction, or nothing. What addresses the tool may look like code."""
    first = group[0]
    if first.row == 0 and first.text.startswith("#!"):
        return "is a shebang line"
    if _DIRECTIVE.match(first.text) or (first.row < 2 and _CODING.match(first.text)):
        return "is a directive to a program"
    if not first.own_line:
        return "stands behind code: give it a line of its own"
    if first.text.startswith("#:"):
        return "documents the line below, as `#:` says"
    if any(_RULE.match(line) for line in text.split("\n")) or any(
        comment.text.startswith("####") for comment in group
    ):
        return "is a section heading"
    if not re.search(r"\w", text):
        return "says nothing: write what you want"
    if _LICENCE.search(text):
        return "is licence text"
    if inside := _inside(snapshot, first):
        return inside
    if not marked and len(text) <= _LONGEST_CODE and is_code(text):
        return "is commented-out code: start it with `ai:` if it is a request"
    return ""


_LONGEST_CODE = 5000  # characters; beyond, telling code from prose takes longer than it is worth
_STATEMENTS = ("module", "block", "ERROR")


def _inside(snapshot: Snapshot, comment: syntax.Comment) -> str:
    """Say what a comment stands inside of, if no statement can stand in its place."""
    start = (comment.row, comment.column)
    node = snapshot.tree.root_node.descendant_for_point_range(start, (start[0], start[1] + 1))
    parent = node.parent if node else None
    if parent is None or parent.type in _STATEMENTS:
        return ""
    if parent.type == "decorated_definition":
        return "stands between decorator and definition: write it above both"
    if parent.type.endswith(("_statement", "_clause", "_definition")) and any(
        child.type == ":" and child.end_byte <= node.start_byte for child in parent.children if node
    ):
        return ""
    return "stands inside an expression, where no code can go"


def is_code(text: str) -> bool:
    """Tell whether a comment's text is Python that somebody switched off."""
    if _reads_as_code(text):
        return True
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) < 2 or not _reads_as_code(lines[0].strip()):
        return False
    return 2 * sum(_reads_as_code(line.strip()) for line in lines) >= len(lines)


_STRINGS = re.compile(r"""("|')(?:\\.|(?!\1).)*\1""")
_PRINTS = re.compile(r"print\s+(?!\()(?!.*\w \()(\S.*?),?\s*$")  # as Python 2 had it
_CLAUSE = re.compile(r"(?:else|try|finally)\s*:|(?:elif|except)\b.*:")


def _reads_as_code(text: str) -> bool:
    bare = _STRINGS.sub("", text)
    if not bare.isascii() and any(not char.isascii() and char.isalpha() for char in bare):
        return False
    if _CLAUSE.fullmatch(text.strip()):
        return True
    if match := _PRINTS.match(text):
        return _is_value(match[1])
    body = text + ("\n    pass" if text.rstrip().endswith(":") else "")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            statements = ast.parse(body).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return bool(statements) and all(_is_statement(statement) for statement in statements)


def _is_statement(statement: ast.stmt) -> bool:
    """Tell code from prose that happens to parse: `x`, `read, write`, `input - output`, `TODO: sort`."""
    if isinstance(statement, ast.AnnAssign):
        return statement.value is not None
    if not isinstance(statement, ast.Expr):
        return True
    return any(_calls(statement.value)) or isinstance(
        statement.value, ast.List | ast.Dict | ast.Set | ast.Lambda | ast.Await | ast.Yield | ast.ListComp
    )


def _calls(node: ast.expr) -> Iterator[bool]:
    yield from (isinstance(part, ast.Call | ast.Subscript) for part in ast.walk(node))


def _is_value(text: str) -> bool:
    """Tell code from the prose that follows the word `print`."""
    try:
        parts = list(ast.walk(ast.parse(f"({text})", mode="eval")))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return any(isinstance(part, ast.Call | ast.Subscript | ast.Attribute | ast.Constant) for part in parts)
