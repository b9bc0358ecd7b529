"""Messages in and out: framing, what is wrong with a message, the fast path for edits, stdio and TCP.

Differs from pygls where it has to: every request gets an answer, even one that cannot be understood; a broken frame
costs that frame; an edit costs its own size; clients of one TCP server do not know of each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import attrs
from lsprotocol import types
from pygls.exceptions import (
    JsonRpcException,
    JsonRpcInternalError,
    JsonRpcInvalidParams,
    JsonRpcInvalidRequest,
    JsonRpcParseError,
    JsonRpcServerNotInitialized,
)
from pygls.protocol import LanguageServerProtocol, default_converter, lsp_method

from ..errors import Nl2CodeError
from ..lang.document import Document, Range, Snapshot
from ..platform import process_alive
from . import faststart
from .workspace import find

if TYPE_CHECKING:
    from concurrent.futures import Future

    from cattrs import Converter
    from pygls.lsp.server import LanguageServer

_log = logging.getLogger(__name__)

Change = tuple[Range | None, str]
"""What was replaced (in client units; everything for `None`), and the new text."""

# pygls logs whole messages, and with them the user's code.
logging.getLogger("pygls").setLevel(logging.CRITICAL)

_KEPT = object()
# What lsprotocol takes as it comes, and pygls looks up in a table.
_NAMED = {types.CANCEL_REQUEST: "id", types.WINDOW_WORK_DONE_PROGRESS_CANCEL: "token"}
_LONGEST_MESSAGE = 1 << 28  # bytes
_CLOSING = 2.0  # seconds that handlers have to end once the client has left
_LOOK_AFTER = 2.0  # seconds between looks at whether the editor runs
_LEAVING = 4.0  # seconds after which the process ends whatever still runs in it
_SETTLING = 10.0  # seconds after which start-up counts as over, even if the client says nothing


@cache
def converter() -> Converter:
    """Return the converter between JSON and protocol classes; hooks are made once and shared by all clients."""
    made: Converter = default_converter()  # type: ignore[no-untyped-call]
    for cls in vars(types).values():
        if isinstance(cls, enum.EnumMeta):
            made.register_structure_hook(cls, _known_or_as_it_is)
    made.register_structure_hook(types.InlineCompletionTriggerKind, _trigger_kind)
    return made


def _known_or_as_it_is(value: Any, cls: type[enum.Enum]) -> Any:
    # A client newer than lsprotocol must not fail at `initialize` for a value that we never look at.
    try:
        return cls(value)
    except ValueError:
        return value


def _trigger_kind(value: Any, cls: type[enum.Enum]) -> enum.Enum:
    # Drafts of the protocol counted from 0. A kind that nobody knows is no reason to refuse an answer.
    return cls(value) if value in (1, 2) else types.InlineCompletionTriggerKind.Invoked


@cache
def _fields(cls: type) -> list[tuple[str, str, Any]]:
    """Return for each field its name, its name on the wire, and the value with which it is left out.

    As lsprotocol's converter has it; that compiles a function for each class which a message could hold.
    """
    found = []
    for field in attrs.fields(cls):
        first, *rest = field.name.removesuffix("_").split("_")
        wire = first + "".join(part.title() for part in rest)
        found.append(
            (field.name, wire, _KEPT if types.is_special_property(cls, field.name) else field.default)
        )
    return found


class Protocol(LanguageServerProtocol):
    """One client's session."""

    on_change: Callable[[Document, Sequence[Change], Snapshot | None], None] | None = None
    """Called after the changes of one `textDocument/didChange` were applied, with the text before them if one
    replaced all of it."""
    on_close: Callable[[], Awaitable[None]] | None = None
    """Awaited when the client has left, for at most a few seconds."""
    on_leave: Callable[[], None] | None = None
    """Called when the client has left, before anything is closed."""
    stop: Callable[[], None] | None = None
    """Ends the session; set while it is served."""

    def receive(self, body: bytes) -> None:
        """Handle one message. Whatever is wrong with it, the next one will be handled."""
        try:
            data = json.loads(body)
        except (ValueError, RecursionError):
            self._refuse(None, JsonRpcParseError("the message is not JSON"))
            return
        if not isinstance(data, dict) or data.get("jsonrpc") != self.VERSION:
            asked = data.get("id") if isinstance(data, dict) else None
            self._refuse(asked, JsonRpcInvalidRequest("not a JSON-RPC 2.0 message"))
            return
        method = data.get("method")
        if method == types.TEXT_DOCUMENT_DID_CHANGE and "id" not in data and method not in self.fm.features:
            self._change(data.get("params"))
            return
        if "method" not in data:
            if not self._awaited(data.get("id")):
                _log.warning("an answer to nothing that was asked")
                return
        elif reason := self._unfit(data):
            if "id" in data:
                self._refuse(data["id"], reason)
            else:
                _log.warning("a notification is passed over: %s", reason)
            return
        else:
            # May be left out, says JSON-RPC; not of methods that it does not know, says pygls.
            data.setdefault("params", None)
            data.pop("error", None)  # pygls would take it for an answer
        try:
            self.handle_message(self.structure_message(data))
        except JsonRpcException as error:
            self._reject(data, error)
        except Exception as error:
            _log.exception("a message could not be handled")
            self._reject(data, JsonRpcInternalError(type(error).__name__))
        if method == types.INITIALIZED:
            faststart.settle()

    def _awaited(self, number: Any) -> bool:
        """Tell whether this is the id of a question of ours: requests of the client are kept beside them."""
        if not isinstance(number, str):
            return False
        question = self._request_futures.get(number)
        return question is not None and not isinstance(question, asyncio.Task)

    def _unfit(self, data: dict[str, Any]) -> JsonRpcException | None:
        """Return what keeps a request or notification from being handled, if anything does."""
        method = data["method"]
        if not isinstance(method, str):
            return JsonRpcInvalidRequest("the method is no text")
        if "id" in data:
            if type(data["id"]) not in (int, str):
                return JsonRpcInvalidRequest("the id is neither a number nor a text")
            if types.METHOD_TO_TYPES.get(method, (None, True))[1] is None:
                return JsonRpcInvalidRequest(f"{method} is a notification: it has no id")
        if name := _NAMED.get(method):
            params = data.get("params")
            if not isinstance(params, dict) or type(params.get(name)) not in (int, str):
                return JsonRpcInvalidParams(f"{method} needs {name}")
        return self._untimely(method)

    def _untimely(self, method: str) -> JsonRpcException | None:
        if method == types.EXIT:
            return None
        if self._shutdown:
            return JsonRpcInvalidRequest("the server is shutting down")
        if self._workspace is None and method != types.INITIALIZE:
            return JsonRpcServerNotInitialized("the server is not initialized")
        if self._workspace is not None and method == types.INITIALIZE:
            return JsonRpcInvalidRequest("the server is initialized already")
        return None

    def _change(self, params: Any) -> None:
        """Apply an edit without making protocol objects of it: this runs at each keystroke."""
        try:
            identifier = params["textDocument"]
            document = find(self.workspace, identifier["uri"])
            if document is None:
                _log.warning("change to a document that is not open")
                return
            changes: list[Change] = [
                (_range(change.get("range")), change["text"]) for change in params["contentChanges"]
            ]
            whole = any(change_range is None for change_range, _ in changes)
            before = document.snapshot() if whole else None
            for change_range, text in changes:
                document.apply(change_range, text)
            document.version = identifier.get("version") or document.version + 1
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            _log.error("cannot apply a change: %s", type(error).__name__)
            return
        if self.on_change is not None:
            self.on_change(document, changes, before)

    def _reject(self, data: dict[str, Any], error: JsonRpcException) -> None:
        """Deal with a message that fits no type: answer a request, end the wait for a response."""
        if "method" not in data:
            if isinstance(answered := data.get("id"), (str, int)):
                self._handle_response(answered, error=error.to_response_error())
        elif "id" in data:
            self._refuse(data["id"], error)
        else:
            _log.warning("notification %s makes no sense", data["method"])

    def _refuse(self, request: Any, error: JsonRpcException) -> None:
        _log.warning("refused a message: %s", error)
        body = {"code": error.code, "message": str(error)}
        self._send_data({"jsonrpc": self.VERSION, "id": request, "error": body})

    def _send_data(self, data: Any) -> None:
        if self.writer is None:
            return
        body = json.dumps(data, default=self._serialize_message, separators=(",", ":")).encode()
        self.writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    def _serialize_message(self, data: Any) -> Any:
        """Return one object as JSON data; `json` asks again for those within it."""
        cls: Any = type(data)
        if attrs.has(cls):
            return {
                wire: value
                for name, wire, default in _fields(cls)
                if (value := getattr(data, name)) != default
            }
        return super()._serialize_message(data)

    def _send_handler_result(self, future: Future[Any], *, msg_id: str | int) -> None:
        if (
            not future.cancelled()
            and (error := future.exception())
            and not isinstance(error, JsonRpcException)
        ):
            _log.error("request %s failed", msg_id, exc_info=error)
        super()._send_handler_result(future, msg_id=msg_id)

    def _check_handler_result(self, future: Future[Any]) -> None:
        if not future.cancelled() and (error := future.exception()):
            _log.error("a notification failed", exc_info=error)

    # pygls caches these two by session, and so keeps sessions alive that are over.
    def get_message_type(self, method: str) -> Any:  # type: ignore[override]
        return types.METHOD_TO_TYPES.get(method, (None,))[0]

    def get_result_type(self, method: str) -> Any:  # type: ignore[override]
        return types.METHOD_TO_TYPES.get(method, (None, None))[1]

    @lsp_method(types.EXIT)
    def lsp_exit(self, *args: Any) -> Generator[Any, Any, None]:
        """End the session, not the process: others may be served by it."""
        if handler := self.fm.features.get(types.EXIT):
            yield handler, args, None
        if self.stop is not None:
            self.stop()

    @property
    def exit_status(self) -> int:
        """0 if the client asked for the shutdown before it left, as it should."""
        return 0 if self._shutdown else 1

    async def serve(self, reader: asyncio.StreamReader, writer: Any) -> None:
        """Handle messages until the client leaves."""
        left = _ClientLeft()
        self.stop = lambda: reader.set_exception(left)
        self.set_writer(writer)
        asyncio.get_running_loop().call_later(_SETTLING, faststart.settle)
        try:
            while (body := await _read_body(reader, self)) is not None:
                self.receive(body)
                # A handler that was just started takes its snapshot before the next edit is applied.
                await asyncio.sleep(0)
        except (_ClientLeft, OSError):
            pass
        finally:
            self.writer = None
            if self.on_leave is not None:
                self.on_leave()
            await self._close()

    async def _close(self) -> None:
        running = list(self._request_futures.values())
        for future in running:
            future.cancel()
        tasks = [cast("asyncio.Future[Any]", task) for task in running if isinstance(task, asyncio.Future)]
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSING)
        if self.on_close is not None:
            try:
                await asyncio.wait_for(self.on_close(), _CLOSING)
            except Exception:
                _log.exception("cannot close the session in order")
        if (pool := self._server._thread_pool) is not None:
            pool.shutdown(wait=False, cancel_futures=True)


