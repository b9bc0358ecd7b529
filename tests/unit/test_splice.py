"""Re-indentation, edits, ghost text. The forms of instruction are in test_table."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nl2code_server.lang import Edit, Point
from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.instruction import at
from nl2code_server.lang.placement import place
from nl2code_server.lang.splice import Inline, apply, inline, reindent, splice

ADD = "def add(a, b):\n    return a + b"


def _spliced(text: str, code: str = ADD, comment: str = "keep") -> str:
    row = text.split("^", maxsplit=1)[0].count("\n")
    snapshot = Snapshot.from_text(text.replace("^", ""))
    found = at(snapshot, row)
    assert found is not None
    return apply(snapshot, splice(snapshot, found, place(snapshot, found), code, comment=comment))


def _inline(text: str, code: str = ADD, comment: str = "keep") -> tuple[Snapshot, Inline | None]:
    head, tail = text.split("^")
    cursor: Point = head.count("\n"), len(head.rpartition("\n")[2].encode())
    snapshot = Snapshot.from_text(head + tail)
    found = at(snapshot, cursor[0])
    assert found is not None
    return snapshot, inline(snapshot, found, place(snapshot, found), code, cursor, comment=comment)


def _accepted(text: str, code: str = ADD, comment: str = "keep") -> str:
    snapshot, shown = _inline(text, code, comment)
    assert shown is not None
    return apply(Snapshot.from_text(apply(snapshot, [shown.edit])), shown.follow_up)


CODE = '''\
class A:
  """Doc.

    deeper
  """

  # about f
  def f(self, a,
        b):
    text = """
kept
  as is
"""
    return [
      a,
        b,
    ] + \\
      text
'''


@pytest.mark.parametrize("unit", ["    ", "  ", "\t"])
@pytest.mark.parametrize("indent", ["", "    ", "\t"])
def test_reindent(indent: str, unit: str) -> None:
    expected = f'''\
{indent}class A:
{indent}{unit}"""Doc.

{indent}{unit}{unit}deeper
{indent}{unit}"""

{indent}{unit}# about f
{indent}{unit}def f(self, a,
{indent}{unit}{unit * 3}b):
{indent}{unit}{unit}text = """
kept
  as is
