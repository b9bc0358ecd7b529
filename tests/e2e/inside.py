"""A server and its editor, joined by memory (sessions by the hundred) or by the pipes of a real server process."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

from e2e.rpc import SERVER, offset_of
from nl2code_server.lsp.server import Server, make_server
from nl2code_server.lsp.transport import Protocol

Json = Any

INTERNAL_ERROR = -32603
PATIENCE = 120.0
"""Seconds for an answer, on a machine that has much else to do."""


class Text:
    """A document as the protocol says it is, without any cleverness."""

    def __init__(self, text: str, encoding: str) -> None:
        self.encoding = encoding
        self.text = sound(text)

    def change(self, span: Json, text: str) -> None:
        """Replace a range, or everything for `None`."""
        if span is None:
            self.text = sound(text)
            return
        start, end = sorted(self._offset(span[name]) for name in ("start", "end"))
        self.text = self.text[:start] + sound(text) + self.text[end:]

    def _offset(self, position: Json) -> int:
        if position["line"] < 0:
            return 0
        return offset_of(self.text, {**position, "character": max(0, position["character"])}, self.encoding)


def sound(text: str) -> str:
    """Return a text as UTF-8 can hold it: half a surrogate pair becomes a question mark."""
    # JSON knows pairs only as two escapes: what arrives in one string arrives joined.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\ufffd", "?")


class Faults(logging.Handler):
    """Collects what only a mistake in the server can cause: logged tracebacks, tasks that nobody looked at."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found.append(logging.Formatter().format(record))

    def in_loop(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take note of what reached the event loop."""
        self.found.append(f"{context.get('message')}: {context.get('exception')!r}")

    def __enter__(self) -> Faults:
        logging.getLogger("nl2code_server").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("nl2code_server").removeHandler(self)


class Editor(ABC):
    """One session. What goes in and comes out are bytes of the protocol."""

    task: asyncio.Task[Any]
    """Runs until the session is over."""

    def __init__(self) -> None:
        self.asked: Counter[Json] = Counter()
        self.answered: Counter[Json] = Counter()
        self.results: dict[Json, Json] = {}
        self.questions: list[Json] = []
        """Requests of the server that have no answer yet."""
        self.orphans = 0
        """Errors that answer no request."""
        self._news = asyncio.Event()

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """Send bytes as they are."""

    @abstractmethod
    def hang_up(self) -> None:
        """Leave without a word."""

    def faults(self) -> str:
        """Return what a server of its own process has complained of, if anything."""
        return ""

    def take(self, body: bytes) -> None:
        """Take a message from the server."""
        message = json.loads(body)
        if "method" in message:
            if "id" in message:
                self.questions.append(message)
            return
        number = message["id"]
        if not isinstance(number, int | str):
            self.orphans += 1
            return
        self.answered[number] += 1
        self.results[number] = message.get("error") or {"result": message["result"]}
        self._news.set()

    def send(self, message: Json) -> None:
        """Send one message."""
        if "id" in message and "method" in message:
            self.asked[message["id"]] += 1
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.feed(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    def notify(self, method: str, params: Json) -> None:
        """Send a notification."""
        self.send({"method": method, "params": params})

    @property
    def waiting(self) -> list[Json]:
        """Requests that have no answer yet."""
        return [number for number, count in self.asked.items() if self.answered[number] < count]

    async def wait_for(self, numbers: list[Json], seconds: float) -> None:
        """Wait until requests are answered; fail if the session ends or time is up."""
        async with asyncio.timeout(seconds):
            while any(self.answered[number] < self.asked[number] for number in numbers):
                assert not self.task.done(), f"the session has ended {self.faults()}"
                self._news.clear()
                news = asyncio.create_task(self._news.wait())
                await asyncio.wait([news, self.task], return_when=asyncio.FIRST_COMPLETED)
                news.cancel()

    async def request(self, number: Json, method: str, params: Json, *, seconds: float = PATIENCE) -> Json:
        """Send a request and return `{"result": …}` or the error."""
        self.send({"id": number, "method": method, "params": params})
        await self.wait_for([number], seconds)
        return self.results[number]

    async def initialize(self, capabilities: Json, **params: Json) -> str:
        """Shake hands and return the position encoding."""
        answer = await self.request(
            "initialize",
            "initialize",
            {"processId": None, "rootUri": None, "capabilities": capabilities, **params},
        )
        self.notify("initialized", {})
        encoding: str = answer["result"]["capabilities"]["positionEncoding"]
        return encoding

    async def leave(self) -> None:
        """Say goodbye and wait for the end."""
        await self.request("shutdown", "shutdown", None)
        self.notify("exit", None)
        await asyncio.wait_for(self.task, PATIENCE)


class Inside(Editor):
    """A session with a server in this process."""

    def __init__(self, flags: Mapping[str, Any]) -> None:
        super().__init__()
        self.server: Server = make_server(flags)
        self.reader = asyncio.StreamReader()
        self.task = asyncio.create_task(
            cast("Protocol", self.server.protocol).serve(self.reader, self), name="session"
        )

    def write(self, data: bytes) -> None:
        """Take what the server writes: one message at a time."""
        head, _, body = data.partition(b"\r\n\r\n")
        assert head == b"Content-Length: %d" % len(body)
        self.take(body)

    def feed(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.reader.feed_data(data)

    def hang_up(self) -> None:
        """Leave without a word."""
        self.reader.feed_eof()


class Outside(Editor):
    """A session with a real server process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        super().__init__()
        self.process = process
        self.said = bytearray()
        """All that it wrote to stderr."""
        self.task = asyncio.create_task(self._serve(), name="session")

    @classmethod
    async def start(cls, flags: Mapping[str, Any]) -> Outside:
        """Start a server; settings come by its environment, as users give them."""
        settings = {f"NL2CODE_{name.upper()}": str(value) for name, value in flags.items()}
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *SERVER,
            env={**os.environ, **settings},
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            limit=1 << 26,
        )
        return cls(process)

    def feed(self, data: bytes) -> None:
        """Send bytes as they are."""
        assert self.process.stdin
        self.process.stdin.write(data)

    def hang_up(self) -> None:
        """Leave without a word."""
        assert self.process.stdin
        self.process.stdin.close()

    def faults(self) -> str:
        """Return what it said, if that tells of a mistake in the server, or if it ended otherwise than in order."""
        wrong = any(sign in self.said for sign in (b"Traceback", b"never awaited", b"never retrieved"))
        ended = self.process.returncode
        if not wrong and not ended:
            return ""
        return f"process {self.process.pid}, status {ended}:\n{self.said.decode(errors='replace')}"

    async def leave(self) -> None:
        """Say goodbye and wait for the end, which is in order."""
        await super().leave()
        assert self.process.returncode == 0, self.said.decode(errors="replace")
        assert not self.faults(), self.faults()

    async def _serve(self) -> None:
        errors = asyncio.create_task(self._listen())
        try:
            stdout = self.process.stdout
            assert stdout
            while head := await stdout.readline():
                assert head.startswith(b"Content-Length: "), head
                assert await stdout.readline() == b"\r\n"
                self.take(await stdout.readexactly(int(head[16:])))
        finally:
            await self.process.wait()
            await errors
            # The pipes' transports warn when they are collected open.
            getattr(self.process, "_transport").close()  # noqa: B009

    async def _listen(self) -> None:
        assert self.process.stderr
        while data := await self.process.stderr.read(1 << 16):
            self.said += data
