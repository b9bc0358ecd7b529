"""How a file is written: its indentation and its quotes."""

from __future__ import annotations

import pytest

from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.quotes import conform, preferred
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


@pytest.mark.parametrize(
    ("text", "quote"),
    [
        ("a = 'x'\nb = 'y'\nc = 'z'\n", "'"),
        ('a = "x"\nb = "y"\nc = f"{z}"\n', '"'),
        ("a = 'x'\nb = \"y\"\nc = 'z'\n", ""),
        ("a = 'x'\n", ""),
        ('"""Doc."""\na = "it\'s"\nb = "it\'s"\nc = "it\'s"\n', ""),
    ],
)
def test_the_quotes_of_a_file(text: str, quote: str) -> None:
    assert preferred(Snapshot.from_text(text).tree) == quote


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ('x = "a"', "x = 'a'"),
        ('x = "it\'s"', 'x = "it\'s"'),
        ('x = "a\\n"', 'x = "a\\n"'),
        ('def f():\n    """Doc."""\n    return rb"x"', 'def f():\n    """Doc."""\n    return rb\'x\''),
        ('f"{d[\'a\']}" + f"{x!r}"', "f\"{d['a']}\" + f'{x!r}'"),
        ("f'{d[\"a\"]}'", "f'{d[\"a\"]}'"),
        ('"é" + "中"', "'é' + '中'"),
        ('x = "open', 'x = "open'),
    ],
)
def test_new_code_gets_the_files_quotes(code: str, changed: str) -> None:
    assert conform(code, "'") == changed
    assert conform(code, "") == code
