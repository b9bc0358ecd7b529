"""All routes of the host's application, read from it: a new one is not forgotten."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import Route

from fakes.engine import FakeEngine
from nl2code_model.host.app import Host
from nl2code_model.host.guard import Guard

UNKNOWN = [("GET", "/"), ("GET", "/docs"), ("GET", "/openapi.json"), ("POST", "/v1/completions")]


def host_routes() -> list[tuple[str, str]]:
    """Return method and path of each route, of some that do not exist, and of preflights of all."""
    app = Host(FakeEngine(), queue_limit=1).app(token="t", names=frozenset())
    assert isinstance(app, Guard)
    inner = app._app
    assert isinstance(inner, Starlette)
    found = []
    for route in inner.routes:
        assert isinstance(route, Route), f"{route} can have routes within, which this does not look for"
        found += [(method, route.path) for method in sorted(route.methods or ("GET", "POST"))]
    return [*found, *UNKNOWN, *(("OPTIONS", path) for path in sorted({path for _, path in found}))]
