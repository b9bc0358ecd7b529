"""Examples are found in the forms that people write, and nowhere else."""

from __future__ import annotations

import ast
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nl2code_server.lang.examples import UNIT, Example, find_examples


def pairs(text: str) -> list[tuple[str, str]]:
    return [(example.call, example.raises or example.expected) for example in find_examples(text)]


@pytest.mark.parametrize(
    "text",
    [
        "f(2) == 4",
        "compute it, e.g. f(2) == 4",
        "for example f(2) == 4, please",
        "for example: f(2) == 4.",
        "(e.g. f(2) == 4)",
        "assert f(2) == 4",
        "`assert f(2) == 4`",
        "assert 4 == f(2)",
        "assert f(2) is 4",
        "f(2)==4",
        "f(2) -> 4",
        "f(2) --> 4",
        "f(2) => 4",
        "f(2) → 4",
        "f(2) = 4",
        "f(2) returns 4",
        "f(2) returns 4.",
        "f(2) should return 4",
        "f(2) must return `4`!",
        "`f(2)` returns `4`",
        "`f(2) == 4`",
        "'f(2)' should be 4",
        "f(2) is 4",
        "f(2) is equal to 4",
        "f(2) equals 4; nothing else",
        "f(2) evaluates to 4",
        "f(2) gives the number 4",
        "f(2) == 4 because two times two is four",
        "f(2) == 4 (two squared)",
        "f(2) == 4  # squared",
        "f(2) == 4 using recursion",
        "- f(2) == 4",
        "* f(2) returns 4",
        "f(2) 返回 4",
        "f(2) 返回 4。",
        "f(2)返回4，不要递归",
        "f(2) 应返回 4",
        "f(2) 应该返回 4",
        "f(2) 等于 4",
        "f(2) 的结果是 4",
        "f(2) 结果为 4",
        "f(2) 应该等于 4",
        "f(2) 得到 4，f(x) 是平方",
        "f(2) は 4 を返す",
        "f(2) は 4 を返します。",
        "f(2) が 4 になるように",
        "f(2) の結果は 4 です",
        "f(2)는 4를 반환",
        "f(2)의 결과는 4이다",
        "f(2) возвращает 4",
        "f(2) должно быть 4",
        "f(2) вернёт 4, а f(x) число",
        "f(2) devuelve 4",
        "f(2) debe devolver 4 y nada más",
        "f(2) es igual a 4",
        "f(2) gibt 4 zurück",
        "f(2) ergibt 4",
        "f(2) soll 4 liefern",
        "f(2) renvoie 4",
        "f(2) doit être 4",
        "f(2) deve retornar 4",
        "f(2) تعيد 4",
        "例如 f(2) == 4",
        "例如：f(2)＝＝4。",
        "比如f(2)==4",
        "（例如 f（2） == 4）",
        "「f(2)」应为 4",
        ">>> f(2)\n4",
        "Square it.\n\n    >>> f(2)\n    4\n\nMore.",
        ">>> f(2)\n4\nThat is all.",
        ">>> f(2)  # twice\n4",
        ">>> assert f(2) == 4",
    ],
)
def test_every_form_gives_the_one_example(text: str) -> None:
    assert pairs(text) == [("f(2)", "4")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gcd(12, 18) == 6, gcd(7, 3) == 1", [("gcd(12, 18)", "6"), ("gcd(7, 3)", "1")]),
        ("gcd(12，18)==6，lcm(2，3)==6。", [("gcd(12, 18)", "6"), ("lcm(2, 3)", "6")]),
        ("add(1, 2) gives 3 and add(2, 2) gives 4", [("add(1, 2)", "3"), ("add(2, 2)", "4")]),
        ("f(2) → 4；f(3) → 9", [("f(2)", "4"), ("f(3)", "9")]),
        ("assert f(2) == 4 and f(3) == 9", [("f(2)", "4"), ("f(3)", "9")]),
        ("assert f(2) == 4; assert f(3) == 9", [("f(2)", "4"), ("f(3)", "9")]),
        ("- f(2) == 4\n- f(3) == 9", [("f(2)", "4"), ("f(3)", "9")]),
        (">>> f(2)\n4\n>>> f(3)\n9", [("f(2)", "4"), ("f(3)", "9")]),
        ("f(3) == 9\n\n>>> f(2)\n4", [("f(3)", "9"), ("f(2)", "4")]),
        ("f(2) == 4, again f(2) == 4", [("f(2)", "4")]),
    ],
)
def test_several_examples_in_order(text: str, expected: list[tuple[str, str]]) -> None:
    assert pairs(text) == expected


