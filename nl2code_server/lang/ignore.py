"""Which files git ignores, by the lines of its ignore files. Text in, answers out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple


class Rule(NamedTuple):
    """One line of an ignore file."""

    pattern: re.Pattern[str]
    """Matches a path below the file's folder, with `/` between its parts."""
    ignores: bool
    """False for a line that begins with `!`."""
    folders_only: bool


def rules(text: str) -> tuple[Rule, ...]:
    """Read the lines of an ignore file."""
    found = (_rule(line) for line in text.splitlines())
    return tuple(rule for rule in found if rule is not None)


def ignored(path: str, files: Sequence[tuple[str, Sequence[Rule]]]) -> bool:
    """Tell whether a file is ignored, itself or with a folder above it.

    `files` are the rules of each ignore file by its folder (empty for the root), outermost first; `path` and the
    folders are relative to the root. The last line that matches decides.
    """
    parts = path.split("/")
    for length in range(1, len(parts) + 1):
        verdict = False
        part = "/".join(parts[:length])
        for folder, lines in files:
            if folder and not part.startswith(f"{folder}/"):
                continue
            below = part[len(folder) + 1 :] if folder else part
            for rule in lines:
                if rule.folders_only and length == len(parts):
                    continue
                if rule.pattern.fullmatch(below):
                    verdict = rule.ignores
        if verdict:
            return True
    return False


def _rule(line: str) -> Rule | None:
    line = re.sub(r"(?<!\\)\s+$", "", line)
    if not line or line.startswith("#"):
        return None
    negated = line.startswith("!")
    line = line[negated:]
    folders_only = line.endswith("/")
    line = line.rstrip("/")
    anchored = "/" in line
    line = line.removeprefix("/")
    if not line:
        return None
    try:
        pattern = re.compile(("" if anchored else "(?:.*/)?") + _translated(line))
    except re.error:
        return None
    return Rule(pattern, not negated, folders_only)


def _translated(glob: str) -> str:
    """Turn a pattern of git's into a regular expression."""
    out, at = "", 0
    while at < len(glob):
        rest = glob[at:]
        if rest.startswith("**/"):
            out, at = out + "(?:.*/)?", at + 3
        elif rest == "**":
            out, at = out + ".*", at + 2
        elif rest[0] == "*":
            out, at = out + "[^/]*", at + 1
        elif rest[0] == "?":
            out, at = out + "[^/]", at + 1
        elif rest[0] == "\\" and len(rest) > 1:
            out, at = out + re.escape(rest[1]), at + 2
        elif rest[0] == "[" and (end := rest.find("]", 2)) > 0:
            inner = rest[1:end].replace("\\", r"\\")
            out, at = out + f"[{'^' + inner[1:] if inner[0] in '!^' else inner}]", at + end + 1
        else:
            out, at = out + re.escape(rest[0]), at + 1
    return out
