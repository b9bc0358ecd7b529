"""Steps as a GPU makes them, on the CPU: begun before the last one is read, replayed from captures, padded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from fakes.tiny import ENGLISH, LESSONS, LOOP, Tiny, generation_for
from nl2code_model.host import torch_causal
from nl2code_model.host.engine import Chunk, Generation, Message
from nl2code_model.host.torch_engine import TorchEngine

pytestmark = pytest.mark.timeout(120)

Step = Callable[[], None]


@asynccontextmanager
async def engine(
    model: Tiny, monkeypatch: pytest.MonkeyPatch, capture: Callable[[Step], Step] = lambda step: step
) -> AsyncIterator[tuple[TorchEngine, Any]]:
    """Run an engine whose loop works as on a GPU, with what stands for a graph there."""

    class AsOnGpu(torch_causal.Causal):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more, ahead=True, capture=capture)

    monkeypatch.setattr(torch_causal, "Causal", AsOnGpu)
    made = TorchEngine(str(model.folder), device="cpu", dtype="float32", threads=1)
    try:
        await made.start()
        decoder: Any = made._decoder
        yield made, decoder
    finally:
        await made.stop()


async def texts(engine: TorchEngine, generation: Generation) -> list[str]:
    made = [""] * generation.n
    async for piece in engine.generate(generation):
        if isinstance(piece, Chunk):
            made[piece.index] += piece.text
    return made


async def idle(decoder: Any) -> None:
    """Wait until everything that was met is captured."""
    for _ in range(6000):
        if not decoder.steps._wanted:
            return
        await asyncio.sleep(0.01)
    pytest.fail("it does not come to rest")


async def test_answers_are_the_same_begun_early_captured_and_in_company(
    tiny_llama: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = Generation((Message("user", "unheard of"),), temperature=2.0, max_tokens=20, n=3, seed=7)
    plain = TorchEngine(str(tiny_llama.folder), device="cpu", dtype="float32", threads=1)
    await plain.start()
    expected = await texts(plain, drawn)
    await plain.stop()
    async with engine(tiny_llama, monkeypatch) as (made, decoder):
        for turn in range(2):
            for file, code in LESSONS.items():
                [text] = await texts(made, generation_for(file))
                assert text.removesuffix("```") == code
            assert await texts(made, drawn) == expected
            together = await asyncio.gather(
                texts(made, drawn), *(texts(made, generation_for(file, n=2)) for file in LESSONS)
            )
            for code, both in zip(LESSONS.values(), together[1:], strict=True):
                assert [text.removesuffix("```") for text in both] == [code] * 2
            # Numbers drawn do not depend on who else is there.
            assert together[0] == expected
            await idle(decoder)
            if turn == 0:
                eager = decoder.steps.eager
        assert decoder.steps.replayed > 50
        assert decoder.steps.eager - eager < decoder.steps.replayed / 4
        assert all(shape.rows in (1, 2, 4) for shape in decoder.steps._graphs)
        assert {shape.drawn for shape in decoder.steps._graphs} == {True, False}


async def test_nothing_is_captured_before_the_first_answer_is_given(
    tiny_llama: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered: list[bool] = []
    done = False

    def capture(step: Step) -> Step:
        answered.append(done)
        step()  # as a GPU does: what it leaves behind must not matter
        return step

    async with engine(tiny_llama, monkeypatch, capture) as (made, decoder):
        [text] = await texts(made, generation_for(f"# {ENGLISH}"))
        assert decoder.steps.replayed == 0
        done = True
        await idle(decoder)
        assert [await texts(made, generation_for(f"# {ENGLISH}"))] == [[text]]
        assert decoder.steps.replayed > 0
    assert len(answered) >= 2, "the part that the answer may grow into is captured too"


async def test_an_engine_that_never_rests_captures_too(
    tiny_llama: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    def capture(step: Step) -> Step:
        step()
        return step

    async with engine(tiny_llama, monkeypatch, capture) as (made, decoder):
        decoder.steps.settled = True
        decoder.prepare = lambda: False  # it is never idle
        [text] = await texts(made, generation_for(f"# {ENGLISH}, e.g. gcd(12, 18) == 6"))
        [again] = await texts(made, generation_for(f"# {ENGLISH}, e.g. gcd(12, 18) == 6"))
        assert text.removesuffix("```") == again.removesuffix("```") == LOOP
        assert decoder.steps.replayed > 0


async def test_what_cannot_be_captured_is_made_kernel_by_kernel(
    tiny_llama: Tiny, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def capture(step: Step) -> Step:
        step()
        raise RuntimeError("operation not permitted when stream is capturing")

    async with engine(tiny_llama, monkeypatch, capture) as (made, decoder):
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                [text] = await texts(made, generation_for(f"# {ENGLISH}"))
                assert text.removesuffix("```") == LOOP
                await idle(decoder)
        assert decoder.steps.replayed == 0
    [line] = [record.message for record in caplog.records if "captured" in record.message]
    assert "not permitted when stream is capturing" in line


@pytest.mark.parametrize("after", [0, 1, 5])
async def test_leaving_stops_one_answer_within_two_tokens_and_no_other(
    tiny_llama: Tiny, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    async with engine(tiny_llama, monkeypatch) as (made, decoder):
        decoder._loaded = replace(decoder._loaded, ends=frozenset())  # answers go on for ever
        others = [asyncio.create_task(texts(made, generation_for(file, max_tokens=60))) for file in LESSONS]
        async with aclosing(made.generate(generation_for(f"# {ENGLISH}", max_tokens=1500))) as pieces:
            seen = 0
            async for piece in pieces:
                assert isinstance(piece, Chunk)
                seen += piece.tokens
                if seen > after:
                    break
            [left] = [run.job for run in decoder._running if run.job.generation.max_tokens == 1500]
            at_leaving = left.tokens
        for code, task in zip(LESSONS.values(), others, strict=True):
            [text] = await task
            assert text.startswith(code), "somebody else's leaving changed an answer"
        assert left.tokens <= at_leaving + 2
        await asyncio.sleep(0.3)
        steps = made._steps
        await asyncio.sleep(0.1)
        assert made._steps == steps, "it still works for nobody"


async def test_long_answers_do_not_hold_up_a_short_one(
    tiny_llama: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine(tiny_llama, monkeypatch) as (made, decoder):
        decoder._loaded = replace(decoder._loaded, ends=frozenset())
        places = decoder._table.count
        long = [
            asyncio.create_task(texts(made, generation_for(file, max_tokens=150)))
            for file in [*LESSONS][: places - 1]
        ]
        await asyncio.sleep(0.05)
        [text] = await texts(made, generation_for(f"# {ENGLISH}", max_tokens=5))
        assert LOOP.startswith(text)
        assert not any(task.done() for task in long)
        await asyncio.gather(*long)


def test_shapes_are_few() -> None:
    import torch

    from nl2code_model.host.torch_cache import Rows
    from nl2code_model.host.torch_sampling import Sampler
    from nl2code_model.host.torch_step import Lane, Steps

    seen: list[tuple[int, int]] = []

    def forward(tokens: Any, positions: Any, rows: Any, visible: int) -> Any:
        seen.append((len(tokens), visible))
        assert int(positions.max()) < visible or int(rows.max()) == 8
        return torch.nn.functional.one_hot(tokens + 1, 50).float()

    steps = Steps(forward, Rows(1, 8, 1000), torch.device("cpu"), lambda step: step)
    greedy = Sampler(0.0, 1.0, 0)
    for row in range(3):
        steps.place(row, 10 * row, 254 + row, greedy)
    lanes = [Lane(row, 254 + row, greedy) for row in range(3)]
    for ahead in range(2):
        tokens, _ = steps.launch([lane._replace(position=lane.position + ahead) for lane in lanes]).read()
        assert tokens == [1 + ahead, 11 + ahead, 21 + ahead]
    steps.place(5, 40, 900, greedy)
    assert steps.launch([Lane(5, 900, greedy), lanes[0]._replace(position=256)]).read()[0] == [41, 3]
    assert seen == [(4, 512), (4, 512), (2, 1000)]