@pytest.mark.parametrize(
    ("text", "call", "expected"),
    [
        ('f("a b, c") == "x and y"', "f('a b, c')", "'x and y'"),
        ("f('it\\'s') == {'a': [1, (2, 3)], 'b': None}", 'f("it\'s")', "{'a': [1, (2, 3)], 'b': None}"),
        ('f("你好，世界") 返回 "世界，你好"', "f('你好，世界')", "'世界，你好'"),
        ("f(3) 返回字符串 'abc'。", "f(3)", "'abc'"),
        ("f(2) returns “abc”", "f(2)", "'abc'"),
        ("f(2) returns the list [1, 2, 3]", "f(2)", "[1, 2, 3]"),
        ("f(1.5) == 2.25.", "f(1.5)", "2.25"),
        ("f(-1) == -2", "f(-1)", "-2"),
        ("f(2) == math.inf", "f(2)", "math.inf"),
        ('f(float("inf")) == float("inf")', "f(float('inf'))", "float('inf')"),
        ("is_prime(7) returns true", "is_prime(7)", "True"),
        ("f(None) is None", "f(None)", "None"),
        ("Stack().push(1) == None", "Stack().push(1)", "None"),
        ("f(2)[0] == 1", "f(2)[0]", "1"),
        ("f([3, 1], key=lambda x: -x) == [3, 1]", "f([3, 1], key=lambda x: -x)", "[3, 1]"),
        ("m([[1, 2],\n   [3, 4]]) == [[1, 3],\n   [2, 4]]", "m([[1, 2], [3, 4]])", "[[1, 3], [2, 4]]"),
        ("round(f(2), 2) == 0.67", "round(f(2), 2)", "0.67"),
        ("sorted(f(2)) == [1]", "sorted(f(2))", "[1]"),
        ("type_of(3) == int", "type_of(3)", "int"),
        ("area(Point(0, 0)) == 1.5", "area(Point(0, 0))", "1.5"),
        ("assert is_prime(7)", "bool(is_prime(7))", "True"),
        ("assert not is_prime(8)", "bool(not is_prime(8))", "True"),
        ("assert math.isclose(f(2), 0.1)", "bool(math.isclose(f(2), 0.1))", "True"),
        (
            "assert f(2) == pytest.approx(0.1)",
            "math.isclose(f(2), 0.1, rel_tol=1e-06, abs_tol=1e-12)",
            "True",
        ),
        ("assert f(2) != 3", "bool(f(2) != 3)", "True"),
        (">>> print(f(2))\nhello there", "str(f(2))", "'hello there'"),
        (">>> f(\n...     2)\n[1,\n 2]", "f(2)", "[1, 2]"),
        ("hello() returns 'Hello'", "hello()", "'Hello'"),
        ("answer() == 1", "answer()", "1"),
    ],
)
def test_values_of_any_kind(text: str, call: str, expected: str) -> None:
    assert pairs(text) == [(call, expected)]


@pytest.mark.parametrize(
    "text",
    [
        "f(0) raises ValueError",
        "f(0) should raise a ValueError.",
        "`f(0)` raises `ValueError`",
        "f(0) throws ValueError, else a number",
        "f(0) 抛出 ValueError",
        "f(0) 应该引发 ValueError 异常",
        "f(0) → ValueError",
        "f(0) lanza ValueError",
        "f(0) lanza un ValueError",
        "f(0) löst ValueError aus",
        "f(0) вызывает ValueError",
        "f(0) lève une ValueError",
        "f(0) は ValueError を送出する",
        "with pytest.raises(ValueError):\n    f(0)",
        ">>> f(0)\nTraceback (most recent call last):\n    ...\nValueError: not zero",
    ],
)
def test_exceptions(text: str) -> None:
    assert find_examples(text) == (Example("f(0)", "", "ValueError"),)


def test_doctest_lines_above_are_set_up() -> None:
    found = find_examples(">>> s = Stack()\n>>> s.push(1)\n>>> s.pop()\n1\n>>> s.size()\n0\n")
    assert found == (
        Example("s.pop()", "1", "", "s = Stack()\ns.push(1)"),
        Example("s.size()", "0", "", "s = Stack()\ns.push(1)\ns.pop()"),
    )


