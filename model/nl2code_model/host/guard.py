"""Who may talk to the host: callers with the token, by a name of this machine, from no other site's web page."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from .api import error_body

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard:
    """Checks Host, Origin and token of every request, before any route is looked for.

    `names` are the host names that it answers to; none means any.
    """

    def __init__(self, app: ASGIApp, token: str, names: frozenset[str]) -> None:
        self._app = app
        self._token = token.encode()
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
        host = headers.get("host", b"").decode("latin-1")
        if not self._answers_to(f"//{host}"):
            return _refuse(403, "this host name is not served", "host_not_allowed")
        origin = headers.get("origin")
        # A page's script can only be one that came from this machine itself.
        if origin is not None and not self._answers_to(origin.decode("latin-1")):
            return _refuse(403, "this origin is not allowed", "origin_not_allowed")
        scheme, _, given = headers.get("authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
            return _refuse(401, "the token is missing or wrong", "invalid_api_key")
        return None

    def _answers_to(self, url: str) -> bool:
        try:
            name = urlsplit(url).hostname
        except ValueError:
            return False
        return bool(name) and (not self._names or name in self._names)


def _refuse(status: int, message: str, code: str) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(error_body(message, "authentication_error", code=code), status, headers)
