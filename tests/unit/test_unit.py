"""Cutting the unit out of a model's answer."""

from __future__ import annotations

import pytest

from nl2code_server.lang.unit import Frame, complete, extract, repeats, without_known

MODULE = Frame("write a function computing the gcd", "module")
GCD = "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a\n"
STACK = Frame("push an item", "class", ("Stack",), head="class Stack:\n    # push an item\n", depth=4)
BODY = Frame(
    "sort the users by age",
    "body",
    ("report",),
    head="def report(users):\n    # sort the users by age\n",
    depth=4,
)
STUB = Frame("Return the gcd.", "stub", ("gcd",), head='def gcd(a, b):\n    """Return the gcd."""\n', depth=4)


def code(raw: str, frame: Frame) -> str:
    unit = extract(raw, frame)
    assert unit is not None
    return unit.code


@pytest.mark.parametrize(
    "raw",
    [
        GCD,
        GCD + "```\nThis function uses Euclid.",
        f"```python\n{GCD}```",
        f"Sure! Here it is:\n\n```python\n{GCD}```\nExplanation: it loops.",
        f"```\n{GCD}```",
        f"~~~py\n{GCD}~~~",
        GCD + "\n# Example\nprint(gcd(12, 18))\n",
        GCD + '\n\nif __name__ == "__main__":\n    print(gcd(1, 2))\n',
        GCD + "\n\ndef main():\n    print(gcd(1, 2))\n\nmain()\n",
        GCD + "\n\ndef test_gcd():\n    assert gcd(1, 2) == 1\n",
        GCD.replace("\n", "\r\n"),
        f"# write a function computing the gcd\n{GCD}",
    ],
)
def test_only_the_function_remains(raw: str) -> None:
    assert code(raw, MODULE) == GCD.rstrip()


def test_a_helper_before_or_after_stays() -> None:
    helper = "def is_prime(n):\n    return n > 1\n\n\ndef primes(n):\n    return [i for i in range(n) if is_prime(i)]"
    assert code(helper + "\n```", Frame("primes below n", "module")) == helper


def test_imports_come_apart() -> None:
    unit = extract(f"import math\nfrom os import (\n    path,\n)\n\n\n{GCD}", MODULE)
    assert unit is not None
    assert unit.imports == ("import math", "from os import (\n    path,\n)")
    assert unit.code == GCD.rstrip()


def test_statements_at_module_level_are_kept_whole() -> None:
    raw = "users.sort(key=lambda u: u.age)\nfor user in users:\n    print(user)\n```"
    assert code(raw, Frame("sort the users and print them", "module")) == raw.removesuffix("\n```")


@pytest.mark.parametrize(
    "raw",
    [
        "    def push(self, item):\n        self.items.append(item)\n",
        "    def push(self, item):\n        self.items.append(item)\n\n    def pop(self):\n        return 1\n",
        "    def push(self, item):\n        self.items.append(item)\n\nstack = Stack()\n",
        "```python\nclass Stack:\n    def push(self, item):\n        self.items.append(item)\n```",
        "```python\ndef push(self, item):\n    self.items.append(item)\n```",
    ],
)
def test_one_method(raw: str) -> None:
    assert code(raw, STACK) == "def push(self, item):\n    self.items.append(item)"


def test_several_methods_when_several_are_asked_for() -> None:
    raw = "    def push(self, x):\n        self.a.append(x)\n\n    def pop(self):\n        return self.a.pop()\n"
    frame = Frame(
        "push and pop methods", "class", ("Stack",), "class Stack:\n    # push and pop methods\n", 4
    )
    assert "def pop" in code(raw, frame)


def test_a_decorated_method_is_whole() -> None:
    raw = "    @property\n    def size(self):\n        return len(self.items)\n\n    @property\n    def top(self):\n"
    assert code(raw, STACK) == "@property\ndef size(self):\n    return len(self.items)"


@pytest.mark.parametrize(
    "raw",
    [
        "    users.sort(key=lambda u: u.age)\n\nreport([])\n",
        "```python\ndef report(users):\n    # sort the users by age\n    users.sort(key=lambda u: u.age)\n```",
        "```python\nusers.sort(key=lambda u: u.age)\n```",
    ],
)
def test_statements_of_a_body(raw: str) -> None:
    assert code(raw, BODY) == "users.sort(key=lambda u: u.age)"


