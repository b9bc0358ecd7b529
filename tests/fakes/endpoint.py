"""A model endpoint on loopback: real HTTP, the OpenAI protocol, answers and faults from a script.

    with FakeEndpoint(replies=["```python\\ndef f(): ...\\n```"]) as fake:
        settings = Settings(endpoint=fake.url)
        ...
    assert fake.chats[0].body["messages"]

Each chat request takes the next reply; the last one serves all that follow. A reply is a text, a tuple of
texts (one for each of `n` choices), a `Reply` for anything unusual, or a function of the request's body that
gives one of these. Texts are sent in pieces of up to four characters, each counted as one token.
"""

from __future__ import annotations

import json
import re
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SELF_SIGNED = Path(__file__).parent / "self_signed.pem"
CERTIFICATES = Path(__file__).parent / "certificates"
"""An authority, and certificates of it: `good` for 127.0.0.1, `expired`, and `other` for another name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer and how it goes wrong. Token counts are over all choices; None means never."""

    text: str | tuple[str, ...] = ""
    first_delay: float = 0.0
    """Seconds before the first token; the response's headers have been sent by then."""
    header_delay: float = 0.0
    """Seconds before the response's headers."""
    token_delay: float = 0.0
    """Seconds before each further token."""
    status: int = 200
    body: str | None = None
    """Sent as it is, instead of an answer."""
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    hang_after: int | None = None
    """Say nothing more after so many tokens, with the connection open."""
    cut_after: int | None = None
    """Close the connection after so many tokens."""
    reset_after: int | None = None
    """Reset the connection (RST) after so many tokens; -1 resets it before the headers."""
    done: bool = True
    """End the stream with `[DONE]`."""
    usage: bool = True
    finish_reason: str = "stop"
    logprob: float = -0.25
    """Of every token, where asked for."""
    write_size: int = 0
    """Write the stream in pieces of so many bytes, which splits UTF-8 sequences; 0 writes whole events."""
    echo: bool = False
    """Repeat a prefill at the start of the answer, as some servers do."""


Script = str | tuple[str, ...] | Reply
Rule = Callable[[dict[str, Any]], Script]


@dataclass(slots=True)
class Recorded:
    """A request as it arrived, and what became of its answer."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: dict[str, Any]
    time: float = field(default_factory=time.monotonic)
    tokens_sent: int = 0
    finished: threading.Event = field(default_factory=threading.Event)
    """Set when the answer has been sent whole."""
    disconnected: threading.Event = field(default_factory=threading.Event)
    """Set when the client was found to have gone before the answer's end."""
    disconnected_at: float | None = None
    """Time of that, on the clock of `time.monotonic`."""


class _Gone(Exception):
    """The client has closed the connection, or the fake is being closed."""


