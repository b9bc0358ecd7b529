"""Examples reach code wherever it stands: in a class, in a function, beside modules of the project."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.examples import find_examples
from nl2code_server.suggest.program import runnable
from nl2code_server.suggest.sandbox import Sandbox
from nl2code_server.suggest.verify import Verification, verify


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    await sandbox.close()


async def check(
    sandbox: Sandbox, after: str, code: str, scope: tuple[str, ...], text: str, **modules: str
) -> Verification:
    """Verify `code`, which stands in `after`; a module's name has `__` for each dot."""
    known = {name.replace("__", "."): Snapshot.from_text(source) for name, source in modules.items()}
    program = runnable(Snapshot.from_text(after), code, scope, find_examples(text), known)
    return await verify(*program, sandbox)


METHOD = "def double(self, x):\n    return 2 * x"


def in_class(method: str, head: str = "class Tools:") -> str:
    return head + "\n" + "\n".join(f"    {line}" for line in method.split("\n")) + "\n"


@pytest.mark.parametrize(
    ("method", "head"),
    [
        (METHOD, "class Tools:"),
        (METHOD, "class Tools(Base):"),
        ("@staticmethod\ndef double(x):\n    return 2 * x", "class Tools:"),
        ("@classmethod\ndef double(cls, x):\n    return 2 * x", "class Tools:"),
        ("def double(x):\n    return 2 * x", "class Tools:"),
        ("def double(self, x=1, *, y=0):\n    return 2 * x", "class Tools:"),
        (
            "def double(self, x):\n    return self.factor * x",
            "class Tools:\n    def __init__(self, factor=2):\n        self.factor = factor\n",
        ),
    ],
)
async def test_a_method_called_like_a_function(sandbox: Sandbox, method: str, head: str) -> None:
    after = in_class(method, head)
    verdict = await check(sandbox, after, method, ("Tools",), "double(4) == 8")
    assert (verdict.status, verdict.runs[0].got) == ("verified", "8"), verdict.reason
    wrong = method.replace("* x", "+ x")
    verdict = await check(sandbox, in_class(wrong, head), wrong, ("Tools",), "double(4) == 8")
    assert verdict.status == "failed"


async def test_a_method_whose_class_needs_arguments_stays_undecided(sandbox: Sandbox) -> None:
    head = "class Tools:\n    def __init__(self, factor):\n        self.factor = factor\n"
    method = "def double(self, x):\n    return self.factor * x"
    verdict = await check(sandbox, in_class(method, head), method, ("Tools",), "double(4) == 8")
    assert verdict.status == "valid"
    assert "method" in verdict.reason


async def test_methods_that_nobody_calls_do_not_stand_in_the_way(sandbox: Sandbox) -> None:
    after = (
        "class Cart:\n    def __init__(self):\n        self.items = []\n\n"
        "    @property\n    def empty(self):\n        return not self.items\n\n"
        "    def price(self):\n        return 3\n\n"
        "    def total(self):\n        return len(self.items) * self.price()\n"
    )
    code = "def total(self):\n    return len(self.items) * self.price()"
    verdict = await check(sandbox, after, code, ("Cart",), "Cart().total() == 0")
    assert verdict.status == "verified", verdict.reason
    verdict = await check(sandbox, after, code, ("Cart",), "Cart().empty == Cart().total()")
    assert verdict.status == "valid"


NESTED = "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a * FACTOR"


@pytest.mark.parametrize(
    ("above", "status"),
    [
        ("FACTOR = 1", "verified"),
        ("one = 1\nFACTOR = one", "verified"),
        ("def make():\n    return 1\nFACTOR = make()", "verified"),
        ("FACTOR = parameter", "valid"),
        ("for FACTOR in range(2):\n    pass", "valid"),
    ],
)
async def test_a_nested_function_takes_along_what_it_closes_over(
    sandbox: Sandbox, above: str, status: str
) -> None:
    inner = "\n".join(f"    {line}" for line in f"{above}\n{NESTED}".split("\n"))
    after = f"def build(parameter):\n{inner}\n\n    return gcd\n"
    verdict = await check(sandbox, after, NESTED, ("build",), "gcd(12, 18) == 6")
    assert verdict.status == status, verdict.reason


async def test_a_nested_stub(sandbox: Sandbox) -> None:
    after = "def build():\n    def double(x):\n        return 2 * x\n\n    return double\n"
    verdict = await check(sandbox, after, "return 2 * x", ("build", "double"), "double(4) == 8")
    assert verdict.status == "verified", verdict.reason


async def test_statements_in_a_body_run_in_their_function(sandbox: Sandbox) -> None:
    after = "def mean(numbers):\n    # sum up\n    total = sum(numbers)\n    return total / len(numbers)\n"
    verdict = await check(sandbox, after, "total = sum(numbers)", ("mean",), "mean([1, 3]) == 2")
    assert verdict.status == "verified"


