"""The lines around the code: they fit, and the first of them stays while others are typed."""

from __future__ import annotations

from itertools import pairwise

import pytest

from nl2code_server.lang.context import collect
from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.instruction import at
from nl2code_server.lang.placement import place
from nl2code_server.lang.prompt import build
from nl2code_server.lang.windows import above, below, charged

FUNCTION = """
def total_{n}(items):
    result = {n}
    for item in items:
        # What was returned counts against it.
        if item.returned:
            result -= item.price
        else:
            result += item.price

    return result

"""
DEFINED = "".join(FUNCTION.format(n=n) for n in range(20))
FLAT = "".join(f"value_{n} = read({n * 7}, {n % 5})\n" for n in range(200))
TYPED = [f"step({n}, retries={n % 3})\n" if n % 5 else f"# stage {n}\n" for n in range(20)]


def prompts(text: str, where: str) -> list[str]:
    """Return the prompt for an instruction at the end of a text, and then after each of twenty lines typed there."""
    lines = [*text.splitlines(keepends=True), "\n", "# write a function that adds two numbers\n", "\n"]
    row = len(lines) - 2
    found = [prompt(lines, row)]
    for line in TYPED:
        if where == "above":
            lines.insert(row, line)
            row += 1
        else:
            lines.append(line)
        found.append(prompt(lines, row))
    return found


def prompt(lines: list[str], row: int) -> str:
    snapshot = Snapshot.from_text("".join(lines))
    found = at(snapshot, row, attention="invoked")
    assert found is not None
    placement = place(snapshot, found)
    built = build(found.text, placement, collect(snapshot, found, placement, tokens=400))
    return "".join(text for _, text in built.messages)


def shared(one: str, other: str) -> int:
    return next(
        (n for n, (x, y) in enumerate(zip(one, other, strict=False)) if x != y), min(len(one), len(other))
    )


@pytest.mark.parametrize("text", [DEFINED, FLAT], ids=["functions", "script"])
@pytest.mark.parametrize("where", ["above", "below"])
def test_most_of_a_prompt_stays_while_lines_are_typed(text: str, where: str) -> None:
    made = prompts(text, where)
    kept = [shared(before, after) >= len(after) / 2 for before, after in pairwise(made)]
    assert sum(kept) >= 0.8 * len(kept)
    evaluated = sum(len(after) - shared(before, after) for before, after in pairwise(made))
    assert evaluated < 0.4 * sum(map(len, made[1:]))


@pytest.mark.parametrize("text", [DEFINED, FLAT], ids=["functions", "script"])
def test_the_first_line_depends_neither_on_what_is_further_up_nor_on_what_is_below(text: str) -> None:
    snapshot = Snapshot.from_text(text)
    end = len(snapshot.lines) - 1
    shown, row = above(snapshot, end, set(), 800)
    pushed = Snapshot.from_text("import os\n\nx = os.name\n" + text + "y = 1\n")
    assert above(pushed, end + 3, set(), 800) == (shown, row + 3)


def test_it_fits_and_begins_with_a_definition_if_one_is_in_reach() -> None:
    snapshot = Snapshot.from_text(DEFINED)
    for budget in (300, 500, 900, 2000):
        shown, _ = above(snapshot, len(snapshot.lines) - 1, set(), budget)
        assert budget / 3 < len(shown) <= budget
    assert shown.startswith("def total_")


def test_a_file_that_fits_is_shown_whole_without_the_lines_to_skip() -> None:
    snapshot = Snapshot.from_text("import os\n\n\n\n\n\nx = 1\ny = 2\n")
    assert above(snapshot, 8, {0}, 100) == ("x = 1\ny = 2", 0)
    assert above(snapshot, 8, set(), 100) == ("import os\n\n\nx = 1\ny = 2", 0)
    assert above(snapshot, 8, set(), 3) == ("", 8)
    assert below(snapshot, 6, 6) == ("x = 1", 7)


def test_broken_text_has_a_beginning_too() -> None:
    snapshot = Snapshot.from_text("def f(:\n" + "    ((((\n" * 200)
    shown, row = above(snapshot, 200, set(), 100)
    assert 0 < row < 200
    assert len(shown) <= 100


def test_a_part_counts_in_steps() -> None:
    assert [charged("x" * size, 400, cut=False) for size in (0, 1, 100, 101, 399)] == [0, 100, 100, 200, 400]
    assert charged("x", 400, cut=True) == 400
    assert charged("xxx", 2, cut=False) == 2
    assert charged("", 0, cut=False) == 0
