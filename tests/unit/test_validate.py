"""Code that would make a file worse is found, and only such."""

from __future__ import annotations

import pytest

from nl2code_server.lang import Edit
from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.instruction import at
from nl2code_server.lang.placement import place
from nl2code_server.lang.splice import splice
from nl2code_server.lang.validate import Check, compile_error, validate


def _checks(text: str, code: str, extra: tuple[Edit, ...] = ()) -> dict[str, Check]:
    """Check `code` for the instruction on the row with the mark `^`."""
    row = text.split("^", maxsplit=1)[0].count("\n")
    snapshot = Snapshot.from_text(text.replace("^", ""))
    found = at(snapshot, row)
    assert found is not None
    placement = place(snapshot, found)
    checks = validate(snapshot, (*extra, *splice(snapshot, found, placement, code)), placement)
    assert [one.check for one in checks] == ["compiles", "syntax", "adds", "duplicate"]
    return {one.check: one for one in checks}


def _failed(text: str, code: str) -> list[str]:
    return [name for name, one in _checks(text, code).items() if not one.ok]


GCD = "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a"

# CPython rejects them all; the tree has no error for those marked True.
REJECTED = [
    ('print "hi"', True),
    ("return 1", True),
    ("yield 1", True),
    ("await f()", True),
    ("break", True),
    ("continue", True),
    ("nonlocal x", True),
    ("def f(a, a): return a", True),
    ("def f():\n    await g()", True),
    ("*a = 1", True),
    ("f(a=1, 2)", True),
    ("def f(a=1, b): return b", True),
    ("x: int = 1\nx: = 2", False),
    ("class A:\ndef f(self): return 1", True),
    ("def f():\n\nx = 1", True),
    ("f() = 1", False),
    ("1 = x", False),
    ("del f()", False),
    ("x = (1", False),
    ("x = 'a", False),
    ("def f(:\n    return 1", False),
    ("if x = 1:\n    y = 2", False),
    ("for (let i = 0; i < 3; i++) {\n}", False),
    ("Sure! Here is the code you asked for.", False),
    ("import os as", False),
    ("from __future__ import braces", True),
    ("def f():\n    x = 1\n    global x", True),
    ("async def f():\n    yield 1\n    return 2", True),
    ("try:\n    x = 1", False),
    ("lambda: (yield)\nreturn", True),
    ("x = 0777", False),
    ("with open(x) as f.read(): pass", False),
    ("\x00", False),
]


@pytest.mark.parametrize(("code", "tree_accepts"), REJECTED)
def test_what_cpython_rejects(code: str, tree_accepts: bool) -> None:
    failed = _failed("x = 1\n# write a function^\n", code)
    assert "compiles" in failed
    if tree_accepts:
        assert "syntax" not in failed


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("# gcd^\n", GCD),
        ("def gcd(a, b):\n    x = 1\n    # loop^\n", "while b:\n    a, b = b, a % b\nreturn a"),
        ("def gcd(a, b):\n    # loop^\n    pass\n", "return a"),
        ("def gcd(a, b):^\n", "return a"),
        ("async def f():\n    # loop^\n    pass\n", "await g()"),
        ("for x in y:\n    # skip^\n    pass\n", "continue"),
        ("def f():\n    n = 1\n    def g():\n        # count^\n        pass\n", "nonlocal n\nn += 1"),
        ("class A:\n    x = 1\n\n    # size^\n", "@property\ndef size(self):\n    return self.x"),
        ("\ufeff# gcd^\n", GCD),
        ("# gcd^\r\n", GCD),
        ("# gcd^\r", GCD),
    ],
)
def test_what_is_sound(text: str, code: str) -> None:
    assert _failed(text, code) == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("def broken(:\n    pass\n\n\n# gcd^\n", GCD),
        ("# gcd^\n\n\ndef broken(:\n    pass\n", GCD),
        ("x = (\n\n# gcd^\n\ndef f(): return 1\n", GCD),
        (
            "class A:\n    x = 1\n\n    # total^\n\n    def b(self:\n        retrn 1\n",
            "def total(self):\n    return 1",
        ),
        ("def f(a):\n    if a\n        x = 1\n    # sort^\n\n", "return sorted(a)"),
        ("async def f(a):\n    if a\n        x = 1\n    # sort^\n\n", "return await a"),
        ("def f(a):\n    # sort^\n    pass\n\ndef g(\n", "return '''\nx\n'''"),
        ("def f(a):\n\t# sort^\n\tpass\n\ndef g(\n", "return '''\nx\n'''"),
        ("type X[T] = (\n# gcd^\n", GCD),
        (
            "class A:\n  def f(self):\n    n = 1\n    def g():\n      # up^\n      pass\n\ndef h(\n",
            "nonlocal n\nn += 1",
        ),
    ],
)
def test_sound_code_in_a_broken_file(text: str, code: str) -> None:
    assert compile_error(text.replace("^", ""))
    assert _failed(text, code) == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("# gcd^\n\n\ndef broken(:\n    pass\n", "return 1"),
        ("# gcd^\n\n\ndef broken(:\n    pass\n", "def f(:"),
        ("# gcd^\n\n\ndef broken(:\n    pass\n", "print 'x'"),
        ("def f(a):\n    # sort^\n    pass\n\ndef g(\n", "x = (a"),
        ("def f(a):\n    # sort^\n    pass\n\ndef g(\n", "print a"),
        ("def f(a):\n    # sort^\n    pass\n\ndef g(\n", "break"),
        ("def f(a):\n    if a\n        x = 1\n    # sort^\n\n", "print a"),
        ("class A:\n    # m^\n\n    def b(self:\n        retrn 1\n", "def total(self)\n    return 1"),
    ],
)
def test_bad_code_in_a_broken_file(text: str, code: str) -> None:
    assert "compiles" in _failed(text, code)


