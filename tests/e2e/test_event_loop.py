"""Nothing blocks the event loop: a server under a watchdog goes through a session, and no keystroke waits."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from e2e.door import COMMENT, GCD, INVOKED, MARK, door, events, fenced
from fakes import watched
from fakes.endpoint import FakeEndpoint

BUSY = 0.15
"""Seconds of processor time that one callback may take."""


def source(lines: int) -> str:
    """Return a long module."""
    return "".join(
        f"def f{n}(a):\n    # adds\n    b = a + {n}\n    return b\n\n\n" for n in range(lines // 6)
    )


def under(report: Path) -> list[str]:
    return ["-P", watched.__file__, str(report)]


def told(report: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(report.read_text())
    return found


async def test_a_first_suggestion_neither_waits_nor_imports_on_the_event_loop(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "prices.py").write_text("def gross(net):\n    return net * 1.2\n")
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake, args=under(report), rootUri=tmp_path.as_uri()) as editor:
            editor.uri = (tmp_path / "a.py").as_uri()
            items = await editor.offered(f"import shop.prices\n\n{COMMENT}{MARK}\n")
            assert items
            await editor.client.command("nl2code.status")
            await editor.client.request("textDocument/hover", editor.asked)
            assert await editor.actions()
            await editor.take(items[0])
            await events("offered", "accepted")
    # A small module without imports of its own, at the first request.
    light = re.compile(r"lsp[/\\]features([/\\](__pycache__[/\\])?(__init__|inline_completion)\.[\w.-]+)?\Z")
    blocking = [one for one in told(report)["blocking"] if not light.search(one["what"])]
    assert not blocking, "\n".join(f"{one['event']} {one['what']}: {one['where']}" for one in blocking)
    assert [one for one in told(report)["slowest"] if one["seconds"] > BUSY] == []


async def test_a_long_file_is_parsed_and_checked_elsewhere(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake, args=under(report)) as editor:
            assert await editor.offered(f"{source(20_000)}{COMMENT}{MARK}\n", trigger=INVOKED, timeout=60)
            editor.client.insert(editor.uri, 0, "x = 1\n")
            await editor.client.request("textDocument/hover", editor.asked, timeout=60)
    found = told(report)
    assert [one for one in found["blocking"] if one["event"] == "compile"] == []
    assert [one for one in found["slowest"] if one["seconds"] > BUSY] == []


async def test_the_watchdog_bites(tmp_path: Path) -> None:
    dog = watched.Watchdog()
    script = (
        "import asyncio, sys\n"
        "from fakes import watched\n"
        "dog = watched.Watchdog(); dog.begin()\n"
        "async def main():\n"
        "    open(sys.argv[1]).close()\n"
        "    await asyncio.to_thread(lambda: open(sys.argv[1]).close())\n"
        "    import wave\n"
        "    compile('x = 1\\n' * 20_000, 'long', 'exec')\n"
        "    sum(range(10_000_000))\n"
        "asyncio.run(main())\n"
        "print([one['event'] for one in dog.blocking], len(dog.slowest))\n"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        watched.__file__,
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    output, _ = await asyncio.wait_for(child.communicate(), 30)
    noted, _, slow = output.decode().strip().rpartition(" ")
    assert dog.blocking == []
    kinds = json.loads(noted.replace("'", '"'))
    assert kinds[0] == "open"
    assert "import" in kinds
    assert kinds[-1] == "compile"
    assert kinds.count("open") < 3 + kinds.count("import") * 3
    assert int(slow) >= 1


if not hasattr(__import__("time"), "thread_time"):
    pytestmark = pytest.mark.skip(reason="this system does not tell the processor time of a thread")
