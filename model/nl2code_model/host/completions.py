"""POST /v1/chat/completions: streamed or whole, and over the moment that the client goes away."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from nl2code_server.errors import HostError

from .api import BadRequest, Chat, chunk_body, completion_body, error_body, parse_chat, usage_body
from .engine import ChatNotSupported, Chunk, Engine, PromptTooLong, Usage
from .turns import QueueFull, Turns

log = logging.getLogger(__name__)

MAX_BODY = 4 << 20  # bytes
BODY_TIMEOUT = 30.0
SEND_TIMEOUT = 30.0
"""Seconds that a client may stop reading before it counts as gone."""
RETRY_AFTER = 2  # seconds


@dataclass(slots=True)
class Activity:
    """What has been asked so far, and how it ended."""

    outcomes: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("ok", "refused", "failed", "cancelled"), 0)
    )
    seconds: float = 0.0
    under_way: int = 0
    last_used: float = field(default_factory=time.monotonic)


class Completions:
    """The route, as an ASGI application: a response object could not watch the client while the answer is made."""

    def __init__(self, engine: Engine, turns: Turns, activity: Activity) -> None:
        self._engine = engine
        self._turns = turns
        self._activity = activity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        self._activity.under_way += 1
        outcome = "cancelled"
        try:
            outcome = await self._answer(scope, receive, _Patient(send))
        finally:
            self._activity.outcomes[outcome] += 1
            self._activity.under_way -= 1
            self._activity.last_used = time.monotonic()
            self._activity.seconds += self._activity.last_used - began

    async def _answer(self, scope: Scope, receive: Receive, send: _Patient) -> str:
        """Answer one request and say how it ended."""
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                body = await read_body(receive)
            chat = parse_chat(body, self._engine.model)
            work = self._stream(chat, send) if chat.stream else self._whole(chat, scope, receive, send)
            stayed = await while_there(receive, work)
        except Exception as error:
            if isinstance(error, Gone):
                return "cancelled"
            response = error_response(error)
            if send.started:
                await send.event(bytes(response.body))
                await send.end()
            else:
                await response(scope, receive, send)
            return "refused" if response.status_code < 500 else "failed"
        return "ok" if stayed else "cancelled"

    async def _stream(self, chat: Chat, send: _Patient) -> None:
        head = self._head()
        async with self._turns.turn(), aclosing(self._engine.generate(chat.generation)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Chunk):
                    await send.event(json.dumps(chunk_body(head, piece)).encode())
                elif chat.include_usage:
                    await send.event(json.dumps(usage_body(head, piece)).encode())
        await send.event(b"[DONE]")
        await send.end()

    async def _whole(self, chat: Chat, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._turns.turn(), aclosing(self._engine.generate(chat.generation)) as pieces:
            chunks, usage = await _gather(pieces)
        await JSONResponse(completion_body(self._head(), chunks, usage))(scope, receive, send)

    def _head(self) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": self._engine.model,
        }


class Gone(Exception):
    """The client has left, or stopped reading."""


class _Patient:
    """Sends to the client with a deadline; starts an event stream with its first event."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def __call__(self, message: Message) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                await self._send(message)
        except (TimeoutError, OSError) as error:
            raise Gone from error

    async def event(self, data: bytes) -> None:
        if not self.started:
            headers = [
                (b"content-type", b"text/event-stream; charset=utf-8"),
                (b"cache-control", b"no-cache"),
            ]
            await self({"type": "http.response.start", "status": 200, "headers": headers})
            self.started = True
        await self({"type": "http.response.body", "body": b"data: " + data + b"\n\n", "more_body": True})

    async def end(self) -> None:
        await self({"type": "http.response.body", "body": b"", "more_body": False})


async def read_body(receive: Receive) -> bytes:
    """Read a request's body, up to the limit."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        body += bytes(message.get("body", b""))
        if len(body) > MAX_BODY:
            raise BadRequest(f"the body is longer than {MAX_BODY} bytes", code="body_too_large")
        if not message.get("more_body", False):
            return body


async def while_there(receive: Receive, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work, but stop it when the client goes away; say whether the client stayed."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        stayed = task.done()
    finally:
        task.cancel()
        gone.cancel()
        results = await asyncio.gather(task, gone, return_exceptions=True)
    if stayed and isinstance(results[0], BaseException):
        raise results[0]
    return stayed


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _gather(
    pieces: AsyncIterator[Chunk | Usage] | AsyncGenerator[Chunk | Usage],
) -> tuple[list[Chunk], Usage]:
    chunks, usage = [], Usage(0, 0, 0)
    async for piece in pieces:
        if isinstance(piece, Chunk):
            chunks.append(piece)
        else:
            usage = piece
    return chunks, usage


def error_response(error: Exception) -> JSONResponse:
    """Say in OpenAI's shape what went wrong."""
    invalid, later = "invalid_request_error", {"Retry-After": str(RETRY_AFTER)}
    match error:
        case BadRequest():
            return JSONResponse(error_body(str(error), invalid, error.param, error.code), 400)
        case PromptTooLong():
            # The type and the counts are llama.cpp's, the code is OpenAI's.
            counts = {"n_prompt_tokens": error.tokens, "n_ctx": error.context}
            body = error_body(
                error.message, "exceed_context_size_error", "messages", "context_length_exceeded", **counts
            )
            return JSONResponse(body, 400)
        case ChatNotSupported():
            return JSONResponse(error_body(str(error), invalid, "messages", "chat_not_supported"), 400)
        case QueueFull():
            body = error_body("too many requests are waiting", "server_busy", code="queue_full")
            return JSONResponse(body, 503, later)
        case HostError():
            return JSONResponse(error_body(str(error), "engine_error", code="engine_failed"), 503, later)
        case TimeoutError():
            return JSONResponse(error_body("the body did not arrive", invalid, code="timeout"), 408)
    log.exception("a request failed", exc_info=error)
    return JSONResponse(error_body("internal error; the host's log has the details", "server_error"), 500)
