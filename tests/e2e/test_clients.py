"""Every recorded client, from its introduction to the log: asked, shown and accepted in the way that it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.door import COMMENT, GCD, MARK, Door, door, events, fenced
from e2e.popup import introduction, popped_up, put_in
from e2e.rpc import Json
from fakes.endpoint import FakeEndpoint

RECORDED = sorted(path.stem for path in (Path(__file__).parent / "clients").glob("*.json"))
# How those without ghost text put an item of a popup in, by the start of the recording's name.
POPUPS = {
    "vscode": "vscode",
    "neovim": "neovim",
    "eglot": "eglot",
    "emacs": "eglot",
    "ale": "ale",
    "vim": "ale",
}
RUNS_COMMANDS = ("vscode", "neovim")
FILE = f"x = 1\n\n\n{COMMENT}{MARK}\n\n\ny = 2\n"
DONE = f"x = 1\n\n\n{COMMENT}\n{GCD}\n\ny = 2\n"


def introduced(client: str) -> Json:
    """Return what a client says of itself, without what belongs to the machine that it was recorded on."""
    recorded = introduction(client)
    return {name: recorded[name] for name in ("clientInfo", "capabilities", "locale") if name in recorded}


def has_ghost_text(client: str) -> bool:
    return "inlineCompletion" in introduction(client)["capabilities"].get("textDocument", {})


@pytest.mark.parametrize("client", RECORDED)
async def test_from_the_introduction_to_the_log(client: str) -> None:
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake, **introduced(client)) as editor:
            advertised = "completionProvider" in editor.client.capabilities
            assert advertised is not has_ghost_text(client)
            source = await (_by_ghost_text if has_ghost_text(client) else _by_popup)(client, editor)
            logged = await events("offered", "accepted")
            assert editor.text == DONE
            assert editor.client.told("window/showMessage") == []
    (accepted,) = [event for event in logged if event.event == "accepted"]
    assert accepted.source == source


async def _by_ghost_text(_: str, editor: Door) -> str:
    (item,) = await editor.offered(FILE)
    assert (await editor.take(item))["accepted"] is True
    return "client"


async def _by_popup(client: str, editor: Door) -> str:
    (item,) = await popped_up(editor, FILE)
    kind = next(kind for start, kind in POPUPS.items() if client.startswith(start))
    put_in(kind, editor, item)
    if kind not in RUNS_COMMANDS:
        return "inferred"
    await editor.client.command(item["command"]["command"], *item["command"]["arguments"])
    return "client"


@pytest.mark.parametrize("client", RECORDED)
async def test_hover_and_action(client: str) -> None:
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake, **introduced(client)) as editor:
            editor.open(FILE)
            hover = await editor.client.request("textDocument/hover", editor.asked)
            assert "takes this for a request" in hover["contents"]["value"]
            (action, *_) = await editor.actions()
            assert "Generate" in action["title"]
            applies = introduction(client)["capabilities"].get("workspace", {}).get("applyEdit", False)
            if applies or "command" not in action:
                await editor.run(action)
                assert editor.text == DONE
                await events("offered", "accepted")
