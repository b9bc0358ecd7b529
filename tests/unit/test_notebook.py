"""Cells of notebooks: magics out of the way, rows that count from the cell."""

from __future__ import annotations

import pytest

from nl2code_server.lang.instruction import at
from nl2code_server.lang.names import insert_imports
from nl2code_server.lsp.notebook import Cell, masked


@pytest.mark.parametrize(
    ("source", "code", "top"),
    [
        ("%matplotlib inline\nx = 1\n", "0                 \nx = 1\n", 0),
        ("if a:\n    !ls -l\n", "if a:\n    0     \n", 0),
        ("files = !ls\nfiles\n", "files = 0  \nfiles\n", 0),
        ("t = %timeit -o f()\r\n", "t = 0             \r\n", 0),
        ("df?\n", "0  \n", 0),
        ("?df\n!é\n", "0  \n0  \n", 0),
        ("%%time\n%%capture\nx = 1\n", "0     \n0        \nx = 1\n", 2),
        ("%%bash\nls 'x\n", "      \n     \n", 2),
        ("%%html\n<b>%x</b>", "      \n         ", 2),
        # Python as it is: an operator at the start of a line, a format in a string.
        ("x = (a\n  % b)\ny = '''\n%s\n'''\n", "x = (a\n  % b)\ny = '''\n%s\n'''\n", 0),
        ("", "", 0),
    ],
)
def test_magics_become_statements_of_the_same_length(source: str, code: str, top: int) -> None:
    assert masked(source.encode()) == (source.encode(), code.encode(), top)
    assert len(code.encode()) == len(source.encode())


def cells(*texts: str) -> list[Cell]:
    """Return the cells of a notebook."""
    made: list[Cell] = []
    for number, text in enumerate(texts):
        made.append(
            Cell(
                f"cell:{number}",
                text,
                version=1,
                encoding="utf-16",
                earlier=lambda n=number: made[:n],  # type: ignore[misc]
            )
        )
    return made


def test_a_cell_below_those_above_it() -> None:
    first, broken, shell, _empty, last = cells(
        "import os", "x = (", "%%bash\nls", "\n", "%time\n# é\U0001f600 write f\n"
    )
    snapshot = last.snapshot()
    assert snapshot.text == "import os\n\n# %%\n\n0    \n# é\U0001f600 write f\n"
    assert (snapshot.origin, snapshot.top) == (4, 4)
    assert snapshot is last.snapshot()
    point = snapshot.to_point(1, 5)
    assert point == (5, 8)
    assert snapshot.to_position(point) == (1, 5)
    assert snapshot.to_point(-1, 3) == (4, 0)
    assert snapshot.edited([]).to_position((4, 0)) == (0, 0)
    first.apply((0, 7, 0, 9), "sys")
    assert last.snapshot().text.startswith("import sys\n")
    broken.apply((0, 5, 0, 5), ")")
    assert "x = ()\n\n# %%\n" in last.snapshot().text
    last.apply((0, 0, 1, 0), "")
    assert last.snapshot().text.endswith("\n\n# é\U0001f600 write f\n")
    assert last.own().text == "# é\U0001f600 write f\n"
    assert shell.context() == b""


def test_what_is_asked_above_is_not_asked_here_and_imports_stay_here() -> None:
    above, here, timed = cells("# write a function computing the gcd\n", "\n", "%%time\nimport os\nx = 1\n")
    snapshot = here.snapshot()
    found = at(snapshot, snapshot.origin, attention="cursor")
    assert found is None or not found.fires
    assert at(above.snapshot(), 0, attention="cursor") is not None
    (edit,) = insert_imports(snapshot, ["import math"])
    assert snapshot.to_position(edit.start) == (0, 0)
    (edit,) = insert_imports(timed.snapshot(), ["import math"])
    assert timed.snapshot().to_position(edit.start) == (2, 0)
