"""Questions to the syntax tree: comments, problems, and the definitions around a point."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from nl2code_server.lang import syntax
from nl2code_server.lang.document import Document, Snapshot


def names(text: str, row: int, column: int = 0) -> list[str]:
    """Names of the definitions around a point of a text."""
    return [definition.name for definition in syntax.enclosing(Snapshot.from_text(text), (row, column))]


def test_comments_are_tokens_not_lines() -> None:
    text = '# one\nx = "# not"  # two\n"""\n# not this\n"""\ndef f():\n    # three\n    pass\n'
    found = syntax.comments(Snapshot.from_text(text))
    assert found == [
        syntax.Comment(0, 0, "# one", True),
        syntax.Comment(1, 13, "# two", False),
        syntax.Comment(6, 4, "# three", True),
    ]


@pytest.mark.parametrize("eol", ["\n", "\r\n", "\r"])
def test_comments_have_no_line_ending_whatever_it_is(eol: str) -> None:
    text = eol.join(["# eins", "x = 1  # 写一个函数 😋", "\t# drei", ""])
    found = syntax.comments(Snapshot.from_text(text))
    assert [(comment.row, comment.column, comment.text, comment.own_line) for comment in found] == [
        (0, 0, "# eins", True),
        (1, 7, "# 写一个函数 😋", False),
        (2, 1, "# drei", True),
    ]


def test_comments_of_some_rows_only() -> None:
    snapshot = Snapshot.from_text("".join(f"# {row}\nx{row} = 1\n" for row in range(50)))
    assert [comment.row for comment in syntax.comments(snapshot, range(10, 15))] == [10, 12, 14]
    assert [comment.row for comment in syntax.comments(snapshot, range(98, 400))] == [98]
    assert syntax.comments(snapshot, range(11, 12)) == []
    assert len(syntax.comments(snapshot)) == 50


def test_byte_order_mark_is_white_space_before_a_comment() -> None:
    snapshot = Snapshot.from_text("\ufeff# first\nx = 1\n")
    assert syntax.comments(snapshot) == [syntax.Comment(0, 3, "# first", True)]
    assert syntax.problems(snapshot.tree) == 0


@pytest.mark.parametrize(
    ("text", "some"),
    [
        ("x = 1\n", False),
        ("def f():\n    pass\n", False),
        ("x = (\n", True),
        ("def f(:\n", True),
        ("$ = 1\n", True),
    ],
)
def test_problems_counts_what_does_not_parse(text: str, some: bool) -> None:
    assert (syntax.problems(Snapshot.from_text(text).tree) > 0) is some


def test_problems_grow_with_a_second_fault() -> None:
    one = syntax.problems(Snapshot.from_text("x = $\n\ny = 2\n").tree)
    assert syntax.problems(Snapshot.from_text("x = $\n\ny = $\n").tree) > one > 0


NESTED = '''\
class A(
    B,
):
    """Text
at the margin
# and this
    """

    @property
    def f(
        self,
    ):
        x = """
in the margin
"""
        if x:
            y = foo(1,
    2)
            # inner

        # tail f

    # tail A

# out
async def g(): pass
'''


@pytest.mark.parametrize(
    ("row", "column", "expected"),
    [
        (7, 4, ["A"]),
        (7, 0, []),
        (12, 8, ["A", "f"]),
        (13, 0, ["A", "f"]),
        (17, 0, ["A", "f"]),
        (18, 12, ["A", "f"]),
        (19, 0, []),
        (20, 8, ["A", "f"]),
        (22, 4, ["A"]),
        (24, 0, []),
    ],
)
def test_enclosing_goes_by_indentation(row: int, column: int, expected: list[str]) -> None:
    assert names(NESTED, row, column) == expected


def test_a_blank_line_belongs_where_its_column_says() -> None:
    text = "class A:\n    def f(self):\n        x = 1\n            \n"
    assert [names(text, 3, column) for column in (0, 2, 4, 6, 8, 12)] == [
        [],
        ["A"],
        ["A"],
        ["A", "f"],
        ["A", "f"],
        ["A", "f"],
    ]


def test_a_definition_tells_head_body_and_extent() -> None:
    text = (
        "class A:\r\n\t@cached\r\n\tasync def f(\r\n\t\tself, x: int = 1,\r\n\t) -> int:  # why\r\n"
        "\t\treturn x\r\n"
    )
    outer, inner = syntax.enclosing(Snapshot.from_text(text), (5, 2))
    assert (outer.kind, outer.head, outer.indent, outer.body) == ("class", "class A:", "", (1, 1))
    assert inner.kind == "function"
    assert inner.head == "async def f(\r\n\t\tself, x: int = 1,\r\n\t) -> int:"
    assert (inner.start, inner.body, inner.end, inner.indent) == ((2, 1), (5, 2), (5, 10), "\t")


@pytest.mark.parametrize(
    ("text", "row", "expected"),
    [
        ("class A:\n    x = foo(\n\n    def f(self):\n        # do it\n", 4, ["A", "f"]),
        ("class A:\n    def f(self\n        # do it\n", 2, ["A", "f"]),
        ("class A\n    def f(self):\n        # do it\n", 2, ["A", "f"]),
        ("def f(self):\n    # do it\n", 1, ["f"]),
        ("x = [\n\ndef f():\n    # do it\n", 3, ["f"]),
        ("def f():\n    try:\n        x = 1\n        # do it\n\nx = 1\n", 3, ["f"]),
        ("def größe():\n    x = = 2\n    # do it\n", 2, ["größe"]),
    ],
)
def test_enclosing_in_half_typed_code(text: str, row: int, expected: list[str]) -> None:
    line = text.splitlines()[row]
    assert names(text, row, len(line) - len(line.lstrip())) == expected


def test_enclosing_agrees_with_python_on_real_modules() -> None:
    checked = 0
    for module in (ast, subprocess):
        text = Path(str(module.__file__)).read_text(encoding="utf-8")
        snapshot = Snapshot.from_text(text)
        expected: dict[int, list[str]] = {}
        stack: list[tuple[ast.AST, list[str]]] = [(ast.parse(text), [])]
        while stack:
            node, around = stack.pop()
            if isinstance(node, ast.stmt):
                expected.setdefault(getattr(node, "end_lineno", 0) - 1, around)
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                around = [*around, node.name]
            stack += [(child, around) for child in reversed(list(ast.iter_child_nodes(node)))]
        for row, around in expected.items():
            ending_here = [definition.name for definition in syntax.enclosing(snapshot, (row, 0))]
            assert ending_here[: len(around)] == around, (module, row)
            checked += 1
    assert checked > 1000


def test_long_texts_parse_like_short_ones() -> None:
    text = "def f(x):\n    return '写' + x  # sum\n" * 30_000
    assert len(text.encode()) > syntax._LONG
    snapshot = Snapshot.from_text(text)
    assert snapshot.tree.root_node.child_count == 30_000
    assert len(syntax.comments(snapshot, range(59_990, 60_000))) == 5


def test_an_edit_inside_a_comment_is_seen() -> None:
    document = Document("file:///a.py", "x = 1\n# write a\ny = 2\n")
    assert syntax.comments(document.snapshot())[0].text == "# write a"
    document.apply((1, 9, 1, 9), " loop")
    assert syntax.comments(document.snapshot())[0].text == "# write a loop"


def test_the_grammar_is_not_imported_before_it_is_needed() -> None:
    code = (
        "import sys; import nl2code_server.lang.document, nl2code_server.lang.syntax;"
        "assert not [m for m in sys.modules if m.startswith('tree_sitter')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