class _ClientLeft(Exception):
    """The client has said goodbye, or cannot be written to any more."""


_LENGTH = re.compile(rb"content-length:[ \t]*(\d{1,12})[ \t]*\r?\n\Z", re.IGNORECASE)
_HTTP = re.compile(rb"[A-Z]+ \S+ HTTP/\d")


async def _read_body(reader: asyncio.StreamReader, protocol: Protocol) -> bytes | None:
    """Return the next message, or `None` at the end of the stream. Finds the way back after a broken frame."""
    length: int | None = None
    while True:
        try:
            line = await reader.readline()
        except ValueError:  # longer than any header
            continue
        if not line.endswith(b"\n"):
            return None
        # Not anchored at the start: what a wrong length left over stands in front of the next header.
        if match := _LENGTH.search(line):
            length = int(match[1])
        elif _HTTP.match(line):
            _log.error("an HTTP client called; this is a language server")
            return None
        elif line.strip():
            continue
        elif length is not None and length <= _LONGEST_MESSAGE:
            break
        else:
            protocol._refuse(None, JsonRpcParseError("no usable Content-Length"))
            length = None
    try:
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        return None


def _range(value: Any) -> Range | None:
    if value is None:
        return None
    start, end = value["start"], value["end"]
    return start["line"], start["character"], end["line"], end["character"]


