"""Off the event loop, which must go on reading keystrokes: slow imports before they are needed, long parses."""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Sequence
from types import ModuleType

from ..lang.document import Snapshot

LONG = 2_000
"""Lines from which on a text is parsed in a thread. A shorter one takes less time than it takes to go there."""

_BREATH = 0.005
"""Seconds between two modules, in which the event loop has the interpreter for itself."""
_FEATURES = "nl2code_server.lsp.features"
_FINDING = (
    f"{_FEATURES}.inline_completion",
    "nl2code_server.lang.instruction",
    "nl2code_server.lsp.ghost",
)
# In the order in which a first suggestion needs them.
_SUGGESTING = (
    "nl2code_server.suggest.pipeline",
    "nl2code_server.feedback.log",
    "nl2code_server.endpoint.process",
    "ssl",
    "httpx2",
    # What httpx2 would import at its first request.
    "httpcore2",
    "anyio._backends._asyncio",
    "pydantic_monty",
    "nl2code_server.lsp.outcomes",
    f"{_FEATURES}.commands",
    f"{_FEATURES}.code_action",
    f"{_FEATURES}.hover",
)


class Preload:
    """What a first suggestion needs, imported once by a thread."""

    def __init__(self) -> None:
        self._finding: asyncio.Task[None] | None = None
        self._all: asyncio.Task[None] | None = None

    async def finding(self) -> None:
        """Wait until instructions can be found; begin to import if nobody has."""
        if self._finding is None:
            self._finding = asyncio.create_task(asyncio.to_thread(_import, _FINDING))
            self._all = asyncio.create_task(self._rest(self._finding))
        await asyncio.shield(self._finding)

    async def ready(self) -> None:
        """Wait until all of it is there."""
        await self.finding()
        assert self._all
        await asyncio.shield(self._all)

    async def _rest(self, first: asyncio.Task[None]) -> None:
        await first
        await asyncio.to_thread(_import, _SUGGESTING)
        await asyncio.to_thread(_read_quirks)


def feature_module(name: str) -> ModuleType:
    """Return the module of a feature, which is loaded at its first use."""
    return importlib.import_module(f"{_FEATURES}.{name}")


async def parsed(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot whose tree is there. Take it before: the document may change meanwhile."""
    if len(snapshot.lines) >= LONG:
        await asyncio.to_thread(lambda: snapshot.tree)
    return snapshot


def _import(names: Sequence[str]) -> None:
    # No lower priority for this thread: it holds the interpreter's lock while others wait for that.
    from ..lang import syntax

    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:  # told where it is needed, with what to do
            continue
        time.sleep(_BREATH)
    syntax.parse(b"# loads the grammar\n")


def _read_quirks() -> None:
    from ..endpoint.wire import quirks

    quirks()
