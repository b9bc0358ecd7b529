"""Servers on a disk of one megabyte that fills up and is emptied, is read-only and then not; prints what happened.

Runs as `unshare -rm python -m e2e.disk FOLDER`: the disk exists in that process's own view of the world.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from e2e.door import COMMENT, GCD, MARK, Door, door, fenced, store
from fakes.endpoint import FakeEndpoint
from nl2code_server.feedback.store import Store


def _warnings(editor: Door) -> list[str]:
    return [told["message"] for told in editor.client.told("window/showMessage")]


def _logged() -> int:
    with Store(store()) as opened:
        return opened.stats()[""].offered


async def _arrives(count: int) -> None:
    """Wait until so many offers are in the store: writing is tried again at growing intervals."""
    await _until(lambda: _logged() >= count)


async def _until(holds: Callable[[], bool]) -> None:
    for _ in range(600):
        if await asyncio.to_thread(holds):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("waited in vain")


async def _mount(disk: Path, mode: str) -> None:
    command = ["mount", "-o", f"remount,{mode}", str(disk)]
    await asyncio.to_thread(subprocess.run, command, check=True)


async def _offers(editor: Door, first: int, count: int) -> int:
    """Ask for code so many times; return how often it was offered."""
    offered = 0
    for number in range(first, first + count):
        offered += bool(await editor.offered(f"{COMMENT} or {number}{MARK}"))
    return offered


async def _warned(editor: Door, count: int) -> None:
    await _until(lambda: len(_warnings(editor)) >= count)


def _fill(file: Path) -> None:
    with file.open("wb", buffering=0) as open_file, suppress(OSError):
        while open_file.write(b"x" * 4096):
            pass


async def _session(disk: Path) -> dict[str, object]:
    told: dict[str, object] = {}
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake) as editor:
            told["before"] = await _offers(editor, 0, 1)
            await _arrives(1)
            _fill(disk / "filler")
            told["while full"] = await _offers(editor, 1, 3)
            await _warned(editor, 1)
            told["logged while full"] = await asyncio.to_thread(_logged)
            os.truncate(disk / "filler", 0)
            await _arrives(4)
            told["warnings of the full disk"] = _warnings(editor)

        await _mount(disk, "ro")
        async with door(fake) as editor:
            told["while read-only"] = await _offers(editor, 4, 2)
            await _warned(editor, 1)
            await _mount(disk, "rw")
            await _arrives(6)
            told["warnings of the read-only disk"] = _warnings(editor)
    with Store(store()) as opened:
        told["integrity"] = opened.integrity()
    return told


def main() -> None:
    """Mount the disk where the store will be, and run a session on it."""
    disk = Path(sys.argv[1]) / "data"
    disk.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", str(disk)], check=True)
    (disk / "filler").touch()  # a full disk has no room for its name
    os.environ["NL2CODE_HOME"] = sys.argv[1]
    print(json.dumps(asyncio.run(_session(disk))))


if __name__ == "__main__":
    main()
