"""Ranking, and work that several wait for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from nl2code_server.suggest import Status
from nl2code_server.suggest.normal_form import normal_form
from nl2code_server.suggest.rank import order
from nl2code_server.suggest.speculate import SharedWork


@dataclass(frozen=True)
class Tried:
    code: str
    status: Status
    mean_logprob: float | None = None
    greedy: bool = False
    agreement: int = 0
    faults: int = 0
    unused: int = 0


def test_verdict_before_likelihood() -> None:
    failed = Tried("return 1", "failed", -0.1, True)
    valid = Tried("return 2", "valid", -0.5)
    verified = Tried("return 3", "verified", -2.0)
    assert order([failed, valid, verified]) == [verified, valid, failed]


def test_a_wrong_value_is_less_bad_than_an_undefined_name() -> None:
    unknown = Tried("return n", "failed", -0.1, True, faults=1)
    wrong = Tried("return 4", "failed", -2.0)
    assert order([unknown, wrong]) == [wrong, unknown]


def test_what_uses_the_imports_made_for_it_comes_first() -> None:
    without = Tried("return cents / 100", "valid", -0.1, True, unused=1)
    using = Tried("return format_cents(cents)", "valid", -2.0)
    assert order([without, using]) == [using, without]
    verified = Tried("return 1", "verified", unused=1)
    assert order([using, verified]) == [verified, using]


def test_the_same_program_is_offered_once() -> None:
    first = Tried("def f(x):\n    return x+1", "valid", -0.1)
    second = Tried('def f(x):\n    """Add one."""\n    # plus\n    return x + 1', "valid", -0.2)
    assert order([second, first]) == [first]


def test_normal_form_of_a_fragment() -> None:
    assert normal_form("return a") == normal_form("return  a  # it")
    assert normal_form("def (") == "def ("


async def test_one_computation_for_many_who_ask() -> None:
    work: SharedWork[int] = SharedWork()
    runs = 0

    async def compute() -> int:
        nonlocal runs
        runs += 1
        await asyncio.sleep(0.01)
        return runs

    results = await asyncio.gather(*(work.share("k", compute, worth_keeping=bool) for _ in range(5)))
    assert results == [1] * 5
    assert await work.share("k", compute, worth_keeping=bool) == 1
    work.forget("k")
    assert await work.share("k", compute, worth_keeping=bool) == 2


async def test_work_ends_with_the_last_who_waits() -> None:
    work: SharedWork[int] = SharedWork()
    stopped = asyncio.Event()

    async def compute() -> int:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.set()
            raise
        return 1

    first = asyncio.create_task(work.share("k", compute, worth_keeping=bool))
    second = asyncio.create_task(work.share("k", compute, worth_keeping=bool))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    assert not stopped.is_set()
    second.cancel()
    await asyncio.wait_for(stopped.wait(), 1)


async def test_failures_are_told_to_all_and_not_kept() -> None:
    work: SharedWork[int] = SharedWork()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise ValueError("no")

    async def succeed() -> int:
        return 7

    with pytest.raises(ValueError, match="no"):
        await work.share("k", fail, worth_keeping=bool)
    assert await work.share("k", succeed, worth_keeping=bool) == 7
