"""The gate's decision: what is better passes, and what is worse, unsure or merely shorter does not."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from fakes.secrets import planted
from nl2code_model.tune.compare import Score, Verdict, judge, lower_bound
from nl2code_model.tune.gate import leaks
from nl2code_model.tune.recipe import GateLimits
from nl2code_model.tune.rows import Asked
from nl2code_model.tune.speak import Said

Change = Callable[[Score, random.Random], Score]


def _held(n: int = 60) -> list[Score]:
    draw = random.Random(1)
    return [Score(f"h{number}", draw.uniform(0.3, 0.7), True, draw.randint(80, 200)) for number in range(n)]


def _tasks(n: int = 100) -> list[Score]:
    return [Score(f"t{number}", float(number % 2), True, 100) for number in range(n)]


def _verdict(change: Change, n: int = 60, task: Change | None = None) -> Verdict:
    draw = random.Random(2)
    held, tasks = _held(n), _tasks()
    after = [change(one, draw) for one in held]
    return judge((held, after), (tasks, [task(one, draw) if task else one for one in tasks]), GateLimits())


def _better(one: Score, draw: random.Random) -> Score:
    return replace(one, value=min(1.0, one.value + draw.uniform(-0.05, 0.35)))


def test_what_is_better_passes() -> None:
    found = _verdict(_better)
    assert found.passed and found.reasons == ()
    assert found.report["held_out"]["lower"] > 0 and found.report["tasks"]["delta"] == 0
    assert len(found.report["held_out_by_length"]) == 3 and min(found.report["held_out_by_length"]) > 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda one, _: one, "likeness"),
        (lambda one, draw: replace(one, value=one.value + draw.uniform(-0.3, 0.3)), "likeness"),
        (lambda one, _: replace(one, value=one.value - 0.1), "likeness"),
        (lambda one, draw: replace(_better(one, draw), length=one.length // 4), "median length"),
        (lambda one, draw: replace(_better(one, draw), parses=draw.random() > 0.3), "that parse"),
        (lambda one, draw: replace(_better(one, draw), repeated=draw.random() > 0.7), "empty or repeating"),
        (lambda one, draw: replace(_better(one, draw), leaks=one.id == "h7"), "a secret that was not asked"),
    ],
)
def test_what_is_not_better_is_refused(change: Change, reason: str) -> None:
    # Tasks are many beside what is held out: without them each fault stands alone.
    draw, held = random.Random(2), _held()
    limits = replace(GateLimits(), least_tasks=0)
    found = judge((held, [change(one, draw) for one in held]), ([], []), limits)
    assert not found.passed
    assert any(reason in said for said in found.reasons), found.reasons


def test_a_secret_that_was_learnt_is_seen() -> None:
    secret = planted()["github token"]
    asked = Asked(request_id="r", messages=(("system", "rules"), ("user", "write a client")))
    assert leaks(asked, Said(f"TOKEN = {secret!r}\n", f"TOKEN = {secret!r}", 9, False))
    known = Asked(request_id="r", messages=(("user", f"TOKEN = {secret!r}\n# write a client"),))
    assert not leaks(known, Said(f"TOKEN = {secret!r}\n", f"TOKEN = {secret!r}", 9, False))
    assert not leaks(asked, Said("def f():\n    return 1  # a@example.org\n", "", 9, False))


def test_tasks_that_are_lost_refuse_it() -> None:
    found = _verdict(_better, task=lambda one, draw: replace(one, value=one.value * (draw.random() > 0.2)))
    assert [said.split(":")[0] for said in found.reasons] == ["tasks passed"]


def test_too_little_to_decide_is_a_refusal() -> None:
    found = _verdict(_better, n=5)
    assert not found.passed and "too few to decide" in found.reasons[0]
    assert not judge(([], []), ([], []), GateLimits()).passed


def test_a_large_gain_by_luck_is_no_gain() -> None:
    held = [Score(f"h{n}", 0.5, True, 100) for n in range(12)]
    after = [replace(one, value=1.0 if n < 2 else 0.5) for n, one in enumerate(held)]
    found = judge((held, after), (_tasks(), _tasks()), GateLimits())
    assert found.report["held_out"]["delta"] > 0.05
    assert [said for said in found.reasons if "interval reaches" in said]


def test_random_adapters_pass_no_more_often_than_the_interval_says() -> None:
    passed = 0
    for seed in range(40):
        draw, held = random.Random(seed), _held(40)
        after = [replace(one, value=one.value + draw.gauss(0, 0.3)) for one in held]
        passed += judge((held, after), (_tasks(), _tasks()), replace(GateLimits(), draws=400)).passed
    assert passed <= 6


def test_the_interval_is_the_same_for_a_seed_and_scores_must_pair() -> None:
    deltas = [0.1, -0.2, 0.4, 0.0, 0.3]
    bounds = {lower_bound(deltas, confidence=0.95, draws=500, seed=3) for _ in range(2)}
    assert len(bounds) == 1 and min(bounds) < 0.12
    with pytest.raises(ValueError, match="not of the same"):
        judge((_held(2), _held(3)), ([], []), GateLimits())
