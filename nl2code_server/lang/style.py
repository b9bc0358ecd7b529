"""How this file is written: the unit of its indentation, annotations, docstrings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .document import Snapshot
from .signatures import docstring
from .syntax import indent_width, is_code

if TYPE_CHECKING:
    from tree_sitter import Node

DocstringForm = Literal["", "line", "google", "numpy", "sphinx"]

DEFAULT_UNIT = "    "
_OPENS = re.compile(rb":\s*(?:#.*)?$")
_ENOUGH = 200  # steps seen after which the verdict stands, so that it stays quick on long files


_HABIT = 0.8  # share of functions that makes a habit
_MOST_FUNCTIONS = 60
_FORMS: tuple[tuple[DocstringForm, re.Pattern[str]], ...] = (
    ("google", re.compile(r"^\s*(?:Args|Returns|Raises|Yields):\s*$", re.MULTILINE)),
    ("numpy", re.compile(r"^\s*(?:Parameters|Returns|Raises)\s*\n\s*-{3,}\s*$", re.MULTILINE)),
    ("sphinx", re.compile(r"^\s*:(?:param|returns?|raises)\b", re.MULTILINE)),
)


@dataclass(frozen=True, slots=True)
class HouseStyle:
    """Habits that new code should share. Nothing is said where there is no habit."""

    annotated: bool = False
    """Whether functions have annotations throughout."""
    docstrings: DocstringForm = ""
    """The form of docstrings where functions have one as a rule."""


def house_style(snapshots: Iterable[Snapshot]) -> HouseStyle:
    """Measure the habits of the first file that has functions; the others are its neighbours, nearest first.

    Of a neighbour one function proves nothing, and its docstrings ask for none here: they cost the model its time.
    Deferred annotations in the file itself speak for annotations.
    """
    deferred = None
    for snapshot in snapshots:
        functions = list(_functions(snapshot.tree.root_node))
        own = deferred is None
        deferred = deferred or b"from __future__ import annotations" in snapshot.source
        if functions and (own or len(functions) > 1):
            habits = _habits(functions, deferred=deferred)
            return habits if own else HouseStyle(habits.annotated)
        if own and deferred:
            return HouseStyle(annotated=True)
    return HouseStyle()


def _habits(functions: list[Node], *, deferred: bool) -> HouseStyle:
    annotated = sum(map(_is_annotated, functions))
    public = [one for one in functions if not _name(one).startswith("_")] or functions
    texts = [_docstring_text(one) for one in public]
    documented = [text for text in texts if text]
    form: DocstringForm = ""
    if len(documented) >= _HABIT * len(public):
        form = Counter(map(_form, documented)).most_common(1)[0][0]
    return HouseStyle(annotated >= (_HABIT - 0.2 * deferred) * len(functions), form)


def _form(text: str) -> DocstringForm:
    return next((form for form, mark in _FORMS if mark.search(text)), "line")


def _functions(root: Node) -> Iterator[Node]:
    stack, count = [root], 0
    while stack and count < _MOST_FUNCTIONS:
        node = stack.pop()
        if node.type == "function_definition":
            body = node.child_by_field_name("body")
            if body is not None and body.named_child_count:
                count += 1
                yield node
            continue
        stack.extend(reversed(node.named_children))


def _is_annotated(function: Node) -> bool:
    parameters = function.child_by_field_name("parameters")
    for one in parameters.named_children if parameters is not None else ():
        if one.type in ("identifier", "default_parameter", "list_splat_pattern", "dictionary_splat_pattern"):
            name = (one.text or b"").strip(b"*").split(b"=")[0].strip()
            if name not in (b"self", b"cls"):
                return False
    return function.child_by_field_name("return_type") is not None or _name(function) == "__init__"


def _docstring_text(function: Node) -> str:
    if not docstring(function):
        return ""
    body = function.child_by_field_name("body")
    return (body.text or b"").decode("utf-8", "replace") if body is not None else ""


def _name(function: Node) -> str:
    name = function.child_by_field_name("name")
    return (name.text or b"").decode("utf-8", "replace") if name is not None else ""


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
