"""Where the gain comes from, what early stopping saves, and whether seconds may be compared: by hand-made records."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.records import record
from nl2code_model.evaluate.conditions import now, warnings
from nl2code_model.evaluate.score import compare, first_passes, summary
from nl2code_model.evaluate.split import STAGES, around, early_stop, gain, stages
from nl2code_server.config import Settings


def made(*, passed: bool = False, origin: str = "greedy", **fields: Any) -> dict[str, Any]:
    return {
        "origin": origin, "status": "valid", "rank": 0, "tokens": 10, "checks": [], "passed": passed,
        "hidden": passed, "example": None, "code": "x = 1", **fields,
    }  # fmt: skip


BROKEN = made(status="failed", rank=-1, checks=["syntax"], code="x =")
WRONG = made(status="failed", checks=["examples"])
RIGHT: dict[str, Any] = {"status": "verified", "passed": True}


@pytest.mark.parametrize(
    ("candidates", "offered", "expected"),
    [
        # The first answer does it, and needs no import that it did not write.
        ([made(**RIGHT, as_it_came=True)], True, [1, 1, 1, 1, 1]),
        # An import was added for it.
        ([made(**RIGHT, as_it_came=False)], True, [0, 1, 1, 1, 1]),
        # It could not be used; the second could.
        ([BROKEN, made(passed=True, origin="sample")], True, [0, 1, 1, 1, 1]),
        # It fails its example; a sample passes.
        ([WRONG, made(**RIGHT, origin="sample")], True, [0, 0, 1, 1, 1]),
        # Samples fail too; a repair of one passes.
        ([WRONG, WRONG, made(**RIGHT, origin="repair")], True, [0, 0, 0, 1, 1]),
        # A repair of what could not be used is a retry.
        ([BROKEN, made(passed=True, origin="repair")], True, [0, 1, 1, 1, 1]),
        # No example: the one on which most agree comes first.
        ([made(rank=1), made(passed=True, origin="sample")], True, [0, 0, 0, 0, 1]),
        # Ranking may also lose.
        ([made(passed=True, rank=1, as_it_came=True), made(origin="sample")], False, [1, 1, 1, 1, 0]),
        # None can be used: what is offered on request is the first that leaves the file whole.
        ([made(status="failed", checks=["names"], passed=True, as_it_came=True)], True, [1, 1, 1, 1, 1]),
        ([], False, [0, 0, 0, 0, 0]),
    ],
)  # fmt: skip
def test_stages(candidates: list[dict[str, Any]], offered: bool, expected: list[int]) -> None:
    ours = record("1", passed=offered, candidates=candidates)
    found = stages(ours, record("1", "chat", passed=False))
    assert found == [False, *map(bool, expected)]
    assert stages(ours, record("1", "chat"))[0] is True


def test_the_gain_adds_up() -> None:
    ours = [
        record("1", candidates=[made(**RIGHT, as_it_came=True)]),
        record("2", candidates=[WRONG, made(**RIGHT, origin="sample")]),
        record("3", candidates=[WRONG, WRONG, made(**RIGHT, origin="repair")]),
        record("4", passed=False, candidates=[made(passed=True, rank=1, as_it_came=True), made()]),
        record("5", passed=False, candidates=[]),
    ]
    theirs = [record(str(n), "chat", passed=n == 5) for n in range(1, 6)]
    pair = compare(ours, theirs)
    found = pair["gain"]
    assert [row["stage"] for row in found] == list(STAGES)
    assert [row["passed"] for row in found] == [1, 2, 2, 3, 4, 3]
    assert [(row["gained"], row["lost"]) for row in found][1:] == [(2, 1), (0, 0), (1, 0), (1, 0), (0, 1)]
    assert sum(row["points"] for row in found) == pytest.approx(pair["points"]) == 40


def test_without_candidates_there_is_no_split() -> None:
    # As in comparisons of two plain chats, and in records of older versions.
    assert gain([(record("1", "chat"), record("1", "file"))]) == []
    both = record("1", candidates=[made(**RIGHT, as_it_came=True)])
    assert gain([(both, both)]) == []


def test_around_is_what_stands_above_and_below_the_code() -> None:
    assert around("x = 1\n" + "y" * 14, "x = 1") == pytest.approx((0.0, 15 / 20))
    # Code is cut out of its indentation, and of blank lines.
    raw = "Say: \n    if a:\n\n        b()\n```\n" + "z" * 14
    above, below = around(raw, "if a:\n    b()")
    assert above == pytest.approx(10 / len(raw))
    assert below == pytest.approx((len(raw) - raw.index("\n```")) / len(raw))
    assert around("nothing of it", "x = 1") == (0.0, 0.0)
    assert around("x", "") == (0.0, 0.0)


def test_early_stop_is_told_in_tokens_and_seconds() -> None:
    chat = record("1", "chat", raw="x = 1\n" + "y" * 14, code="x = 1", tokens=20, seconds=4.0)
    found = early_stop([chat, record("2", "chat", offered=False, raw="no", tokens=99)])
    assert found is not None
    assert (found["tasks"], found["tokens_after"], found["tokens_before"]) == (1, 15, 0)
    assert found["seconds_after_per_task"] == pytest.approx(3.0)
    # Of three answers that were made one was offered: only its own end counts.
    ours = record("1", raw="x = 1\n", code="x = 1", tokens=60, tokens_chosen=6)
    found = early_stop([ours])
    assert found is not None
    assert found["tokens_after"] == 0
    assert early_stop([]) is None


def test_the_first_answer_passes_if_it_was_enough() -> None:
    assert first_passes(record("1"))
    assert not first_passes(record("1", answers=2))
    assert first_passes(record("1", answers=2, candidates=[made(**RIGHT), made()]))
    assert not first_passes(record("1", status="failed"))
    assert not first_passes(record("1", offered=False, answers=1))


def test_costs_are_compared_where_the_first_answer_passes_and_over_all() -> None:
    ours = [
        record("1", seconds=1.0, tokens=11, tokens_offered=10),
        record("2", seconds=3.0, tokens=50, tokens_offered=10, answers=4),
        record("3", offered=False, seconds=9.0, tokens=70, tokens_offered=0, answers=5),
    ]
    theirs = [record(str(n), "chat", seconds=2.0, tokens=30, tokens_offered=15) for n in (1, 2, 3)]
    found = compare(ours, theirs)
    assert (found["at_once"]["tasks"], found["over_all"]["tasks"]) == (1, 2)
    assert (found["at_once"]["seconds_ratio"], found["over_all"]["seconds_ratio"]) == (0.5, 1.0)
    assert (found["at_once"]["tokens_per_offered"], found["over_all"]["tokens_per_offered"]) == (1.1, 3.05)
    assert found["over_all"]["tokens_ratio"] == pytest.approx(61 / 60, abs=1e-3)


def test_the_harness_is_what_was_not_waiting() -> None:
    # Records of older versions do not tell.
    found = summary([record("1", seconds=3.0, took=4.0), record("2", seconds=0.9, took=1.0), record("3")])
    assert found["harness"] == pytest.approx(1.1 / 5)
    assert summary([record("3")])["harness"] is None


def under(**fields: Any) -> dict[str, Any]:
    told = {
        "run": "a",
        "machine": "m",
        "cpus": 2,
        "threads": 2,
        "endpoint": "own host",
        "load": 0.5,
        "time": 1,
    }
    return {"conditions": {**told, **fields}}


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (under(), ""),
        (under(load=0.9), ""),
        (under(threads=1), "different threads: nl2code 2; chat 1"),
        (under(cpus=1), "numbers of CPUs"),
        (under(machine="n"), "machines"),
        (under(load=1.5), "loads (median load average): nl2code 0.5; chat 1.5"),
        (under(run="b"), "not timed in the same run"),
        ({}, "seconds of chat: nothing is known"),
        ({"model": "other", **under()}, ""),
    ],
)
def test_seconds_that_cannot_be_compared_are_told(theirs: dict[str, Any], said: str) -> None:
    found = warnings({"nl2code": [record("1", **under())], "chat": [record("1", "chat", **theirs)]})
    assert (said in "\n".join(found)) if said else found == []


def test_two_models_in_one_arm_are_told() -> None:
    found = warnings({"chat": [record("1", "chat", **under()), record("2", "chat", model="n", **under())]})
    assert found == ["chat: its records come from several models (m, n)"]


def test_conditions_say_what_is_known_of_the_host() -> None:
    own, given = now(Settings(threads=3), "r"), now(Settings(endpoint="http://127.0.0.1:1/v1"), "r")
    assert (own["threads"], own["endpoint"], own["run"]) == (3, "own host", "r")
    assert (given["threads"], given["endpoint"]) == (None, "given")
    assert now(Settings(endpoint="https://models.example/v1"), "r")["endpoint"] == "remote"
    assert own["cpus"] >= 1
    assert own["load"] >= 0
