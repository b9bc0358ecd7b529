"""The one door: a file with a cursor mark goes in; what the server offers and the file that it makes come out."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.rpc import SERVER, Client, Handler, Json, position_of, spawned
from fakes.endpoint import FakeEndpoint
from nl2code_server.feedback.events import EventKind, EventRow
from nl2code_server.feedback.store import Store

MARK = "‸"
GCD = "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a\n"
COMMENT = "# write a function computing the gcd of two numbers, e.g. gcd(12, 18) == 6"
INVOKED, AUTOMATIC = 1, 2

PLAIN: Json = {}
"""An editor that says nothing about itself, like eglot 1.9."""
FULL: Json = {
    "general": {"positionEncodings": ["utf-16"]},
    "window": {"workDoneProgress": True, "showMessage": {"messageActionItem": {}}},
    "workspace": {
        "applyEdit": True,
        "configuration": True,
        "didChangeConfiguration": {"dynamicRegistration": True},
        "workspaceEdit": {"documentChanges": True},
    },
    "textDocument": {
        "inlineCompletion": {"dynamicRegistration": True},
        "codeAction": {
            "codeActionLiteralSupport": {"codeActionKind": {"valueSet": ["refactor.rewrite"]}},
            "dataSupport": True,
            "resolveSupport": {"properties": ["edit"]},
        },
        "hover": {"contentFormat": ["markdown", "plaintext"]},
        "completion": {"completionItem": {"snippetSupport": True}},
    },
}
"""An editor that can do everything, like VS Code."""


def fenced(code: str) -> str:
    """Return code as a chat model answers it."""
    return f"```python\n{code}```\n"


@dataclass
class Door:
    """An editor with one server behind it."""

    client: Client
    uri: str = "file:///work/demo.py"
    asked: Json = None
    """Parameters of the last request at the cursor."""

    def open(self, marked: str) -> None:
        """Open a file, or put its text in place of the one that is open; remember where the cursor is."""
        offset = marked.index(MARK)
        text = marked.replace(MARK, "")
        if self.uri in self.client.buffers:
            self.client.notify("textDocument/didClose", {"textDocument": {"uri": self.uri}})
        self.client.open(self.uri, text)
        position = position_of(text, offset, self.client.encoding)
        self.asked = {"textDocument": {"uri": self.uri}, "position": position}

    def configure(self, **settings: Json) -> None:
        """Send the editor's settings."""
        params = {"settings": {"nl2code": settings}}
        self.client.notify("workspace/didChangeConfiguration", params)

    @property
    def text(self) -> str:
        """The file as it is in the editor."""
        return self.client.buffers[self.uri].text

    @property
    def line(self) -> int:
        """The cursor's line."""
        line: int = self.asked["position"]["line"]
        return line

    def ask(self, trigger: Any = AUTOMATIC) -> tuple[int, asyncio.Future[Json]]:
        """Ask for ghost text at the cursor."""
        return self.client.ask(
            "textDocument/inlineCompletion", {**self.asked, "context": {"triggerKind": trigger}}
        )

    async def offered(self, marked: str, *, trigger: Any = AUTOMATIC, timeout: float = 40) -> list[Json]:
        """Open a file and return the items offered at its cursor."""
        self.open(marked)
        answer = await asyncio.wait_for(self.ask(trigger)[1], timeout)
        items: list[Json] = answer["items"]
        return items

    async def take(self, item: Json) -> Json:
        """Accept an item as an editor does: put its text in, then run its command."""
        self.client.edit(self.uri, [{"range": item["range"], "newText": item["insertText"]}])
        command = item["command"]
        return await self.client.command(command["command"], *command["arguments"])

    async def completed(
        self, marked: str, *, trigger: Any = AUTOMATIC, timeout: float = 40, again: int = 0
    ) -> str:
        """Return the file as it is after its first offer was accepted; ask so often again if the model is slow."""
        items = await self.offered(marked, trigger=trigger, timeout=timeout)
        while not items and again and self.statuses[-1]["busy"]:
            again -= 1
            items = (await asyncio.wait_for(self.ask(trigger)[1], timeout))["items"]
        assert items, f"nothing offered; status: {self.statuses[-1:]}"
        await self.take(items[0])
        return self.text

    async def actions(self, only: Sequence[str] = ()) -> list[Json]:
        """Return the code actions at the cursor."""
        at = self.asked["position"]
        context: Json = {"diagnostics": [], **({"only": list(only)} if only else {})}
        params = {**self.asked, "range": {"start": at, "end": at}, "context": context}
        del params["position"]
        found: list[Json] = await self.client.request("textDocument/codeAction", params)
        return found

    async def run(self, action: Json, *, timeout: float = 40) -> Json:
        """Carry out an action as an editor does: resolve it, apply its edit, run its command."""
        if "edit" not in action and "data" in action and "command" not in action:
            action = await self.client.request("codeAction/resolve", action, timeout=timeout)
        if "edit" in action:
            assert self.client.apply_workspace_edit({"edit": action["edit"]}) == {"applied": True}
        command = action.get("command")
        if isinstance(command, str):
            command = action
        return await self.client.command(command["command"], *command["arguments"], timeout=timeout)

    @property
    def statuses(self) -> list[Json]:
        """What the server has said about its state so far."""
        return self.client.told("didChangeStatus")

    async def problem(self) -> str:
        """Wait for a problem and return its text."""
        status = await self.client.wait_told("didChangeStatus", lambda status: status["kind"] == "Warning")
        message: str = status["message"]
        return message


@asynccontextmanager
async def door(
    endpoint: FakeEndpoint | None,
    capabilities: Json = FULL,
    *,
    env: dict[str, str] | None = None,
    args: Sequence[str] = SERVER,
    answers: dict[str, Handler] | None = None,
    **params: Json,
) -> AsyncIterator[Door]:
    """Start a server and introduce an editor to it. At the end it must leave in order, without a traceback."""
    settings = {"NL2CODE_ENDPOINT": endpoint.url} if endpoint else {}
    async with spawned({**settings, **(env or {})}, args=args) as client:
        client.answers.update({"client/registerCapability": lambda _: None, **(answers or {})})
        await client.initialize(capabilities, **params)
        yield Door(client)
        if client.process.returncode is None and not client.leaving:
            assert (status := await client.stop()) == 0, f"the server ended with {status}"
        assert b"Traceback" not in client.stderr, client.stderr.decode()


def store() -> Path:
    """Return where the servers of this test log."""
    return Path(os.environ["NL2CODE_HOME"]) / "data" / "feedback.db"


async def events(*wanted: EventKind, timeout: float = 30) -> list[EventRow]:
    """Wait until the log holds events of these kinds, and return all that it holds, oldest first."""
    deadline = time.monotonic() + timeout
    while True:
        found: list[EventRow] = []
        if store().exists():
            with Store(store()) as opened:
                found = [logged.event for logged in opened.events()]
        kinds = [event.event for event in found]
        if all(kinds.count(kind) >= wanted.count(kind) for kind in wanted):
            return found
        assert time.monotonic() < deadline, f"{wanted} expected, {kinds} found"
        await asyncio.sleep(0.05)
