"""The page, live: on loopback alone, behind an address that nobody can guess, until nobody looks any more.

The key is a part of the address and no cookie: a cookie of 127.0.0.1 goes to every port of it. It is in no reference
either, as the page links to nothing. Host and Origin are checked besides, so that no other site's page gets in.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode

import uvicorn
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from nl2code_server.errors import HostError, Nl2CodeError
from nl2code_server.feedback.store import Store
from nl2code_server.platform import paths

from .page import Content, Live, policy, render
from .prospects import Asking, Prospects
from .runs import runs
from .static import counted

HOST = "127.0.0.1"
DEADLINE = 60.0  # s for one answer
COUNTING = 900.0  # s for the dry run
RECOUNT = 300.0  # s
LONGEST = 4096  # bytes that may be sent
GRACE = 2  # s
PERIODS = {"": None, "90d": 90, "30d": 30, "7d": 7}  # days
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # with none, a browser would not say the origin of a form either
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": f"{policy(live=True)}; frame-ancestors 'none'",
}


@dataclass(slots=True)
class _Made:
    """A page, and the state of the files that it was made from."""

    state: str
    html: str


class Pages:
    """Makes the pages, one at a time in one thread, and keeps each until the log or the adapters have changed."""

    def __init__(self, database: Path, key: str) -> None:
        self.database = database
        self.key = key
        self.prospects: Prospects | None = None
        self.counts = 0
        self._made: dict[tuple[str, str], _Made] = {}

    def state(self) -> str:
        """Tell one state of the log and of the adapters from another, without opening them."""
        adapters = sorted((paths().data / "adapters").glob("*/*.json"))
        return "-".join([self.log_state(), *map(_state, adapters), str(self.counts)])

    def log_state(self) -> str:
        """Tell one state of the log from another."""
        return _state(self.database)

    def page(self, period: str, notice: str = "") -> str:
        """Return the page of a period."""
        state, place = self.state(), (period, notice)
        made = self._made.get(place)
        if made is None or made.state != state:
            days = PERIODS[period]
            figures, opened = counted(
                self.database, since=None if days is None else time.time() - days * 86400
            )
            live = Live(self.key, state, period, notice or opened)
            made = _Made(state, render(Content(figures, runs(), self.prospects, live)))
            if not notice:
                self._made[place] = made
        return made.html

    def delete(self, suggestion: str) -> str:
        """Delete a suggestion, and say what was deleted."""
        with Store(self.database) as store:
            purged = store.purge(suggestion=suggestion)
        return "1" if purged.suggestions else "0"


def _state(file: Path) -> str:
    try:
        info = file.stat()
    except FileNotFoundError:
        return ""
    return f"{info.st_mtime_ns:x}.{info.st_size:x}"


NOTICES = {"1": "The suggestion is deleted.", "0": "That suggestion was not there any more."}


class App:
    """Answers three addresses: the page, its state, and deletion."""

    def __init__(self, pages: Pages, port: int) -> None:
        self._pages = pages
        self._names = {f"{name}:{port}" for name in (HOST, "localhost")}
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="report")
        self.asked = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            async with asyncio.timeout(DEADLINE):
                response = await self._answer(request)
        except TimeoutError:
            response = PlainTextResponse(f"This took longer than {DEADLINE:.0f} s.\n", 503)
        except Nl2CodeError as error:
            response = PlainTextResponse(f"{error}\n", 500)
        response.headers.update(HEADERS)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        name = request.url.path.split("/", 2)[2]
        if name == "" and request.method == "GET":
            self.asked = time.monotonic()
            period, done = (request.query_params.get(one, "") for one in ("since", "deleted"))
            if period not in PERIODS:
                return PlainTextResponse("There is no such period.\n", 404)
            return HTMLResponse(await self._run(lambda: self._pages.page(period, NOTICES.get(done, ""))))
        if name == "state" and request.method == "GET":
            return PlainTextResponse(self._pages.state())
        if name == "delete" and request.method == "POST":
            self.asked = time.monotonic()
            return await self._delete(request)
        return PlainTextResponse("There is no such page.\n", 404)

    def _refusal(self, request: Request) -> Response | None:
        if request.headers.get("host", "") not in self._names:
            return PlainTextResponse("This host name is not served.\n", 403)
        origin = request.headers.get("origin")
        if origin is not None and origin not in {f"http://{name}" for name in self._names}:
            return PlainTextResponse("This origin is not allowed.\n", 403)
        if request.headers.get("sec-fetch-site", "none") == "cross-site":
            return PlainTextResponse("Other sites may not lead here.\n", 403)
        given = request.url.path.split("/", 2)[1:2]
        if not _same(given[0] if given else "", self._pages.key) or request.url.path.count("/") != 2:
            return PlainTextResponse("The key is missing or wrong: take the address that was printed.\n", 403)
        return None

    async def _delete(self, request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LONGEST:
                return PlainTextResponse("That is too long.\n", 413)
        form = parse_qs(body.decode("utf-8", "replace"), max_num_fields=8)
        if not _same(form.get("key", [""])[0], self._pages.key):
            return PlainTextResponse("The key is missing or wrong.\n", 403)
        suggestion, period = (form.get(name, [""])[0] for name in ("suggestion", "since"))
        if not suggestion or period not in PERIODS:
            return PlainTextResponse("Name a suggestion.\n", 400)
        done = await self._run(lambda: self._pages.delete(suggestion))
        return RedirectResponse(f"./?{urlencode({'since': period, 'deleted': done})}#recent", 303)

    async def _run(self, work: Callable[[], str]) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


async def serve(database: Path, *, port: int, minutes: float, announce: Callable[[str], None]) -> None:
    """Serve the page until Ctrl+C, or until nobody has asked for it for so many minutes."""
    with _listen(port) as listener:
        number = listener.getsockname()[1]
        pages = Pages(database, secrets.token_urlsafe(24))
        app = App(pages, number)
        await app._run(lambda: pages.page(""))  # the first reader should not wait
        config = uvicorn.Config(
            app, http="h11", ws="none", lifespan="off", log_level="warning", access_log=False,
            server_header=False, proxy_headers=False, timeout_graceful_shutdown=GRACE,
        )  # fmt: skip
        server = uvicorn.Server(config)
        # uvicorn raises a signal again when it has closed down.
        before = {one: signal.signal(one, lambda *_: None) for one in (signal.SIGINT, signal.SIGTERM)}
        counting = asyncio.create_task(_count(pages))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            announce(f"http://{HOST}:{number}/{pages.key}/")
            while not serving.done() and (left := minutes * 60 - (time.monotonic() - app.asked)) > 0:
                await asyncio.wait([serving], timeout=left)
        finally:
            server.should_exit = True
            counting.cancel()
            await serving
            for one, handler in before.items():
                signal.signal(one, handler)


async def _count(pages: Pages) -> None:
    """Ask for the prospects, and again when the log has changed."""
    while True:
        state, asking = pages.log_state(), Asking()
        try:
            pages.prospects = await asyncio.to_thread(asking.wait, COUNTING)
            pages.counts += 1
        finally:
            asking.end()
        while pages.log_state() == state:  # noqa: ASYNC110 - a file's change sets no event
            await asyncio.sleep(RECOUNT)


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise HostError(f"cannot listen on {HOST} port {port}: {reason}", "choose another --port") from error
    return listener