"""
{indent}{unit}{unit}return [
{indent}{unit}{unit}{unit}a,
{indent}{unit}{unit}{unit * 2}b,
{indent}{unit}{unit}] + \\
{indent}{unit}{unit}{unit}text'''
    assert reindent(CODE, indent=indent, unit=unit) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("if x:\n\tif y:\n\t\tz", "if x:\n  if y:\n    z"),
        ("if x:\n    y\nelse:\n        z", "if x:\n  y\nelse:\n  z"),
        ("if x:\n    # a\n    y\n# b\nz", "if x:\n  # a\n  y\n# b\nz"),
        ("if x:\n    y\n    # tail", "if x:\n  y\n  # tail"),
        ("\n\nx = 1\r\n\r\ny = 2\r\n", "x = 1\n\ny = 2"),
        ("x = 1   \n   \ny = 2", "x = 1   \n\ny = 2"),
        ("f(a,\n  b)", "f(a,\n  b)"),
        ('s = f"""\n    {x}\n"""', 's = f"""\n    {x}\n"""'),
    ],
)
def test_reindent_cases(code: str, expected: str) -> None:
    assert reindent(code, indent="", unit="  ") == expected


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_reindent_keeps_the_meaning(data: st.DataObject) -> None:
    plain = ["a = [\n1,\n]", "b()", 't = """\n  x\n"""']
    lines, depth = [], 0
    for _ in range(data.draw(st.integers(1, 12))):
        depth = data.draw(st.integers(0, depth))
        opens = data.draw(st.booleans())
        line = data.draw(st.sampled_from(["if x:", "while y:", "def f():"] if opens else plain))
        lines.append("    " * depth + line)
        depth += opens
        if opens:
            lines.append("    " * depth + "c()")
    code = "\n".join(lines)
    unit = data.draw(st.sampled_from(["\t", "  ", "   ", "        "]))
    outer = ast.parse("if 1:\n" + reindent(code, indent=unit, unit=unit)).body[0]
    assert isinstance(outer, ast.If)
    assert [ast.dump(one) for one in outer.body] == [ast.dump(one) for one in ast.parse(code).body]


def test_apply_refuses_overlaps_and_takes_any_order() -> None:
    snapshot = Snapshot.from_text("abc\ndef\n")
    edits = [Edit((1, 1), (1, 2), "E"), Edit((0, 0), (0, 1), "A")]
    assert apply(snapshot, edits) == "Abc\ndEf\n"
    with pytest.raises(ValueError, match="overlap"):
        apply(snapshot, [Edit((0, 0), (1, 1), ""), Edit((0, 2), (1, 2), "")])


@pytest.mark.parametrize(
    ("below", "blanks"),
    [
        ("x = 1\n", 2),
        ("\nx = 1\n", 2),
        ("\n\nx = 1\n", 2),
        ("\n\n\n\nx = 1\n", 3),
        ("def f(): return 1\n", 2),
        ("\n\n", None),
    ],
)
def test_blank_lines_below_a_definition(below: str, blanks: int | None) -> None:
    result = _spliced(f"# add^\n{below}")
    tail = "\n" if blanks is None else "\n" * blanks + below.lstrip("\n")
    assert result == f"# add\n{ADD}\n{tail}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# sort^\n\nx = 1\n", "# sort\na.sort()\nx = 1\n"),
        ("# sort^\n\n\nx = 1\n", "# sort\na.sort()\n\nx = 1\n"),
        ("# sort^\ndef f(): return 1\n", "# sort\na.sort()\n\n\ndef f(): return 1\n"),
        ("if x:\n    # sort^\n\nelse:\n    pass\n", "if x:\n    # sort\n    a.sort()\nelse:\n    pass\n"),
        ("for x in y:\n    # sort^\n\nz = 1\n", "for x in y:\n    # sort\n    a.sort()\nz = 1\n"),
        (
            "def f():\n    x = 1\n    # sort^\n\nz = 1\n",
            "def f():\n    x = 1\n    # sort\n    a.sort()\n\n\nz = 1\n",
        ),
        (
            "class A:\n    def f(self):\n        x = 1\n        # sort^\n    def g(self): ...\n",
            "class A:\n    def f(self):\n        x = 1\n        # sort\n        a.sort()\n\n    def g(self): ...\n",
        ),
        ("def f(): ...  # sort^\n", "def f():  # sort\n    a.sort()\n"),
        ("def f():\n    pass  # sort^\n", "def f():\n    # sort\n    a.sort()\n"),
        ("def f():\n    pass\n    # sort^\n", "def f():\n    # sort\n    a.sort()\n"),
    ],
)
def test_blank_lines_below_statements(text: str, expected: str) -> None:
    assert _spliced(text, "a.sort()") == expected
    assert _accepted(text, "a.sort()") == expected


def test_what_follows_is_neither_repeated_nor_deleted() -> None:
    tail = "def last():\n    return 1  # ü\n\n\n\nx = '''\n\n'''"
    assert _spliced(f"# add^\n\n{tail}") == f"# add\n{ADD}\n\n\n{tail}"


@pytest.mark.parametrize("comment", ["keep", "remove", "docstring"])
@pytest.mark.parametrize(
    "cursor",
    [
        "# add numbers^\n",
        "# add numbers\n^",
        "# add numbers\n   ^\n",
        "# add numbers^",
        "# add numbers^\n\nx = 1\n",
    ],
)
def test_what_becomes_of_the_comment(comment: str, cursor: str) -> None:
    comes = {
        "keep": f"# add numbers\n{ADD}",
        "remove": ADD,
        "docstring": 'def add(a, b):\n    """add numbers"""\n    return a + b',
    }[comment]
    tail = "\n\n\nx = 1\n" if "x = 1" in cursor else "" if cursor.endswith("s^") else "\n"
    assert _spliced(cursor, comment=comment) == comes + tail
    assert _accepted(cursor, comment=comment) == comes + tail


@pytest.mark.parametrize(
    ("text", "comment", "expected"),
    [
        ("# a\ndef f():^\n    # b\n    pass\n", "remove", "def f():\n    return 1\n"),
        ("# a\ndef f():\n    # b^\n    pass\n", "remove", "def f():\n    return 1\n"),
        ("# a\ndef f():\n    # b^\n", "docstring", 'def f():\n    """a\n    b\n    """\n    return 1\n'),
        ("# a\n# noqa: X\ndef f():^\n", "remove", "# a\n# noqa: X\ndef f():\n    return 1\n"),
        ('# a\ndef f():\n    """Doc."""^\n', "docstring", '# a\ndef f():\n    """Doc."""\n    return 1\n'),
        ("x = 1\n# a^\n", "docstring", "x = 1\n# a\nreturn 1\n"),
    ],
)
def test_comments_of_stubs(text: str, comment: str, expected: str) -> None:
    assert _spliced(text, "return 1", comment) == expected


def test_docstring_is_escaped() -> None:
    result = _spliced('# say """hi""" \\n "x"^\n', comment="docstring")
    function = ast.parse(result).body[0]
    assert isinstance(function, ast.FunctionDef)
    assert (ast.get_docstring(function) or "").strip() == 'say """hi""" \\n "x"'


@pytest.mark.parametrize(
    "text",
    [
        "# wri^te a function\n",
        "^# write a function\n",
        "# add^\ndef add():\n    pass\n",
        "def a^dd(): ...\n",
        "def add(): pass ^ # sum\n",
    ],
)
def test_no_ghost_text_away_from_the_place(text: str) -> None:
    assert _inline(text)[1] is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# add  ^  \n", f"# add    \n{ADD}\n"),
        ("# add\n\n^\n\nx = 1\n", f"# add\n\n{ADD}\n\n\nx = 1\n"),
        ("# add\n\n\n^", f"# add\n\n\n{ADD}\n"),
        ("# add\n\t^", f"# add\n{ADD}"),
    ],
)
def test_ghost_text_on_other_rows(text: str, expected: str) -> None:
    assert _accepted(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "def add(a, b):\n    pass^\n",
        "def add(a, b):\n    pa^ss\n",
        "def add(a, b):\n  ^  pass\n",
        "def add(a, b):\n\n^\n    pass\n",
        "def add(a, b):\n    pass\n^",
        "def add(a, b):\n    pass\n    ^\n",
        "def add(a, b):^ pass\n",
        "def add(a, b): pass^\n",
        "def add(a, b):^\n\n    raise NotImplementedError(\n        'x'\n    )\n",
    ],
)
@pytest.mark.parametrize("eol", ["\n", "\r\n"])
def test_ghost_text_around_a_placeholder(text: str, eol: str) -> None:
    accepted = _accepted(text.replace("\n", eol), "return a + b")
    assert accepted == f"def add(a, b):{eol}    return a + b{eol}"


PIECES = [
    "# add numbers",
    "def f():",
    "    pass",
    "    # sum",
    "",
    "    ",
    "x = 1",
    "class A:",
    "    def g(self):",
    "        ...",
    "if x:",
    '    """Doc."""',
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=8),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["keep", "remove", "docstring"]),
    st.data(),
)
def test_ghost_text_keeps_to_its_rules(
    lines: list[str], final: bool, eol: str, comment: str, data: st.DataObject
) -> None:
    snapshot = Snapshot.from_text(eol.join(lines) + eol * final)
    row = data.draw(st.integers(0, len(snapshot.lines) - 1))
    cursor = (row, data.draw(st.integers(0, len(snapshot.line(row)))))
    found = at(snapshot, row, attention="invoked")
    if found is None or not found.fires:
        return
    placement = place(snapshot, found)
    whole = apply(snapshot, splice(snapshot, found, placement, "y = 2", comment=comment))
    assert "y = 2" in whole
    shown = inline(snapshot, found, placement, "y = 2", cursor, comment=comment)
    kept = [line for line in snapshot.text.split() if line not in ("pass", "...")]
    if comment == "keep":
        for one in kept:
            assert whole.split().count(one) >= kept.count(one)
    if not snapshot.lines[-1]:
        assert whole.endswith(eol)
    elif snapshot.lines[-1].strip():
        assert not whole.endswith(eol)
    if shown is None:
        return
    assert shown.edit.start[0] == shown.edit.end[0] == row
    assert shown.edit.start <= cursor <= shown.edit.end
    assert "y = 2" in shown.edit.text
    replaced = snapshot.line(row)[shown.edit.start[1] : shown.edit.end[1]].strip()
    assert replaced in (b"", b"pass", b"...")
    accepted = apply(Snapshot.from_text(apply(snapshot, [shown.edit])), shown.follow_up)
    assert accepted.split() == whole.split()
    if row <= placement.after[0] + 1:
        assert accepted == whole
