"""The model's file is not there: one question before it is fetched, then progress in the editor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsprotocol import types as lsp

from ..errors import ModelMissing, Nl2CodeError
from .progress import CancelledByUser, progress_bar
from .status import Report, State

if TYPE_CHECKING:
    from .server import Server

_ANSWER_SECONDS = 600.0
_YES, _NO = "Download", "Not now"


class Download:
    """Fetches a missing model if the user agrees, who is asked once in a session."""

    def __init__(self, ls: Server) -> None:
        self._ls = ls
        self._asked = False
        self._waiting = False

    def offer(self, missing: ModelMissing) -> Report:
        """Ask whether to fetch a model, unless that was asked before; return what stands until it is there."""
        if self._ls.session.client.asks and not self._asked:
            self._asked = self._waiting = True
            self._ls.session.spawn(self._ask(missing))
        if self._waiting:
            return Report(State.DOWNLOADING, f"{missing.message}; waiting for your answer or the download")
        return Report(State.PROBLEM, missing.message, missing.fix)

    async def _ask(self, missing: ModelMissing) -> None:
        board = self._ls.session.board
        try:
            answer = await self._question(missing)
            if answer != _YES:
                board.end(self, Report(State.PROBLEM, missing.message, missing.fix))
                return
            await self._fetch(missing)
        except Nl2CodeError as error:
            board.end(self, Report(State.PROBLEM, error.message, error.fix or missing.fix))
        finally:
            self._waiting = False

    async def _question(self, missing: ModelMissing) -> str:
        size = f" ({missing.size / (1 << 20):.0f} MiB)" if missing.size else ""
        params = lsp.ShowMessageRequestParams(
            type=lsp.MessageType.Info,
            message=f"nl2code needs the model {missing.model}{size}, once. Download it?",
            actions=[lsp.MessageActionItem(title=_YES), lsp.MessageActionItem(title=_NO)],
        )
        answer = await self._ls.ask(lsp.WINDOW_SHOW_MESSAGE_REQUEST, params, seconds=_ANSWER_SECONDS)
        return answer.title if answer is not None else _NO

    async def _fetch(self, missing: ModelMissing) -> None:
        from ..endpoint.process import pull_model

        session = self._ls.session
        name = f"downloading {missing.model}"
        session.board.begin(self, State.DOWNLOADING, name)
        try:
            async with progress_bar(self._ls, f"nl2code: {name}", counted=True) as bar:
                percent = -1

                def show(done: int, total: int) -> None:
                    nonlocal percent
                    now = done * 100 // total if total else 0
                    if now != percent:
                        percent = now
                        size = f"{done / (1 << 20):.0f} of {total / (1 << 20):.0f} MiB"
                        bar.report(size, now)
                        session.board.begin(self, State.DOWNLOADING, f"{name}: {size}")

                await pull_model(session.settings, missing.model, on_progress=show)
        except CancelledByUser:
            raise Nl2CodeError(f"The download of {missing.model} was cancelled", missing.fix) from None
        session.board.end(self, Report(State.READY))