@pytest.mark.parametrize(
    "raw",
    [
        "    while b:\n        a, b = b, a % b\n    return a\n\nprint(gcd(1, 2))\n",
        f"```python\n{GCD}```",
        'Here:\n```python\ndef gcd(a, b):\n    """Return the gcd."""\n'
        "    while b:\n        a, b = b, a % b\n    return a\n```",
    ],
)
def test_the_body_of_a_stub(raw: str) -> None:
    assert code(raw, STUB) == "while b:\n    a, b = b, a % b\nreturn a"


@pytest.mark.parametrize(
    "raw", ["", "\n\n", "# only a comment\n", "```python\n```", "```python\n# nothing\n```"]
)
def test_no_code_is_none(raw: str) -> None:
    assert extract(raw, MODULE) is None


def test_text_in_a_string_does_not_end_the_unit() -> None:
    raw = '    text = """\nno indentation here\n"""\n    return text\n\nprint(1)\n'
    assert code(raw, STUB) == 'text = """\nno indentation here\n"""\nreturn text'


def test_complete_when_the_next_statement_begins() -> None:
    assert not complete(GCD, MODULE)
    assert not complete(GCD + "\n\nprint(", MODULE)
    assert complete(GCD + "\n\nprint(gcd(1, 2))\n", MODULE)
    assert complete(GCD + "```\n", MODULE)
    assert complete("    users.sort()\n\nreport([])\n", BODY)
    assert not complete("    users.sort()\n    print(users)\n", BODY)


def test_without_a_prefill_the_opening_fence_is_not_the_end() -> None:
    assert not complete("Sure:\n```python\ndef f():\n", MODULE, prefilled=False)
    assert complete(f"Sure:\n```python\n{GCD}```\n", MODULE, prefilled=False)


def test_repetition() -> None:
    assert repeats("x = 1\n" * 9)
    assert repeats("a = 1\nb = 2\n" * 5)
    assert not repeats("x = 1\n" * 4)
    assert not repeats(GCD)


@pytest.mark.parametrize(
    ("frame", "raw", "expected"),
    [
        (MODULE, GCD, GCD),
        (STACK, "def push(self, item):\n    self.items.append(item)\n", ""),
        (STACK, "class Stack:\n    def push(self, item):\n        self.items.append(item)\n", ""),
        (BODY, "users.sort(key=by_age)\nreturn users\n", "users.sort(key=by_age)\nreturn users"),
        (BODY, "    users.sort(key=by_age)\n    return users\n", "users.sort(key=by_age)\nreturn users"),
        (STUB, "while b:\n    a, b = b, a % b\nreturn a\n", "while b:\n    a, b = b, a % b\nreturn a"),
        (STUB, GCD, "while b:\n    a, b = b, a % b\nreturn a"),
    ],
)
def test_code_without_fence_from_models_that_continue_nothing(frame: Frame, raw: str, expected: str) -> None:
    unit = extract(raw, frame, prefilled=False)
    assert unit is not None
    assert unit.code == (expected or "def push(self, item):\n    self.items.append(item)").rstrip()


def test_a_copy_of_what_the_file_has_is_dropped_if_something_is_left() -> None:
    copy, new = "def total(a):\n    return sum(a)", "def mean(a):\n    return total(a) / len(a)"
    assert without_known(f"{copy}\n\n\n{new}", {"total"}) == new
    assert without_known(f"{new}\n\n\n{copy}", {"total"}) == new
    assert without_known(copy, {"total"}) == copy
    assert without_known(new, {"total"}) == new
    assert without_known("total = 3", {"total"}) == "total = 3"


def test_the_unit_ends_where_the_model_begins_to_check_itself() -> None:
    code = "def gcd(a, b):\n    return check_both(a, b)\n"
    helper, trial = (
        "\n\ndef check_both(a, b):\n    return a\n",
        "\n\ndef check_solution():\n    assert gcd(1, 1)\n",
    )
    unit = extract(f"{code}{helper}{trial}```", MODULE)
    assert unit is not None and unit.code == f"{code}{helper}".rstrip()
    assert complete(f"{code}{trial}", MODULE)
    assert not complete(f"{code}{helper}", MODULE)
