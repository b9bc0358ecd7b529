"""Functions that the user wrote, from their own git history: what they say above or in them is the instruction.

Git is only read. What a repository's configuration could make it run is switched off.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nl2code_server.errors import Nl2CodeError

from .prompts import situation
from .rows import Row, fingerprint

DEADLINE = 60.0  # s, for all of it
MOST_COMMITS = 2000
LARGEST = 200_000  # bytes of a file
LONGEST = 60  # lines of a function
SKIPPED = re.compile(
    r"(^|/)(vendor|vendored|third_party|site-packages|node_modules|migrations|\.venv|venv|build|dist)/"
)
GENERATED = re.compile(r"(_pb2(_grpc)?|_generated|\.min)\.py$|(?i:@generated|do not edit)")
_SAFE = (
    *("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.pager=cat"),
    *("-c", "log.showSignature=false", "-c", "core.quotePath=false", "--no-pager"),
)
_DIRECTIVE = re.compile(r"^(?:!|noqa|type:|pylint|pragma|fmt:|ruff:|mypy:|-\*-|todo\b|fixme\b)", re.I)


@dataclass(frozen=True, slots=True)
class Change:
    """A file as a commit of the user's left it, and as it was before."""

    path: str
    time: float
    before: str
    """Object id of the content; empty for a new file."""
    after: str


@dataclass(frozen=True, slots=True)
class Written:
    """A function that a commit of the user's brought, and the words that ask for it."""

    instruction: str
    code: str
    first: int
    """Row of its first line, comment above it included."""
    last: int
    indent: str


def rows_from(repository: Path, *, author: str = "", deadline: float = DEADLINE) -> list[Row]:
    """Return rows for the functions with a docstring or comment that `author` (else the repository's user) wrote."""
    ends = time.monotonic() + deadline
    who = author or _git(repository, ends, "config", "user.email").strip()
    if not who:
        raise Nl2CodeError(
            f"{repository} does not say who its user is", "Set user.email in git, or give --author"
        )
    changes = list(_changes(repository, who, ends))
    contents = _contents(repository, {oid for one in changes for oid in (one.before, one.after) if oid}, ends)
    found: dict[str, Row] = {}
    for change in changes:
        after = contents.get(change.after)
        if after is None or GENERATED.search(after[:500]):
            continue
        known = {one.code for one in functions(contents.get(change.before) or "")}
        for written in functions(after):
            if written.code not in known and (row := _row(repository, change, after, written)):
                found.setdefault(row.id, row)  # commits come newest first
    rows = list(found.values())
    rows.reverse()  # so that commits of one second keep their order
    return sorted(rows, key=lambda row: row.asked.time)


def functions(text: str) -> list[Written]:
    """Return the functions and methods of a file that say what they do."""
    tree = _tree(text)
    lines = text.split("\n")
    found = []
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("test"):
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)]) - 1
            last = (node.end_lineno or node.lineno) - 1
            comment, above = _comment_above(lines, first)
            said = comment or _summary(node)
            if said and last - first < LONGEST and not _is_stub(node):
                indent = lines[first][: len(lines[first]) - len(lines[first].lstrip())]
                code = "\n".join(line.removeprefix(indent) for line in lines[first : last + 1])
                found.append(Written(said, code, above, last, indent))
    return found


def _row(repository: Path, change: Change, text: str, written: Written) -> Row | None:
    """Put the words in the place of the function, and ask as the product would ask there."""
    lines = text.split("\n")
    comment = [f"{written.indent}# {line}".rstrip() for line in written.instruction.split("\n")]
    place = "\n".join([*lines[: written.first], *comment, "", *lines[written.last + 1 :]])
    found = situation(place, written.first + len(comment) - 1)
    if found is None:
        return None
    key = fingerprint([written.instruction, written.code])[:24]
    group = fingerprint([str(repository.absolute()), change.path])[:24]
    asked = found.asked(f"git-{key}", group=group, time=change.time)
    return Row(
        id=f"git-{key}", asked=asked, code=written.code, desirable=True, learn=True, source="repository"
    )


