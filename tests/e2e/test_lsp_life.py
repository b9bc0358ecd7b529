"""A server ends with its editor, and says what it knows while it lives."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time

import pytest

from e2e.door import COMMENT, GCD, MARK, PLAIN, door, fenced
from e2e.rpc import RpcError, spawned
from fakes.endpoint import FakeEndpoint
from nl2code_server import __version__


async def test_it_ends_with_its_editor_though_the_pipe_stays_open() -> None:
    editor = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(60)")
    async with spawned({}) as client:
        await client.initialize(PLAIN, processId=editor.pid)
        await asyncio.sleep(2.5)  # it has seen the editor alive
        assert client.process.returncode is None
        editor.kill()
        await editor.wait()
        started = time.monotonic()
        client.leaving = True
        assert await asyncio.wait_for(client.process.wait(), 10) == 1
        assert time.monotonic() - started < 5


async def test_an_editor_in_another_container_is_not_missed() -> None:
    gone = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await gone.wait()
    async with spawned({}) as client:
        await client.initialize(PLAIN, processId=gone.pid)
        await asyncio.sleep(4.5)
        assert client.process.returncode is None
        assert await client.stop() == 0


async def test_the_status_tells_what_the_server_has() -> None:
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake) as editor:
            await editor.completed(f's = "\U0001f600"\r\n\r\n{COMMENT}{MARK}\r\n')
            told = await editor.client.command("nl2code.status", editor.uri)
            with pytest.raises(RpcError):
                await editor.client.command("nl2code.status", "file:///not/open.py")
            version = editor.client.buffers[editor.uri].version
    assert told["sha256"] == hashlib.sha256(editor.text.encode()).hexdigest()
    assert told["documentVersion"] == version
    assert (told["state"], told["reason"]) == ("ready", "nl2code: ready")
    assert (told["version"], told["endpoint"], told["host"]) == (__version__, fake.url, None)
