"""A raw JSON-RPC client over a language server's stdio: what an editor puts on the wire, without pygls."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

Json = Any
Handler = Callable[[Json], Json]

SERVER = ("-m", "nl2code_server", "--stdio")
UNITS = {"utf-8": 1, "utf-16-le": 2, "utf-32-le": 4}
CODECS = {"utf-8": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}


class RpcError(Exception):
    """The server's error answer to a request."""

    def __init__(self, error: Json) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code: int = error["code"]
        self.message: str = error["message"]


def position_of(text: str, offset: int, encoding: str) -> Json:
    """Return the LSP position of a string offset."""
    before = re.split(r"\r\n|\n|\r", text[:offset])
    codec = CODECS[encoding]
    return {"line": len(before) - 1, "character": len(before[-1].encode(codec)) // UNITS[codec]}


def offset_of(text: str, position: Json, encoding: str) -> int:
    """Return the string offset of an LSP position; beyond the end of its line, the end of the line."""
    starts = [0, *(match.end() for match in re.finditer(r"\r\n|\n|\r", text))]
    if position["line"] >= len(starts):
        return len(text)
    start: int = starts[position["line"]]
    line = re.split(r"\r\n|\n|\r", text[start:], maxsplit=1)[0]
    codec = CODECS[encoding]
    units: int = position["character"] * UNITS[codec]
    return start + len(line.encode(codec)[:units].decode(codec, "ignore"))


@dataclass
class Buffer:
    """An open document as the editor holds it."""

    text: str
    version: int = 1


@dataclass
class Client:
    """One session with one server process. Server requests are answered from `answers`."""

    process: asyncio.subprocess.Process
    encoding: str = "utf-16"
    answers: dict[str, Handler] = field(default_factory=dict)
    buffers: dict[str, Buffer] = field(default_factory=dict)
    received: list[tuple[str, Json]] = field(default_factory=list)
    """Every notification and request from the server, in order."""
    stderr: bytearray = field(default_factory=bytearray)
    capabilities: Json = None
    next_id: int = 0
    pending: dict[int, asyncio.Future[Json]] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    broken: str = ""
    leaving: bool = False

    def start(self) -> None:
        """Begin reading what the server says."""
        self.answers = {
            "workspace/applyEdit": self.apply_workspace_edit,
            "workspace/configuration": lambda params: [None] * len(params["items"]),
            "window/workDoneProgress/create": lambda _: None,
            **self.answers,
        }
        self.tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._read_errors())]

    def send_raw(self, body: bytes) -> None:
        """Send one framed body as it is."""
        assert self.process.stdin
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    def send(self, **message: Json) -> None:
        """Send one message."""
        self.send_raw(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def notify(self, method: str, params: Json = None) -> None:
        """Send a notification."""
        self.send(method=method, params=params)

    def ask(self, method: str, params: Json = None) -> tuple[int, asyncio.Future[Json]]:
        """Send a request; the future holds its result, or an `RpcError`."""
        self.next_id += 1
        future: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self.pending[self.next_id] = future
        self.send(id=self.next_id, method=method, params=params)
        return self.next_id, future

    async def request(self, method: str, params: Json = None, *, timeout: float = 30) -> Json:
        """Send a request and return its result."""
        return await asyncio.wait_for(self.ask(method, params)[1], timeout)

    async def command(self, name: str, *arguments: Json, timeout: float = 30) -> Json:
        """Run one of the server's commands."""
        params = {"command": name, "arguments": list(arguments)}
        return await self.request("workspace/executeCommand", params, timeout=timeout)

    def cancel(self, request_id: int) -> None:
        """Take a request back."""
        self.notify("$/cancelRequest", {"id": request_id})

    def open(self, uri: str, text: str) -> None:
        """Open a document."""
        self.buffers[uri] = Buffer(text)
        item = {"uri": uri, "languageId": "python", "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})

    def edit(self, uri: str, edits: Sequence[Json]) -> None:
        """Apply text edits, which all refer to the present text, to a buffer and tell the server."""
        buffer = self.buffers[uri]
        spans = [(offset_of(buffer.text, e["range"]["start"], self.encoding), n) for n, e in enumerate(edits)]
        changes = []
        for start, number in sorted(spans, reverse=True):
            e = edits[number]
            end = offset_of(buffer.text, e["range"]["end"], self.encoding)
            buffer.text = buffer.text[:start] + e["newText"] + buffer.text[end:]
            changes.append({"range": e["range"], "text": e["newText"]})
        buffer.version += 1
        document = {"uri": uri, "version": buffer.version}
        self.notify("textDocument/didChange", {"textDocument": document, "contentChanges": changes})

    def insert(self, uri: str, offset: int, text: str) -> None:
        """Type text at a string offset of a buffer."""
        at = position_of(self.buffers[uri].text, offset, self.encoding)
        self.edit(uri, [{"range": {"start": at, "end": at}, "newText": text}])

    def apply_workspace_edit(self, params: Json) -> Json:
        """Apply an edit as an editor does: versioned parts only to the version that they name."""
        edit = params["edit"]
        changes = [
            (part["textDocument"]["uri"], part["textDocument"]["version"], part["edits"])
            for part in edit.get("documentChanges") or []
        ]
        changes += [(uri, None, edits) for uri, edits in (edit.get("changes") or {}).items()]
        for uri, version, edits in changes:
            if version is not None and version != self.buffers[uri].version:
                return {"applied": False, "failureReason": "the document has changed"}
            self.edit(uri, edits)
        return {"applied": True}

    def told(self, method: str) -> list[Json]:
        """Return the parameters of everything that the server sent by this method so far."""
        return [params for name, params in self.received if name == method]

    async def wait_told(
        self, method: str, matches: Callable[[Json], bool] = lambda _: True, *, timeout: float = 30
    ) -> Json:
        """Wait until the server has sent a message by this method that matches, and return its parameters."""
        async with asyncio.timeout(timeout):
            while True:
                self.news.clear()
                for params in self.told(method):
                    if matches(params):
                        return params
                await self.news.wait()

    async def initialize(self, capabilities: Json, **params: Json) -> Json:
        """Shake hands and return the server's answer."""
        result = await self.request(
            "initialize",
            {"processId": os.getpid(), "rootUri": None, "capabilities": capabilities, **params},
            timeout=30,
        )
        self.capabilities = result["capabilities"]
        self.encoding = self.capabilities.get("positionEncoding", "utf-16")
        self.notify("initialized", {})
        return result

    async def stop(self) -> int:
        """Say goodbye and return the exit status."""
        self.leaving = True
        await self.request("shutdown")
        self.notify("exit")
        return await asyncio.wait_for(self.process.wait(), 15)

    async def close(self) -> None:
        """End the process whatever state it is in."""
        for task in self.tasks:
            task.cancel()
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        # The pipes' transports warn when they are collected open.
        getattr(self.process, "_transport").close()  # noqa: B009

    async def _read(self) -> None:
        try:
            while message := await self._read_message():
                self._handle(message)
        except (asyncio.IncompleteReadError, ValueError, KeyError) as error:
            self.broken = f"not JSON-RPC on stdout: {error!r}"
        finally:
            for future in self.pending.values():
                if not future.done():
                    future.set_exception(ConnectionError(self.broken or "the server has gone"))
                    future.exception()

    async def _read_message(self) -> Json:
        stdout = self.process.stdout
        assert stdout
        length = 0
        while (line := await stdout.readline()) != b"\r\n":
            if not line:
                return None
            name, _, value = line.decode("ascii").partition(":")
            if name.lower() == "content-length":
                length = int(value)
        return json.loads(await stdout.readexactly(length))

    def _handle(self, message: Json) -> None:
        if "method" not in message:
            future = self.pending.pop(message["id"], None)
            if future is not None and not future.done():
                if "error" in message:
                    future.set_exception(RpcError(message["error"]))
                else:
                    future.set_result(message["result"])
            return
        self.received.append((message["method"], message.get("params")))
        self.news.set()
        if "id" in message:
            self._answer(message)

    def _answer(self, message: Json) -> None:
        answer = self.answers.get(message["method"])
        if answer is None:
            error = {"code": -32601, "message": f"no such method: {message['method']}"}
            self.send(id=message["id"], error=error)
            return
        result = answer(message["params"])
        if isinstance(result, Awaitable):
            task = asyncio.ensure_future(self._answer_later(message["id"], result))
            self.tasks.append(task)
        else:
            self.send(id=message["id"], result=result)

    async def _answer_later(self, request_id: int, result: Awaitable[Json]) -> None:
        self.send(id=request_id, result=await result)

    async def _read_errors(self) -> None:
        assert self.process.stderr
        while data := await self.process.stderr.read(1 << 16):
            self.stderr += data


@asynccontextmanager
async def spawned(
    env: Mapping[str, str], *, args: Sequence[str] = SERVER, **answers: Handler
) -> AsyncIterator[Client]:
    """Start a server process with `env` on top of ours; whatever happens, it does not outlive the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *args,
        env={**os.environ, **env},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 26,
    )
    client = Client(process, answers={**answers})
    client.start()
    try:
        yield client
    finally:
        await client.close()
    assert not client.broken, client.broken
