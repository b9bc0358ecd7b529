"""`nl2code-server --tcp`: one process for several editors, none of which takes the others with it when it leaves."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from e2e.door import COMMENT, FULL, GCD, MARK, Door, events, fenced
from e2e.popup import introduction, popped_up, take
from e2e.rpc import Client
from fakes.endpoint import FakeEndpoint

FILE = f"{COMMENT}{MARK}\n"
DONE = f"{COMMENT}\n{GCD}"


class Connection:
    """What a `Client` expects of a process, over a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.stdin, self.stdout, self.stderr = writer, reader, asyncio.StreamReader()
        self.stderr.feed_eof()
        self.returncode = 0
        self._transport = writer.transport


@asynccontextmanager
async def listening(endpoint: FakeEndpoint, monkeypatch: Any) -> AsyncIterator[tuple[Any, int]]:
    """Run a server on a free port; at the end it must still run, and have nothing to complain of."""
    monkeypatch.setenv("NL2CODE_ENDPOINT", endpoint.url)
    command = (sys.executable, "-m", "nl2code_server", "--tcp", "127.0.0.1:0")
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    assert process.stderr
    try:
        line = (await asyncio.wait_for(process.stderr.readline(), 20)).decode()
        yield process, int(line.rpartition(",")[2].strip(" )\n"))
        assert process.returncode is None
    finally:
        process.terminate()
        told = (await process.communicate())[1]
    assert b"Traceback" not in told, told.decode()


@asynccontextmanager
async def connected(port: int, introduced: Any) -> AsyncIterator[Door]:
    connection: Any = Connection(*await asyncio.open_connection("127.0.0.1", port))
    client = Client(connection)
    client.start()
    client.answers["client/registerCapability"] = lambda _: None
    try:
        await client.initialize(**introduced)
        yield Door(client)
    finally:
        await client.close()


async def test_an_editor_that_leaves_leaves_the_others_alone(monkeypatch: Any) -> None:
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with listening(fake, monkeypatch) as (process, port), AsyncExitStack() as stack:
            stays = await stack.enter_async_context(connected(port, introduction("eglot")))
            async with connected(port, {"capabilities": FULL}) as leaves:
                assert await leaves.completed(FILE) == DONE
                await leaves.client.request("shutdown")
                leaves.client.notify("exit")
            async with connected(port, {"capabilities": FULL}) as drops:
                drops.open(FILE)
                drops.client.process.stdin.transport.abort()  # type: ignore[union-attr]
            (item,) = await popped_up(stays, FILE)
            await take("eglot", stays, item)
            assert stays.text == DONE
            # One that comes later has a session of its own, too.
            async with connected(port, {"capabilities": FULL}) as comes:
                assert await comes.completed(FILE) == DONE
                assert (await comes.client.command("nl2code.status"))["client"] == "unknown"
            await events("offered", "accepted", "offered", "offered", "accepted")
            assert process.returncode is None