async def test_input_and_output_are_for_the_function_that_is_written(sandbox: Sandbox) -> None:
    code = "def helper(x):\n    return x\n\n\ndef square(x):\n    return helper(x) ** 2"
    verdict = await check(sandbox, code, code, (), "输入 3，输出 9")
    assert [(run.call, run.got, run.ok) for run in verdict.runs] == [("square(3)", "9", True)]
    assert (await check(sandbox, "x = 9", "x = 9", (), "输入 3，输出 9")).status == "valid"


async def test_rounded_numbers_and_what_pytest_compares(sandbox: Sandbox) -> None:
    code = "def area(r):\n    return 3.14159 * r * r"
    assert (await check(sandbox, code, code, (), "area(2) is 12.57")).status == "verified"
    assert (await check(sandbox, code, code, (), "area(2) is 12.58")).status == "failed"
    text = "assert area(2) == pytest.approx(12.566, abs=0.001)"
    assert (await check(sandbox, code, code, (), text)).status == "verified"
    assert (
        await check(sandbox, code, code, (), "assert math.isclose(area(1), 3.14159)")
    ).status == "verified"


# Modules of the project

PRICES = (
    "from dataclasses import dataclass\nfrom .tax import RATE as _rate\n\nBASE = 2\n\n\n"
    "@dataclass\nclass Item:\n    price: int\n\n\n"
    "def net(x):\n    return helper(x) + BASE\n\n\ndef helper(x):\n    return x * _rate\n\n\nprint('side effect')\n"
)
TAX = "RATE = 3\nUNUSED = open('x')\n"


@pytest.mark.parametrize(
    ("imports", "expression"),
    [
        ("from shop.prices import net", "net(x)"),
        ("from shop.prices import net as n", "n(x)"),
        ("from shop import prices", "prices.net(x)"),
        ("import shop.prices", "shop.prices.net(x)"),
        ("import shop.prices as p", "p.net(x)"),
        ("from shop.prices import *", "net(x)"),
        ("from shop.prices import net, Item", "net(Item(x).price)"),
        (
            "from shop.prices import net\nBASE = 100\ndef helper(x):\n    return BASE",
            "net(x) + 0 * helper(x)",
        ),
    ],
)
async def test_definitions_of_other_modules_are_taken_along(
    sandbox: Sandbox, imports: str, expression: str
) -> None:
    code = f"def total(x):\n    return {expression}"
    after = f"{imports}\n\n\n{code}\n"
    verdict = await check(sandbox, after, code, (), "total(4) == 14", shop__prices=PRICES, shop__tax=TAX)
    assert (verdict.status, verdict.reason) == ("verified", "1 of 1 examples pass")
    verdict = await check(sandbox, after, code, (), "total(4) == 15", shop__prices=PRICES, shop__tax=TAX)
    assert verdict.status == "failed"


async def test_a_relative_import(sandbox: Sandbox) -> None:
    code = "def total(x):\n    return net(x)"
    known = {".prices": Snapshot.from_text(PRICES), ".tax": Snapshot.from_text(TAX)}
    after = Snapshot.from_text(f"from .prices import net\n\n{code}\n")
    program = runnable(after, code, (), find_examples("total(4) == 14"), known)
    assert (await verify(*program, sandbox)).status == "verified"


async def test_an_example_may_use_a_class_of_another_module(sandbox: Sandbox) -> None:
    code = "def cost(item):\n    return item.price"
    after = f"from shop.prices import Item\n\n\n{code}\n"
    verdict = await check(sandbox, after, code, (), "cost(Item(4)) == 4", shop__prices=PRICES, shop__tax=TAX)
    assert verdict.status == "verified", verdict.reason


async def test_a_module_that_is_not_known_decides_nothing(sandbox: Sandbox) -> None:
    code = "def total(x):\n    return net(x)"
    after = f"from elsewhere import net\n\n{code}\n"
    verdict = await check(sandbox, after, code, (), "total(4) == 14", shop__prices=PRICES)
    assert verdict.status == "valid"


def test_locals_of_the_same_name_are_not_renamed() -> None:
    module = Snapshot.from_text("K = 1\n\n\ndef f(K):\n    return K\n\n\ndef g(x):\n    return x + K\n")
    after = Snapshot.from_text("from m import f, g\nK = 5\n\n\ndef h(x):\n    return f(x) + g(x) + K\n")
    program = runnable(after, "def h(x):\n    return f(x) + g(x) + K\n", (), (), {"m": module})
    assert "def f(K):\n    return K\n" in program.context
    assert "return x + K_1" in program.context