class FakeEndpoint:
    """A scripted model endpoint, used as a context manager. Its fields may be changed at any time."""

    def __init__(
        self,
        replies: Sequence[Script | Rule] | Rule = ("```python\npass\n```",),
        *,
        model: str = "fake-model",
        owned_by: str = "fake",
        key: str = "",
        prefill: bool = False,
        token_delay: float = 0.0,
        first_delay: float = 0.0,
        tls: bool = False,
        certificate: Path = SELF_SIGNED,
    ) -> None:
        self.replies: list[Script | Rule] = [replies] if callable(replies) else list(replies)
        self.model = model
        self.owned_by = owned_by
        self.key = key
        """If set, requests without it are refused."""
        self.prefill = prefill
        """Continue a trailing assistant message: what a scripted text repeats of it is not sent."""
        self.token_delay = token_delay
        self.first_delay = first_delay
        self.server_header = "fake"
        self.models_reply: Reply | None = None
        """Answers `/v1/models` instead of the list of the one model."""
        self.model_extra: dict[str, Any] = {}
        """Added to the model's entry in that list."""
        self.requests: list[Recorded] = []
        self._taken = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(self)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.origin = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.url = f"{self.origin}/v1"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.005,), name="fake endpoint"
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join(5)

    @property
    def chats(self) -> list[Recorded]:
        """The requests for a generation, oldest first."""
        return [request for request in self.requests if request.path.endswith("/chat/completions")]

    def wait_for_chats(self, count: int, timeout: float = 5.0) -> list[Recorded]:
        """Wait until so many generations have been asked for."""
        deadline = time.monotonic() + timeout
        while len(self.chats) < count:
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(self.chats)} of {count} chat requests came within {timeout} s")
            time.sleep(0.005)
        return self.chats

    def next_reply(self, body: dict[str, Any]) -> Reply:
        """Take the next scripted reply."""
        with self._lock:
            script = self.replies[min(self._taken, len(self.replies) - 1)]
            self._taken += 1
        if callable(script):
            script = script(body)
        if isinstance(script, Reply):
            return script
        return Reply(text=script, first_delay=self.first_delay, token_delay=self.token_delay)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, fake: FakeEndpoint) -> None:
        self.fake = fake
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Close connections that are kept alive, so that their threads end."""
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Let errors of a connection that was cut pass; any other is a fault of the fake and is shown."""
        import sys

        if not isinstance(sys.exception(), (ConnectionError, ssl.SSLError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def version_string(self) -> str:
        return self.server.fake.server_header

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        self._answer(json.loads(raw) if raw else {})

    def _answer(self, body: dict[str, Any]) -> None:
        fake = self.server.fake
        self.path = re.sub(r"^http://[^/]+", "", self.path)  # what a client sends to a proxy
        headers = {name.lower(): value for name, value in self.headers.items()}
        recorded = Recorded(self.command, self.path, headers, body)
        fake.requests.append(recorded)
        self.recorded = recorded
        try:
            self._route(fake, body)
            recorded.finished.set()
        except (_Gone, ConnectionError):
            recorded.disconnected_at = time.monotonic()
            recorded.disconnected.set()
            raise ConnectionAbortedError from None

    def _route(self, fake: FakeEndpoint, body: dict[str, Any]) -> None:
        if fake.key and self.headers.get("authorization") != f"Bearer {fake.key}":
            self._send_json({"error": {"message": "Invalid API key"}}, status=401)
        elif self.path == "/health":
            self._send_json({"status": "ok"})
        elif self.path == "/v1/models":
            entry = {"id": fake.model, "object": "model", "owned_by": fake.owned_by, **fake.model_extra}
            if fake.models_reply:
                self._pause(fake.models_reply.header_delay)
                self._send_raw(fake.models_reply)
            else:
                self._send_json({"object": "list", "data": [entry]})
        elif self.path == "/warm":
            self._send_json({"warm": "ok"})
        elif self.path == "/v1/chat/completions":
            self._chat(fake, body, fake.next_reply(body))
        else:
            self._send_json({"error": {"message": f"no route {self.path}"}}, status=404)

    def _chat(self, fake: FakeEndpoint, body: dict[str, Any], reply: Reply) -> None:
        if reply.reset_after == -1:
            self._reset()
        self._pause(reply.header_delay)
        if reply.status != 200 or reply.body is not None:
            self._send_raw(reply)
            return
        choices = [_cut(text, body) for text in self._texts(fake, body, reply)]
        usage = {
            "prompt_tokens": 1 + sum(len(message["content"]) for message in body["messages"]) // 4,
            "completion_tokens": sum(len(pieces) for pieces, _ in choices),
        }
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
        if body.get("stream"):
            self._stream(body, reply, choices, usage)
        else:
            self._pause(reply.first_delay)
            answers = [
                {
                    "index": index,
                    "message": {"role": "assistant", "content": "".join(pieces)},
                    "finish_reason": reason or reply.finish_reason,
                }
                for index, (pieces, reason) in enumerate(choices)
            ]
            self._send_json({"object": "chat.completion", "choices": answers, "usage": usage})

    @staticmethod
    def _texts(fake: FakeEndpoint, body: dict[str, Any], reply: Reply) -> list[str]:
        count = body.get("n") or 1
        texts = [reply.text] if isinstance(reply.text, str) else list(reply.text)
        texts = [texts[min(index, len(texts) - 1)] for index in range(count)]
        last = body["messages"][-1]
        if last["role"] != "assistant":
            return texts
        if reply.echo:
            return [last["content"] + text.removeprefix(last["content"]) for text in texts]
        return [text.removeprefix(last["content"]) if fake.prefill else text for text in texts]

    def _stream(
        self,
        body: dict[str, Any],
        reply: Reply,
        choices: list[tuple[list[str], str]],
        usage: dict[str, int],
    ) -> None:
        self.send_response(200)
        self.send_header("content-type", reply.content_type or "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        for name, value in reply.headers:
            self.send_header(name, value)
        self.end_headers()
        self._pause(reply.first_delay)
        for index in range(len(choices)):
            self._event({"choices": [{"index": index, "delta": {"role": "assistant", "content": ""}}]}, reply)
        for index, piece in _interleave([pieces for pieces, _ in choices]):
            self._misbehave(reply)
            if self.recorded.tokens_sent:
                self._pause(reply.token_delay)
            choice: dict[str, Any] = {"index": index, "delta": {"content": piece}, "finish_reason": None}
            if body.get("logprobs"):
                choice["logprobs"] = {"content": [{"token": piece, "logprob": reply.logprob}]}
            self._pause(0)
            self._event({"choices": [choice]}, reply)
            self.recorded.tokens_sent += 1
        self._misbehave(reply)
        for index, (_, reason) in enumerate(choices):
            finish = {"index": index, "delta": {}, "finish_reason": reason or reply.finish_reason}
            self._event({"choices": [finish]}, reply)
        if reply.usage and (body.get("stream_options") or {}).get("include_usage"):
            self._event({"choices": [], "usage": usage}, reply)
        if reply.done:
            self._write(b"data: [DONE]\n\n", reply)
        self.wfile.write(b"0\r\n\r\n")

    def _misbehave(self, reply: Reply) -> None:
        """Do what the script says is to happen after so many tokens."""
        sent = self.recorded.tokens_sent
        if reply.cut_after is not None and sent >= reply.cut_after:
            self.connection.shutdown(socket.SHUT_RDWR)
            raise _Gone
        if reply.reset_after is not None and sent >= reply.reset_after:
            self._reset()
        if reply.hang_after is not None and sent >= reply.hang_after:
            self._pause(float("inf"))

    def _reset(self) -> None:
        # Linger 0: closing sends RST instead of FIN.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.wfile.close()
        self.rfile.close()
        self.connection.close()
        raise _Gone

    def _pause(self, seconds: float) -> None:
        """Wait, or just look, and raise `_Gone` as soon as the client has closed its side."""
        deadline = time.monotonic() + seconds
        while True:
            left = max(0.0, deadline - time.monotonic())
            readable, _, _ = select.select([self.connection], [], [], min(left, 0.01))
            if self.server.fake._closing.is_set():
                raise _Gone
            if readable and not isinstance(self.connection, ssl.SSLSocket):
                if not self.connection.recv(1, socket.MSG_PEEK):
                    raise _Gone
                time.sleep(min(left, 0.01))
            if left <= 0:
                return

    def _event(self, chunk: dict[str, Any], reply: Reply) -> None:
        chunk = {"object": "chat.completion.chunk", "model": self.server.fake.model, **chunk}
        self._write(f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode(), reply)

    def _write(self, data: bytes, reply: Reply) -> None:
        size = reply.write_size or len(data)
        for start in range(0, len(data), size):
            part = data[start : start + size]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.flush()

    def _send_raw(self, reply: Reply) -> None:
        body = reply.body if reply.body is not None else json.dumps({"error": {"message": "scripted fault"}})
        self._send(body.encode(), reply.content_type or "application/json", reply.status, reply.headers)

    def _send_json(self, value: object, status: int = 200) -> None:
        self._send(json.dumps(value).encode(), "application/json", status, ())

    def _send(
        self, data: bytes, content_type: str, status: int, headers: tuple[tuple[str, str], ...]
    ) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def _cut(text: str, body: dict[str, Any]) -> tuple[list[str], str]:
    """Split a text into tokens and obey `stop` and `max_tokens`; the reason is empty if neither cut it."""
    stop = body.get("stop") or []
    for word in [stop] if isinstance(stop, str) else stop:
        text = text.partition(word)[0]
    pieces = re.findall(r"\s+|\S{1,4}", text)
    limit = body.get("max_tokens") or len(pieces)
    return pieces[:limit], "length" if len(pieces) > limit else ""


def _interleave(choices: list[list[str]]) -> Iterator[tuple[int, str]]:
    """Give the pieces of several choices in turn, as servers do."""
    for step in range(max((len(pieces) for pieces in choices), default=0)):
        for index, pieces in enumerate(choices):
            if step < len(pieces):
                yield index, pieces[step]
