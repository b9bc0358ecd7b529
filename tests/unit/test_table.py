"""Every form of instruction, in every kind of file, at every cursor: the whole resulting file is asserted."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import pytest

from nl2code_server.lang.document import Encoding, Snapshot
from nl2code_server.lang.instruction import at
from nl2code_server.lang.placement import place
from nl2code_server.lang.splice import apply, inline, splice
from nl2code_server.lang.validate import compile_error, validate


@dataclass(frozen=True)
class Form:
    """A file with `^` for the cursor, and what it must be with the code in it."""

    name: str
    before: str
    code: str
    after: str
    gap: int
    """Blank lines between the code and a statement of the module that stood directly below."""


GCD = "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a"
BODY = "while b:\n    a, b = b, a % b\nreturn a"
STACK = '''\
class Stack:
    """A stack.

    Last in, first out.
    """

    def push(self, item):
        pass'''
METHOD = "def total(self):\n    return sum(\n        self.items,\n    )"

FORMS = [
    Form(
        "function at module level",
        "# write a function that computes the gcd^\n",
        GCD,
        """\
# write a function that computes the gcd
def gcd(a, b):
    while b:
        a, b = b, a % b
    return a
""",
        gap=2,
    ),
    Form(
        "class at module level",
        "# write a class for a stack\n# with push and pop^\n",
        STACK,
        '''\
# write a class for a stack
# with push and pop
class Stack:
    """A stack.

    Last in, first out.
    """

    def push(self, item):
        pass
''',
        gap=2,
    ),
    Form(
        "statements at module level",
        "names = []\n# write code that prints the `names` in order^\n",
        "for name in sorted(names):\n    print(name)",
        """\
names = []
# write code that prints the `names` in order
for name in sorted(names):
    print(name)
""",
        gap=0,
    ),
    Form(
        "method in a class",
        "class Cart:\n    items = ()\n\n    # write a method for the total^\n",
        METHOD,
        """\
class Cart:
    items = ()

    # write a method for the total
    def total(self):
        return sum(
            self.items,
        )
""",
        gap=2,
    ),
    Form(
        "method between methods",
        """\
class Cart:
    def a(self):
        return 1

    # write a method for the total^
    def b(self):
        return 2
""",
        METHOD,
        """\
class Cart:
    def a(self):
        return 1

    # write a method for the total
    def total(self):
        return sum(
            self.items,
        )

    def b(self):
        return 2
""",
        gap=0,
    ),
    Form(
        "statements in a function",
        "def gcd(a, b):\n    print(a)\n    # write a loop for Euclid's algorithm^\n",
        BODY,
        """\
def gcd(a, b):
    print(a)
    # write a loop for Euclid's algorithm
    while b:
        a, b = b, a % b
    return a
""",
        gap=2,
    ),
    Form(
        "statements in a nested block",
        "for line in []:\n    if line:\n        # write code that prints each `word`^\n    else:\n        pass\n",
        "for word in line:\n    print(word)",
        """\
for line in []:
    if line:
        # write code that prints each `word`
        for word in line:
            print(word)
    else:
        pass
""",
        gap=0,
    ),
    Form(
        "stub with nothing",
        "def gcd(a, b):^\n",
        BODY,
        """\
def gcd(a, b):
    while b:
        a, b = b, a % b
    return a
""",
        gap=2,
    ),
    Form(
        "stub with a comment and pass",
        "class Math:\n    def gcd(self, a, b):\n        # Euclid^\n        pass\n",
        BODY,
        """\
class Math:
    def gcd(self, a, b):
        # Euclid
        while b:
            a, b = b, a % b
        return a
""",
        gap=2,
    ),
    Form(
        "stub with a docstring and an ellipsis",
        'def gcd(a, b):\n    """Return the gcd.\n\n    Euclid\'s way.\n    """^\n    ...\n',
        BODY,
        '''\
def gcd(a, b):
    """Return the gcd.

    Euclid's way.
    """
    while b:
        a, b = b, a % b
    return a
''',
        gap=2,
    ),
    Form(
        "stub that raises NotImplementedError, a comment above",
        "# compute the gcd\ndef gcd(a, b):^\n    raise NotImplementedError(\n        'later'\n    )\n",
        BODY,
        """\
# compute the gcd
def gcd(a, b):
    while b:
        a, b = b, a % b
    return a
""",
        gap=2,
    ),
    Form(
        "decorated asynchronous stub",
        "@print\nasync def gcd(\n    a,\n    b,\n):\n    # Euclid^\n    raise NotImplementedError\n",
        BODY,
        """\
@print
async def gcd(
    a,
    b,
):
    # Euclid
    while b:
        a, b = b, a % b
    return a
""",
        gap=2,
    ),
]

# Tells the unit of indentation, and gives the file something above the instruction.
FIRST = "def first(x):\n    if x:\n        return 1\n\n\n"
BROKEN = "def broken(x:\n    retrn x\n\n\n"
EOLS = ["\n", "\r\n"]
UNITS = ["    ", "  ", "\t"]
CURSORS = ["end", "next line", "indented"]
ENDS = ["newline", "no newline", "code below", "error elsewhere"]


