"""Earlier instructions like this one, and what is left of the code that was accepted for them."""

from __future__ import annotations

import pytest

from nl2code_server.feedback.events import EventKind, EventRow
from nl2code_server.feedback.store import Logged
from nl2code_server.lang.similar import Snippet, features, most_similar
from nl2code_server.suggest.accepted import kept

PRICE = Snippet("write a function that formats a price in cents as euros", "def euros(cents): ...")
DATE = Snippet("write a function that parses a date", "def parse_date(text): ...")
CHINESE = Snippet("写一个函数，返回价格最高的商品", "def dearest(goods): ...")
JAPANESE = Snippet("在庫の合計金額を計算する関数", "def worth(stock): ...")
ALL = [PRICE, DATE, CHINESE, JAPANESE]


@pytest.mark.parametrize(
    ("instruction", "best"),
    [
        ("function formatting the prices of an order, in cents", PRICE),
        ("parse the dates of a log", DATE),
        ("写一个函数，返回价格最低的商品", CHINESE),
        ("在庫の平均金額を返す", JAPANESE),
    ],
)
def test_the_most_similar_comes_first(instruction: str, best: Snippet) -> None:
    assert most_similar(instruction, ALL, most=3)[0] == best


@pytest.mark.parametrize(
    "instruction", ["write a function that adds two numbers", "写一个函数", "", "return the value", "???"]
)
def test_what_all_instructions_have_makes_none_similar(instruction: str) -> None:
    assert most_similar(instruction, ALL, most=3) == []


def test_equal_code_is_shown_once_and_so_many_at_most() -> None:
    same = [Snippet(f"format price {number}", "def f(): ...") for number in range(5)]
    other = [Snippet(f"format the price {number}", f"def g{number}(): ...") for number in range(5)]
    assert len(most_similar("format a price", same, most=3)) == 1
    assert len(most_similar("format a price", other, most=3)) == 3


def test_words_of_names_and_plurals_count() -> None:
    assert features("OrderItem") == features("order_items") == features("order items")


def logged(key: str, event: EventKind, **details: object) -> Logged:
    row = EventRow(event=event, suggestion_id=key, request_id="r", source="client", time=1.0, **details)  # type: ignore[arg-type]
    return Logged(row, f"instruction {key}", f"code {key}", "comment", "m", "inline")


def test_what_was_kept_of_accepted_code() -> None:
    events = [
        logged("a", "accepted"),
        logged("b", "accepted"),
        logged("c", "accepted"),
        logged("d", "accepted"),
        logged("e", "kept", kept_ratio=1.0, final_text="never accepted"),
        logged("b", "edited", kept_ratio=0.8, final_text="code b, edited"),
        logged("c", "kept", kept_ratio=0.2, final_text="something else"),
        logged("d", "rejected"),
    ]
    assert kept(events) == [
        Snippet("instruction b", "code b, edited"),
        Snippet("instruction a", "code a"),
    ]


def test_code_that_was_not_stored_is_left_out() -> None:
    empty = Logged(logged("a", "accepted").event, "instruction", "", "comment", "m", "inline")
    assert kept([empty]) == []
