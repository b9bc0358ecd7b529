"""An editor that types: it sends each key, takes questions back as real ones do, and says what it was offered."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nl2code_server.errors import HostError

INVOKED, AUTOMATIC = 1, 2
ANSWER_SECONDS = 120.0
LEAVE_SECONDS = 10.0
BACKSPACE = "\b"
CAPABILITIES = {
    "general": {"positionEncodings": ["utf-32", "utf-16"]},
    "workspace": {"applyEdit": True, "workspaceEdit": {"documentChanges": True}},
    "textDocument": {"inlineCompletion": {}, "synchronization": {}},
}


class Editor:
    """One language server with one document at a time; its cursor is at the end of the line last typed on."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._environment = {**os.environ, **environment}
        self._folder = folder
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._unanswered: set[int] = set()
        """Requests without a reply; one that is taken back gets a reply as well."""
        self.asked = 0
        """Requests sent."""
        self._all_answered = asyncio.Event()
        self._number = 0
        self._version = 0
        self._uri = ""
        self._asked = 0
        self._row, self._column = 0, 0

    async def __aenter__(self) -> Editor:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "nl2code_server", "--stdio"),
            cwd=self._folder,
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=1 << 26,
        )
        self._reading = asyncio.create_task(self._read())
        root = self._folder.as_uri()
        params = {"processId": os.getpid(), "rootUri": root, "capabilities": CAPABILITIES}
        await self.request("initialize", params)
        self._notify("initialized", {})
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await self.request("shutdown", None)
                self._notify("exit", None)
                await self._process.wait()
        except (TimeoutError, HostError, ConnectionError):
            self._process.kill()
            await self._process.wait()
        self._reading.cancel()

    def open(self, name: str, text: str, row: int | None = None) -> None:
        """Open a document in place of the one that is open, the cursor at the end of a row; of the last, if none."""
        if self._uri:
            self._notify("textDocument/didClose", {"textDocument": {"uri": self._uri}})
        self._uri, self._version = (self._folder / name).as_uri(), 1
        lines = text.split("\n")
        self._row = len(lines) - 1 if row is None else row
        self._column = len(lines[self._row])
        item = {"uri": self._uri, "languageId": "python", "version": 1, "text": text}
        self._notify("textDocument/didOpen", {"textDocument": item})

    def key(self, text: str) -> None:
        """Type a key, or several at once, at the cursor."""
        start = end = {"line": self._row, "character": self._column}
        if text == BACKSPACE:
            self._column -= 1
            start, text = {"line": self._row, "character": self._column}, ""
        else:
            self._row += text.count("\n")
            self._column = len(text.rpartition("\n")[2]) + (0 if "\n" in text else self._column)
        self._version += 1
        document = {"uri": self._uri, "version": self._version}
        change = {"range": {"start": start, "end": end}, "text": text}
        self._notify("textDocument/didChange", {"textDocument": document, "contentChanges": [change]})

    def ask(self, trigger: int = AUTOMATIC) -> asyncio.Future[list[dict[str, Any]]]:
        """Ask for ghost text at the cursor, taking back what was asked before."""
        self.take_back()
        params = {
            "textDocument": {"uri": self._uri},
            "position": {"line": self._row, "character": self._column},
            "context": {"triggerKind": trigger},
        }
        future = self._send("textDocument/inlineCompletion", params)
        self._asked = self._number
        return asyncio.create_task(self._items(future))

    def take_back(self) -> None:
        """Cancel the last question, if it is open."""
        if (future := self._waiting.pop(self._asked, None)) is not None:
            self._notify("$/cancelRequest", {"id": self._asked})
            if not future.done():
                future.set_result(None)

    async def unanswered(self) -> int:
        """Return how many requests get no reply at all, however long one waits."""
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                while self._unanswered:
                    self._all_answered.clear()
                    await self._all_answered.wait()
        except TimeoutError:
            pass
        return len(self._unanswered)

    async def ahead(self) -> dict[str, int]:
        """Return what the server has done ahead of questions so far."""
        params = {"command": "nl2code.status", "arguments": []}
        status = await self.request("workspace/executeCommand", params)
        return {name: int(count) for name, count in (status["ahead"] or {}).items()}

    async def accept(self, item: dict[str, Any]) -> None:
        """Put a suggestion's text in and say so."""
        self._version += 1
        document = {"uri": self._uri, "version": self._version}
        change = {"range": item["range"], "text": item["insertText"]}
        self._notify("textDocument/didChange", {"textDocument": document, "contentChanges": [change]})
        command = item["command"]
        params = {"command": command["command"], "arguments": command["arguments"]}
        await self.request("workspace/executeCommand", params)

    async def request(self, method: str, params: Any) -> Any:
        """Send a request and wait for its answer."""
        return await self._answer(self._send(method, params))

    def _send(self, method: str, params: Any) -> asyncio.Future[Any]:
        self._number += 1
        future = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        self._unanswered.add(self._number)
        self.asked += 1
        self._write({"id": self._number, "method": method, "params": params})
        return future

    async def _answer(self, future: asyncio.Future[Any]) -> Any:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await future
        except TimeoutError:
            raise HostError(f"the language server gave no answer in {ANSWER_SECONDS:.0f} s") from None

    async def _items(self, future: asyncio.Future[Any]) -> list[dict[str, Any]]:
        answer = await self._answer(future)
        return list((answer or {}).get("items") or [])

    def _notify(self, method: str, params: Any) -> None:
        self._write({"method": method, "params": params})

    def _write(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    async def _read(self) -> None:
        stream, length = self._process.stdout, 0
        assert stream
        while line := await stream.readline():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
            elif line == b"\r\n":
                self._handle(json.loads(await stream.readexactly(length)))
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(HostError("the language server has ended"))

    def _handle(self, message: dict[str, Any]) -> None:
        if "method" in message:
            if "id" in message:
                configuration = message["method"] == "workspace/configuration"
                result = [None] * len(message["params"]["items"]) if configuration else {"applied": True}
                self._write({"id": message["id"], "result": result})
            return
        self._unanswered.discard(message["id"])
        if not self._unanswered:
            self._all_answered.set()
        future = self._waiting.pop(message["id"], None)
        if future is not None and not future.done():
            if "error" in message:
                future.set_exception(HostError(f"the language server: {message['error']['message']}"))
            else:
                future.set_result(message["result"])
