"""POST /warm: the prompt of a chat evaluated before anybody asks for the answer. It gives way to all that does."""

from __future__ import annotations

import asyncio

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from .api import parse_chat
from .completions import BODY_TIMEOUT, Gone, error_response, read_body, while_there
from .engine import Engine, Generation
from .turns import Turns


class Warming:
    """The route, as an ASGI application. Nothing waits for it: it works while nothing else does."""

    def __init__(self, engine: Engine, turns: Turns) -> None:
        self.outcomes = dict.fromkeys(("ok", "cancelled", "busy", "refused"), 0)
        self._engine = engine
        self._turns = turns
        self._task: asyncio.Task[None] | None = None
        turns.on_wanted = self.give_way

    def give_way(self) -> None:
        """Stop at once: somebody waits for an answer, or something else is to be warmed."""
        if self._task:
            self._task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                body = await read_body(receive)
            generation = parse_chat(body, self._engine.model).generation
            if self._turns.running or self._turns.waiting:
                outcome = "busy"
            else:
                outcome = "ok" if await while_there(receive, self._warm(generation)) else "cancelled"
            response = JSONResponse({"warm": outcome})
        except Gone:
            return
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) and task.cancelling():
                raise
            outcome, response = "cancelled", JSONResponse({"warm": "cancelled"})
        except Exception as error:
            outcome, response = "refused", error_response(error)
        self.outcomes[outcome] += 1
        await response(scope, receive, send)

    async def _warm(self, generation: Generation) -> None:
        self.give_way()
        own = self._task = asyncio.current_task()
        try:
            await self._engine.warm(generation)
        finally:
            if self._task is own:
                self._task = None
