"""Many editors on one model host: suggestions per second, how long each waits, what is lost, what cancelling costs.

Every editor is a language server of its own that types instructions key by key, asks at each, takes its questions
back, waits for the offer when the instruction stands there, takes it, thinks, and goes on.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from nl2code_server.errors import HostError
from nl2code_server.feedback.store import Store

from ..host.serve import QUEUE_LIMIT
from .client import Host, figures
from .decode import machine
from .editor import Editor
from .server import source
from .typing import Trace

THINKS = (2.0, 8.0)
"""Seconds between two instructions of one editor, at least and at most."""
PATIENCE = 60.0
"""Seconds after which an instruction without an offer counts as lost."""
CANCELLED = 0.1
"""Part of all tokens that may go into requests which were taken back."""


@dataclass(slots=True)
class Tally:
    """What all editors have seen."""

    waits: list[float] = field(default_factory=list)
    """Seconds from the last key to the offer."""
    empty: int = 0
    """Instructions that got an answer without an offer."""
    lost: int = 0
    """Instructions that got no answer in time, or an error."""
    requests: int = 0
    """Requests of the editors, those taken back among them."""
    unanswered: int = 0
    """Of these, those without any reply. There should be none: who takes one back is told that it was."""
    failures: list[str] = field(default_factory=list)
    longest_queue: int = 0


def run(
    command: Sequence[str],
    environment: dict[str, str],
    chosen: Sequence[Trace],
    *,
    editors: int = 16,
    seconds: float = 120.0,
    speed: float = 1.0,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Let so many editors work for a while and return the report."""
    with tempfile.TemporaryDirectory(prefix="nl2code-bench-") as folder:
        home = {**environment, "NL2CODE_HOME": folder}
        with Host("nl2code", tuple(command), home) as host:
            tally, took, told = asyncio.run(
                _all(host, home, Path(folder), chosen, editors, seconds, speed, tell)
            )
        offered, finished = _logged_tokens(Path(folder))
        report = {"bench": "load", "machine": machine(), "model": host.model, "editors": editors}
        report["queue_limit"] = QUEUE_LIMIT
        return report | summary(tally, took, told, offered, finished)


async def _all(
    host: Host,
    environment: dict[str, str],
    folder: Path,
    chosen: Sequence[Trace],
    editors: int,
    seconds: float,
    speed: float,
    tell: Callable[[str], None],
) -> tuple[Tally, float, dict[str, float]]:
    tally = Tally()
    before = await figures(host)
    ready = asyncio.Barrier(editors + 1)
    tell(f"starting {editors} editors")
    work = asyncio.gather(
        *(_edit(n, environment, folder, chosen, ready, seconds, speed, tally) for n in range(editors))
    )
    waiting = asyncio.ensure_future(ready.wait())
    await asyncio.wait((work, waiting), return_when=asyncio.FIRST_COMPLETED)
    if work.done():  # one could not start
        waiting.cancel()
    started = time.monotonic()
    watching = asyncio.create_task(_watch(host, tally, started, seconds, tell))
    await work
    took = time.monotonic() - started
    watching.cancel()
    after = await figures(host)
    return tally, took, {name: value - before.get(name, 0.0) for name, value in after.items()}


async def _edit(
    number: int,
    environment: dict[str, str],
    folder: Path,
    chosen: Sequence[Trace],
    ready: asyncio.Barrier,
    seconds: float,
    speed: float,
    tally: Tally,
) -> None:
    draw = random.Random(number)  # noqa: S311
    async with Editor(environment, folder) as editor:
        await ready.wait()
        turn, last, until = 0, "", time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.sleep(draw.uniform(*THINKS) / speed)
            trace = draw.choice(chosen)
            editor.open(f"editor_{number}_{turn}.py", f"# {number}, {turn}\n{source(60)}\n\n")
            turn += 1
            for pause, key in trace.keys:
                await asyncio.sleep(pause / speed)
                editor.key(key)
                editor.ask()
            last = await _offered(editor, tally) or last
        await asyncio.to_thread(_until_logged, folder, last)
        tally.unanswered += await editor.unanswered()
        tally.requests += editor.asked


