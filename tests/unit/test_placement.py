"""Where the code goes."""

from __future__ import annotations

import pytest

from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.instruction import at
from nl2code_server.lang.placement import Placement, place


def _place(text: str) -> Placement:
    """Place the instruction on the row with the mark `^`, which is taken out."""
    row = text.split("^", maxsplit=1)[0].count("\n")
    snapshot = Snapshot.from_text(text.replace("^", ""))
    found = at(snapshot, row, attention="invoked")
    assert found is not None
    return place(snapshot, found)


@pytest.mark.parametrize(
    ("text", "where", "indent", "scope"),
    [
        ("# sum^", "module", "", ()),
        ("def f():\n    return 1\n\n\n# sum^\n", "module", "", ()),
        ("class A:\n    # sum^\n", "stub", "    ", ("A",)),
        ("class A:\n    x = 1\n    # sum^\n", "class", "    ", ("A",)),
        ("class A:\n    class B:\n        x = 1\n\n        # sum^\n", "class", "        ", ("A", "B")),
        ("class A:\n\tdef f(self):\n\t\tx = 1\n\t\t# sum^\n", "body", "\t\t", ("A", "f")),
        ("if x:\n  # sum^\n", "body", "  ", ()),
        ("for a in b:\n    try:\n        # sum^\n    except E:\n        pass\n", "body", "        ", ()),
        ("def f():\n    with a:\n        x()\n    # sum^\n\n    y()\n", "body", "    ", ("f",)),
        ("def f(\n    a,\n):\n    x(\n        a,\n    )\n    # sum^\n", "body", "    ", ("f",)),
        ("def f():\n    s = '''\nx\n  '''\n    # sum^\n", "body", "    ", ("f",)),
        ("@d\ndef f():\n    x = 1\n\n# sum^\n\n@d\ndef g(): return 1\n", "module", "", ()),
        (
            "class A:\n    def f(self):\n        return 1\n\n    # sum^\n\n    @d\n    def g(self): ...\n",
            "class",
            "    ",
            ("A",),
        ),
    ],
)
def test_place(text: str, where: str, indent: str, scope: tuple[str, ...]) -> None:
    found = _place(text)
    assert (found.place, found.indent, found.scope) == (where, indent, scope)


@pytest.mark.parametrize(
    ("text", "indent", "scope"),
    [
        ("x = 1\n        # too deep^\n", "", ()),
        ("def f():\n    x = 1\n            # too deep^\n", "    ", ("f",)),
        ("def f():\n    if x:\n        y()\n      # between^\n\n", "    ", ("f",)),
        ("def f():\n    x = 1\n# too far left^\n    y = 2\n", "    ", ("f",)),
        (
            "class A:\n    def f(self):\n        return 1\n\n# too far left^\n\n    def g(self):\n        return 2\n",
            "    ",
            ("A",),
        ),
        ("if x:\n# its body^\n", "    ", ()),
        ("if x:\n  pass\nif y:\n# its body^\n", "  ", ()),
        ("def f():\n        # body below says^\n    return 1\n", "    ", ("f",)),
    ],
)
def test_indentation_that_fits_no_block(text: str, indent: str, scope: tuple[str, ...]) -> None:
    found = _place(text)
    assert (found.indent, found.scope) == (indent, scope)


@pytest.mark.parametrize(
    ("text", "where", "indent", "scope"),
    [
        ("def g(:\n    x = (\n\n# sum^\n", "module", "", ()),
        ("class A\n    def f(self:\n        x = 1\n        # sum^\n", "body", "        ", ("A", "f")),
        ("def f(a):\n    if a\n        x = 1\n    # sum^\n\n", "body", "    ", ("f",)),
        (
            "class A:\n    def f(self):\n        retrn (\n\n    # sum^\n\n    def g(self): pass\n",
            "class",
            "    ",
            ("A",),
        ),
        ("type X = (\n\nclass A:\n    x = 1\n\n    # sum^\n", "class", "    ", ("A",)),
    ],
)
def test_around_syntax_errors(text: str, where: str, indent: str, scope: tuple[str, ...]) -> None:
    found = _place(text)
    assert (found.place, found.indent, found.scope) == (where, indent, scope)


@pytest.mark.parametrize(
    ("text", "after", "indent", "remove"),
    [
        ("def f():^\n", (0, 8), "    ", None),
        ("def f():^  # note\n", (0, 16), "    ", None),
        ("def f(): ...^\n", (0, 8), "    ", ((0, 8), (0, 12))),
        ("def f(): ...^  # sum\n", (0, 19), "    ", ((0, 8), (0, 12))),
        ("def f():\n  # sum^\n\n  pass\n", (1, 7), "  ", ((3, 2), (3, 6))),
        ("def f():\n    pass^  # sum\n", (1, 15), "    ", ((1, 4), (1, 8))),
        ("def f():\n    pass^\n    # sum\n", (2, 9), "    ", ((1, 4), (1, 8))),
        ('def f():\n\t"""\n\tDoc.\n\t"""^\n', (3, 4), "\t", None),
        ("class A:\n    def f(\n        self,\n    ):^\n", (3, 6), "        ", None),
        ("if x:\n    # sum^\n    pass\n", (1, 9), "    ", ((2, 4), (2, 8))),
    ],
)
def test_stubs_and_placeholders(
    text: str, after: tuple[int, int], indent: str, remove: tuple[tuple[int, int], tuple[int, int]] | None
) -> None:
    found = _place(text)
    assert (found.after, found.indent, found.remove) == (after, indent, remove)


def test_stub_scope_ends_in_its_own_name() -> None:
    assert _place("class A:\n    class B:\n        @d\n        def f(self):^\n            pass\n").scope == (
        "A",
        "B",
        "f",
    )


def test_form_feed_is_not_indentation() -> None:
    assert _place("class A:\n    x = 1\n\f    # sum^\n").indent == "    "
