"""Carrying instructions, edits and suggestions over to a later text of their file."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from nl2code_server.lang import Edit
from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.instruction import at
from nl2code_server.lang.names import insert_imports
from nl2code_server.lang.placement import place
from nl2code_server.lang.splice import apply, inline, splice
from nl2code_server.lsp.anchor import behind, drift, moved
from nl2code_server.suggest import Suggestion

COMMENT = "# write a function computing the gcd of two numbers"
CODE = "def gcd(a, b):\n    return math.gcd(a, b)"


def snapshot(text: str) -> Snapshot:
    return Snapshot.from_text(text, uri="file:///x.py")


def suggested(text: str, row: int, imports: Sequence[str] = ()) -> Suggestion:
    made_for = snapshot(text)
    found = at(made_for, row, attention="invoked")
    assert found is not None
    placement = place(made_for, found)
    edits = (*insert_imports(made_for, imports), *splice(made_for, found, placement, CODE))
    return Suggestion("id", "request", CODE, found, placement, edits, "valid", imports=tuple(imports))


@pytest.mark.parametrize(
    ("old", "new", "rows"),
    [
        ("a\nb\nc", "a\nb\nc", [0, 1, 2]),
        ("a\nb\nc", "a\nx\nc", [0, None, 2]),
        ("a\nb\nc", "x\na\nb\nc", [1, 2, 3]),
        ("a\nb\nc", "a\nb\nc\n", [0, 1, 2]),
        ("a\nb\nc", "a\r\nb\r\nc", [0, 1, 2]),
        ("a\nb\nc", "a\nc", [0, None, 1]),
        ("a\na\na", "a\na", [0, 1, None]),
        ("a\nb\nc", "x\nb\ny", [None, None, None]),
        ("", "a\n", [1]),
    ],
)
def test_where_rows_are_now(old: str, new: str, rows: list[int | None]) -> None:
    found = drift(snapshot(old), snapshot(new))
    assert [found.row(row) for row in range(len(rows))] == rows


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        (f"import os\nx = 1\n{COMMENT}\n", f"import os\nimport math\n\nx = 1\n{COMMENT}\n{CODE}\n"),
        (f"x = 1\n{COMMENT}\n\n\ny = 2\n", f"import math\n\nx = 1\n{COMMENT}\n{CODE}\n\n\ny = 2\n"),
        (f"import math\nx = 1\n{COMMENT}\n", f"import math\nx = 1\n{COMMENT}\n{CODE}\n"),
        (f"x = 1\n{COMMENT} quickly\n", None),
        (f"x = 1\n{COMMENT}\ndef gcd(a, b):\n    return a\n", None),
        (f"x = 1\nif x:\n    {COMMENT}\n", None),
        ("x = 1\n", None),
    ],
)
def test_a_suggestion_for_a_later_text(later: str, expected: str | None) -> None:
    text = f"x = 1\n{COMMENT}\n"
    fitted = moved(suggested(text, 1, ["import math"]), snapshot(text), snapshot(later), comment="keep")
    if expected is None:
        assert fitted is None
    else:
        assert fitted is not None
        assert apply(snapshot(later), fitted.edits) == expected


@pytest.mark.parametrize("imports_below", [False, True])
def test_imports_after_ghost_text_was_accepted(imports_below: bool) -> None:
    text = f"{COMMENT}\n\nimport os\n" if imports_below else f"import os\n\n{COMMENT}\n"
    before = snapshot(text)
    suggestion = suggested(text, 0 if imports_below else 2, ["import math"])
    shown = inline(before, suggestion.instruction, suggestion.placement, CODE, suggestion.instruction.end)
    assert shown is not None
    after = before.edited([shown.edit])
    follow_up = (*behind(insert_imports(before, ["import math"]), shown.edit), *shown.follow_up)
    assert apply(after, follow_up) == apply(before, suggestion.edits)


def test_edits_next_to_what_was_changed() -> None:
    change = drift(snapshot("a\nb\nc\nd"), snapshot("a\nB\nc\nd"))
    edit = Edit((2, 0), (3, 0), "")
    assert change.edits([edit]) == (edit,)
    assert change.edits([edit], intact=range(1, 2)) is None
    assert change.edits([Edit((0, 0), (1, 0), "")]) is None
