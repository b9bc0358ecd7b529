"""A server and its editor in one process, joined by memory: sessions by the hundred, and nothing lost in pipes."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

from e2e.rpc import offset_of
from nl2code_server.lsp.server import Server, make_server
from nl2code_server.lsp.transport import Protocol

Json = Any

INTERNAL_ERROR = -32603


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


class Inside:
    """One session. What goes in and comes out are the bytes that a pipe would carry."""

    def __init__(self, flags: Mapping[str, Any]) -> None:
        self.server: Server = make_server(flags)
        self.reader = asyncio.StreamReader()
        self.asked: Counter[Json] = Counter()
        self.answered: Counter[Json] = Counter()
        self.results: dict[Json, Json] = {}
        self.questions: list[Json] = []
        """Requests of the server that have no answer yet."""
        self.orphans = 0
        """Errors that answer no request."""
        self._news = asyncio.Event()
        self.task = asyncio.create_task(
            cast("Protocol", self.server.protocol).serve(self.reader, self), name="session"
        )

    def write(self, data: bytes) -> None:
        """Take a message from the server."""
        head, _, body = data.partition(b"\r\n\r\n")
        assert head == b"Content-Length: %d" % len(body)
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

    def feed(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.reader.feed_data(data)

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
                assert not self.task.done(), "the session has ended"
                self._news.clear()
                await self._news.wait()

    async def request(self, number: Json, method: str, params: Json, *, seconds: float = 20) -> Json:
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
        await asyncio.wait_for(self.task, 20)
