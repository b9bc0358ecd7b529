"""What of new code is newer than the Python that a project supports."""

from __future__ import annotations

import pytest

from nl2code_server.lang.versions import lowest, too_new

OLD = (3, 8)


@pytest.mark.parametrize(
    ("specifier", "version"),
    [
        (">=3.8", (3, 8)),
        (">=3.9,<4", (3, 9)),
        ("~=3.10", (3, 10)),
        ("^3.9", (3, 9)),
        ("==3.11.*", (3, 11)),
        (">3.7", (3, 7)),
        (">= 3.10.2, != 3.11.0", (3, 10)),
        ("<4", None),
        ("!=3.9", None),
        ("<=3.11", None),
        ("", None),
        (">=3", (3, 0)),
    ],
)
def test_the_oldest_python_that_a_specifier_lets_in(specifier: str, version: tuple[int, int] | None) -> None:
    assert lowest(specifier) == version


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("match x:\n    case 1: pass", "`match` needs Python 3.10"),
        ("with (open('a') as f, open('b') as g):\n    pass", "`with` in parentheses needs Python 3.10"),
        (
            "with (\n    open('a') as f,\n    open('b') as g,\n):\n    pass",
            "`with` in parentheses needs Python 3.10",
        ),
        ("try:\n    pass\nexcept* ValueError:\n    pass", "`except*` needs Python 3.11"),
        ("def f(x: int | None): pass", "`X | Y` as a type needs Python 3.10"),
        ("def f() -> list[int]: pass", "`list[…]` as a type needs Python 3.9"),
        ("class A:\n    x: dict[str, int]", "`dict[…]` as a type needs Python 3.9"),
        ("'a'.removeprefix('a')", "`.removeprefix` needs Python 3.9"),
        ("import tomllib", "the module tomllib needs Python 3.11"),
        ("from enum import StrEnum", "enum.StrEnum needs Python 3.11"),
        ("import math\nmath.lcm(1, 2)", "math.lcm needs Python 3.9"),
        ("list(zip(a, b, strict=True))", "`zip(strict=…)` needs Python 3.10"),
    ],
)
def test_what_is_too_new(code: str, said: str) -> None:
    assert said in too_new("", code, OLD)
    assert too_new("", code, (3, 14)) == ()


@pytest.mark.parametrize(
    "code",
    [
        "with (open('a') as f):\n    pass",
        "with (open('a')) as f, open('b') as (g):\n    pass",
        "from __future__ import annotations\ndef f(x: int | None) -> list[int]: pass",
        "def f():\n    x: list[int] = []",
        "x = a | b",
        "if (n := 1): pass",
        'f"{x!r} {y:>{width}}"',
        "f\"{a['b']}\"",
        "def f(:",
    ],
)
def test_what_is_not(code: str) -> None:
    assert too_new("", code, OLD) == ()


def test_what_the_file_uses_already_is_no_news() -> None:
    before = "def f(x: int | None): pass\n"
    assert too_new(before, before + "def g(y: str | None): pass\n", OLD) == ()
