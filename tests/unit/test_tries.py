"""What is asked next: the lead, samples, repairs, and when to stop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nl2code_server.lang import Edit
from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.examples import find_examples
from nl2code_server.lang.prompt import Prompt
from nl2code_server.lang.unit import Frame
from nl2code_server.lang.validate import Check
from nl2code_server.suggest import ExampleRun
from nl2code_server.suggest.budget import Budget
from nl2code_server.suggest.generate import GREEDY, Answer
from nl2code_server.suggest.judge import Candidate
from nl2code_server.suggest.normal_form import normal_form
from nl2code_server.suggest.repair import best_wrong, complaint
from nl2code_server.suggest.tries import MOST, Try, hint_for, lead_for, next_try

PROMPT = Prompt((("system", "rules"), ("user", "write f")), Frame("write f", "module"))
EDIT = Edit((0, 0), (0, 0), "x")


def candidate(code: str, status: Any = "failed", **details: Any) -> Candidate:
    answer = Answer(code, GREEDY, 10, -1.0, "unit", 0.1, True)
    return Candidate("id", answer, code, edits=(EDIT,), status=status, **details)


def step(candidates: list[Candidate], **details: Any) -> Try:
    found = next_try(PROMPT, candidates, **details)
    assert found is not None
    return found


def wrong(*bodies: str) -> list[Candidate]:
    run = ExampleRun("f(1)", "2", "3", False)
    return [candidate(f"def f(x):\n    return {body}", examples=(run,)) for body in bodies]


def test_the_first_answer_is_the_models_first_choice() -> None:
    first = step([])
    assert (first.origin, first.temperature, first.sampling(7)) == ("greedy", 0.0, GREEDY)
    fresh = step([], fresh=True)
    assert (fresh.origin, fresh.sampling(7).seed) == ("sample", 7)


def test_a_good_answer_is_enough_and_as_many_as_wanted() -> None:
    good = candidate("def f(x):\n    return x", "verified")
    same = candidate("def f(x):\n    return  x", "verified")
    assert next_try(PROMPT, [good]) is None
    assert step([good], wanted=2).origin == "sample"
    assert step([good, same], wanted=2).temperature > step([good], wanted=2).temperature


def test_an_answer_without_what_was_imported_for_it_is_asked_for_twice_more() -> None:
    without = [candidate(f"def f(x):\n    return {body}", "valid", unused=1) for body in "123"]
    using = candidate("def f(x):\n    return g(x)", "valid")
    assert step(without[:1]).origin == "sample"
    assert step(without[:2]).origin == "sample"
    assert next_try(PROMPT, without) is None
    assert next_try(PROMPT, [without[0], using]) is None
    assert next_try(PROMPT, [replace(without[0], status="verified")]) is None


def test_wrong_answers_lead_to_a_sample_then_a_repair_then_samples() -> None:
    tried: list[Candidate] = []
    origins = []
    for body in range(MOST):
        found = step(tried)
        origins.append(found.origin)
        tried.append(candidate(f"def f(x):\n    return {body}", origin=found.origin))
    assert origins == ["greedy", "sample", "sample", "repair", "sample", "sample"]
    assert next_try(PROMPT, tried) is None


def test_the_search_ends_when_it_costs_too_much_but_not_for_who_asked_for_several() -> None:
    def of(*tokens: int) -> list[Candidate]:
        return [
            replace(one, answer=replace(one.answer, tokens=count))
            for one, count in zip(wrong(*"1234"), tokens, strict=False)
        ]

    assert step(of(100, 150)).origin == "sample"
    assert next_try(PROMPT, of(100, 150, 50)) is None
    assert step(of(20, 100, 100)).origin == "repair"
    assert next_try(PROMPT, of(20, 100, 180)) is None
    assert step(of(20, 100, 180), wanted=2).origin == "repair"
    assert step(of(500)).origin == "sample"


def test_an_answer_without_code_is_repaired_at_once() -> None:
    check = Check("answer", False, "the answer holds no code")
    first = Candidate("id", Answer("Sorry.", GREEDY, 3, None, "stop", 0.1, True), checks=(check,))
    found = step([first], show=True)
    assert found.origin == "repair"
    assert [role for role, _ in found.prompt.messages] == ["system", "user", "assistant", "user"]
    assert "Sorry." in found.prompt.messages[2][1]
    assert "holds no code" in found.prompt.messages[3][1]


def test_answers_that_only_repeat_end_it() -> None:
    assert next_try(PROMPT, wrong("1", "2", "1", "2")) is not None
    assert next_try(PROMPT, wrong("1", "1", "1", "1")) is None


def test_a_repair_tells_the_example_and_shows_the_answer_where_the_model_learns_from_it() -> None:
    said = "`f(1)` must give `2`, not end in `3`"
    told = step(wrong("3", "4", "5"), show=False).prompt.messages
    assert [role for role, _ in told] == ["system", "user"]
    assert told[-1][1].startswith("write f") and said in told[-1][1]
    assert "return 3" not in told[-1][1]
    shown = step(wrong("3", "4", "5"), show=True).prompt.messages
    assert "return 3" in shown[2][1]
    assert said in shown[3][1]


def test_the_best_wrong_answer_passes_most_and_fits_the_file() -> None:
    good, bad = ExampleRun("f(1)", "2", "2", True), ExampleRun("f(2)", "2", "3", False)
    none = candidate("def f(:", checks=(Check("compiles", False, "no"),))
    one = candidate("a", examples=(bad, bad))
    two = candidate("b", examples=(good, bad))
    assert best_wrong([none, one, two]) is two
    assert complaint(two) == "`f(2)` must give `2`, not end in `3`"
    assert complaint(none) == "no"
    raises = candidate("c", examples=(ExampleRun("f(0)", "raise ValueError", "0", False),))
    assert complaint(raises) == "`f(0)` must `raise ValueError`, not end in `0`"


@pytest.mark.parametrize(
    ("instruction", "file", "lead"),
    [
        ("gcd, e.g. gcd(12, 18) == 6", "", "def gcd"),
        ("gcd, e.g. sorted(gcd(12, 18)) == [6]", "", "def gcd"),
        ("async gcd, gcd(12, 18) == 6", "", "async def gcd"),
        ("a stack, Stack().size() == 0", "", "class Stack"),
        ("a function that splits, Split([1, 2]) == [1]", "", "def Split"),
        ("a class with a function in it, Stack().size() == 0", "", "class Stack"),
        ("gcd of two numbers", "", ""),
        ("输入 12 和 18，输出 6", "", ""),
        ("gcd(12, 18) == 6", "def gcd(a, b):\n    ...\n", ""),
        ("gcd(12, 18) == 6", "from math import lcm, gcd\n", ""),
        ("gcd(12, 18) == 6", "from math import (\n    gcd,\n)\n", ""),
        ("gcd(12, 18) == 6, lcm(2, 3) == 6", "", ""),
        ("gcd(12, 18) == 6, lcm(2, 3) == 6", "def lcm(a, b): ...\n", "def gcd"),
        ("gcd with a cache, gcd(12, 18) == 6", "", ""),
        ("a dataclass, Point(1, 2).x == 1", "", ""),
        ("sum([1, 2]) == 3", "", ""),
        ("a function fitting(cars, seats) that …", "", "def fitting"),
        ("an async function fetch(url) that …", "", "async def fetch"),
        ("a function fitting(cars, seats) that …", "def fitting(): ...\n", ""),
        ("method overdue(day), Register().overdue(5) == []", "class Register: ...\n", "def overdue"),
        ("a function fit(cars), e.g. fitting(3) == 4", "", "def fitting"),
    ],
)
def test_the_lead_is_the_name_that_the_example_calls_or_the_instruction_says(
    instruction: str, file: str, lead: str
) -> None:
    snapshot = Snapshot.from_text(f"{file}# {instruction}\n")
    frame = Frame(instruction, "module")
    assert lead_for(snapshot, instruction, frame, find_examples(instruction)) == lead


def test_the_lead_stands_at_its_depth_and_not_in_a_stub() -> None:
    snapshot, text = Snapshot.from_text("# total() == 3"), "add(1) == 3"
    assert lead_for(snapshot, text, Frame(text, "class", depth=4), find_examples(text)) == "    def add"
    assert lead_for(snapshot, text, Frame(text, "stub"), find_examples(text)) == ""
    named = "call the function fitting(cars, seats)"
    assert lead_for(snapshot, named, Frame(named, "body", depth=4), ()) == ""


def test_budgets() -> None:
    unlimited = Budget(0, 0)
    assert not unlimited.spent(10**9)
    assert unlimited.seconds_for_next() is None
    assert unlimited.tokens_for_next(10**9, 512) == 512
    tokens = Budget(0, 100)
    assert not tokens.spent(0)
    assert tokens.tokens_for_next(0, 512) == 100
    assert tokens.tokens_for_next(70, 512) == 30
    assert tokens.spent(95)
    assert Budget(1e-9, 0).spent(0)


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("def f(x):\n    y = x\n    return y", "def f(x):\n    'Doc.'\n    z = x  # it\n    return z", True),
        ("def f(x):\n    return [i for i in x]", "def f(x):\n    return [j for j in x]", True),
        ("def f(x: int) -> int:\n    return x", "def f(x):\n    return x", True),
        ("def f(x):\n    return x", "def f(y):\n    return y", False),
        ("def f(x):\n    return x", "def g(x):\n    return x", False),
        ("def f(x):\n    y = 1\n    return x", "def f(x):\n    y = 2\n    return x", False),
        ("def f(a):\n    b = c = a\n    return b", "def f(a):\n    b = c = a\n    return c", False),
        ("def f():\n    global N\n    N = 1", "def f():\n    global M\n    M = 1", False),
        ("class A:\n    x: int", "class A:\n    y: int", False),
        ("total = 1", "count = 1", False),
        ("def f(:", "def  f(:", False),
    ],
)
def test_the_same_program(one: str, two: str, same: bool) -> None:
    assert (normal_form(one) == normal_form(two)) is same


def test_after_a_wrong_answer_the_model_explains_itself_twice() -> None:
    assert "docstring" not in step([]).prompt.messages[-1][1]
    after = step(wrong("1"), lead="def f", hint="# f(1) -> 2\n")
    assert "docstring that explains step by step" in after.prompt.messages[-1][1]
    assert after.prompt.messages[:-1] == PROMPT.messages[:-1]
    assert (after.lead, after.hint, after.temperature) == ("def f", "", 0.0)
    assert after.prompt.messages[-1][1].startswith(PROMPT.messages[-1][1])
    again = step(wrong("1", "2"))
    assert "docstring" in again.prompt.messages[-1][1] and again.temperature > 0
    told = [replace(one, origin="repair") for one in wrong("1", "2", "3")]
    assert "docstring" not in step(told).prompt.messages[-1][1]
    inside = replace(PROMPT, frame=replace(PROMPT.frame, place="body"))
    found = next_try(inside, wrong("1"))
    assert found is not None and "Begin with comments" in found.prompt.messages[-1][1]


def test_an_explained_answer_may_be_longer_but_not_endless() -> None:
    def most(tokens: int) -> int:
        one = wrong("1")[0]
        return step([replace(one, answer=replace(one.answer, tokens=tokens))]).most

    assert step([]).most == 0
    assert most(20) == most(60) > 60
    assert most(200) == 600


@pytest.mark.parametrize(
    ("raw", "got", "lead"),
    [
        ("def f(x):\n    return 1", "1", "def f(x):\n"),
        ("def f(x: int) -> int: \n    return 1", "1", "def f(x: int) -> int: \n"),
        ("def f(x): return 1", "1", "def f"),
        ("def f(\n    x):\n    return 1", "1", "def f"),
        ("def f_of(x):\n    return 1", "1", "def f"),
        ("def f(x, y):\n    return 1", "TypeError: f() missing 1 required positional argument", "def f"),
    ],
)
def test_what_follows_goes_on_from_the_first_answers_head(raw: str, got: str, lead: str) -> None:
    first, *rest = wrong("1", "2", "3", "4")
    run = ExampleRun("f(1)", "2", got, False)
    first = replace(first, answer=replace(first.answer, raw=raw), examples=(run,))
    told = replace(rest[1], origin="repair")
    assert step([first, rest[0], told], lead="def f").lead == lead


def test_further_answers_see_the_example_above_the_lead_but_not_every_one() -> None:
    hint = hint_for("    def gcd", find_examples("gcd(12, 18) == 6"))
    assert hint == "    # gcd(12, 18) -> 6\n"
    good = [candidate(f"def f(x):\n    return {number}", "verified") for number in range(4)]
    found = [step(good[:count], wanted=5, lead="def f", hint=hint).hint for count in range(5)]
    assert found == ["", hint, hint, "", hint]


@pytest.mark.parametrize(
    ("lead", "text", "hint"),
    [
        ("def f", "f(-1) raises ValueError", "# f(-1) raises ValueError\n"),
        ("def f", ">>> x = 1\n>>> f(x)\n2", ""),
        ("def f", f"f('{'a' * 200}') == 1", ""),
        ("", "f(1) == 2", ""),
    ],
)
def test_a_hint_is_one_short_line_for_a_led_definition(lead: str, text: str, hint: str) -> None:
    assert hint_for(lead, find_examples(text)) == hint
