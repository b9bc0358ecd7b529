"""How this file is written: the unit of its indentation."""

from __future__ import annotations

import re
from collections import Counter

from .document import Snapshot
from .syntax import indent_width, is_code

DEFAULT_UNIT = "    "
_OPENS = re.compile(rb":\s*(?:#.*)?$")
_ENOUGH = 200  # steps seen after which the verdict stands, so that it stays quick on long files


def indent_unit(snapshot: Snapshot) -> str:
    """Return one level of indentation in this file: a tab or a number of spaces, four if nothing tells.

    It is the step by which lines below a colon go deeper most often.
    """
    steps: Counter[str] = Counter()
    opener: bytes | None = None
    for row, line in enumerate(snapshot.lines):
        if not is_code(line):
            continue
        indent = line[: indent_width(line)].rpartition(b"\f")[2]
        if opener is not None and len(indent) > len(opener) and indent.startswith(opener):
            step = indent[len(opener) :].decode()
            if (step == "\t" or (step.isspace() and "\t" not in step)) and not _in_string(snapshot, row):
                steps[step] += 1
                if steps.total() >= _ENOUGH:
                    break
        opener = indent if _OPENS.search(line.rstrip()) else None
    return max(steps, key=lambda step: (steps[step], -len(step)), default=DEFAULT_UNIT)


def _in_string(snapshot: Snapshot, row: int) -> bool:
    """Tell whether a row begins inside a string: its indentation is text."""
    node = snapshot.tree.root_node.descendant_for_point_range((row, 0), (row, 0))
    return node is not None and node.type in ("string", "string_content", "concatenated_string")
