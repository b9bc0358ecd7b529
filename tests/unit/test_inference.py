"""What the lines at a place say about an offer."""

from __future__ import annotations

import pytest

from nl2code_server.feedback.inference import Place, read, written

COMMENT = "# write a function computing the gcd"
GCD = "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a\n"
CODE = GCD.rstrip("\n").split("\n")
PLACE = Place((COMMENT,), ("",))


def test_all_of_it_is_there() -> None:
    for now in (
        [COMMENT, *CODE],
        [COMMENT, "", *CODE, ""],
        ["import math", "", COMMENT, *CODE],  # a wider window than needed
        [COMMENT, *(f"    {line}  " for line in CODE)],  # as an editor indents it
        [COMMENT, *(line.replace("    ", "\t") for line in CODE)],
        CODE,  # its comment went
    ):
        reading = read(PLACE, GCD, now)
        assert reading.what == "taken", now
        assert [line.strip() for line in now[reading.span.start : reading.span.end]] == [
            line.strip() for line in CODE
        ]


@pytest.mark.parametrize(
    ("below", "taken"),
    [
        (["def"], 3),
        (["def gcd("], 8),
        (["def gcd()"], 8),  # the editor has put the closer there
        (["def gcd(a, b):", "    while b:"], len("def gcd(a, b):\n    while b:")),
    ],
)
def test_the_beginning_of_it(below: list[str], taken: int) -> None:
    reading = read(PLACE, GCD, [COMMENT, *below, ""])
    assert (reading.what, reading.taken) == ("partly", taken)


@pytest.mark.parametrize("below", [["import os"], ["d = 1"], ["def gcd(x, y):", "    return 1"], ["x"]])
def test_something_else(below: list[str]) -> None:
    reading = read(PLACE, GCD, [COMMENT, *below])
    assert reading.what == "other"
    assert reading.span == (1, 1 + len(below))


def test_nothing_yet_and_another_question() -> None:
    for now in ([COMMENT], [COMMENT, ""], [COMMENT, "", "    ", ""]):
        assert read(PLACE, GCD, now).what == "open"
    for now in ([COMMENT + " of two numbers", ""], [""], [""] * 3, ["x = 1"]):
        assert read(PLACE, GCD, now).what == "instruction"


def test_placeholders_are_not_what_the_user_wrote() -> None:
    stub = Place(("def gcd(a, b):",), ("    pass",))
    body = "    while b:\n        a, b = b, a % b\n    return a"
    assert read(stub, body, ["def gcd(a, b):", "    pass"]).what == "open"
    assert read(stub, body, ["def gcd(a, b):", *body.split("\n")]).what == "taken"
    assert written(stub, ["def gcd(a, b):", "    x = 1", "    pass"]) == (1, 2)
    short = Place(("def gcd(a, b): ...",), (), "...")
    assert read(short, body, ["def gcd(a, b): ..."]).what == "open"
    assert read(short, body, ["def gcd(a, b):", "    return 1"]).what == "other"
    assert written(short, ["def lcm(a, b):", "    return 1"]) is None


def test_code_that_was_there_before_is_not_taken() -> None:
    place = Place(("# return twice", "return 2 * a"), ())
    assert read(place, "return 2 * a", ["# return twice", "return 2 * a"]).what == "open"
