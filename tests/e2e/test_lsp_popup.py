"""Suggestions in a popup: in the way of each editor, accepted items make the same file as ghost text does."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from e2e.door import COMMENT, FULL, GCD, MARK, PLAIN, door, events, fenced, store
from e2e.popup import CLIENTS, introduction, pop_up, popped_up, take
from e2e.rpc import Json, RpcError
from e2e.test_lsp_inline import PLACES
from fakes.endpoint import FakeEndpoint
from nl2code_server.feedback.store import Store


@pytest.mark.parametrize("client", CLIENTS)
async def test_the_whole_file_in_every_place(client: str) -> None:
    places = {name: PLACES[name] for name in ("next line", "body", "placeholder below", "import")}
    with FakeEndpoint([fenced(code) for _, code, _ in places.values()]) as fake:
        async with door(fake, **introduction(client)) as editor:
            for name, (marked, _, expected) in places.items():
                editor.uri = f"file:///work/{name}.py"
                (item,) = await popped_up(editor, marked)
                await take(client, editor, item)
                assert editor.text == expected, name


async def test_what_an_item_tells_and_what_is_logged() -> None:
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake, **introduction("vscode")) as editor:
            (item,) = await popped_up(editor, f"{COMMENT}{MARK}\n")
            assert item["label"] == "def gcd(a, b): …"
            assert item["detail"] == "nl2code: verified: gcd(12, 18) gave 6"
            assert "documentation" not in item
            resolved = await editor.client.request("completionItem/resolve", item)
            preview = f"```python\n{GCD.rstrip()}\n```"
            assert resolved == {**item, "documentation": {"kind": "markdown", "value": preview}}
            for strange in ({"label": "x"}, {"label": "x", "data": {"id": 3}}, {"label": "x", "data": [1]}):
                assert await editor.client.request("completionItem/resolve", strange) == strange
            await take("vscode", editor, resolved)
            logged = await events("offered", "shown", "accepted")
        async with door(fake, **introduction("ale")) as editor:
            (item,) = await popped_up(editor, f"{COMMENT}{MARK}\n")
            assert item["documentation"]["value"] == preview
    assert [event.event for event in logged] == ["offered", "shown", "accepted"]
    with Store(store()) as opened:
        assert {record.request.surface for record in opened.records()} == {"popup"}


async def test_nothing_where_nothing_is_asked_for() -> None:
    with FakeEndpoint([fenced("def gcd(a, b):\n    return a * b\n")]) as fake:
        async with door(fake, PLAIN) as editor:
            nothing = {"isIncomplete": False, "items": []}
            for marked in (
                f"x = 1{MARK}\n",
                f"# Copyright 2026 somebody{MARK}\n",
                f"{COMMENT[:20]}{MARK} more\n",
            ):
                assert await pop_up(editor, marked) == nothing
            assert fake.chats == []
            # What fails its example is not offered unasked.
            assert await popped_up(editor, f"{COMMENT}{MARK}\n") == []
            assert len(fake.chats) > 0


async def test_the_answer_does_not_wait_for_a_slow_model_but_the_work_goes_on() -> None:
    answered = threading.Event()

    def slow(_: Json) -> str:
        assert answered.wait(60)
        return fenced(GCD)

    with FakeEndpoint(slow) as fake:
        async with door(fake, **introduction("eglot")) as editor:
            editor.open(f"{COMMENT}{MARK}\n")
            assert await pop_up(editor) == {"isIncomplete": True, "items": []}
            answered.set()  # not before: the popup did not wait for it
            items: list[Any] = []
            async with asyncio.timeout(30):
                while not items:
                    items = (await pop_up(editor))["items"]
            assert len(items) == 1
        assert len(fake.chats) == 1


async def test_who_gets_a_popup() -> None:
    async def offers(capabilities: Json, surface: str) -> tuple[bool, bool]:
        """Return whether suggestions come in a popup, and as ghost text."""
        async with door(fake, capabilities, initializationOptions={"surface": surface}) as editor:
            advertised = "completionProvider" in editor.client.capabilities
            marked = f"{COMMENT}{MARK}\n"
            ghosts = await editor.offered(marked)
            if advertised:
                assert await popped_up(editor, marked)
            else:
                with pytest.raises(RpcError) as caught:
                    await pop_up(editor, marked)
                assert caught.value.code == -32601
            return advertised, bool(ghosts)

    with FakeEndpoint([fenced(GCD)]) as fake:
        assert await offers(FULL, "auto") == (False, True)
        assert await offers(PLAIN, "inline") == (False, True)
        assert await offers(FULL, "popup") == (True, False)
        assert await offers(FULL, "both") == (True, True)


async def test_a_popup_that_is_switched_off_while_it_runs_is_empty() -> None:
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake, PLAIN) as editor:
            assert await popped_up(editor, f"{COMMENT}{MARK}\n")
            editor.client.notify("workspace/didChangeConfiguration", {"settings": {"surface": "inline"}})
            assert (await pop_up(editor))["items"] == []
