"""The base model's own answers that pass their tests: mixed into what is learnt, they keep it from forgetting."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from nl2code_server.lang.prompt import PROMPT_VERSION
from nl2code_server.platform import write_private

from ..evaluate import tasks
from ..evaluate.isolate import Isolation
from ..host.engine import Engine
from .gate import MAX_TOKENS, kept_of_model, own_tasks, passes
from .rows import Row, fingerprint, row_json, row_of
from .speak import answers

MOST = 100


def wanted(learnt: int, share: float) -> int:
    """Return how many rows make up this share of all."""
    return min(MOST, round(learnt * share / (1 - share))) if 0 < share < 1 else 0


async def rows(
    engine: Engine, folder: Path, count: int, *, tell: Callable[[str], None] = lambda _: None
) -> list[Row]:
    """Return at most so many rows, from the folder where they were kept if they were made before."""
    if not count:
        return []
    path = folder / f"replay-{fingerprint([engine.model, PROMPT_VERSION, tasks.VERSION])[:12]}.jsonl"
    if not path.exists():
        made = await _made(engine, folder, tell)
        write_private(path, "".join(json.dumps(row_json(row)) + "\n" for row in made))
    kept = [row_of(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    return spread(kept, count)


def spread(kept: Sequence[Row], count: int) -> list[Row]:
    """Return so many rows, each again under another id where there are too few."""
    if not kept:
        return []
    rounds = range(-(-count // len(kept)))
    return [replace(row, id=f"{row.id}/{n}") if n else row for n in rounds for row in kept][:count]


async def _made(engine: Engine, folder: Path, tell: Callable[[str], None]) -> list[Row]:
    ours = own_tasks(for_replay=True)
    await engine.use_adapter("", None)

    def told(done: int) -> None:
        tell(f"asking the model itself: {done} of {len(ours)}")

    kept = kept_of_model(engine, folder)
    said = await answers(engine, [one.asked for one in ours], max_tokens=MAX_TOKENS, kept=kept, tell=told)
    with Isolation() as isolation:
        return [
            Row(
                id=f"replay-{one.task.id}",
                asked=one.asked,
                code=answer.code,
                desirable=True,
                learn=True,
                source="replay",
            )
            for one, answer in zip(ours, said, strict=True)
            if passes(one, answer, isolation)
        ]
