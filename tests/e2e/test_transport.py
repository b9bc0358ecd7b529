"""The wire: framing, refusals, ordering, cancellation, several clients, and how a session ends."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from lsprotocol import types
from pygls.lsp.server import LanguageServer

from e2e.minimal import POSITION, URI, Client, Json, change, make_server, serving
from nl2code_server.errors import Nl2CodeError
from nl2code_server.lsp import transport
from nl2code_server.lsp.transport import Protocol


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with serving() as connect:
        made = await connect()
        await made.initialize()
        made.open("x = 1\n")
        yield made


async def test_a_session(client: Client) -> None:
    client.send(change(2, "yy", 0, 0, 1), change(3, "z", 1))
    assert await client.complete() == "Invoked 3 yy = 1\nz"
    client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    assert await client.complete() == -32602
    assert await client.request("shutdown") is None
    client.notify("exit", None)
    with pytest.raises(EOFError):
        await client.read()


@pytest.mark.parametrize(
    ("kind", "name"), [(0, "Invoked"), (1, "Invoked"), (2, "Automatic"), ("odd", "Invoked")]
)
async def test_any_trigger_kind_is_answered(client: Client, kind: Json, name: str) -> None:
    assert (await client.complete(kind)).startswith(f"{name} 1 ")


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("textDocument/inlineCompletion", {"textDocument": {"uri": URI}}, -32602),
        ("textDocument/inlineCompletion", None, -32602),
        (
            "textDocument/hover",
            {"textDocument": {"uri": URI}, "position": {"line": -1, "character": 0}},
            -32602,
        ),
        ("textDocument/hover", [1], -32602),
        ("test/unheard-of", {}, -32601),
        ("test/raise", {}, -32603),
        ("test/strange", {}, -32603),
        ("initialize", {"processId": None, "rootUri": None, "capabilities": {}}, -32600),
        (["odd"], {}, -32600),
        (7, None, -32600),
        ("textDocument/didSave", {"textDocument": {"uri": URI}}, -32600),
        ("textDocument/didChange", change(2, "y")["params"], -32600),
        ("nb/odd", {}, -32601),
    ],
)
async def test_requests_that_fail_get_an_error_and_no_popup(
    client: Client, method: Json, params: Json, code: int
) -> None:
    assert await client.request(method, params) == code
    assert await client.complete() == "Invoked 1 x = 1\n"
    assert client.asides == []


BAD_FRAMES = {
    "not JSON": (b"Content-Length: 5\r\n\r\n{oops", -32700),
    "not UTF-8": (b'Content-Length: 4\r\n\r\n"\xff\xfe"', -32700),
    "too deep": (b"Content-Length: 200000\r\n\r\n" + b"[" * 200_000, -32700),
    "an array": (b"Content-Length: 2\r\n\r\n[]", -32600),
    "a number": (b"Content-Length: 1\r\n\r\n7", -32600),
    "no jsonrpc": (b"Content-Length: 2\r\n\r\n{}", -32600),
    "too short a length": (b'Content-Length: 3\r\n\r\n{"jsonrpc": "2.0"}', -32700),
    "no length": (b"Content-Type: text\r\n\r\n", -32700),
    "a length that is none": (b"Content-Length: many\r\n\r\n", -32700),
    "too great a length": (b"Content-Length: 999999999999\r\n\r\n{}", -32700),
    "a negative length": (b"Content-Length: -5\r\n\r\n", -32700),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_a_broken_frame_is_refused_and_the_next_one_read(client: Client, name: str) -> None:
    data, code = BAD_FRAMES[name]
    client.writer.write(data)
    assert (await client.answer(None))["error"]["code"] == code
    assert await client.complete() == "Invoked 1 x = 1\n"


@pytest.mark.parametrize(
    "junk", [b"hello\r\n", b"x" * 300_000 + b"\r\n", b"\x00\xff\r\n"], ids=["text", "long line", "binary"]
)
async def test_junk_between_frames_is_skipped(client: Client, junk: bytes) -> None:
    client.writer.write(junk)
    assert await client.complete() == "Invoked 1 x = 1\n"


async def test_headers_in_any_case_and_order(client: Client) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": "é", "method": "test/unheard-of"}, ensure_ascii=False).encode()
    client.writer.write(b"content-type: application/vscode-jsonrpc; charset=utf-8\r\n")
    client.writer.write(b"CONTENT-LENGTH:%d\r\n\r\n%b" % (len(body), body))
    assert (await client.answer("é"))["error"]["code"] == -32601


@pytest.mark.parametrize(
    "message",
    [
        {"method": "textDocument/didOpen", "params": {}},
        {"method": "textDocument/didChange", "params": None},
        {
            "method": "textDocument/didChange",
            "params": {"textDocument": {"uri": "file:///other.py", "version": 2}},
        },
        change(2, cast(str, None)),
        change(2, "y", cast(int, "0")),
        {
            "method": "textDocument/didChange",
            "params": {"textDocument": {"uri": [URI]}, "contentChanges": []},
        },
        {"method": "$/cancelRequest", "params": {"id": 77}},
        {"method": "$/cancelRequest", "params": None},
        {"method": "$/cancelRequest", "params": {"id": []}},
        {"method": "window/workDoneProgress/cancel", "params": {"token": [1]}},
        {"method": "test/raise", "params": {}},
        {"id": 99, "result": None},
        {"id": ["odd"], "result": 1},
        {"id": 5, "error": "odd"},
        {"method": ["odd"], "params": {}},
        {
            "method": "notebookDocument/didChange",
            "params": {"notebookDocument": {"uri": "nb:9", "version": 2}, "change": {}},
        },
    ],
)
async def test_notifications_and_responses_that_make_no_sense_cost_nothing(
    client: Client, message: Json
) -> None:
    client.send(message)
    assert await client.complete() == "Invoked 1 x = 1\n"
    client.send(change(3, "y"))
    assert await client.complete() == "Invoked 3 yx = 1\n"
    assert client.asides == []


@pytest.mark.parametrize("number", [None, 1.5, True, [1], {"a": 1}])
async def test_an_id_that_is_none_is_refused(client: Client, number: Json) -> None:
    client.send({"id": number, "method": "test/unheard-of"})
    assert (await client.answer(number))["error"]["code"] == -32600
    assert await client.complete() == "Invoked 1 x = 1\n"


async def test_a_request_is_not_taken_for_an_answer(client: Client) -> None:
    hover = {"method": "textDocument/hover", "params": {"textDocument": {"uri": URI}, "position": POSITION}}
    client.send({"id": 7, **hover, "error": {"code": 1, "message": "m"}})
    client.send({"id": 7, "result": "odd"}, {"method": "$/cancelRequest", "params": {"id": 7}})
    assert (await client.answer(7))["error"]["code"] == -32800


async def test_requests_out_of_season_are_refused() -> None:
    async with serving() as connect:
        client = await connect()
        assert await client.request("textDocument/hover", {}) == -32002
        client.open("lost")
        await client.initialize()
        assert await client.complete() == -32602
        assert await client.request("shutdown") is None
        assert await client.request("textDocument/hover", {}) == -32600


async def test_a_client_newer_than_we_are_is_served() -> None:
    async with serving() as connect:
        client = await connect()
        capabilities = {
            "workspace": {
                "symbol": {"symbolKind": {"valueSet": [1, 9999]}},
                "workspaceEdit": {"failureHandling": "new"},
            },
            "textDocument": {
                "completion": {"completionItem": {"documentationFormat": ["markdown", "asciidoc"]}}
            },
            "general": {"positionEncodings": ["utf-64", "utf-8"]},
        }
        params = {"processId": None, "rootUri": None, "trace": "loud", "capabilities": capabilities}
        result = await client.request("initialize", params)
        assert result["capabilities"]["positionEncoding"] == "utf-8"
        client.open("é")
        assert await client.complete(2) == "Automatic 1 é"


async def test_a_request_sees_the_text_at_its_place_in_the_stream(client: Client) -> None:
    context = {"textDocument": {"uri": URI}, "position": POSITION, "context": {"triggerKind": 1}}
    for burst in range(100):
        version = 2 * burst + 2
        ask = {"id": f"b{burst}", "method": "textDocument/inlineCompletion", "params": context}
        client.send(change(version, "a"), ask, change(version + 1, "b"))
        seen = (await client.answer(f"b{burst}"))["result"][0]["insertText"]
        assert seen.startswith(f"Invoked {version} a")


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_cancelled_request_is_answered_so(client: Client, at_once: bool) -> None:
    hover = {
        "id": "h",
        "method": "textDocument/hover",
        "params": {"textDocument": {"uri": URI}, "position": POSITION},
    }
    cancel = {"method": "$/cancelRequest", "params": {"id": "h"}}
    client.send(hover, *([cancel] if at_once else []))
    if not at_once:
        await asyncio.sleep(0.05)
        client.send(cancel)
    assert (await client.answer("h"))["error"]["code"] == -32800


@pytest.mark.parametrize("result", [5, [[]], None])
async def test_a_response_that_fits_no_type_ends_the_wait_for_it(client: Client, result: Json) -> None:
    client.send({"id": "a", "method": "test/ask", "params": {}})
    asked = await client.read()
    assert asked["method"] == "workspace/configuration"
    client.send({"id": asked["id"], "result": result})
    assert (await client.answer("a"))["result"] in (
        "JsonRpcInvalidParams",
        "JsonRpcInternalError",
        "answered",
    )


@pytest.mark.parametrize(("encoding", "at"), [("utf-8", 5), ("utf-16", 3), ("utf-32", 2)])
async def test_positions_are_in_the_encoding_agreed_on(encoding: str, at: int) -> None:
    async with serving() as connect:
        client = await connect()
        assert (await client.initialize(encoding))["capabilities"]["positionEncoding"] == encoding
        client.open("a😋b\u2028c\r\nd\re\x0c")
        client.send(change(2, "!", 0, at, at), change(3, "?", 2, 1, 1))
        source, lines, version, got = await client.request("test/document", {"uri": URI})
        assert source == "a😋!b\u2028c\r\nd\re?\x0c"
        assert lines == ["a😋!b\u2028c\r\n", "d\r", "e?\x0c"]
        assert (version, got) == (3, encoding)


async def test_notebook_cells_are_documents(client: Client) -> None:
    cell = {"uri": "nb:1#c", "languageId": "python", "version": 1, "text": "x = 1\n"}
    notebook = {
        "uri": "nb:1",
        "notebookType": "jupyter",
        "version": 1,
        "cells": [{"kind": 2, "document": "nb:1#c"}],
    }
    client.notify("notebookDocument/didOpen", {"notebookDocument": notebook, "cellTextDocuments": [cell]})
    edit = change(2, "42", 0, 4, 5)["params"]["contentChanges"]
    changes = [{"document": {"uri": "nb:1#c", "version": 2}, "changes": [*edit, {"text": "y = 2\n"}, *edit]}]
    client.notify(
        "notebookDocument/didChange",
        {"notebookDocument": {"uri": "nb:1", "version": 2}, "change": {"cells": {"textContent": changes}}},
    )
    assert await client.complete(uri="nb:1#c") == "Invoked 2 y = 42\n"
    gone = {"notebookDocument": {"uri": "nb:1"}, "cellTextDocuments": [{"uri": "nb:1#c"}]}
    client.notify("notebookDocument/didClose", gone)
    assert await client.complete(uri="nb:1#c") == -32602


async def test_changes_and_the_end_are_told() -> None:
    told: list[Any] = []

    def make() -> LanguageServer:
        server = make_server()
        protocol = cast(Protocol, server.protocol)

        async def close() -> None:
            told.append("closed")

        protocol.on_change = lambda document, changes, before: told.append(
            (document.version, list(changes), before.text if before else None)
        )
        protocol.on_close = close
        return server

    async with serving(make) as connect:
        client = await connect()
        await client.initialize()
        client.open("x = 1\n")
        client.send(change(2, "yy", 0, 0, 1))
        full = {"textDocument": {"uri": URI, "version": 3}, "contentChanges": [{"text": "new"}]}
        client.notify("textDocument/didChange", full)
        assert await client.complete() == "Invoked 3 new"
    assert told == [
        (2, [((0, 0, 0, 1), "yy")], None),
        (3, [(None, "new")], "yy = 1\n"),
        "closed",
    ]


async def test_clients_do_not_know_of_each_other() -> None:
    async with serving() as connect:
        clients = [await connect() for _ in range(5)]
        for number, client in enumerate(clients):
            await client.initialize()
            client.open(f"client {number}")
        dropped, aborted, leaving, broken, left = clients
        dropped.writer.close()
        aborted.send(
            {
                "id": 1,
                "method": "textDocument/hover",
                "params": {"textDocument": {"uri": URI}, "position": POSITION},
            }
        )
        await asyncio.sleep(0.02)
        aborted.writer.transport.abort()
        await leaving.request("shutdown")
        leaving.notify("exit", None)
        broken.writer.write(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
        assert await asyncio.wait_for(broken.reader.read(), 5) == b""
        assert await left.complete() == "Invoked 1 client 4"
        late = await connect()
        await late.initialize()
        late.open("late")
        assert await late.complete() == "Invoked 1 late"


async def test_a_session_that_is_over_is_forgotten() -> None:
    made: list[weakref.ref[Any]] = []

    def make() -> LanguageServer:
        server = make_server()
        made.append(weakref.ref(server.protocol))
        return server

    async with serving(make) as connect:
        client = await connect()
        await client.initialize()
        client.open("x")
        await client.complete()
    for _ in range(20):
        gc.collect()
        if made[0]() is None:
            break
        await asyncio.sleep(0.05)
    assert made[0]() is None


async def test_a_taken_port_is_one_clear_error() -> None:
    listening = await transport.listen_tcp(make_server, "127.0.0.1", 0)
    async with listening:
        with pytest.raises(Nl2CodeError, match=r"cannot listen on .*in use \(choose another port\)"):
            await transport.listen_tcp(make_server, "127.0.0.1", listening.sockets[0].getsockname()[1])


async def test_code_is_not_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client.open("secret = 1\n", "file:///secret.py")
    client.send({"method": "textDocument/didOpen", "params": {"textDocument": {"text": "secret"}}})
    await client.request("textDocument/hover", {"text": "secret"})
    await client.complete(uri="file:///secret.py")
    assert "refused a message" in caplog.text
    assert "secret" not in caplog.text


RANGE = {"start": POSITION, "end": {"line": 1, "character": 2}}
EDIT = {"range": RANGE, "newText": "é"}
MESSAGES: list[tuple[Any, Json]] = [
    (types.WorkspaceEdit, {"changes": {URI: [EDIT]}, "documentChanges": None}),
    (
        types.WorkspaceEdit,
        {
            "documentChanges": [
                {"textDocument": {"uri": URI, "version": 3}, "edits": [EDIT, {**EDIT, "annotationId": "a"}]},
                {"textDocument": {"uri": URI, "version": None}, "edits": []},
                {"kind": "create", "uri": URI, "options": {"overwrite": True}},
            ],
            "changeAnnotations": {"a": {"label": "l", "needsConfirmation": False}},
        },
    ),
    (
        types.InlineCompletionList,
        {
            "items": [
                {
                    "insertText": "x",
                    "range": RANGE,
                    "command": {"title": "t", "command": "c", "arguments": [1, {"a": None}]},
                },
                {"insertText": {"kind": "snippet", "value": "$0"}, "filterText": ""},
            ]
        },
    ),
    (
        types.CodeAction,
        {"title": "t", "kind": "quickfix", "data": {"some_key": [None, 1.5]}, "isPreferred": False},
    ),
    (types.Hover, {"contents": {"kind": "markdown", "value": "*x*"}, "range": RANGE}),
    (
        types.CompletionItem,
        {"label": "l", "kind": 3, "textEdit": {"newText": "n", "insert": RANGE, "replace": RANGE}},
    ),
    (
        types.CallHierarchyIncomingCall,
        {
            "from": {"name": "n", "kind": 1, "uri": URI, "range": RANGE, "selectionRange": RANGE},
            "fromRanges": [],
        },
    ),
    (types.RenameRegistrationOptions, {"documentSelector": None}),
    (types.ShutdownResponse, {"jsonrpc": "2.0", "id": 1, "result": None}),
    (
        types.ApplyWorkspaceEditRequest,
        {"jsonrpc": "2.0", "id": "é", "method": "workspace/applyEdit", "params": {"edit": {}}},
    ),
    (
        types.ResponseErrorMessage,
        {"jsonrpc": "2.0", "id": 1, "error": {"code": -32803, "message": "m", "data": {"retry": True}}},
    ),
    (types.WorkDoneProgressBegin, {"title": "t", "percentage": 0, "cancellable": False}),
]


@pytest.mark.parametrize(("cls", "data"), MESSAGES, ids=lambda value: getattr(value, "__name__", None))
def test_objects_are_written_as_lsprotocol_writes_them(cls: Any, data: Json) -> None:
    protocol = cast(Protocol, make_server().protocol)
    value = transport.converter().structure(data, cls)
    expected = transport.converter().unstructure(value)
    assert json.loads(json.dumps(value, default=protocol._serialize_message)) == expected


async def test_the_initialize_reply_is_as_lsprotocol_writes_it() -> None:
    made: list[LanguageServer] = []

    def make() -> LanguageServer:
        made.append(make_server())
        return made[0]

    async with serving(make) as connect:
        client = await connect()
        result = await client.initialize("utf-8")
        capabilities = transport.converter().unstructure(made[0].server_capabilities)
        assert result["capabilities"] == capabilities
        assert len(capabilities) > 3


STDIO = """
import sys
from nl2code_server.lsp import faststart
faststart.begin()
sys.path.insert(0, sys.argv[1])
from e2e.minimal import make_server
from nl2code_server.lsp import transport
transport._LEAVING = 1.0
server = make_server()
sys.exit(transport.run_stdio(server))
"""


@asynccontextmanager
async def spawned() -> AsyncIterator[tuple[asyncio.subprocess.Process, Client]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        STDIO,
        str(Path(__file__).parents[1]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    client = Client(process.stdout, process.stdin)
    try:
        await client.initialize()
        client.open("x = 1\n")
        yield process, client
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_stdio_from_the_first_message_to_exit() -> None:
    async with spawned() as (process, client):
        assert await client.complete() == "Invoked 1 x = 1\n"
        assert await client.request("test/print", {}) == "printed 0"
        assert client.asides == []
        assert await client.request("shutdown") is None
        client.notify("exit", None)
        assert await asyncio.wait_for(process.wait(), 5) == 0
        assert process.stderr
        assert await process.stderr.read() == b"not for the client\nchild\n"


@pytest.mark.parametrize(
    "way", ["stdin ends", "stdout breaks", "exit without shutdown", "stdin ends, handler hangs"]
)
async def test_the_server_ends_when_its_client_is_gone(way: str) -> None:
    async with spawned() as (process, client):
        assert await client.complete() == "Invoked 1 x = 1\n"
        client.send(
            {
                "id": "h",
                "method": "textDocument/hover",
                "params": {"textDocument": {"uri": URI}, "position": POSITION},
            }
        )
        if way == "stdout breaks":
            cast(Any, process)._transport.get_pipe_transport(1).close()
            client.send({"id": 9, "method": "test/unheard-of"})
        elif way == "exit without shutdown":
            client.notify("exit", None)
        else:
            if "hangs" in way:
                client.send({"id": 9, "method": "test/block", "params": {}})
            client.writer.close()
        assert await asyncio.wait_for(process.wait(), 8) == 1


async def test_a_goodbye_in_order_is_one_whatever_still_runs() -> None:
    async with spawned() as (process, client):
        client.send({"id": 9, "method": "test/linger", "params": {}})
        assert await client.request("shutdown") is None
        client.notify("exit", None)
        assert await asyncio.wait_for(process.wait(), 15) == 0
