"""How an instruction names what it asks for."""

from __future__ import annotations

import pytest

from nl2code_server.lang.naming import opening


@pytest.mark.parametrize(
    ("instruction", "start"),
    [
        ("title_or(catalog, isbn, default): the title of the book", "def title_or"),
        ("write a function fitting(vehicles, seats, km) that returns the vehicles", "def fitting"),
        ("write the view price(query) for the price of a dish", "def price"),
        ("write a function called area that gives a circle's area", "def area"),
        ("write a function `to_snake` that …", "def to_snake"),
        ("add a method load(id) that returns a person", "def load"),
        ("write a class Alarm, made with a sensor and a limit", "class Alarm"),
        ("写一个函数 stock_value，返回库存总价值", "def stock_value"),
        ("写一个类 Student，有姓名和分数", "class Student"),
        ("escribe un método morosos(hoy) que devuelva los socios", "def morosos"),
        ("write a test function for money.format_cents", "def test"),
        ("write a test that parse_pair gives a pair", "def test"),
        ("写一个测试函数，检查 bmi", "def test"),
        # The name is left to whoever writes.
        ("write a function that returns the sum of two numbers", ""),
        ("write a function to_be_or_not", "def to_be_or_not"),
        ("a function (of two numbers) that adds them", ""),
        ("write a class for a bank account", ""),
        ("sort the list of tests by name", ""),
        ("返回每桌坐几个人的函数：n 位客人", ""),
        ("", ""),
    ],
)
def test_the_opening_is_what_the_instruction_names(instruction: str, start: str) -> None:
    assert opening(instruction) == start
