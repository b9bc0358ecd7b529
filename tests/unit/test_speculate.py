"""Work ahead of questions: what is shared, what is stopped, what goes on for a moment, and what the counts say."""

from __future__ import annotations

import asyncio

import pytest

from nl2code_server.suggest.speculate import SharedWork, unfinished


class Model:
    """Answers when it is told to; `stopped` counts answers that were cancelled."""

    def __init__(self) -> None:
        self.asked = self.stopped = 0
        self.go = asyncio.Event()

    async def answer(self) -> int:
        self.asked += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        return 7


async def share(work: SharedWork[int], model: Model, *, ahead: bool = False) -> int:
    return await work.share("k", model.answer, worth_keeping=bool, ahead=ahead)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_answer_made_ahead_is_there_when_it_is_asked_for() -> None:
    work, model = SharedWork[int](cost=lambda _: 30), Model()
    model.go.set()
    await share(work, model, ahead=True)
    assert (work.ahead.begun, work.ahead.asked, work.ahead.tokens_used) == (1, 0, 0)
    assert await share(work, model) == 7
    assert await share(work, model) == 7
    assert model.asked == 1
    assert (work.ahead.asked, work.ahead.ready, work.ahead.joined) == (2, 2, 0)
    assert work.ahead.tokens_used == 30, "once, however often it is asked for"


async def test_a_question_joins_the_answer_that_was_begun_ahead() -> None:
    work, model = SharedWork[int](cost=lambda _: 30), Model()
    early = asyncio.create_task(share(work, model, ahead=True))
    await settled()
    asked = asyncio.create_task(share(work, model))
    await settled()
    early.cancel()  # the user typed a key meanwhile
    await settled()
    assert model.stopped == 0, "somebody waits for it"
    model.go.set()
    assert await asked == 7
    assert (work.ahead.joined, work.ahead.dropped, work.ahead.tokens_used) == (1, 0, 30)


async def test_what_was_begun_ahead_ends_when_the_user_types_on() -> None:
    work, model = SharedWork[int](linger=60.0), Model()
    early = asyncio.create_task(share(work, model, ahead=True))
    await settled()
    work.outdate()
    early.cancel()
    with pytest.raises(asyncio.CancelledError):
        await early
    assert (model.stopped, work.ahead.dropped) == (1, 1)


async def test_a_question_taken_back_at_the_end_of_the_line_may_be_asked_again() -> None:
    work, model = SharedWork[int](linger=60.0), Model()
    first = asyncio.create_task(share(work, model))
    await settled()
    first.cancel()
    await settled()
    assert model.stopped == 0
    again = asyncio.create_task(share(work, model))
    await settled()
    model.go.set()
    assert await again == 7
    assert model.asked == 1
    assert work.ahead.joined == 1


async def test_nobody_lingers_for_long_nor_when_the_text_is_another() -> None:
    for linger, outdated in ((0.01, False), (60.0, True)):
        work, model = SharedWork[int](linger=linger), Model()
        task = asyncio.create_task(share(work, model))
        await settled()
        task.cancel()
        await settled()
        assert model.stopped == 0
        if outdated:
            work.outdate()
        await asyncio.sleep(0.05)
        assert model.stopped == 1
        assert await asyncio.wait_for(_anew(work, model), 1) == 7


async def _anew(work: SharedWork[int], model: Model) -> int:
    model.go.set()
    return await share(work, model)


async def test_an_answer_that_comes_while_it_lingers_is_kept() -> None:
    work, model = SharedWork[int](linger=60.0), Model()
    task = asyncio.create_task(share(work, model))
    await settled()
    task.cancel()
    await settled()
    model.go.set()
    await settled()
    assert work.get("k") == 7


@pytest.mark.parametrize(
    "text",
    ["write a function computing the", "sort by name,", "add two numbers, e.g.", "write f(a,", "convert to"],
)
def test_an_instruction_that_goes_on(text: str) -> None:
    assert unfinished(text)


@pytest.mark.parametrize(
    "text",
    [
        "write a function computing the gcd of two numbers",
        "gcd, e.g. gcd(12, 18) == 6",
        "写一个函数，计算两个数的最大公约数",
        "print the sum.",
        "read data.csv",
    ],
)
def test_an_instruction_that_is_finished(text: str) -> None:
    assert not unfinished(text)
