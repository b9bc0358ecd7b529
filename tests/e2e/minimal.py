"""A small server on our transport and a client that speaks raw JSON-RPC to it, for tests of the wire itself."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from nl2code_server.lsp import transport, workspace
from nl2code_server.lsp.transport import Protocol

Json = Any
URI = "file:///a%20b.py"
POSITION = {"line": 0, "character": 0}


class Deaf:
    """A listener to documents that does nothing."""

    def opened(self, *_: object) -> None: ...
    def closed(self, *_: object) -> None: ...
    def changed(self, *_: object) -> None: ...


def make_server() -> LanguageServer:
    """Return a server with handlers of every kind, that answer with what they see."""
    notebooks = types.NotebookDocumentSyncOptions(
        notebook_selector=[
            types.NotebookDocumentFilterWithCells(cells=[types.NotebookCellLanguage(language="python")])
        ]
    )
    server = LanguageServer(
        "test",
        "1",
        protocol_cls=Protocol,
        converter_factory=transport.converter,
        notebook_document_sync=notebooks,
    )

    @server.feature(types.INITIALIZE)
    def initialize(ls: LanguageServer, params: types.InitializeParams) -> None:
        workspace.install(ls, Deaf())

    @server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION)
    async def complete(
        ls: LanguageServer, params: types.InlineCompletionParams
    ) -> list[types.InlineCompletionItem]:
        document = workspace.document(ls, params.text_document.uri)
        snapshot = document.snapshot()
        await asyncio.sleep(0)
        kind = params.context.trigger_kind.name
        return [types.InlineCompletionItem(f"{kind} {snapshot.version} {snapshot.text}")]

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    async def sleep(ls: LanguageServer, params: types.HoverParams) -> None:
        await asyncio.sleep(60)

    @server.feature("test/raise")
    def fail(ls: LanguageServer, params: Any) -> None:
        raise ValueError("a fault in a handler")

    @server.feature("test/strange")
    def strange(ls: LanguageServer, params: Any) -> Any:
        return {"a": {1, 2}}

    @server.feature("test/print")
    def chatty(ls: LanguageServer, params: Any) -> str:
        print("not for the client")
        done = subprocess.run(["sh", "-c", "echo child; cat"], check=False, timeout=10)
        return f"printed {done.returncode}"

    @server.feature("test/block")
    def block(ls: LanguageServer, params: Any) -> None:
        time.sleep(60)

    @server.feature("test/linger")
    async def linger(ls: LanguageServer, params: Any) -> None:
        await asyncio.to_thread(time.sleep, 60)

    @server.feature("test/ask")
    async def ask(ls: LanguageServer, params: Any) -> str:
        try:
            await ls.workspace_configuration_async(types.ConfigurationParams([types.ConfigurationItem()]))
        except Exception as error:
            return type(error).__name__
        return "answered"

    @server.feature("test/document")
    def describe(ls: LanguageServer, params: Any) -> list[Any]:
        text = ls.workspace.get_text_document(params.uri)
        return [text.source, list(text.lines), text.version, workspace.document(ls, params.uri).encoding]

    return server


class Client:
    """One raw connection: frames out, messages in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.asides: list[Json] = []
        """Messages that came while another was waited for."""
        self._number = 0

    async def read(self) -> Json:
        length = 0
        while line := (await asyncio.wait_for(self.reader.readline(), 10)).strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        if not length:
            raise EOFError
        return json.loads(await self.reader.readexactly(length))

    def send(self, *messages: Json) -> None:
        """Send messages in one write."""
        self.writer.write(b"".join(frame({"jsonrpc": "2.0", **message}) for message in messages))

    def notify(self, method: str, params: Json) -> None:
        self.send({"method": method, "params": params})

    async def answer(self, number: Json) -> Json:
        """Return the message with an id, as it is."""
        while (message := await self.read()).get("id", "none") != number or "method" in message:
            self.asides.append(message)
        return message

    async def request(self, method: str, params: Json = None) -> Json:
        """Return the result, or the code of the error."""
        self._number += 1
        self.send({"id": self._number, "method": method, "params": params})
        message = await self.answer(self._number)
        return message["error"]["code"] if "error" in message else message["result"]

    async def initialize(self, *encodings: str) -> Json:
        capabilities = {"general": {"positionEncodings": list(encodings)}} if encodings else {}
        params = {"processId": None, "rootUri": None, "capabilities": capabilities}
        result = await self.request("initialize", params)
        self.notify("initialized", {})
        return result

    def open(self, text: str, uri: str = URI) -> None:
        item = {"uri": uri, "languageId": "python", "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})

    async def complete(self, kind: Json = 1, uri: str = URI) -> Json:
        params = {"textDocument": {"uri": uri}, "position": POSITION, "context": {"triggerKind": kind}}
        result = await self.request("textDocument/inlineCompletion", params)
        return result[0]["insertText"] if isinstance(result, list) else result


def frame(message: Json) -> bytes:
    body = json.dumps(message).encode()
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def change(version: int, text: str, line: int = 0, start: int = 0, end: int = 0) -> Json:
    span = {"start": {"line": line, "character": start}, "end": {"line": line, "character": end}}
    params = {
        "textDocument": {"uri": URI, "version": version},
        "contentChanges": [{"range": span, "text": text}],
    }
    return {"method": "textDocument/didChange", "params": params}


@asynccontextmanager
async def serving(make: Callable[[], LanguageServer] = make_server) -> AsyncIterator[Callable[[], Any]]:
    """Listen on a free port; gives a function that connects a client."""
    listening = await transport.listen_tcp(make, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    clients: list[Client] = []

    async def connect() -> Client:
        clients.append(Client(*await asyncio.open_connection("127.0.0.1", port)))
        return clients[-1]

    try:
        yield connect
    finally:
        for client in clients:
            client.writer.close()
        listening.close()
        await asyncio.sleep(0.05)
