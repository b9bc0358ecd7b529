"""What the model should see besides the instruction, within a budget: the file and what it builds on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from . import style
from .document import Snapshot
from .imports import unused
from .instruction import Instruction
from .outline import top_level
from .placement import Placement
from .relevant import Module, Piece, pieces, rendered, spoken_of, within
from .signatures import members, symbols
from .similar import Snippet
from .style import HouseStyle
from .versions import Version
from .windows import above, below, charged

if TYPE_CHECKING:
    from tree_sitter import Node

BYTES_PER_TOKEN = 3.2  # measured on Python with Qwen's tokenizer: 3.0 to 3.6
_HEAD_LINES = 40

Extent = Literal["project", "file", "none"]


@dataclass(frozen=True, slots=True)
class Around:
    """What is known of the project around a file. All may be empty."""

    modules: Mapping[str, Snapshot] = field(default_factory=dict)
    """See `suggest.Job.modules`."""
    others: Sequence[Module] = ()
    """Modules that the file does not import and the instruction speaks of."""
    accepted: Sequence[Snippet] = ()
    """Earlier suggestions of this project that were kept, the most similar first."""
    python: Version | None = None
    """The oldest Python that the project supports."""


@dataclass(frozen=True, slots=True)
class Context:
    """Parts of a file and its project, ready for the prompt. All may be empty."""

    imports: str = ""
    outline: str = ""
    """Heads of the definitions that `before` and `after` do not show."""
    before: str = ""
    after: str = ""
    head: str = ""
    """See `unit.Frame`."""
    depth: int = 0
    project: str = ""
    """What the file imports from the project, in short."""
    others: str = ""
    """What it does not import and the instruction speaks of."""
    accepted: tuple[Snippet, ...] = ()
    style: HouseStyle = field(default_factory=HouseStyle)
    python: Version | None = None
    waiting: tuple[str, ...] = ()
    """What the file imports from the project and has no use for yet, as it is called."""

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each part, for the log."""
        names = ("imports", "outline", "before", "after", "head", "project", "others")
        parts = {name: getattr(self, name) for name in names}
        parts["accepted"] = "".join(f"{one.instruction}{one.code}" for one in self.accepted)
        return {name: len(text.encode("utf-8", "replace")) for name, text in parts.items()}


def collect(
    snapshot: Snapshot,
    instruction: Instruction,
    placement: Placement,
    *,
    tokens: int,
    around: Around | None = None,
    extent: Extent = "project",
) -> Context:
    """Choose what the model sees, in about `tokens` tokens: what the instruction names, what is near, then the rest.

    The heads around the code are never cut. `extent` says how far the model may see.
    """
    head, first_row, depth = _head(snapshot, instruction, placement)
    if extent == "none":
        return Context(head=head, depth=depth)
    project = (around if extent == "project" else None) or Around()
    budget = int(tokens * BYTES_PER_TOKEN) - len(head)
    imports, import_rows = _imports(snapshot)
    imports = _within(imports, budget // 4)
    budget -= len(imports)

    chosen = pieces(snapshot, instruction.text, project.modules, project.others)
    taken = within(chosen, budget * 2 // 5)
    imported, others = _split(taken, project.others)
    budget -= len(imported) + len(others)
    accepted = _snippets(project.accepted, budget // 3)
    budget -= sum(len(one.instruction) + len(one.code) for one in accepted)

    start = min(first_row, instruction.start_row)
    skip = {row for row in import_rows if row < start}
    room = budget * 2 // 3
    before, before_row = above(snapshot, start, skip, room)
    budget -= charged(before, room, cut=before_row > 0)
    last = placement.remove[1][0] if placement.remove else max(placement.after[0], instruction.end_row)
    room = budget // 2
    after, after_row = below(snapshot, last + 1, room)
    budget -= charged(after, room, cut=after_row < len(snapshot.lines))
    shown = range(before_row, after_row)
    outline = _outline(snapshot, instruction, placement, shown, budget)
    habits = style.house_style([snapshot, *project.modules.values()])
    return Context(
        imports,
        outline,
        before,
        after,
        head,
        depth,
        imported,
        others,
        accepted,
        habits,
        project.python,
        _waiting(snapshot, instruction, chosen),
    )


def _split(taken: list[tuple[Piece, str]], others: Sequence[Module]) -> tuple[str, str]:
    """Return what the file imports already, and what it does not: the latter changes with the instruction."""
    names = {module.name for module in others}
    return (
        rendered([one for one in taken if one[0].module not in names]),
        rendered([one for one in taken if one[0].module in names]),
    )


def _waiting(snapshot: Snapshot, instruction: Instruction, chosen: Sequence[Piece]) -> tuple[str, ...]:
    """Return the functions, constants and exceptions that were imported for code which is not there yet.

    Other classes may be there for an annotation or an example alone.
    """
    names = [name for name in unused(snapshot) if name not in instruction.text]
    known = {piece.symbol.name: piece.symbol for piece in reversed(chosen)}
    return tuple(
        known[name].head
        for name in names
        if name in known and (known[name].kind != "class" or known[name].raised)
    )


def _snippets(accepted: Sequence[Snippet], budget: int) -> tuple[Snippet, ...]:
    """Return those that fit, the most similar first."""
    found = []
    for one in accepted:
        budget -= len(one.instruction) + len(one.code)
        if budget < 0:
            break
        found.append(one)
    return tuple(found)


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


def _outline(
    snapshot: Snapshot, instruction: Instruction, placement: Placement, shown: range, budget: int
) -> str:
    """Describe the class around and the definitions outside the rows shown: those named first, as far as they fit."""
    found: dict[int, str] = {}
    around = _class_around(snapshot, placement)
    if around is not None and not (around.start_point.row in shown and around.end_point.row < shown.stop):
        lines = [_text(snapshot, around.start_point.row).rstrip()]
        lines += [f"    {line}" for line in members(around, private=True)]
        text = _within_first("\n".join(lines), budget // 2)
        found[around.start_point.row] = text
        budget -= len(text) + 1
    there = [one for one in symbols(snapshot) if one.row not in shown and one.row not in found]
    named = spoken_of(instruction.text, [one.name for one in there])
    for one in sorted(there, key=lambda one: one.name not in named):
        if placement.place == "stub" and placement.scope == (one.name,):
            continue
        text = one.text if one.name in named else one.brief
        if one.kind == "constant" and one.name not in named and one.name.upper() != one.name:
            continue
        if len(text) + 1 <= budget:
            found[one.row] = text
            budget -= len(text) + 1
    return "\n".join(found[row] for row in sorted(found))


def _class_around(snapshot: Snapshot, placement: Placement) -> Node | None:
    """Return the outermost class around the code, if there is one and the tree has it whole."""
    if not placement.scope:
        return None
    for node in snapshot.tree.root_node.named_children:
        inner = node.child_by_field_name("definition") if node.type == "decorated_definition" else node
        if inner is None or inner.type != "class_definition":
            continue
        name = inner.child_by_field_name("name")
        if name is not None and (name.text or b"").decode("utf-8", "replace") == placement.scope[0]:
            return inner
    return None


def _within_first(text: str, budget: int) -> str:
    """Keep the first lines that fit."""
    lines = text.split("\n")
    while lines and sum(len(line) + 1 for line in lines) > budget:
        lines.pop()
    return "\n".join(lines)


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
