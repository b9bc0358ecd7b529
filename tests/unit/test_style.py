"""The unit of indentation."""

from __future__ import annotations

import pytest

from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.style import indent_unit


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("", "    "),
        ("x = 1\n", "    "),
        ("if x:\n  y\n", "  "),
        ("if x:\n\ty\n", "\t"),
        ("if x:  # why\n   y\n", "   "),
        ("def f(\n        a,\n        b):\n  if a:\n    return b\n", "  "),
        ("if x:\n        y\nif x:\n    y\nif x:\n    y\n", "    "),
        ("def f():\n  s = '''\nif x:\n        y\nif x:\n        y\n'''\n", "  "),
        ("x = foo(a,\n        b)\nif x:\n  y\n", "  "),
        ("if x:\n \ty\n", "    "),
        ("if x:\r\n\ty\r\n", "\t"),
        ("def f(:\n  x = (\n", "  "),
    ],
)
def test_indent_unit(text: str, unit: str) -> None:
    assert indent_unit(Snapshot.from_text(text)) == unit
