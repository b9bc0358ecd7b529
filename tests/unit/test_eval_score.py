"""Rates, intervals and paired comparisons, against values worked out by hand."""

from __future__ import annotations

import pytest

from fakes.records import record
from nl2code_model.evaluate.score import compare, mcnemar, report, summary, wilson


@pytest.mark.parametrize(
    ("passed", "total", "low", "high"),
    # The first is the textbook's; at 0 and at all of n the far end is z²/(n + z²) away.
    [(10, 20, 0.2993, 0.7007), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (0, 0, 0.0, 1.0)],
)
def test_wilson(passed: int, total: int, low: float, high: float) -> None:
    assert wilson(passed, total) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),  # 2 · 1/2
        (5, 0, 2 / 32),
        (6, 1, 2 * (1 + 7) / 128),
        (1, 6, 2 * (1 + 7) / 128),
        (3, 3, 1.0),  # the two tails meet
        (10, 2, 2 * (1 + 12 + 66) / 4096),
    ],
)
def test_mcnemar(gained: int, lost: int, p: float) -> None:
    assert mcnemar(gained, lost) == pytest.approx(p)


def test_pairs_are_tasks_that_both_arms_have() -> None:
    ours = [record(str(n), passed=n < 7, seconds=1.0 + n) for n in range(10)]
    theirs = [record(str(n), "chat", passed=n % 2 == 0, seconds=2.0) for n in range(9)]
    found = compare(ours, theirs)
    # 1, 3 and 5 are gained, 8 is lost; 9 has no pair. The median of 1 to 9 seconds is 5.
    assert found["tasks"] == 9
    assert (found["gained"], found["lost"]) == (3, 1)
    assert found["points"] == pytest.approx(100 * 2 / 9, abs=0.01)
    assert found["p"] == pytest.approx(2 * (1 + 4) / 16)
    assert (found["over_all"]["seconds"], found["over_all"]["seconds_ratio"]) == (5.0, 2.5)


def test_tasks_asked_in_another_way_are_no_pair() -> None:
    assert compare([record("1")], [record("1", "chat", form="class")])["tasks"] == 0


def test_the_figures_of_an_arm() -> None:
    found = summary(
        [
            record("1", status="verified", tokens=10, tokens_offered=10),
            record("2", status="verified", passed=False, tokens=40, tokens_offered=10, answers=4, seconds=4.0),
            record("3", passed=False, parses=False, undefined=["x"], unasked=False),
            record("4", passed=False, offered=False, unasked=False, parses=False, answers=0, tokens=0,
                   tokens_offered=0, status="", hidden=None),
        ]
    )  # fmt: skip
    assert (found["passed"], found["pass@1"], found["offered"], found["unasked"]) == (1, 0.25, 0.75, 0.5)
    assert (found["verified"], found["verified_passed"]) == (0.5, 0.5)
    assert (found["parses"], found["hidden"]) == (
        pytest.approx(2 / 3, abs=1e-4),
        pytest.approx(1 / 3, abs=1e-4),
    )
    assert found["undefined"] == pytest.approx(1 / 3, abs=1e-4)
    assert (found["tokens"], found["tokens_offered"], found["answers"]) == (60, 30, 1.5)
    assert (found["tokens_per_offered"], found["tokens_per_offered_at_once"]) == (2.0, 1.0)
    assert (found["seconds"], found["seconds_at_once"]) == (1.0, 1.0)


def test_a_report_compares_the_first_arm_with_each_other() -> None:
    records = [record("1"), record("1", "chat", passed=False), record("1", "file")]
    found = report(records, ["nl2code", "chat", "file"])
    assert list(found["pairs"]) == ["nl2code / chat", "nl2code / file"]
    assert found["pairs"]["nl2code / chat"]["gained"] == 1
    assert found["arms"]["chat"]["by_kind"] == {"function": {"tasks": 1, "passed": 0, "offered": 1}}
    assert summary([])["pass@1"] is None
