"""The simulated programmer: what they like, what they do about it, and that it is the same for a seed."""

from __future__ import annotations

from collections import Counter

import pytest

from nl2code_model.tune.simulate import Habits, Looked, Style, conforms, decide, mended, rates

PLAIN = "def add(a, b):\n    return a + b"
BOTH = 'def add(a: int, b: int) -> int:\n    """Add two numbers."""\n    return a + b'


@pytest.mark.parametrize(
    ("code", "styles"),
    [
        (PLAIN, {"bare"}),
        (BOTH, {"annotated", "documented", "both"}),
        ("def f(self) -> None:\n    pass", {"annotated"}),
        ("def f(x):\n    '''Say it.'''", {"documented"}),
        ("x = 1", set()),
        ("def f(", set()),
    ],
)
def test_style_is_told_from_the_code(code: str, styles: set[str]) -> None:
    every: tuple[Style, ...] = ("annotated", "documented", "both", "bare")
    assert {style for style in every if conforms(code, style)} == styles


def test_code_is_mended_with_the_types_of_its_examples() -> None:
    said = "add two numbers, e.g. add(1, 2) == 3"
    assert mended(PLAIN, "both", said, ["assert add(1, 2) == 3"]) == BOTH
    assert mended(BOTH, "bare", said) == PLAIN
    assert mended("def f(", "both", said) is None
    assert mended(PLAIN, "annotated", said, ["assert add('a', [1]) == None"]) == (
        "def add(a: str, b: list) -> object:\n    return a + b"
    )


def test_decisions_follow_merit_with_the_noise_asked_for() -> None:
    habits = Habits()
    ids = [f"task-{n}" for n in range(1000)]
    good = Counter(decide(one, habits, passed=True, style=True, mendable=True) for one in ids)
    wrong = Counter(decide(one, habits, passed=False, style=True, mendable=True) for one in ids)
    assert 160 < good["ignored"] < 240 and good["ignored"] == wrong["ignored"]
    assert good["accepted"] > 680 and wrong["accepted"] < 100 and wrong["edited"] == 0
    plain = Counter(decide(one, habits, passed=True, style=False, mendable=True) for one in ids)
    assert 300 < plain["edited"] < 440
    assert decide("x", habits, passed=True, style=True, mendable=True) == decide(
        "x", habits, passed=True, style=True, mendable=True
    )
    silent = Habits(flipped=0, ignored=0, edits=0)
    assert {decide(one, silent, passed=True, style=False, mendable=True) for one in ids} == {"rejected"}


def test_rates_are_of_the_answers_that_parse() -> None:
    looked = [
        Looked("a", True, True, True, True, "accepted"),
        Looked("b", True, True, False, False, "rejected"),
        Looked("c", True, False, False, True, "rejected"),
        Looked("d", False, False, False, False, "nothing"),
    ]
    found = rates(looked)
    assert (found["style_rate"], found["pass_rate"], found["parse"]) == (0.5, 0.25, 2)
    assert found["deeds"] == {"accepted": 1, "nothing": 1, "rejected": 2}