def test_an_import_edit_elsewhere_does_not_mislead() -> None:
    text = "import os\n\n\ndef broken(:\n    pass\n\n\n# gcd^\n"
    extra = (Edit((1, 0), (1, 0), "import math\nimport re\n"),)
    assert all(one.ok for one in _checks(text, GCD, extra).values())
    assert not _checks(text, "return 1", extra)["compiles"].ok
    assert not _checks(text, "def broken(x):\n    pass", extra)["adds"].ok


@pytest.mark.parametrize(
    "code",
    [
        "# only a comment",
        "pass",
        "...",
        "def f():\n    pass",
        "def f():\n    '''Doc.'''\n    ...",
        "'''text'''",
        "@d\ndef f(): ...",
    ],
)
def test_code_that_adds_nothing(code: str) -> None:
    assert "adds" in _failed("# write a function^\n", code)


def test_stub_filled_with_a_placeholder_adds_nothing() -> None:
    assert "adds" in _failed("def f():\n    # sort the list^\n    ...\n", "raise NotImplementedError")


@pytest.mark.parametrize(
    "code", ["class Error(Exception):\n    pass", "x = ...", "raise NotImplementedError2", "import os"]
)
def test_code_that_adds_something(code: str) -> None:
    assert "adds" not in _failed("# write a class^\n", code)


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("# gcd^\n\ndef gcd(): return 1\n", "gcd is already defined"),
        ("@cache\ndef gcd(): return 1\n\n# gcd^\n", "gcd is already defined"),
        ("def gcd(a, b):\n    x = 1\n    # gcd^\n", "defines gcd inside gcd"),
        ("def gcd(a, b):\n    # gcd^\n    pass\n", "defines gcd inside gcd"),
        ("class A:\n    def gcd(self): return 1\n\n    # gcd^\n", "gcd is already defined"),
    ],
)
def test_duplicate(text: str, detail: str) -> None:
    check = _checks(text, GCD)["duplicate"]
    assert (check.ok, check.detail) == (False, detail)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("class A:\n    def gcd(self): return 1\n\n\n# gcd^\n", GCD),
        ("if x:\n    def gcd(): return 1\n\n# gcd^\n", GCD),
        (
            "class A:\n    @property\n    def x(self): return 1\n\n    # setter^\n",
            "@x.setter\ndef x(self, v):\n    self.y = v",
        ),
        ("@overload\ndef gcd(a: int) -> int: ...\n# gcd^\n\n", GCD),
        ("def f():\n    # gcd^\n    pass\n", GCD),
    ],
)
def test_no_duplicate(text: str, code: str) -> None:
    assert _checks(text, code)["duplicate"].ok


@pytest.mark.parametrize(
    "bomb",
    [
        "(" * 300 + ")" * 300,
        "-" * 100_000 + "1",
        "x" + "()" * 20_000,
        "x" + ".a" * 20_000,
        "1" * 5_000,
        "lambda:" * 5_000 + "1",
    ],
)
def test_bombs_are_refused(bomb: str) -> None:
    assert compile_error(f"x = {bomb}\n")


def test_nothing_is_run_and_nothing_warns(capsys: pytest.CaptureFixture[str]) -> None:
    assert _failed("# write a function^\n", "print('run')\nassert (1, 'always true')\nx = '\\d' is 1") == []
    assert capsys.readouterr().out == ""
