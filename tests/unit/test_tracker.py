"""Rows followed through edits, texts compared, code found again."""

from __future__ import annotations

import random

import pytest

from nl2code_server.feedback.tracker import (
    Range,
    Span,
    Splice,
    first_unit,
    follow,
    reach,
    relocate,
    similarity,
    splice_between,
    splice_of,
    touches,
)
from nl2code_server.lang.document import Document

GCD = "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a"


@pytest.mark.parametrize(
    ("replaced", "text", "splice"),
    [
        ((3, 5, 3, 5), "x", Splice(3, 1, 1)),
        ((3, 5, 3, 5), "\n", Splice(3, 1, 2)),
        ((3, 5, 3, 5), "\r\na\r\nb", Splice(3, 1, 3)),
        ((3, 0, 3, 0), "x = 1\n", Splice(3, 0, 1)),
        ((3, 0, 6, 0), "", Splice(3, 3, 0)),
        ((3, 0, 6, 0), "a\rb\r", Splice(3, 3, 2)),
        ((3, 2, 6, 1), "", Splice(3, 4, 1)),
    ],
)
def test_what_a_change_does_to_rows(replaced: Range, text: str, splice: Splice) -> None:
    assert splice_of(replaced, text) == splice


def test_splices_agree_with_the_document() -> None:
    draw = random.Random(3)
    document = Document("file:///a.py", "".join(f"row {n}\n" for n in range(12)))
    for _ in range(2000):
        rows = len(document.snapshot().lines)
        first = draw.randrange(rows)
        last = min(rows - 1, first + draw.choice((0, 0, 0, 1, 3)))
        columns = sorted((draw.choice((0, 0, 2, 4)), draw.choice((0, 0, 2, 4))))
        text = draw.choice(("", "x", "\n", "a\nb", "new\n", "one\ntwo\n"))
        splice = splice_of((first, columns[0], last, columns[1]), text)
        before = document.snapshot().lines
        document.apply((first, columns[0], last, columns[1]), text)
        after = document.snapshot().lines
        assert len(after) - len(before) == splice.new - splice.old
        assert after[: splice.first] == before[: splice.first]
        assert after[splice.first + splice.new :] == before[splice.first + splice.old :]
        least = splice_between(before, after)
        assert least.old <= splice.old
        assert least.new <= splice.new


@pytest.mark.parametrize(
    ("splice", "after"),
    [
        (Splice(2, 1, 1), (5, 9)),  # typed above
        (Splice(2, 1, 3), (7, 11)),  # lines added above
        (Splice(5, 0, 2), (7, 11)),  # lines added right above
        (Splice(2, 2, 0), (3, 7)),
        (Splice(9, 0, 2), (5, 9)),  # right below
        (Splice(10, 4, 1), (5, 9)),
        (Splice(6, 1, 3), (5, 11)),  # within
        (Splice(6, 2, 1), (5, 8)),
        (Splice(8, 1, 2), (5, 10)),
        (Splice(5, 4, 0), (5, 5)),  # deleted as lines
        (Splice(4, 5, 1), (5, 5)),  # deleted from the end of the line above, as undo does
        (Splice(3, 4, 0), (3, 5)),  # its first half with what is above
        (Splice(7, 4, 0), (5, 7)),  # its second half with what is below
    ],
)
def test_where_a_span_is_after_an_edit(splice: Splice, after: tuple[int, int]) -> None:
    assert follow(Span(5, 9), splice) == after


def test_what_is_undone_and_done_again_is_followed() -> None:
    span = follow(Span(6, 10), Splice(5, 5, 1))
    assert span == (6, 6)
    assert follow(span, Splice(5, 1, 5)) == (6, 10)
    assert follow(span, Splice(6, 0, 4)) == (6, 10)
    assert follow(span, Splice(0, 1, 2)) == (7, 7)
    assert follow(span, Splice(8, 1, 4)) == (6, 6)


def test_the_most_that_a_span_may_have_become() -> None:
    assert reach(Span(5, 9), Splice(0, 20, 30)) == (0, 30)
    assert reach(Span(5, 9), Splice(9, 0, 4)) == (5, 13)
    assert reach(Span(5, 9), Splice(6, 1, 3)) == (5, 11)
    assert reach(Span(5, 9), Splice(0, 1, 2)) == (6, 10)
    assert touches(Span(5, 9), Splice(9, 0, 4))
    assert not touches(Span(5, 9), Splice(10, 1, 1))
    assert not touches(Span(5, 9), Splice(2, 1, 4))


def _by_definition(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for count, character in enumerate(one, 1):
        following = [count]
        for index, against in enumerate(other, 1):
            best = min(row[index] + 1, following[-1] + 1, row[index - 1] + (character != against))
            following.append(best)
        row = following
    return row[-1]


def test_similarity_is_one_minus_the_normalised_edit_distance() -> None:
    draw = random.Random(5)
    for _ in range(1500):
        one, other = ("".join(draw.choices("abcé", k=draw.randrange(1, 12))) for _ in range(2))
        expected = 1 - _by_definition(one, other) / max(len(one), len(other))
        assert similarity(one, other) == pytest.approx(expected)


def test_layout_is_no_edit() -> None:
    assert similarity(GCD, f"\r\n\n{GCD}\n\n".replace("\n", "\r\n")) == 1
    assert similarity(GCD, "\n".join(f"        {line}  " for line in GCD.split("\n"))) == 1
    assert similarity(GCD, "") == 0
    assert similarity("", "") == 1
    assert 0.9 < similarity(GCD, GCD.replace("a, b = b", "b, a = b")) < 1
    assert similarity(GCD * 400, "x" * 90_000) < 0.1  # bounded in time


def test_code_is_found_again() -> None:
    known = GCD.split("\n")
    elsewhere = ["import os", "", *(f"    {line}" for line in known), "", "x = 1"]
    assert relocate(known, elsewhere) == (2, 6)
    edited = [*elsewhere[:3], "        while b != 0:", *elsewhere[4:]]
    assert relocate(known, edited) == (2, 6)
    edited = [*elsewhere[:2], "    def gcf(a, b):", *elsewhere[3:5], "        return abs(a)", *elsewhere[6:]]
    assert relocate(known, edited) == (2, 6)
    assert relocate(known, ["def lcm(a, b):", "    return a * b", "", "return a"]) is None
    assert relocate(known, []) is None
    assert relocate([], elsewhere) is None
    far = [*elsewhere, *["y = 2"] * 40, "    return a"]
    assert relocate(known, far) == (2, 6)


def test_one_unit_of_what_was_written() -> None:
    two = f"\n@cache\n{GCD}\n\n\n# another thing\ndef other():\n    pass\n"
    assert first_unit(two.split("\n")) == f"@cache\n{GCD}".split("\n")
    assert first_unit(["    x = 1", "", "    y = 2", "", "z = 3"]) == ["    x = 1", "", "    y = 2"]
    assert first_unit(["", "  "]) == []