def test_a_name_keeps_the_examples_that_use_it() -> None:
    text = "gcd(12, 18) == 6, lcm(2, 3) == 6, and Stack().gcd(1) == 1"
    assert [example.call for example in find_examples(text, name="gcd")] == ["gcd(12, 18)", "Stack().gcd(1)"]
    assert find_examples(text, name="cd") == ()


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("求最大公约数，输入 12 和 18，输出 6", "12, 18", "6"),
        ("输入：[3, 1, 2]，输出：[1, 2, 3]", "[3, 1, 2]", "[1, 2, 3]"),
        ("输入'abc'时返回'cba'。", "'abc'", "'cba'"),
        ("入力 5 なら出力は 120", "5", "120"),
        ("reverse it, input 'ab', output 'ba'", "'ab'", "'ba'"),
        ("input: [1, 2]\noutput: 3", "[1, 2]", "3"),
        ("entrada 5, salida 120", "5", "120"),
        ("вход: 5, вывод: 120", "5", "120"),
    ],
)
def test_input_and_output_without_a_name(text: str, arguments: str, expected: str) -> None:
    assert pairs(text) == [(f"{UNIT}({arguments})", expected)]


@pytest.mark.parametrize(
    ("text", "tolerance"),
    [
        ("area(2) is 12.57", 0.005),
        ("area(2) == -12.566", 0.0005),
        ("area(2) == 12.5", 0),
        ("area(2) == 12", 0),
        ("assert area(2) == 12.57", 0),
        ("round the area to two decimals, area(2) == 12.57", 0),
        ("保留两位小数，area(2) == 12.57", 0),
    ],
)
def test_a_number_with_decimals_may_have_been_rounded(text: str, tolerance: float) -> None:
    assert [example.tolerance for example in find_examples(text)] == [pytest.approx(tolerance)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "输入 10 个整数，输出最大的 3 个",
        "输入一个列表，输出 6",
        "read the input file and output 3 lines",
        "input (1, 2), output 3",
        "f(6) は 6 の倍数",
        "f(2) は偶数を返す",
        "f(3) возвращает 4 элемента",
        "f(2) devuelve 4 elementos",
        "f(2) gibt 4 Werte zurück",
        "f(2) ist eine Zahl",
        "f(2) es un número",
        "f(2) returns ValueError",
        "write a function computing the gcd of two numbers",
        "gcd(a, b) == gcd(b, a % b)",
        "use len(x) == 0 instead of not x",
        "f(x) returns the square of x",
        "f(x) -> int",
        "f() -> list[int]",
        "def f(x: int = 2) -> 4",
        "def f(2) == 4",
        "f(2) is not None",
        "not f(2) == 4",
        "x = f(2) == 4",
        "f(2) + f(3) == 13",
        "f(...) == 3",
        "f(2) returns ...",
        "f(2) returns 4 or 5",
        "f(2) returns 4 if it is even",
        "f(3) returns 2 items",
        "f(3) returns 2个",
        "f(12) 等于6的平方",
        "f(7, 2) returns 3, 1",
        "f(10) -> 3,628,800",
        "f(2) == g(2) == 4",
        "greet('Bob') returns Hello",
        "done() returns True when it has ended",
        "done() returns True",
        "clear() -> None",
        "read() raises OSError",
        "sum([1, 2]) == 3",
        "call f(2) and then g(3)",
        "see section (2) = 4",
        "return (4) == 4",
        "print(2) -> 2",
        ">>> x = 3\n>>> x\n3",
        ">>> f(2)",
        ">>> f(2)\n<Foo object at 0x7f>",
    ],
)
def test_what_is_not_clearly_an_example_is_none(text: str) -> None:
    assert find_examples(text) == ()


HOSTILE = [
    "f(" * 7000,
    'f("' * 6000,
    "(" * 20_000,
    "f(2) == " * 2500,
    ">>> " * 5000,
    ">>> f(2)\n" * 3000,
    "assert " * 3000,
    "f(" + "-" * 1900 + "1) == 2",
    "f(" + "[" * 150 + "]" * 150 + ") == 2",
    "f(2) == " + "[" * 900 + "]" * 900,
    "f('" + "\\" * 19_000,
    "f(\x00) == 3",
    "f(\ud800) == 3",
    "-" * 20_000 + "f(2)",
    "a." * 9999 + "f(",
    "'''" * 6000,
    "\n..." * 5000,
    ">>> f(2)\n" + "x\n" * 9000,
    "f(2) should" + " " * 10_000,
    "f(1) == 1, " * 2000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_cheap(text: str) -> None:
    start = time.perf_counter()
    assert len(find_examples(text)) <= 16
    assert time.perf_counter() - start < 2


@given(st.text(alphabet="f(2)=[]'\"`\\ ,.:>-\n返回，。（）gxas", max_size=80))
def test_whatever_is_found_are_expressions(text: str) -> None:
    for example in find_examples(text):
        ast.parse(example.call, mode="eval")
        if not example.raises:
            ast.parse(example.expected, mode="eval")
        ast.parse(example.setup)
