"""What a new user does outside the editor, and what is looked at afterwards."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

from e2e.door import events
from nl2code_server.feedback.events import EventKind, EventRow

COMMENT = "# write a function computing the gcd of two numbers, e.g. gcd(12, 18) == 6"


def set_up(editor: str) -> str:
    """Type `nl2code setup EDITOR --write`."""
    command = [sys.executable, "-m", "nl2code_server.cli", "setup", editor, "--write"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def servers(home: Path) -> list[int]:
    """Return the processes of language servers that serve an editor of this test."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment, command = (process / "environ").read_bytes(), (process / "cmdline").read_bytes()
        except OSError:
            continue
        if f"NL2CODE_HOME={home}\0".encode() in environment and b"nl2code-server\0" in command:
            found.append(int(process.name))
    return found


async def no_servers(home: Path, *, seconds: float = 5) -> None:
    """Wait until the editor's server has gone."""
    deadline = time.monotonic() + seconds
    while left := servers(home):
        assert time.monotonic() < deadline, f"servers left after {seconds:g} s: {left}"
        await asyncio.sleep(0.05)


async def offered(count: int = 1) -> list[str]:
    """Wait until the log calls so many suggestions offered, and return their ids, oldest first."""
    kinds: list[EventKind] = ["offered"] * count
    return [event.suggestion_id for event in of(await events(*kinds), "offered")]


def of(rows: list[EventRow], kind: EventKind) -> list[EventRow]:
    """Return the events of a kind."""
    return [row for row in rows if row.event == kind]


async def saved(path: Path, text: str, *, seconds: float = 10) -> None:
    """Wait until a file has been saved with this text."""
    deadline = time.monotonic() + seconds
    while (found := content(path)) != text:
        assert time.monotonic() < deadline, f"the file holds {found!r}, not {text!r}"
        await asyncio.sleep(0.05)


def content(path: Path) -> str:
    """Return what a file holds, with its own line endings; nothing if it is not there yet."""
    return path.read_bytes().decode() if path.exists() else ""
