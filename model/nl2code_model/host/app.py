"""The HTTP application of the host: chat completions, models, health, metrics, shutdown."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from nl2code_server import __version__
from nl2code_server.endpoint.runtime import PROTOCOL
from nl2code_server.errors import Nl2CodeError

from .api import BadRequest, error_body, parse_adapter
from .completions import BODY_TIMEOUT, Activity, Completions, Gone, error_response, read_body
from .engine import Engine
from .guard import Guard
from .turns import Turns
from .warming import Warming


class Host:
    """An engine behind the routes, and what the host has been asked so far."""

    def __init__(self, engine: Engine, *, queue_limit: int) -> None:
        self.engine = engine
        self.turns = Turns(engine.parallel, queue_limit)
        self.activity = Activity()
        self.warming = Warming(engine, self.turns)
        self.stopping = asyncio.Event()
        self._started = int(time.time())

    def app(self, *, token: str, names: frozenset[str]) -> ASGIApp:
        """Return the application: every route behind the guard, unknown ones too."""
        completions = Completions(self.engine, self.turns, self.activity)
        routes = [
            Route("/v1/chat/completions", completions, methods=["POST"]),
            Route("/warm", self.warming, methods=["POST"]),
            Route("/v1/models", self._models),
            Route("/health", self._health),
            Route("/metrics", self._metrics),
            Route("/adapter", self._adapter, methods=["POST"]),
            Route("/shutdown", self._shutdown, methods=["POST"]),
        ]
        return Guard(Starlette(routes=routes, exception_handlers={HTTPException: _http_error}), token, names)

    def idle_seconds(self) -> float:
        """Return how long ago the last answer ended; 0 while one is under way."""
        return 0.0 if self.activity.under_way else time.monotonic() - self.activity.last_used

    async def _models(self, _: Request) -> Response:
        model = {"id": self.engine.model, "object": "model", "created": self._started, "owned_by": "nl2code"}
        told = {"prefill": self.engine.prefill, "adapter": self.engine.adapter}
        # `max_model_len` is vLLM's word, which clients know.
        entry = {**model, "max_model_len": self.engine.context, **told}
        return JSONResponse({"object": "list", "data": [entry]})

    async def _adapter(self, request: Request) -> Response:
        """Put the adapter in a folder of this machine in force; no folder takes it off."""
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                body = await read_body(request.receive)
            await self.engine.use_adapter(*parse_adapter(body))
        except (BadRequest, TimeoutError) as error:
            return error_response(error)
        except Gone:
            return Response(status_code=400)  # nobody reads it
        except Nl2CodeError as error:
            return JSONResponse(error_body(str(error), "engine_error", code="adapter_refused"), 409)
        return JSONResponse({"adapter": self.engine.adapter})

    async def _health(self, _: Request) -> Response:
        failure = self.engine.failure
        state = {
            "status": "failing" if failure else "ok",
            "failure": failure,
            "engine": self.engine.name,
            "model": self.engine.model,
            "version": __version__,
            "protocol": PROTOCOL,
            "running": self.turns.running,
            "queued": self.turns.waiting,
        }
        return JSONResponse(state, 503 if failure else 200)

    async def _metrics(self, _: Request) -> Response:
        counts, activity = self.engine.counts, self.activity
        totals: list[tuple[str, str, float]] = [
            *(
                (f'requests_total{{outcome="{name}"}}', "counter", count)
                for name, count in activity.outcomes.items()
            ),
            ("cancelled_total", "counter", activity.outcomes["cancelled"]),
            ("request_seconds_total", "counter", round(activity.seconds, 3)),
            ("prompt_tokens_total", "counter", counts.prompt_tokens),
            ("cached_tokens_total", "counter", counts.cached_tokens),
            ("generated_tokens_total", "counter", counts.generated_tokens),
            *(
                (f'warm_requests_total{{outcome="{name}"}}', "counter", count)
                for name, count in self.warming.outcomes.items()
            ),
            ("warmed_tokens_total", "counter", counts.warmed_tokens),
            ("warmed_tokens_used_total", "counter", counts.warmed_tokens_used),
            ("engine_restarts_total", "counter", counts.restarts),
            ("running", "gauge", self.turns.running),
            ("queued", "gauge", self.turns.waiting),
        ]
        lines = []
        for name, kind, value in totals:
            declaration = f"# TYPE nl2code_{name.partition('{')[0]} {kind}"
            lines += [*([declaration] if declaration not in lines else []), f"nl2code_{name} {value}"]
        text = "\n".join(lines) + "\n" + await self.engine.metrics()
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def _shutdown(self, _: Request) -> Response:
        self.stopping.set()
        return JSONResponse({"status": "stopping"}, 202)


def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body: dict[str, Any] = error_body(error.detail, "invalid_request_error", code="not_found")
    return JSONResponse(body, error.status_code, error.headers)
