"""Attributes that the project's classes do not have."""

from __future__ import annotations

import pytest

from nl2code_server.lang.attributes import missing_attributes, offered_instead
from nl2code_server.lang.document import Snapshot

MODELS = Snapshot.from_text(
    "class Base:\n    shared = 1\n\n\n"
    "@dataclass\nclass Item(Base):\n    name: str\n    price: int\n    def total(self): ...\n\n\n"
    "@dataclass\nclass OrderLine:\n    items: list[Item]\n\n\n"
    "class Odd(Foreign): ...\n\n\n"
    "class Made(Base, metaclass=Meta): ...\n\n\n"
    "class Open:\n    def __getattr__(self, name): ...\n\n\n"
    "class Kind(Enum):\n    A = 1\n"
)


def lacking(code: str, before: str = "") -> tuple[str, ...]:
    return missing_attributes(before, code, [MODELS])


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f(item):\n    return item.cost", ("Item.cost",)),
        ("def f(order_line):\n    return sum(item.cost for item in order_line.items)", ("Item.cost",)),
        ("def f(x: Item):\n    return x.cost + x.shared", ("Item.cost",)),
        ("def f(x: 'Item | None'):\n    return x.cost", ()),
        ("def f(kind):\n    return kind.value, kind.colour", ("Kind.colour",)),
        (
            "class Box:\n    def f(self):\n        self.a = 1\n        return self.a, self.b, self.f",
            ("Box.b",),
        ),
        ("def f():\n    return Item.all(), Item.shared, Item.__name__", ("Item.all",)),
        ("def f():\n    return Kind.B, Kind.A, Kind.__members__", ("Kind.B",)),
        ("def f(Item):\n    return Item.all()", ()),
        ("def f():\n    Item = load()\n    return Item.all()", ()),
        ("def f():\n    return Odd.all()", ()),
        ("class Box(Odd):\n    def f(self):\n        return self.b", ()),
        ("class Box:\n    @classmethod\n    def f(cls, item):\n        return cls.b", ()),
    ],
)
def test_what_a_class_lacks(code: str, said: tuple[str, ...]) -> None:
    assert lacking(code) == said


@pytest.mark.parametrize(
    "code",
    [
        "def f(item):\n    return item.name + item.price + item.shared + item.total()",
        "def f(item):\n    item = other(item)\n    return item.cost",
        "def f(item: dict):\n    return item.keys()",
        "def f(items: list[Item]):\n    return items.count(1)",
        "def f(odd, made, open):\n    return odd.x, made.x, open.x",
        "def f(thing):\n    return thing.cost",
        "def f(path):\n    with open(path) as item:\n        return item.read()",
        "def f(pairs):\n    for item, count in pairs:\n        item.upper()",
        "def f(item:",
    ],
)
def test_where_nothing_can_be_said(code: str) -> None:
    assert lacking(code) == ()


def test_what_the_file_had_before_is_not_new() -> None:
    before = "def f(item):\n    return item.cost\n"
    assert lacking(before + "def g(item):\n    return item.weight\n", before) == ("Item.weight",)


def test_what_a_class_has_instead() -> None:
    assert offered_instead("Item.cost", "x = 1", [MODELS]) == ("name", "price", "shared", "total")
    assert offered_instead("Odd.cost", "x = 1", [MODELS]) == ()
    assert offered_instead("name", "x = (", [MODELS]) == ()