async def _offered(editor: Editor, tally: Tally) -> str:
    """Wait as an editor does that asks again when an answer comes empty while the server is at work.

    Return the id of what was offered, and taken.
    """
    started = time.monotonic()
    items: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(PATIENCE):
            while not items and time.monotonic() - started < PATIENCE:
                asked = time.monotonic()
                items = await editor.ask()
                if (
                    time.monotonic() - asked < 5.0
                ):  # not because it stopped waiting: there is nothing to offer
                    break
    except (TimeoutError, OSError, HostError) as error:
        tally.lost += 1
        tally.failures.append(type(error).__name__)
        return ""
    if not items:
        tally.empty += 1
        return ""
    tally.waits.append(time.monotonic() - started)
    await editor.accept(items[0])
    return str(items[0]["command"]["arguments"][0])


async def _watch(
    host: Host, tally: Tally, started: float, seconds: float, tell: Callable[[str], None]
) -> None:
    while True:
        tally.longest_queue = max(tally.longest_queue, int((await figures(host))["queued"]))
        tell(f"{time.monotonic() - started:.0f} of {seconds:.0f} s: {len(tally.waits)} suggestions")
        await asyncio.sleep(0.5)


def _until_logged(folder: Path, suggestion: str) -> None:
    """Wait for the log: a server that has to end on a busy machine may not get to write it."""
    database, until = folder / "data" / "feedback.db", time.monotonic() + PATIENCE
    while suggestion and time.monotonic() < until:
        if database.exists():
            with Store(database) as store:
                if store.record(suggestion) is not None:
                    return
        time.sleep(0.5)


def _logged_tokens(folder: Path) -> tuple[int, int]:
    """Return the tokens of all requests that came to something, and of all that were not taken back.

    By the editors' own log: a host sees a stream closed in either case.
    """
    database = folder / "data" / "feedback.db"
    if not database.exists():
        return 0, 0
    with Store(database) as store:
        requests = [record.request for record in store.records()]
    offered = sum(one.completion_tokens for one in requests if one.outcome == "ok")
    return offered, sum(one.completion_tokens for one in requests if one.outcome != "cancelled")


def summary(
    tally: Tally, took: float, told: dict[str, float], offered_tokens: int, finished_tokens: int
) -> dict[str, Any]:
    """Return what the editors saw and the host counted as plain data."""
    generated = int(told["generated_tokens_total"])
    wasted, cancelled = max(0, generated - offered_tokens), max(0, generated - finished_tokens)
    waits = sorted(tally.waits)
    p95 = quantiles([*waits, waits[-1]], n=20, method="inclusive")[-1] if waits else None
    return {
        "seconds": round(took, 1),
        "suggestions": len(waits),
        "per_second": round(len(waits) / took, 3),
        "p50": round(median(waits), 2) if waits else None,
        "p95": round(p95, 2) if p95 is not None else None,
        "empty": tally.empty,
        "lost": tally.lost,
        "failures": sorted(set(tally.failures)),
        "requests": tally.requests,
        "unanswered": tally.unanswered,
        "refused": int(told.get('requests_total{outcome="refused"}', 0)),
        "failed": int(told.get('requests_total{outcome="failed"}', 0)),
        "longest_queue": tally.longest_queue,
        "generated_tokens": generated,
        "offered_tokens": offered_tokens,
        "wasted_part": round(wasted / generated, 3) if generated else None,
        "cancelled_tokens": cancelled,
        "cancelled_part": round(cancelled / generated, 3) if generated else None,
        "cancelled_part_allowed": CANCELLED,
        "prompt_tokens": int(told["prompt_tokens_total"]),
        "cached_tokens": int(told["cached_tokens_total"]),
        "warmed_tokens": int(told.get("warmed_tokens_total", 0)),
        "warmed_tokens_used": int(told.get("warmed_tokens_used_total", 0)),
    }
