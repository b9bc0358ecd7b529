"""Work-done progress in the editor, for clients that show it; the others get the same work without the bar."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from lsprotocol import types as lsp

from ..errors import Nl2CodeError

if TYPE_CHECKING:
    from .server import Server

_CREATE_SECONDS = 2.0


class CancelledByUser(Nl2CodeError):
    """The user pressed the cancel button of a progress bar."""


class Bar:
    """A progress bar in the making: `report` may be called whether or not the client shows it."""

    def __init__(self, ls: Server, token: str) -> None:
        self._ls = ls
        self._token = token

    def report(self, message: str, percentage: int | None = None) -> None:
        """Say how far the work is."""
        if self._token:
            value = lsp.WorkDoneProgressReport(message=message, percentage=percentage)
            self._ls.work_done_progress.report(self._token, value)


@asynccontextmanager
async def progress_bar(ls: Server, title: str, *, counted: bool = False) -> AsyncIterator[Bar]:
    """Show a cancellable bar for the time of the block; raise `CancelledByUser` out of it when it is cancelled."""
    token = await _create(ls) if ls.session.client.progress else ""
    if not token:
        yield Bar(ls, "")
        return
    bars = ls.work_done_progress
    begin = lsp.WorkDoneProgressBegin(title=title, cancellable=True, percentage=0 if counted else None)
    bars.begin(token, begin)
    task, pressed = asyncio.current_task(), False

    def cancel(_: object) -> None:
        nonlocal pressed
        if task is not None and bars.tokens[token].cancelled():
            pressed = task.cancel()

    bars.tokens[token].add_done_callback(cancel)
    try:
        yield Bar(ls, token)
    except asyncio.CancelledError:
        # Cancelled both by the button and by the request, it is the request that counts.
        if pressed and task is not None and task.uncancel() == 0:
            raise CancelledByUser("cancelled") from None
        raise
    finally:
        bars.tokens.pop(token, None)
        bars.end(token, lsp.WorkDoneProgressEnd())


async def _create(ls: Server) -> str:
    """Return a token that the client accepted, or nothing."""
    token = str(uuid.uuid4())
    params = lsp.WorkDoneProgressCreateParams(token=token)
    try:
        await ls.ask(lsp.WINDOW_WORK_DONE_PROGRESS_CREATE, params, seconds=_CREATE_SECONDS)
    except Nl2CodeError:
        return ""
    return token
