"""Replay how people type instructions, pauses and slips included: is the answer there when they look for it?

Two kinds of editors: one that asks at every key and takes its question back at the next, as those with ghost text do,
and one that asks when its user rests. Both are the real language server before a real model host.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import Any

from .client import Host, figures
from .decode import machine
from .editor import BACKSPACE, Editor
from .server import source

ASKS = ("every key", "when resting")
REST = 0.6
"""Seconds after the last key at which somebody looks for the answer, by the median trace."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One instruction as it was typed: keys, and the seconds before each."""

    id: str
    keys: tuple[tuple[float, str], ...]
    rest: float
    """Seconds from the last key until its user looks for the answer."""

    @property
    def text(self) -> str:
        """What stands there in the end."""
        typed: list[str] = []
        for _, key in self.keys:
            if key == BACKSPACE:
                typed.pop()
            else:
                typed.append(key)
        return "".join(typed)


def traces() -> list[Trace]:
    """Return the traces of this folder, which `model/runs/typing_traces.py` wrote."""
    lines = (files(__package__) / "traces.jsonl").read_text(encoding="utf-8").splitlines()
    found = []
    for line in lines:
        told = json.loads(line)
        keys = tuple((pause / 1000, key) for pause, key in zip(told["pauses"], told["keys"], strict=True))
        found.append(Trace(told["id"], keys, told["rest"] / 1000))
    return found


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of one trace."""

    trace: str
    offered: bool
    hit: bool
    ready: bool
    """Whether the answer was there, not only on its way."""
    seconds: float
    """From the question to the answer."""


def run(
    command: Sequence[str],
    environment: dict[str, str],
    chosen: Sequence[Trace],
    *,
    speed: float = 1.0,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Replay the traces in both kinds of editor before one host and return the report."""
    with (
        tempfile.TemporaryDirectory(prefix="nl2code-bench-") as folder,
        Host("nl2code", tuple(command), {**environment, "NL2CODE_HOME": folder}) as host,
    ):
        home = {**environment, "NL2CODE_HOME": folder}
        rows = [asyncio.run(_replay(host, home, Path(folder), kind, chosen, speed, tell)) for kind in ASKS]
        return {"bench": "typing", "machine": machine(), "model": host.model, "speed": speed, "results": rows}


async def _replay(
    host: Host,
    environment: dict[str, str],
    folder: Path,
    kind: str,
    chosen: Sequence[Trace],
    speed: float,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    done: list[Replayed] = []
    before = await figures(host)
    async with Editor(environment, folder) as editor:
        # The first of all loads this and that.
        await _typed(editor, "first.py", chosen[0], kind, speed)
        counts = await editor.ahead()
        for number, trace in enumerate(chosen):
            tell(f"{kind}: trace {number + 1} of {len(chosen)}")
            done.append(await _typed(editor, f"trace_{number}.py", trace, kind, speed))
        total = {name: count - counts.get(name, 0) for name, count in (await editor.ahead()).items()}
    after = await figures(host)
    return report(kind, done, total, after["generated_tokens_total"] - before["generated_tokens_total"])


async def _typed(editor: Editor, name: str, trace: Trace, kind: str, speed: float) -> Replayed:
    """Type one instruction into a file, and wait for what is offered."""
    editor.open(name, f"# {name}\n{source(60)}\n\n")
    before = await editor.ahead()
    for pause, key in trace.keys:
        await asyncio.sleep(pause / speed)
        editor.key(key)
        if kind == ASKS[0]:
            editor.ask()
    await asyncio.sleep(trace.rest / speed)
    asked = time.perf_counter()
    items = await editor.ask()
    seconds = time.perf_counter() - asked
    after = await editor.ahead()
    ready, joined = (after.get(name, 0) - before.get(name, 0) for name in ("ready", "joined"))
    return Replayed(trace.id, bool(items), bool(ready or joined), bool(ready), seconds)


def report(kind: str, done: Sequence[Replayed], ahead: dict[str, int], generated: float) -> dict[str, Any]:
    """Return the results of one kind of editor as plain data."""
    hits = [one.seconds for one in done if one.hit]
    there = [one.seconds for one in done if one.ready]
    missed = [one.seconds for one in done if not one.hit]
    used = ahead.get("tokens_used", 0)
    return {
        "asks": kind,
        "traces": len(done),
        "offered": sum(one.offered for one in done),
        "hit_rate": round(len(hits) / len(done), 3),
        "there_rate": round(len(there) / len(done), 3),
        "answer_when_there_ms": _spread(there),
        "answer_on_hits_ms": _spread(hits),
        "answer_otherwise_ms": _spread(missed),
        "ahead_tokens": ahead.get("tokens", 0),
        "ahead_tokens_used": used,
        "ahead_tokens_wasted": max(0, ahead.get("tokens", 0) - used),
        "generated_tokens": int(generated),
        "dropped": ahead.get("dropped", 0),
    }


def _spread(seconds: Sequence[float]) -> dict[str, float] | None:
    """Return median and range in milliseconds."""
    if not seconds:
        return None
    values = {"median": median(seconds), "low": min(seconds), "high": max(seconds)}
    return {name: round(value * 1e3, 1) for name, value in values.items()}