class _Wire:
    """A pipe to the client. One that broke ends the session, as does the end of the client's messages."""

    def __init__(self, stream: BinaryIO, protocol: Protocol) -> None:
        self._stream = stream
        self._protocol = protocol

    def write(self, data: bytes) -> None:
        try:
            self._stream.write(data)
            self._stream.flush()
        except OSError:
            if self._protocol.stop is not None:
                self._protocol.stop()


def run_stdio(server: LanguageServer) -> int:
    """Serve the client that started this process, until it leaves; return the exit status."""
    source, sink = _claim_stdio()
    protocol = cast("Protocol", server.protocol)
    protocol.on_leave = lambda: _leave_soon(protocol)

    async def main() -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        pump = threading.Thread(
            target=_pump, args=(source, loop, reader, protocol), name="stdin", daemon=True
        )
        pump.start()
        watching = asyncio.create_task(_watch_editor(server, protocol))
        try:
            await protocol.serve(reader, _Wire(sink, protocol))
        finally:
            watching.cancel()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
    return protocol.exit_status


async def _watch_editor(server: LanguageServer, protocol: Protocol) -> None:
    """End the session when the editor's process is gone: another may still hold the other end of our pipe."""
    seen = False
    while True:
        await asyncio.sleep(_LOOK_AFTER)
        pid = server.process_id
        alive = pid is not None and process_alive(pid)
        if seen and not alive and protocol.stop is not None:
            _log.warning("the editor is gone")
            protocol.stop()
            return
        # One that was never there lives in another container, and cannot be watched.
        seen = seen or alive