def _in_unit(text: str, unit: str) -> str:
    lines = []
    for line in text.split("\n"):
        body = line.lstrip(" ")
        depth, rest = divmod(len(line) - len(body), 4)
        lines.append(unit * depth + " " * rest + body)
    return "\n".join(lines)


def _files(form: Form, unit: str, cursor: str, end: str) -> tuple[str, str]:
    """Return the file with `^` at the cursor, and the one expected."""
    before, after = FIRST + form.before, FIRST + form.after
    if end == "code below":
        before += "total = 1\n"
        after += "\n" * form.gap + "total = 1\n"
    if end == "error elsewhere":
        before, after = BROKEN + before, BROKEN + after
    before, after = _in_unit(before, unit), _in_unit(after, unit)
    if cursor != "end":
        before = before.replace("^", "\n" + (unit * 3 if cursor == "indented" else "") + "^")
    if end == "no newline":
        before = before.removesuffix("\n")
        # An empty last line is the end of the line above it, which so has a line ending. That stays.
        if not before.endswith("\n^"):
            after = after.removesuffix("\n")
    return before, after


def _cursor(marked: str) -> tuple[str, tuple[int, int]]:
    head, tail = marked.split("^")
    row = head.count("\n")
    return head + tail, (row, len(head.rpartition("\n")[2].encode()))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("end", ENDS)
def test_whole_file(form: Form, end: str) -> None:
    for eol, unit, cursor in product(EOLS, UNITS, CURSORS):
        case = f"{eol!r} {unit!r} {cursor}"
        marked, expected = _files(form, unit, cursor, end)
        before, point = _cursor(marked)
        before, expected = before.replace("\n", eol), expected.replace("\n", eol)
        snapshot = Snapshot.from_text(before)
        found = at(snapshot, point[0], attention="cursor")
        assert found is not None and found.fires, case
        placement = place(snapshot, found)
        edits = splice(snapshot, found, placement, form.code)
        assert apply(snapshot, edits) == expected, case
        shown = inline(snapshot, found, placement, form.code, point)
        assert shown is not None, case
        assert shown.edit.start[0] == shown.edit.end[0] == point[0], case
        assert shown.edit.start <= point <= shown.edit.end, case
        replaced = snapshot.line(point[0])[shown.edit.start[1] : shown.edit.end[1]]
        assert not replaced.strip(), case
        between = Snapshot.from_text(apply(snapshot, [shown.edit]))
        assert apply(between, shown.follow_up) == expected, case
        if not compile_error(before):
            assert not compile_error(expected), case
        assert bool(compile_error(expected)) == (end == "error elsewhere"), case
        checks = validate(snapshot, edits, placement)
        assert all(check.ok for check in checks), (case, checks)


ENCODINGS: list[Encoding] = ["utf-8", "utf-16", "utf-32"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("eol", EOLS)
def test_astral_characters(encoding: Encoding, eol: str) -> None:
    before = "s = '😀𝒳'  # 🎉🎉\n# 写一个函数 🎉 that returns \"𠮷\"\n\nt = '🎉'\n".replace("\n", eol)
    snapshot = Snapshot.from_text(before, encoding=encoding)
    comment = before.split(eol)[1]
    units = {
        "utf-8": len(comment.encode()),
        "utf-16": len(comment.encode("utf-16-le")) // 2,
        "utf-32": len(comment),
    }[encoding]
    cursor = snapshot.to_point(1, units)
    assert cursor == (1, len(comment.encode()))
    found = at(snapshot, cursor[0])
    assert found is not None and found.fires
    assert found.text == '写一个函数 🎉 that returns "𠮷"'
    assert snapshot.to_position(found.end) == (1, units)
    shown = inline(snapshot, found, place(snapshot, found), "def f():\n    return '𠮷'", cursor)
    assert shown is not None
    assert snapshot.to_position(shown.edit.start) == (1, units)
    between = Snapshot.from_text(apply(snapshot, [shown.edit]))
    assert apply(between, shown.follow_up) == (
        "s = '😀𝒳'  # 🎉🎉\n# 写一个函数 🎉 that returns \"𠮷\"\ndef f():\n    return '𠮷'\n\n\nt = '🎉'\n"
    ).replace("\n", eol)


@pytest.mark.parametrize("odd", ["\f", "\u2028", "\u0085", "\x1c"])
def test_characters_that_only_python_takes_for_line_ends(odd: str) -> None:
    before = f"a = '{odd}'\n# write a function{odd} that adds numbers\n"
    if odd == "\f":
        before = "a = 1\n\f\n# write a function that adds numbers\n"
    snapshot = Snapshot.from_text(before)
    row = before.count("\n") - 1
    found = at(snapshot, row)
    assert found is not None and found.fires and found.start == (row, 0)
    edits = splice(snapshot, found, place(snapshot, found), "def add(a, b):\n    return a + b")
    assert apply(snapshot, edits) == before + "def add(a, b):\n    return a + b\n"
