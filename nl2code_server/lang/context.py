"""What the model should see of the file, within a budget: imports, what the file defines, the code around."""

from __future__ import annotations

from dataclasses import dataclass

from . import style
from .document import Snapshot
from .instruction import Instruction
from .outline import top_level
from .placement import Placement

BYTES_PER_TOKEN = 3.2  # measured on Python with Qwen's tokenizer: 3.0 to 3.6
_HEAD_LINES = 40


@dataclass(frozen=True, slots=True)
class Context:
    """Parts of a file, ready for the prompt. All may be empty."""

    imports: str = ""
    outline: str = ""
    """Heads of the definitions that `before` and `after` do not show."""
    before: str = ""
    after: str = ""
    head: str = ""
    """See `unit.Frame`."""
    depth: int = 0

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each part, for the log."""
        parts = {name: getattr(self, name) for name in ("imports", "outline", "before", "after", "head")}
        return {name: len(text.encode("utf-8", "replace")) for name, text in parts.items()}


def collect(snapshot: Snapshot, instruction: Instruction, placement: Placement, *, tokens: int) -> Context:
    """Choose what the model sees, the nearest first, in about `tokens` tokens. The heads around are never cut."""
    budget = int(tokens * BYTES_PER_TOKEN)
    head, first_row, depth = _head(snapshot, instruction, placement)
    budget -= len(head)
    imports, import_rows = _imports(snapshot)
    imports = _within(imports, budget // 3)
    budget -= len(imports)
    start = min(first_row, instruction.start_row)
    skip = {row for row in import_rows if row < start}
    before, before_row = _before(snapshot, start, skip, budget * 2 // 3)
    budget -= len(before)
    last = placement.remove[1][0] if placement.remove else max(placement.after[0], instruction.end_row)
    after, after_row = _after(snapshot, last + 1, budget // 2)
    budget -= len(after)
    shown = range(before_row, after_row)
    outline = _outline(snapshot, shown, budget)
    return Context(imports, outline, before, after, head, depth)


def _text(snapshot: Snapshot, row: int) -> str:
    return snapshot.line(row).decode("utf-8", "replace")


def _within(text: str, budget: int) -> str:
    """Keep the last lines that fit."""
    lines = text.split("\n")
    while lines and sum(len(line) + 1 for line in lines) > budget:
        lines.pop(0)
    return "\n".join(lines)


def _imports(snapshot: Snapshot) -> tuple[str, set[int]]:
    rows = {
        row
        for span in top_level(snapshot.tree)
        if "import" in span.kind
        for row in range(span.start_row, span.end_row + 1)
    }
    return "\n".join(_text(snapshot, row) for row in sorted(rows)), rows


def _before(snapshot: Snapshot, end: int, skip: set[int], budget: int) -> tuple[str, int]:
    """Return the lines above row `end` that fit, and the first row taken."""
    lines: list[str] = []
    row = end
    while row > 0:
        text = _text(snapshot, row - 1)
        if row - 1 not in skip:
            budget -= len(text) + 1
            if budget < 0:
                break
            lines.append(text)
        row -= 1
    return "\n".join(reversed(lines)).strip("\n"), row


def _after(snapshot: Snapshot, start: int, budget: int) -> tuple[str, int]:
    """Return the lines from row `start` that fit, and the row behind the last one taken."""
    lines: list[str] = []
    row = start
    while row < len(snapshot.lines):
        text = _text(snapshot, row)
        budget -= len(text) + 1
        if budget < 0:
            break
        lines.append(text)
        row += 1
    return "\n".join(lines).strip("\n"), row


def _outline(snapshot: Snapshot, shown: range, budget: int) -> str:
    """List the heads of definitions outside the rows shown, as far as they fit."""
    heads: list[str] = []
    for span in top_level(snapshot.tree):
        if not span.name or span.start_row in shown:
            continue
        head = f"{_text(snapshot, span.head_row).rstrip()} ..."
        budget -= len(head) + 1
        if budget < 0:
            break
        heads.append(head)
    return "\n".join(heads)


def _head(snapshot: Snapshot, instruction: Instruction, placement: Placement) -> tuple[str, int, int]:
    """Return the lines that lead to the code, the first row of its own block, and its depth in spaces."""
    last = placement.after[0]
    unit = style.indent_unit(snapshot)
    depth = _width(placement.indent, unit)
    if depth == 0:
        return "", last, 0
    start = instruction.start_row
    if placement.place == "body":
        start = max(_function_row(snapshot, start), last - _HEAD_LINES)
    rows = [row for row in range(start, last + 1) if snapshot.line(row).strip()]
    rows = (
        _rows_above(snapshot, start, min([depth, *(_depth(snapshot, row, unit) for row in rows)]), unit)
        + rows
    )
    lines = [_in_spaces(_text(snapshot, row), unit) for row in rows]
    return "".join(f"{line}\n" for line in lines), start, depth


def _function_row(snapshot: Snapshot, row: int) -> int:
    """Return the row of the innermost `def` around `row`; `row` itself if there is none."""
    node = snapshot.tree.root_node.descendant_for_point_range((row, 0), (row, 0))
    while node is not None and node.type != "function_definition":
        node = node.parent
    return node.start_point.row if node is not None else row


def _rows_above(snapshot: Snapshot, row: int, depth: int, unit: str) -> list[int]:
    """Return the rows above `row` that open the blocks around it: by indentation, which survives syntax errors."""
    rows: list[int] = []
    while row > 0 and depth > 0:
        row -= 1
        text = snapshot.line(row).strip()
        if text and not text.startswith(b"#") and (width := _depth(snapshot, row, unit)) < depth:
            rows.append(row)
            # A head over several lines ends with a bracket: its beginning stands at the same depth.
            depth = width if not text.startswith((b")", b"]")) else width + 1
    return rows[::-1]


def _depth(snapshot: Snapshot, row: int, unit: str) -> int:
    text = _text(snapshot, row)
    return _width(text[: len(text) - len(text.lstrip())], unit)


def _width(indent: str, unit: str) -> int:
    """Measure leading white space in four-space steps."""
    steps = 0
    while unit and indent.startswith(unit):
        indent = indent[len(unit) :]
        steps += 1
    return steps * 4 + len(indent.expandtabs(4))


def _in_spaces(text: str, unit: str) -> str:
    """Write a line with four spaces for each step of the file's own indentation."""
    body = text.lstrip()
    return " " * _width(text[: len(text) - len(body)], unit) + body.rstrip()
