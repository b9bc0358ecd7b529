"""Code actions, commands, hover and notifications over the wire, and what they leave in the log."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from e2e.door import COMMENT, GCD, INVOKED, MARK, PLAIN, Door, door, events, fenced, store
from e2e.rpc import RpcError
from fakes.endpoint import FakeEndpoint, Reply
from nl2code_server.feedback.store import Store

FILE = f"x = 1\n\n\n{COMMENT}{MARK}\n"
DONE = f"x = 1\n\n\n{COMMENT}\n{GCD}"
OTHER = "def gcd(a, b):\n    import math\n    return math.gcd(a, b)\n"
WRONG = "def gcd(a, b):\n    return a * b\n"
AREA = "def area(r):\n    return math.pi * r**2\n"
CIRCLE = f"# write a function for the area of a circle{MARK}\n"


def titles(actions: list[Any]) -> list[str]:
    return [action["title"] for action in actions]


async def test_an_action_gives_an_edit_to_clients_that_resolve() -> None:
    with FakeEndpoint([fenced(GCD), fenced(OTHER)]) as fake:
        async with door(fake) as editor:
            editor.open(FILE)
            (generate,) = await editor.actions()
            assert generate["title"] == "nl2code: Generate code for this comment"
            assert generate["kind"] == "refactor.rewrite"
            assert "command" not in generate
            assert await editor.run(generate) == {"accepted": True, "followUp": "none"}
            assert editor.text == DONE
            progress = [params["value"]["kind"] for params in editor.client.told("$/progress")]
            assert progress[0] == "begin"
            assert progress[-1] == "end"
            assert editor.client.told("$/progress")[0]["value"]["cancellable"] is True

            editor.open(FILE)
            again = await editor.actions(only=["refactor"])
            assert titles(again) == [
                "nl2code: Generate code for this comment (verified: gcd(12, 18) gave 6)",
                "nl2code: Try again",
                "nl2code: Show alternatives",
            ]
            assert await editor.actions(only=["source.organizeImports"]) == []
            await editor.run(again[1])
            assert "math.gcd" in editor.text
            assert fake.chats[1].body["temperature"] > 0

            # The same suggestion as ghost text and as an edit: each brings its import once.
            fake.replies[:] = [fenced(AREA)]
            (item,) = await editor.offered(CIRCLE)
            assert await editor.run((await editor.actions())[0]) == {"accepted": True, "followUp": "none"}
            assert editor.text == f"import math\n\n\n{CIRCLE.replace(MARK, '')}{AREA}"
            editor.open(CIRCLE)
            assert await editor.take(item) == {"accepted": True, "followUp": "applied"}
            assert editor.text == f"import math\n\n\n{CIRCLE.replace(MARK, '')}{AREA}"

            editor.open(f"{MARK}y = 2\n\n\n# the licence of this file\n")
            assert await editor.actions() == []
    kinds = [event.event for event in await events("accepted", "accepted", "accepted")]
    assert kinds == ["offered", "accepted"] * 3
    with Store(store()) as opened:
        surfaces = [record.request.surface for record in opened.records()]
    assert surfaces == ["action", "action", "inline"]


async def test_an_action_is_a_command_to_clients_that_do_not() -> None:
    capabilities = {"workspace": {"applyEdit": True}}
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake, capabilities) as editor:
            editor.open(FILE)
            (generate,) = await editor.actions()
            assert generate["arguments"] == [editor.uri, 3, False]
            result = await editor.run(generate)
            assert editor.text == DONE
            assert result["applied"] is True
            assert editor.client.told("$/progress") == []
            (edit,) = editor.client.told("workspace/applyEdit")
            assert list(edit["edit"]) == ["changes"]
            hover = await editor.client.request("textDocument/hover", editor.asked)
            assert hover["contents"]["kind"] == "plaintext"
            assert "`" not in hover["contents"]["value"]
    accepted = (await events("accepted"))[-1]
    assert (accepted.suggestion_id, accepted.source) == (result["suggestionId"], "client")


async def test_an_edit_is_for_the_text_as_it_is_when_it_is_ready() -> None:
    with FakeEndpoint([Reply(text=fenced(GCD), first_delay=0.3)]) as fake:
        async with door(fake) as editor:
            for edited, expected in (("import os\n", True), ("# ", False)):
                editor.uri = f"file:///work/{len(edited)}.py"
                editor.open(FILE)
                count = len(fake.chats)
                run = asyncio.create_task(editor.client.command("nl2code.generate", editor.uri, 3))
                await asyncio.to_thread(fake.wait_for_chats, count + 1)
                offset = 0 if expected else editor.text.index("write")
                editor.client.insert(editor.uri, offset, edited)
                result = await run
                assert result["applied"] is expected
                if expected:
                    assert editor.text == f"import os\n{DONE}"
                    edit = editor.client.told("workspace/applyEdit")[-1]["edit"]
                    assert edit["documentChanges"][0]["textDocument"]["version"] == 2
                else:
                    assert result["reason"] == "The place of the code was edited meanwhile"


async def test_generation_is_cancelled_from_the_bar_and_by_the_request() -> None:
    with FakeEndpoint([Reply(text=fenced(GCD * 20), token_delay=0.05)]) as fake:
        async with door(fake) as editor:
            editor.open(FILE)
            run = asyncio.create_task(editor.client.command("nl2code.generate", editor.uri, 3))
            (chat,) = await asyncio.to_thread(fake.wait_for_chats, 1)
            token = (await editor.client.wait_told("$/progress"))["token"]
            editor.client.notify("window/workDoneProgress/cancel", {"token": token})
            assert await run == {"applied": False, "reason": "cancelled"}
            assert await asyncio.to_thread(chat.disconnected.wait, 2)

            params = {"command": "nl2code.generate", "arguments": [editor.uri, 3]}
            request, answer = editor.client.ask("workspace/executeCommand", params)
            chat = (await asyncio.to_thread(fake.wait_for_chats, 2))[1]
            editor.client.cancel(request)
            with pytest.raises(RpcError) as caught:
                await answer
            assert caught.value.code == -32800
            assert await asyncio.to_thread(chat.disconnected.wait, 2)

            resolve = asyncio.create_task(editor.run((await editor.actions())[0]))
            await asyncio.to_thread(fake.wait_for_chats, 3)
            assert await editor.client.stop() == 0
            with pytest.raises((RpcError, ConnectionError)):
                await resolve


async def test_alternatives_are_listed_and_the_chosen_one_is_applied() -> None:
    questions: list[Any] = []

    def choose(params: Any) -> Any:
        questions.append(params)
        return params["actions"][1]

    with FakeEndpoint([fenced(code) for code in (GCD, GCD, OTHER, WRONG)]) as fake:
        async with door(fake, answers={"window/showMessageRequest": choose}) as editor:
            await editor.offered(FILE)
            result = await editor.client.command("nl2code.alternatives")
    assert [one["status"] for one in result["alternatives"]] == ["verified", "verified", "failed"]
    assert result["applied"] == result["alternatives"][1]["id"]
    assert len(questions[0]["actions"]) == 3
    kinds = [event.event for event in await events("accepted")]
    assert kinds == [*["offered"] * 2, "superseded", *["offered"] * 2, "accepted"]
    assert editor.text == f"x = 1\n\n\n{COMMENT}\n{OTHER}"


async def test_accept_reject_and_what_copilots_clients_tell() -> None:
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake) as editor:
            client = editor.client
            assert await client.command("nl2code.accept", "nothing") == {
                "accepted": False,
                "reason": "this session has not offered 'nothing', or too long ago",
            }
            (item,) = await editor.offered(FILE)
            suggestion = item["command"]["arguments"][0]
            client.notify("textDocument/didShowCompletion", {"item": item})
            client.notify("textDocument/didShowCompletion", {"item": item})
            for length in (7, 20, 12):
                params = {"item": item, "acceptedLength": length}
                client.notify("textDocument/didPartiallyAcceptCompletion", params)
            broken: Any
            for broken in ({}, {"item": 3}, {"item": {"command": {"arguments": []}}}):
                client.notify("textDocument/didShowCompletion", broken)
                client.notify("textDocument/didPartiallyAcceptCompletion", broken)
            assert await client.command("nl2code.reject", suggestion, "not what I meant") == {
                "rejected": True
            }
            assert (await client.command("nl2code.reject", "nothing"))["rejected"] is False
            for _ in range(2):
                assert (await editor.take(item))["accepted"] is True
            logged = await events("offered", "shown", "partially_accepted", "rejected", "accepted")
    assert [event.event for event in logged] == [
        "offered",
        "shown",
        "partially_accepted",
        "partially_accepted",
        "rejected",
        "accepted",
    ]
    assert {event.source for event in logged} == {"client"}
    assert [event.accepted_length for event in logged[2:4]] == [7, 20]
    assert logged[4].cause == "not what I meant"


async def test_closing_a_suggestion_says_nothing_of_its_worth() -> None:
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake) as editor:
            (item,) = await editor.offered(FILE)
            suggestion = item["command"]["arguments"][0]
            for _ in range(2):
                told = await editor.client.command("nl2code.reject", suggestion, "dismissed")
                assert told == {"rejected": True}
            logged = await events("offered", "dismissed")
    assert [(event.event, event.cause) for event in logged] == [("offered", ""), ("dismissed", "")]


async def test_bad_arguments_are_refused_and_nothing_breaks() -> None:
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake) as editor:
            editor.open(FILE)
            client = editor.client
            for name, arguments in (
                ("nl2code.accept", []),
                ("nl2code.accept", [7]),
                ("nl2code.accept", ["a", "b"]),
                ("nl2code.reject", ["a", None]),
                ("nl2code.generate", [editor.uri]),
                ("nl2code.generate", [editor.uri, "3"]),
                ("nl2code.generate", [editor.uri, True]),
                ("nl2code.generate", ["file:///not/open.py", 3]),
                ("nl2code.generate", [{"uri": editor.uri}, 3]),
                ("nl2code.status", [{}]),
                ("nl2code.nothing", []),
            ):
                with pytest.raises(RpcError) as caught:
                    await client.command(name, *arguments)
                assert caught.value.code == -32602, (name, arguments)
            assert client.told("window/showMessage") == []
            for line in (-1, 0, 99999):
                result = await client.command("nl2code.generate", editor.uri, line)
                assert result["applied"] is False
                assert "no comment or stub" in result["reason"]
            broken = {"title": "x", "data": {"uri": 3}}
            with pytest.raises(RpcError):
                await client.request("codeAction/resolve", broken)
            assert await client.request("codeAction/resolve", {"title": "y"}) == {"title": "y"}
            assert (await client.command("nl2code.explainLast"))["trace"] is None
            assert (await editor.client.command("nl2code.status"))["state"] == "ready"
    assert fake.chats == []


async def test_hover_and_explain_tell_the_last_decision() -> None:
    with FakeEndpoint([fenced(WRONG)]) as fake:
        async with door(fake) as editor:
            editor.open(FILE)
            hover = await _hover(editor)
            assert hover.startswith("**nl2code** takes this for a request: it ")
            assert "Last answer" not in hover
            await editor.offered(FILE, trigger=INVOKED)
            hover = await _hover(editor)
            assert "Last answer by fake-model in " in hover
            assert "✗ `gcd(12, 18)` gave `216`" in hover
            told = await editor.client.command("nl2code.explainLast")
            assert "return a * b" in told["text"]
            assert told["trace"]["model"] == "fake-model"
            editor.open(f"# Copyright 2026 somebody{MARK}\nx = 1\n")
            assert "does not take this for a request: it " in await _hover(editor)
            editor.open(f"x = 1{MARK}\n")
            assert await editor.client.request("textDocument/hover", editor.asked) is None


async def _hover(editor: Door) -> str:
    hover = await editor.client.request("textDocument/hover", editor.asked)
    value: str = hover["contents"]["value"]
    return value


async def test_an_editor_that_cannot_be_edited_by_the_server() -> None:
    with FakeEndpoint([fenced(AREA)]) as fake:
        async with door(fake, PLAIN) as editor:
            (item,) = await editor.offered(CIRCLE)
            result = await editor.take(item)
            assert result["accepted"] is True
            assert result["followUp"] == "not applied: the editor does not let the server edit"
            result = await editor.client.command("nl2code.generate", editor.uri, 0)
            assert result["applied"] is False
            message = editor.client.told("window/showMessage")[-1]["message"]
            assert message.endswith("This editor does not let the server edit")