def _claim_stdio() -> tuple[int, BinaryIO]:
    """Keep the wire to ourselves: a `print` somewhere goes to stderr, a child process inherits neither end."""
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2 if sys.stderr is not None else nothing, 1)
    os.close(nothing)
    return source, os.fdopen(sink, "wb")


def _pump(
    source: int, loop: asyncio.AbstractEventLoop, reader: asyncio.StreamReader, protocol: Protocol
) -> None:
    """Move what the client sends to the event loop. One thread: executors cost three hops per message."""
    with contextlib.suppress(RuntimeError):  # the loop is closed
        with contextlib.suppress(OSError):
            while data := os.read(source, 1 << 16):
                loop.call_soon_threadsafe(reader.feed_data, data)
        _leave_soon(protocol)
        loop.call_soon_threadsafe(reader.feed_eof)


def _leave_soon(protocol: Protocol) -> None:
    """End the process in a while, whatever handlers and threads are still doing."""

    def leave() -> None:
        _log.error("work went on for %.0f s after the client had left", _LEAVING)
        os._exit(protocol.exit_status)

    timer = threading.Timer(_LEAVING, leave)
    timer.daemon = True
    timer.start()


def run_tcp(make_server: Callable[[], LanguageServer], host: str, port: int) -> int:
    """Serve any number of clients, each with a server of its own, until interrupted; return the exit status."""

    async def main() -> None:
        async with await listen_tcp(make_server, host, port) as listening:
            _log.warning("listening on %s", ", ".join(str(s.getsockname()[:2]) for s in listening.sockets))
            await listening.serve_forever()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
    return 0


async def listen_tcp(make_server: Callable[[], LanguageServer], host: str, port: int) -> asyncio.Server:
    """Start to accept clients."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await cast("Protocol", make_server().protocol).serve(reader, writer)
        finally:
            writer.close()

    try:
        return await asyncio.start_server(connected, host, port)
    except OSError as error:
        raise Nl2CodeError(
            f"cannot listen on {host}:{port}: {error.strerror or error}", "choose another port"
        ) from error
