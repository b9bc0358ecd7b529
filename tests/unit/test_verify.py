"""Examples decide: verified, failed with the value, or not decided and why."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.examples import Example, find_examples
from nl2code_server.suggest import ExampleRun
from nl2code_server.suggest.sandbox import Limits, Result, Sandbox
from nl2code_server.suggest.verify import Verification, needed_context, runnable, verify

GCD = "def gcd(a: int, b: int) -> int:\n    while b:\n        a, b = b, a % b\n    return a\n"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    await sandbox.close()


async def check(sandbox: Sandbox, code: str, text: str, context: str = "") -> Verification:
    return await verify(code, context, find_examples(text), sandbox, limits=Limits(seconds=0.5))


async def test_all_examples_pass(sandbox: Sandbox) -> None:
    verdict = await check(sandbox, GCD, "gcd(12, 18) == 6, gcd(7, 3) == 1")
    assert verdict.status == "verified"
    assert verdict.runs == (
        ExampleRun("gcd(12, 18)", "6", "6", True),
        ExampleRun("gcd(7, 3)", "1", "1", True),
    )


async def test_a_wrong_value_fails_with_the_value(sandbox: Sandbox) -> None:
    verdict = await check(sandbox, GCD, "gcd(12, 18) == 6, gcd(7, 3) == 2")
    assert verdict.status == "failed"
    assert verdict.runs[1] == ExampleRun("gcd(7, 3)", "2", "1", False)
    assert verdict.reason == "gcd(7, 3) should give 2, gives 1"


async def test_an_exception_fails_with_the_exception(sandbox: Sandbox) -> None:
    verdict = await check(sandbox, "def f(x):\n    return 1 / x", "f(0) == 0")
    assert verdict.status == "failed"
    assert verdict.runs[0].got == "ZeroDivisionError: division by zero"


async def test_a_name_that_is_defined_too_late_fails(sandbox: Sandbox) -> None:
    code = "def f(x):\n    return g(x)\n\n\nf(1)\n\n\ndef g(x):\n    return x"
    verdict = await check(sandbox, code, "f(1) == 1")
    assert (verdict.status, verdict.runs[0].got) == ("failed", "NameError: name 'g' is not defined")


async def test_an_endless_loop_fails_and_ends_the_run(sandbox: Sandbox) -> None:
    verdict = await check(sandbox, "def f(x):\n    while True:\n        pass", "f(1) == 1, f(2) == 2")
    assert verdict.status == "failed"
    assert verdict.runs == (ExampleRun("f(1)", "1", "no result within 0.5 s", False),)


@pytest.mark.parametrize(
    ("code", "text", "status", "got"),
    [
        ("def f(x):\n    raise ValueError('no')", "f(1) raises ValueError", "verified", "ValueError: no"),
        ("def f(x):\n    return {}[x]", "f(1) raises LookupError", "verified", "KeyError: 1"),
        ("def f(x):\n    return {}[x]", "f(1) raises ValueError", "failed", "KeyError: 1"),
        ("def f(x):\n    return x", "f(1) raises ValueError", "failed", "1"),
    ],
)
async def test_expected_exceptions(sandbox: Sandbox, code: str, text: str, status: str, got: str) -> None:
    verdict = await check(sandbox, code, text)
    assert (verdict.status, verdict.runs[0].got) == (status, got)


@pytest.mark.parametrize(
    ("code", "text", "reason"),
    [
        (GCD, "the greatest common divisor", "no examples"),
        ("def f(x):\n    yield x", "list(f(2)) == [2]", "yield"),
        ("class A(list):\n    pass\n\n\ndef f(x):\n    return A([x])", "f(2) == [2]", "inheritance"),
        ("import heapq\n\n\ndef f(x):\n    return min(x)", "f([2]) == 2", "heapq"),
        ("import numpy as np\n\n\ndef f(x):\n    return x", "f([2]) == [2]", "numpy"),
        ("def f(x):\n    return open(x).read()", "f('a') == 'b'", "files"),
        ("def f(x):\n    return list(set(x))", "f([3, 1, 2]) == [1, 2, 3]", "order of a set"),
        ("import re\ndef f(x):\n    return re.sub('(a)', r'\\1_', x)", "f('a') == 'a_'", "group reference"),
        ("def f(x):\n    return next(i for i in x)", "f([2]) == 2", "generators"),
        ("def f(x):\n    return len(filter(None, x))", "f([2]) == 1", "cannot"),
        ("def f(x):\n    y = map(str, x)\n    return y[0]", "f([2]) == '2'", "cannot"),
        (GCD, "math.gcd(12, 18) == 6", "no example calls this code"),
        ("import math\n\n\ndef f(x):\n    return x", "math.gcd(12, 18) == 6", "no example calls this code"),
        ("x = 3\n", "f(2) == 3", "no function"),
        ("class A:\n    def f(self):\n        return 3\n", "f(2) == 3", "method"),
        ("def f(x):\n    return x", "f(DATA) == 3", "the example uses DATA"),
        ("def f(x):\n    return x + LOOP", "f(2) == 3", "the code uses LOOP"),
        ("def f(x):\n    return x", "f(2) == Missing(3)", "cannot compare"),
        ("def f(:", "f(2) == 3", "cannot be run"),
    ],
)
async def test_what_cannot_be_decided_is_valid(sandbox: Sandbox, code: str, text: str, reason: str) -> None:
    verdict = await check(sandbox, code, text)
    assert verdict.status == "valid"
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("body", "got"),
    [
        ("return map(str, x)", "map object"),
        ("return (str(i) for i in x)", "generator"),
        ("y = zip(x, x)\n    return y", "zip object"),
    ],
)
async def test_an_iterator_is_not_the_list_that_the_sandbox_makes_of_it(
    sandbox: Sandbox, body: str, got: str
) -> None:
    expected = "[(2, 2)]" if "zip" in body else "['2']"
    verdict = await check(sandbox, f"def f(x):\n    {body}", f"f([2]) == {expected}")
    assert (verdict.status, verdict.runs[0].got) == ("failed", got)
    verdict = await check(sandbox, f"def f(x):\n    {body}", f"list(f([2])) == {expected}")
    assert verdict.status == "verified"


async def test_an_inner_function_may_be_lazy(sandbox: Sandbox) -> None:
    code = "def f(x):\n    def g():\n        return map(str, x)\n    return list(g())"
    assert (await check(sandbox, code, "f([2]) == ['2']")).status == "verified"


async def test_another_name_is_told(sandbox: Sandbox) -> None:
    verdict = await check(sandbox, GCD, "hcf(12, 18) == 6")
    assert verdict.status == "failed"
    assert verdict.reason == "name: the example calls hcf, the code defines gcd"
    assert verdict.runs == (ExampleRun("hcf(12, 18)", "6", "no function hcf", False),)


async def test_one_undecided_example_keeps_the_rest_from_verifying(sandbox: Sandbox) -> None:
    verdict = await check(sandbox, GCD, "gcd(12, 18) == 6, gcd(DATA, 3) == 2")
    assert (verdict.status, len(verdict.runs)) == ("valid", 1)


async def test_state_is_kept_within_an_example_and_not_between(sandbox: Sandbox) -> None:
    push = "    def push(self, x):\n        self.items.append(x)\n        return len(self.items)\n"
    code = f"class Stack:\n    items = []\n\n{push}"
    text = "Stack().push(1) == 1 and Stack().push(2) == 1\n\n>>> s = Stack()\n>>> s.push(1)\n>>> s.push(1)\n2"
    verdict = await check(sandbox, code, text)
    assert [run.got for run in verdict.runs] == ["1", "1", "2"]


async def test_a_doctest_may_import_the_code(sandbox: Sandbox) -> None:
    text = ">>> from numbertools import gcd\n>>> a = 12\n>>> gcd(a, 18)\n6"
    assert (await check(sandbox, GCD, text)).status == "verified"


async def test_the_main_guard_does_not_run(sandbox: Sandbox) -> None:
    code = "def f(x):\n    return x\n\n\nif __name__ == '__main__':\n    print(f(input()))\n"
    assert (await check(sandbox, code, "f(1) == 1")).status == "verified"


async def test_floats_compare_as_python_says(sandbox: Sandbox) -> None:
    code = "def add(a, b):\n    return a + b"
    assert (await check(sandbox, code, "add(0.1, 0.2) == 0.3")).runs[0].got == "0.30000000000000004"
    assert (await check(sandbox, code, "add(1, 1) == 2.0")).status == "verified"


async def test_a_file_that_fails_around_the_code_is_not_its_fault(sandbox: Sandbox) -> None:
    verdict = await check(sandbox, "def f(x):\n    return K", "f(1) == 1", "K = 1 / 0\n")
    assert verdict.status == "valid"
    assert "from the file" in verdict.reason


class Stub:
    """Answers every expression in the same way."""

    def __init__(self, result: Result) -> None:
        self.result = result

    async def run(
        self, code: str, expressions: Sequence[str], *, limits: Limits | None = None
    ) -> tuple[Result, ...]:
        return (self.result,) * len(expressions)

    async def close(self) -> None: ...


async def test_a_missing_sandbox_decides_nothing() -> None:
    stub = Stub(Result("unrunnable", "the sandbox is not installed"))
    verdict = await verify(GCD, "", find_examples("gcd(12, 18) == 6"), stub)
    assert verdict == Verification("valid", (), "the sandbox is not installed")


async def test_no_time_left_decides_nothing() -> None:
    stub = Stub(Result("value", "True"))
    verdict = await verify(GCD, "", find_examples("gcd(12, 18) == 6"), stub, deadline=0)
    assert (verdict.status, verdict.reason) == ("valid", "no time left for gcd(12, 18)")


# What the code needs from its file

FILE = '''\
"""Doc."""
import os
import re as regex
from typing import List

print("side effect")
BASE = 10
LIMIT = BASE * 2
SETTINGS = {"a": LIMIT}
try:
    import fast
except ImportError:
    fast = None
if BASE:
    MODE = 1
for i in range(3):
    LOOP = i


class Point:
    def __init__(self, x):
        self.x = x


def helper(p: Point) -> List[int]:
    """Help."""
    return other(SETTINGS)


@regex_like
def other(s):
    return regex.sub("a", "b", s)


def unused():
    return os


if __name__ == "__main__":
    helper(1)
'''


@pytest.mark.parametrize("tail", ["", "half = (typed\n"])
@pytest.mark.parametrize("eol", ["\n", "\r\n"])
def test_context_is_what_is_needed_transitively(tail: str, eol: str) -> None:
    snapshot = Snapshot.from_text((FILE + tail).replace("\n", eol))
    assert needed_context(snapshot, "def f(x: Point):\n    return helper(x)") == (
        "import re as regex\n"
        "BASE = 10\n"
        "LIMIT = BASE * 2\n"
        'SETTINGS = {"a": LIMIT}\n'
        'def helper(p: Point) -> List[int]:\n    """Help."""\n    return other(SETTINGS)\n'
        '@regex_like\ndef other(s):\n    return regex.sub("a", "b", s)'
    )


@pytest.mark.parametrize(
    ("code", "context"),
    [
        ("x = 1", ""),
        ("BASE = 3\nprint(BASE)", ""),
        ("LOOP", ""),
        ("MODE", "BASE = 10\nif BASE:\n    MODE = 1"),
        ("fast", "try:\n    import fast\nexcept ImportError:\n    fast = None"),
        ("def broken(", ""),
    ],
)
def test_context(code: str, context: str) -> None:
    assert needed_context(Snapshot.from_text(FILE), code) == context


def test_context_holds_what_the_examples_use() -> None:
    example = Example("f(Point(BASE))", "LIMIT")
    context = needed_context(Snapshot.from_text(FILE), "def f(x): return x", [example])
    assert context.startswith("BASE = 10\nLIMIT = BASE * 2\nclass Point:")


async def test_a_stub_runs_with_its_head(sandbox: Sandbox) -> None:
    after = Snapshot.from_text(
        "import math\n\n\ndef area(r):\n    '''area(0) == 0.0'''\n    return math.pi * r ** 2\n"
    )
    code, context, _ = runnable(after, "return math.pi * r ** 2", ("area",))
    verdict = await check(sandbox, code, "area(0) == 0.0", context)
    assert verdict.status == "verified"


async def test_a_method_runs_in_its_class(sandbox: Sandbox) -> None:
    method = "    def push(self, x):\n        self.items.append(x)\n        return len(self.items) + OFFSET\n"
    text = (
        "OFFSET = 0\n\n\nclass Stack:\n    def __init__(self):\n        self.items = []\n\n    # push\n"
        + method
    )
    after = Snapshot.from_text(text + "\n\nhalf = (typed\n")
    examples = find_examples("Stack().push(1) == 1")
    code, context, _ = runnable(
        after, "def push(self, x): ...\nreturn len(self.items) + OFFSET", ("Stack",), examples
    )
    assert context == "OFFSET = 0"
    assert (await verify(code, context, examples, sandbox)).status == "verified"


def test_code_at_module_level_stays_as_it_is() -> None:
    after = Snapshot.from_text("K = 1\n\n\ndef f(x):\n    return K\n")
    assert runnable(after, "def f(x):\n    return K\n") == ("def f(x):\n    return K\n", "K = 1", ())


@pytest.mark.parametrize(
    "bomb",
    [
        "-" * 100_000 + "1",
        "x" + "()" * 50_000,
        "x" + ".a" * 20_000,
        "1" + "+1" * 20_000,
        "lambda: " * 3000 + "1",
        "if a:\n    x = 1\n" + "elif a:\n    x = 1\n" * 300,
        "if a:\n    x = 1\n" + "elif a:\n    x = 1\n" * 5000,
        "x = " + "[" * 150 + "]" * 150,
        "\x00",
        "\ud800",
        "x = 1\n" * 4_000,
    ],
    ids=range(11),
)
async def test_parse_bombs_decide_nothing_and_hurt_nobody(sandbox: Sandbox, bomb: str) -> None:
    snapshot = Snapshot.from_text(f"def g(x):\n    return x\n\n\n{bomb}\n")
    code = f"def f(y):\n    return g(y)\n\n\n{bomb}"
    examples = find_examples("f(2) == 2")
    assert needed_context(snapshot, "g(x)").startswith("def g")
    verdict = await verify(*runnable(snapshot, code, (), examples), sandbox)
    assert verdict.status in ("valid", "verified", "failed")
    assert runnable(snapshot, code, ("missing",))[0] == code