def _comment_above(lines: list[str], first: int) -> tuple[str, int]:
    """Return the comment right above a row, and the row where it begins."""
    at = first
    said: list[str] = []
    while at and lines[at - 1].strip().startswith("#"):
        text = lines[at - 1].strip().lstrip("#").strip()
        if _DIRECTIVE.match(text) or not text:
            break
        said.insert(0, text)
        at -= 1
    words = sum(len(line.split()) for line in said)
    return (
        ("\n".join(said), at)
        if words >= 3 or any(ord(c) > 0x2E80 for line in said for c in line)
        else ("", first)
    )


def _summary(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Return the first sentence of a docstring."""
    text = ast.get_docstring(node) or ""
    first = text.strip().split("\n\n", 1)[0]
    return " ".join(first.split())


def _is_stub(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return all(isinstance(one, (ast.Pass, ast.Expr, ast.Raise)) for one in node.body)


def _tree(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


# --- git ---


def _changes(repository: Path, author: str, ends: float) -> Iterator[Change]:
    """Yield what commits of this author did to Python files, newest first."""
    shown = _git(
        repository, ends, "log", "--no-merges", "--raw", "--no-abbrev", "--no-renames", "--diff-filter=AM",
        "--fixed-strings", f"--author={author}", f"--max-count={MOST_COMMITS}", "--format=commit %at", "--", "*.py",
    )  # fmt: skip
    when = 0.0
    for line in shown.splitlines():
        if line.startswith("commit "):
            when = float(line.split()[1])
        elif line.startswith(":"):
            told, _, path = line.partition("\t")
            _, _, before, after, _ = told.split(" ")
            name = str(PurePosixPath(path))
            if not SKIPPED.search(name) and not GENERATED.search(name):
                yield Change(name, when, "" if not before.strip("0") else before, after)


def _contents(repository: Path, ids: set[str], ends: float) -> dict[str, str]:
    """Read the texts of objects, those that are no text or too large left out."""
    if not ids:
        return {}
    wanted = "".join(f"{one}\n" for one in sorted(ids)).encode()
    data = _run(repository, ends, ("cat-file", "--batch"), wanted)
    texts: dict[str, str] = {}
    at = 0
    while at < len(data):
        line_end = data.index(b"\n", at)
        head = data[at:line_end].decode().split()
        at = line_end + 1
        if len(head) != 3:
            continue
        size = int(head[2])
        body = data[at : at + size]
        at += size + 1
        if head[1] == "blob" and size <= LARGEST:
            try:
                texts[head[0]] = body.decode("utf-8").replace("\r\n", "\n")
            except UnicodeDecodeError:
                continue
    return texts


def _git(repository: Path, ends: float, *arguments: str) -> str:
    return _run(repository, ends, arguments).decode("utf-8", "replace")


def _run(repository: Path, ends: float, arguments: tuple[str, ...], given: bytes = b"") -> bytes:
    left = ends - time.monotonic()
    try:
        if left <= 0:
            raise subprocess.TimeoutExpired("git", 0)
        done = subprocess.run(
            ["git", *_SAFE, "-C", str(repository), *arguments],  # noqa: S607 - the user's own git
            input=given,
            capture_output=True,
            timeout=left,
            env=_environment(os.environ),
            check=False,
        )
    except FileNotFoundError as error:
        raise Nl2CodeError("There is no git here", "Install it, or leave --from-repo out") from error
    except subprocess.TimeoutExpired as error:
        raise Nl2CodeError(
            f"Reading the history of {repository} takes too long", "Give a smaller repository"
        ) from error
    if done.returncode and not (arguments[0] == "config" and done.returncode == 1):
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["git failed"]
        raise Nl2CodeError(
            f"The history of {repository} cannot be read: {lines[0]}", "Give the folder of a git repository"
        )
    return done.stdout


def _environment(user: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which git asks nothing, changes nothing and talks to nobody."""
    kept = {name: value for name, value in user.items() if not name.startswith("GIT_")}
    return {
        **kept,
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "LC_ALL": "C",
    }
