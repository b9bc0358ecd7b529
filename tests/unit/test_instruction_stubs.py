"""Definitions without a body."""

from __future__ import annotations

import pytest

from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.instruction import Instruction, at, find


def _stub(text: str) -> Instruction:
    found = find(Snapshot.from_text(text))
    assert [one.kind for one in found] == ["stub"], found
    return found[0]


@pytest.mark.parametrize(
    ("text", "asked", "end", "body"),
    [
        ("def gcd(a, b):\n", "", (0, 14), None),
        ("def gcd(a, b):", "", (0, 14), None),
        ("def gcd(a, b):\n    # Euclid\n\n\nx = 1\n", "Euclid", (1, 12), None),
        ("def gcd(a, b):  # Euclid\n", "Euclid", (0, 14), None),
        ('def gcd(a, b):\n    """Return the gcd."""\n', "Return the gcd.", (1, 25), None),
        ("def gcd(a, b):\n    # compute the gcd\n    pass\n", "compute the gcd", (2, 8), ((2, 4), (2, 8))),
        ("# compute the gcd\ndef gcd(a, b): ...\n", "compute the gcd", (1, 18), ((1, 15), (1, 18))),
        (
            '# compute the gcd\n@cache\ndef gcd(a, b):\n    """Euclid."""\n    raise NotImplementedError("x")\n',
            "compute the gcd\nEuclid.",
            (4, 34),
            ((4, 4), (4, 34)),
        ),
        ("class Stack:\n    # write push and pop\n\n", "write push and pop", (1, 24), None),
        ("async def f():\n    pass  # sort the list\n", "sort the list", (1, 8), ((1, 4), (1, 8))),
        ("def f():\n    pass\n    # sort the list\n", "sort the list", (2, 19), ((1, 4), (1, 8))),
    ],
)
def test_kinds(text: str, asked: str, end: tuple[int, int], body: object) -> None:
    found = _stub(text)
    assert found.fires, found.reason
    assert (found.text, found.start, found.end, found.body) == (asked, (0, 0), end, body)


def test_signature_leaves_decorators_out_and_keeps_line_breaks() -> None:
    assert _stub(
        "@cache\nasync def f(\n    a: int,\n) -> int:\n    # sort the list\n    ...\n"
    ).signature == ("async def f(\n    a: int,\n) -> int:")


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    return 1\n",
        "def f():\n    pass\n    pass\n",
        "def f():\n    raise ValueError\n",
        "def f(): 'doc'\n",
        "class A:\n    x = 1\n",
        "def f(x):\n    return (\n",
    ],
)
def test_bodies_are_no_stubs(text: str) -> None:
    assert find(Snapshot.from_text(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    pass\n",
        "class Error(Exception):\n    pass\n",
        'class Error(Exception):\n    """Raised for a wrong key."""\n',
        "@abstractmethod\ndef f():\n    # return the size\n    ...\n",
        "@typing.overload\ndef f(): ...\n",
        "class P(Protocol):\n    def f(self) -> int:\n        # return the size\n        ...\n",
        'def f():\n    """Hook, subclasses may override it."""\n    pass\n',
        'def test_sorts():\n    """Sort the list."""\n    pass\n',
        "def f():\n    # nothing to do\n    pass\n",
        'class A:\n    def a(self):\n        """Sort the list."""\n        ...\n\n'
        "    def b(self): ...\n\n    def c(self): ...\n",
    ],
)
def test_meant_to_be_empty(text: str) -> None:
    found = find(Snapshot.from_text(text))
    assert found
    assert not any(one.fires for one in found)
    assert all(one.reason for one in found)


def test_attention() -> None:
    snapshot = Snapshot.from_text("def gcd(a, b):\n    pass\n")
    for row in (0, 1, 2):
        found = at(snapshot, row, attention="cursor")
        assert found is not None and found.fires
    abstract = Snapshot.from_text("@abstractmethod\ndef gcd(a, b):\n    pass\n")
    found = at(abstract, 2, attention="cursor")
    assert found is not None and not found.fires
    found = at(abstract, 2, attention="invoked")
    assert found is not None and found.fires


def test_innermost_wins() -> None:
    text = "class A:\n    # write the class\n    def f(self):\n        # sort the list\n        pass\n"
    found = at(Snapshot.from_text(text), 3)
    assert found is not None and found.signature == "def f(self):"


def test_comments_of_a_stub_are_not_listed_again() -> None:
    text = "# one\ndef f():\n    # two\n\n    pass  # three\n\n# four\n"
    assert [(one.kind, one.text) for one in find(Snapshot.from_text(text))] == [
        ("stub", "one\ntwo\nthree"),
        ("comment", "four"),
    ]


def test_a_blank_line_parts_a_comment_from_the_definition_below() -> None:
    found = find(Snapshot.from_text("# sort the list\n\ndef f():\n    pass\n"))
    assert [one.kind for one in found] == ["comment", "stub"]


def test_methods_with_nothing_but_a_docstring_make_an_interface_too() -> None:
    methods = [
        f'    def {name}(self):\n        """Return the {name} of the file."""\n        pass\n\n'
        for name in ("head", "body")
    ]
    hollow = '    def tail(self):\n        """Return the tail of the file."""\n\n    x = 1\n'
    text = "class Reader:\n" + "".join(methods)
    assert [one.fires for one in find(Snapshot.from_text(text))] == [True, True]
    assert [one.fires for one in find(Snapshot.from_text(text + hollow))] == [False] * 3
    pointed = at(Snapshot.from_text(text + hollow), 1, attention="cursor")
    assert pointed is not None and pointed.fires
