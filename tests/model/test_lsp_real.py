"""The language server with the real 0.5B behind the real host, over raw JSON-RPC, and what kills the host."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from e2e.door import MARK, Door, door, events, store
from nl2code_server.endpoint import runtime
from nl2code_server.endpoint.process import stop_host
from nl2code_server.feedback.events import EventKind
from nl2code_server.feedback.store import Store

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

ENGLISH = "# write a function computing the gcd of two numbers"
CHINESE = "# 请编写一个Python函数，用于计算两个数的最大公约数。"
WAIT = 100.0
AGAIN = 5  # a busy machine makes the 0.5B slower than the limit of a request

PLACES = {
    "end of the comment": (f"{ENGLISH}{MARK}", ""),
    "Chinese, next line": (f"{CHINESE}\n{MARK}\n", ""),
    "class": (
        "class Pair:\n    def __init__(self, a, b):\n        self.a = a\n        self.b = b\n\n"
        f"    # write a method gcd(self) that returns the gcd of self.a and self.b{MARK}\n",
        "assert Pair(12, 18).gcd() == 6",
    ),
    "function body": (
        f"def gcd(a, b):\n    # return the greatest common divisor of a and b by Euclid's algorithm{MARK}\n",
        "assert gcd(12, 18) == 6",
    ),
    "stub": (
        f'def gcd(a: int, b: int) -> int:\n    """Return the greatest common divisor of a and b."""{MARK}\n',
        "assert gcd(12, 18) == 6",
    ),
}
WHATEVER_ITS_NAME = (
    "(found,) = [f for f in list(globals().values()) if type(f).__name__ == 'function']\n"
    "assert found(12, 18) == 6"
)


@pytest.fixture(name="env")
async def _env(real_model: Path) -> AsyncIterator[dict[str, str]]:
    """Choose the model; end the host that the test's servers have started."""
    del real_model  # it is on this machine by now
    yield {"NL2CODE_MODEL": "qwen2.5-coder-0.5b"}
    for record in runtime.records():
        await stop_host(record)


def _run(code: str) -> None:
    """Run a file that the model has completed, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, f"{code}\n{done.stderr}"


async def test_every_place_and_the_log(env: dict[str, str]) -> None:
    async with door(None, env=env) as editor:
        for name, (marked, check) in PLACES.items():
            editor.uri = f"file:///work/{name}.py"
            completed = await editor.completed(marked, timeout=WAIT, again=AGAIN)
            _run(f"{completed}\n{check or WHATEVER_ITS_NAME}\n")

        editor.uri = "file:///work/action.py"
        editor.open(f"import os\n\n\n{ENGLISH}{MARK}\n")
        result = await editor.run((await editor.actions())[0], timeout=WAIT)
        assert result["accepted"] is True
        _run(f"{editor.text}\n{WHATEVER_ITS_NAME}\n")
        each: list[EventKind] = ["offered", "accepted"]
        logged = await events(*each * (len(PLACES) + 1))
    with Store(store()) as opened:
        records = list(opened.records())
    assert [record.request.surface for record in records] == ["inline"] * len(PLACES) + ["action"]
    offered = {event.suggestion_id for event in logged}
    for record in records:
        assert record.request.outcome == "ok"
        assert record.request.model.startswith("qwen2.5-coder-0.5b")
        assert record.candidates
        assert offered & {candidate.candidate_id for candidate in record.candidates}


async def _busy(editor: Door) -> None:
    await editor.client.wait_told(
        "didChangeStatus", lambda told: told["message"] == "nl2code: generating", timeout=WAIT
    )


async def test_a_host_that_is_killed_is_replaced(env: dict[str, str]) -> None:
    async with door(None, env=env) as editor:
        editor.open(f"# write a class for a priority queue with ten methods, each documented at length{MARK}")
        _, answer = editor.ask()
        await _busy(editor)
        (record,) = runtime.records()
        os.kill(record.pid, signal.SIGKILL)
        assert (await asyncio.wait_for(answer, WAIT))["items"] == []
        problem = await editor.problem()
        assert "host" in problem or "endpoint" in problem, problem
        completed = await editor.completed(f"{ENGLISH}{MARK}", timeout=WAIT, again=AGAIN)
        _run(f"{completed}\n{WHATEVER_ITS_NAME}\n")
        (replaced,) = runtime.records()
        assert replaced.pid != record.pid
        assert editor.statuses[-1]["message"] == "nl2code: ready"


async def test_two_servers_that_start_together_share_one_host(env: dict[str, str]) -> None:
    async with door(None, env=env) as one, door(None, env=env) as two:
        files = await asyncio.gather(
            one.completed(f"{ENGLISH}{MARK}", timeout=WAIT, again=AGAIN),
            two.completed(f"# write a function that doubles a number{MARK}", timeout=WAIT, again=AGAIN),
        )
        assert len(runtime.records()) == 1
    _run(f"{files[0]}\n{WHATEVER_ITS_NAME}\n")
    _run(f"{files[1]}\n{WHATEVER_ITS_NAME.replace('12, 18', '3')}\n")
