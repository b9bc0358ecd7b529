"""Asks an OpenAI-compatible endpoint for answers, token by token, each wait with its deadline."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlsplit

from .. import __version__
from ..config import is_loopback
from ..errors import (
    EndpointError,
    EndpointProtocolError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
)
from . import Capabilities, ChatRequest, Delta, Endpoint, Usage
from .wire import (
    Echo,
    Malformed,
    Quirks,
    deltas_in,
    error_in,
    models_in,
    parse,
    quirks,
    request_body,
    server_kind,
    usage_in,
)

if TYPE_CHECKING:
    import httpx2

BODY_LIMIT = 1 << 20
"""Bytes read of an answer that is not a stream."""


class _Limit(NamedTuple):
    """A moment on the loop's clock, and what it means to have reached it."""

    at: float
    missed: str


class ChatClient:
    """One endpoint. Keeps what it can do, and connections to it where it is another machine."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        request_timeout: float,
        connect_timeout: float = 5.0,
        first_token_timeout: float = 60.0,
        token_timeout: float = 20.0,
    ) -> None:
        self.endpoint = endpoint
        self.request_timeout = request_timeout
        self.connect_timeout = connect_timeout
        self.first_token_timeout = first_token_timeout
        self.token_timeout = token_timeout
        parts = urlsplit(endpoint.url)
        self._host = parts.hostname or ""
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._http: httpx2.AsyncClient | None = None
        self._capabilities: Capabilities | None = None

    async def close(self) -> None:
        """Close the connections that were kept for the next request."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def capabilities(self, *, refresh: bool = False) -> Capabilities:
        """Ask the endpoint what it is; once, unless `refresh` asks whether it still is."""
        if self._capabilities is None or refresh:
            self._capabilities = await self._ask_capabilities()
        return self._capabilities

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Usage, None]:
        """Generate. Closing the generator closes the connection, which ends the work at the other side."""
        until = self._total()
        capabilities = await self.capabilities()
        quirk = quirks()[capabilities.server]
        if not capabilities.prefill:
            request = replace(request, prefill="")
        total: Usage | None = None
        for first_index, part in enumerate(_parts(request, quirk)):
            async with aclosing(self._generate(part, quirk, capabilities.model, until)) as answer:
                async for piece in answer:
                    if isinstance(piece, Usage):
                        total = piece if total is None else _add(total, piece)
                    else:
                        yield replace(piece, index=first_index + piece.index)
        if total is not None:
            yield total

    async def warm(self, request: ChatRequest) -> bool:
        """Have our own host evaluate a prompt while it has nothing else to do; tell whether it did, to the end."""
        capabilities = await self.capabilities()
        if capabilities.server != "nl2code":
            return False
        until = self._total()
        body = request_body(request, quirks()[capabilities.server], capabilities.model)
        root = self.endpoint.url.removesuffix("/v1")
        async with self._answer("POST", "/warm", body, until, root=root) as response:
            told = await self._body(response, until)
        with self._translated():
            answer = parse(told)
        return isinstance(answer, dict) and answer.get("warm") == "ok"

    async def _generate(
        self, request: ChatRequest, quirk: Quirks, model: str, until: _Limit
    ) -> AsyncGenerator[Delta | Usage, None]:
        """Make one HTTP request and read its stream to the end."""
        body = request_body(request, quirk, model)
        echoes = [Echo(request.prefill if quirk.prefill else "") for _ in range(request.n)]
        counted = 0
        usage: Usage | None = None
        limit = self._sooner(until, self.first_token_timeout, "gave no token")
        async with (
            self._answer("POST", "/chat/completions", body, limit) as response,
            aclosing(await self._events(response, limit)) as events,
        ):
            while (chunk := await self._next_chunk(events, limit)) is not None:
                usage = usage_in(chunk) or usage
                with self._translated():
                    deltas = deltas_in(chunk, request.n)
                for delta in deltas:
                    counted += delta.tokens
                    if shown := echoes[delta.index].strip(delta):
                        yield shown
                if deltas:  # the time that the caller took over them is not the endpoint's
                    limit = self._sooner(until, self.token_timeout, "gave no further token")
            await self._drain(events)
        if usage is not None:
            # Some servers count one of several answers.
            yield replace(usage, completion_tokens=max(usage.completion_tokens, counted))

    async def _ask_capabilities(self) -> Capabilities:
        limit = self._sooner(self._total(), self.first_token_timeout, "did not list its models")
        named = self.endpoint.model
        try:
            async with self._answer("GET", "/models", None, limit) as response:
                body = await self._body(response, limit)
                server_header = response.headers.get("server", "")
        except EndpointRefused as error:
            if named and error.status in (404, 405):  # an endpoint need not list its models
                kind = server_kind("", "", self._host)
                return Capabilities(named, kind, prefill=bool(quirks()[kind].prefill))
            raise
        with self._translated():
            listed = models_in(parse(body))
        if not listed and not named:
            raise EndpointProtocolError(
                f"{self._origin} lists no model", "Say which one to ask for: set model"
            )
        entry = next((entry for entry in listed if entry["id"] == named), listed[0] if listed else {})
        kind = server_kind(str(entry.get("owned_by", "")), server_header, self._host)
        # A model entry of our host says so where a model cannot continue an answer.
        prefill = bool(quirks()[kind].prefill) and entry.get("prefill") is not False
        return Capabilities(named or entry["id"], kind, prefill, adapter=str(entry.get("adapter") or ""))

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, body: bytes | None, limit: _Limit, *, root: str = ""
    ) -> AsyncIterator[httpx2.Response]:
        """Send a request and give its answer, which has status 200; leaving this closes the connection."""
        with self._translated():
            http = self._client()
            request = http.build_request(method, (root or self.endpoint.url) + path, content=body)
            async with self._deadline(limit):
                response = await http.send(request, stream=True)
        try:
            if response.status_code != 200:
                raise self._refusal(response, await self._body(response, limit))
            yield response
        finally:
            await response.aclose()

    def _client(self) -> httpx2.AsyncClient:
        if self._http is None:
            import ssl

            import httpx2

            loopback = is_loopback(self._host)
            headers = {
                "user-agent": f"nl2code/{__version__}",
                "accept-encoding": "identity",  # so that no small answer unpacks to a huge one
                "content-type": "application/json",
            }
            if self.endpoint.api_key:
                headers["authorization"] = f"Bearer {self.endpoint.api_key}"
            # With the certificates that the environment names, on loopback too; to load them takes 20 ms.
            plain = self.endpoint.url.startswith("http:")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else httpx2.create_ssl_context()
            self._http = httpx2.AsyncClient(
                headers=headers,
                timeout=httpx2.Timeout(None, connect=self.connect_timeout),
                trust_env=not loopback,  # its proxies are for other machines
                verify=context,
                limits=httpx2.Limits(max_keepalive_connections=0 if loopback else 4, keepalive_expiry=60),
                follow_redirects=False,  # another origin must not get the key
            )
        return self._http

    async def _events(
        self, response: httpx2.Response, limit: _Limit
    ) -> AsyncGenerator[httpx2.ServerSentEvent, None]:
        from httpx2 import EventSource

        if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            body = await self._body(response, limit)
            with suppress(Malformed):
                if failure := self._failure_in(parse(body)):
                    raise failure
            raise self._not_the_protocol(_described(body))
        return cast("AsyncGenerator[httpx2.ServerSentEvent, None]", aiter(EventSource(response)))

    async def _next_chunk(
        self, events: AsyncGenerator[httpx2.ServerSentEvent, None], limit: _Limit
    ) -> dict[str, Any] | None:
        """Read one chunk of a stream; None is its end as agreed, any other end is an error."""
        with self._translated():
            async with self._deadline(limit):
                event = await anext(events, None)
            if event is None:
                raise EndpointUnavailable(f"{self._origin} broke off in mid-answer", self._advice())
            if event.data == "[DONE]":
                return None
            chunk = parse(event.data)
        if failure := self._failure_in(chunk):
            raise failure
        if not isinstance(chunk, dict):
            raise self._not_the_protocol("a chunk that is no object")
        return chunk

    async def _drain(self, events: AsyncGenerator[httpx2.ServerSentEvent, None]) -> None:
        """Read to the very end, so that the connection to another machine can serve the next request."""
        if is_loopback(self._host):
            return
        with suppress(EndpointError), self._translated():
            async with self._deadline(self._sooner(self._total(), 0.5, "did not end its answer")):
                await anext(events, None)

    async def _body(self, response: httpx2.Response, limit: _Limit) -> str:
        body = b""
        with self._translated():
            async with self._deadline(limit):
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > BODY_LIMIT:
                        break
        return body.decode(errors="replace")

    def _total(self) -> _Limit:
        now = asyncio.get_running_loop().time()
        return _Limit(now + self.request_timeout, f"was not done within {self.request_timeout:g} s")

    def _sooner(self, until: _Limit, seconds: float, missed: str) -> _Limit:
        at = asyncio.get_running_loop().time() + seconds
        return min(until, _Limit(at, f"{missed} within {seconds:g} s"))

    @asynccontextmanager
    async def _deadline(self, limit: _Limit) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout_at(limit.at):
                yield
        except TimeoutError:
            raise EndpointTimeout(f"{self._origin} {limit.missed}", self._advice()) from None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the ways in which a connection and an answer fail into ours, each with its fix."""
        import httpx2

        try:
            yield
        except Malformed as error:
            raise self._not_the_protocol(str(error)) from None
        except httpx2.ConnectTimeout:
            raise EndpointTimeout(
                f"No connection to {self._origin} within {self.connect_timeout:g} s", self._advice()
            ) from None
        except httpx2.ConnectError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                reason = re.sub(r".*certificate verify failed: | \(_ssl.*", "", str(error))
                raise EndpointUnavailable(
                    f"The certificate of {self._origin} is not trusted: {reason}",
                    "Add its authority to the system's certificates, or name it in SSL_CERT_FILE",
                ) from None
            raise EndpointUnavailable(f"Nobody answers at {self._origin}", self._advice()) from None
        except (httpx2.ProxyError, httpx2.UnsupportedProtocol, ImportError) as error:
            raise EndpointUnavailable(
                f"The proxy on the way to {self._origin} cannot be used: {_one_line(str(error))}",
                "Check HTTPS_PROXY, or name the host in NO_PROXY",
            ) from None
        except httpx2.TransportError as error:
            raise EndpointUnavailable(
                f"The connection to {self._origin} broke: {_one_line(str(error)) or type(error).__name__}",
                self._advice(),
            ) from None
        except httpx2.DecodingError:
            raise self._not_the_protocol("an answer that cannot be unpacked") from None

    def _not_the_protocol(self, sent: str) -> EndpointProtocolError:
        return EndpointProtocolError(
            f"{self._origin} does not speak the OpenAI protocol: it sent {sent}",
            "Check endpoint: it is the address up to /v1",
        )

    def _failure_in(self, value: Any) -> EndpointRefused | None:
        """Return the error that an answer of status 200 turns out to hold."""
        told = error_in(value)
        if told is None:
            return None
        message, status = told
        return EndpointRefused(
            f"{self._origin} gave up: {self._quoted(message)}", _advice_on(status, message), status=status
        )

    def _refusal(self, response: httpx2.Response, body: str) -> EndpointRefused:
        status = response.status_code
        try:
            told = error_in(parse(body))
        except Malformed:
            told = None
        message = told[0] if told else ""
        if 300 <= status < 400:
            target = urlsplit(response.headers.get("location", ""))
            shown = f"{target.scheme}://{target.hostname}" if target.hostname else "another address"
            return EndpointRefused(
                f"{self._origin} redirects to {_one_line(shown)}, where the key must not go",
                "Set endpoint to the final address",
                status=status,
            )
        advice = _advice_on(status, message)
        if status in (429, 503) and re.fullmatch(r"\d{1,5}", wait := response.headers.get("retry-after", "")):
            advice = f"Try again in {wait} s"
        reason = self._quoted(message) if message else _described(body)
        return EndpointRefused(f"{self._origin} answered {status}: {reason}", advice, status=status)

    def _quoted(self, message: str) -> str:
        """Make a server's message fit to show: some repeat the key that they refuse."""
        if self.endpoint.api_key:
            message = message.replace(self.endpoint.api_key, "…")
        return _one_line(re.sub(r"\b(sk|pk|hf|gsk)[-_]\S+", "…", message))

    def _advice(self) -> str:
        if self.endpoint.local:
            return "See `nl2code host status`"
        return "Check that the server runs, and endpoint in the settings"


def _parts(request: ChatRequest, quirk: Quirks) -> list[ChatRequest]:
    """Split a request for several answers where the server gives one at a time."""
    if request.n == 1 or quirk.n:
        return [request]
    seeds = [None if request.seed is None else request.seed + index for index in range(request.n)]
    return [replace(request, n=1, seed=seed) for seed in seeds]


def _add(first: Usage, second: Usage) -> Usage:
    return Usage(
        first.prompt_tokens + second.prompt_tokens,
        first.completion_tokens + second.completion_tokens,
        first.cached_tokens + second.cached_tokens,
    )


def _advice_on(status: int, message: str) -> str:
    if "context" in message.lower():
        return "Lower context_tokens or max_tokens"
    if status in (401, 403):
        return "Check api_key"
    if status == 404:
        return "Check endpoint and model"
    if status == 429:
        return "Too many requests: try again later"
    return "See the server's log" if status >= 500 else ""


def _described(body: str) -> str:
    """Say what came instead of an answer, without repeating it."""
    start = body.lstrip()[:200].lower()
    if start.startswith("<"):
        return "a web page"
    return "JSON that is no answer" if start.startswith(("{", "[")) else "text" if start else "nothing"


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:199]}…"
