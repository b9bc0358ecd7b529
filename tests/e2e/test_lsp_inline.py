"""Ghost text over the wire: where it is offered, what the file is like afterwards, and what ends the wait."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from e2e.door import AUTOMATIC, COMMENT, FULL, GCD, INVOKED, MARK, PLAIN, Door, door, events, fenced, store
from e2e.rpc import RpcError
from fakes.endpoint import FakeEndpoint, Reply
from nl2code_server.feedback.store import Store

CODE = GCD.rstrip()
WRONG = "def gcd(a, b):\n    return a * b\n"
AREA = "def area(r):\n    return math.pi * r**2\n"


async def test_an_offer_accepted_is_in_the_file_and_in_the_log() -> None:
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake, clientInfo={"name": "Toy", "version": "2"}) as editor:
            items = await editor.offered(f"x = 1\n\n{COMMENT}{MARK}\n")
            assert len(items) == 1
            assert items[0]["command"]["title"] == "Accept (verified: gcd(12, 18) gave 6)"
            assert await editor.take(items[0]) == {"accepted": True, "followUp": "none"}
            assert editor.text == f"x = 1\n\n{COMMENT}\n{GCD}"
            offered, accepted = await events("offered", "accepted")
            assert await editor.client.stop() == 0
    assert (offered.event, offered.source) == ("offered", "client")
    assert (accepted.event, accepted.source) == ("accepted", "client")
    assert accepted.suggestion_id == items[0]["command"]["arguments"][0]
    with Store(store()) as opened:
        (record,) = opened.records()
    assert record.request.client == "Toy 2"
    assert (record.request.surface, record.request.trigger, record.request.outcome) == (
        "inline",
        "automatic",
        "ok",
    )
    assert [candidate.candidate_id for candidate in record.candidates] == [accepted.suggestion_id]


PLACES = {
    "next line": (f"{COMMENT}\n{MARK}\n", GCD, f"{COMMENT}\n{GCD}"),
    "no final line ending": (f"{COMMENT}{MARK}", GCD, f"{COMMENT}\n{CODE}"),
    "carriage returns": (f"{COMMENT}{MARK}\r\n", GCD, f"{COMMENT}\n{GCD}".replace("\n", "\r\n")),
    "class": (
        f"class A:\n    x = 1\n\n    # write a method that doubles x{MARK}\n",
        "def double(self):\n    self.x *= 2\n",
        "class A:\n    x = 1\n\n    # write a method that doubles x\n"
        "    def double(self):\n        self.x *= 2\n",
    ),
    "body": (
        f"def f(a):\n    # return twice the value of a{MARK}\n",
        "return 2 * a\n",
        "def f(a):\n    # return twice the value of a\n    return 2 * a\n",
    ),
    "stub": (
        f'def twice(a):\n    """Return twice the value of a."""{MARK}\n',
        "return 2 * a\n",
        'def twice(a):\n    """Return twice the value of a."""\n    return 2 * a\n',
    ),
    "placeholder below": (
        f'def twice(a):\n    """Return twice the value of a."""{MARK}\n    pass\n',
        "return 2 * a\n",
        'def twice(a):\n    """Return twice the value of a."""\n    return 2 * a\n',
    ),
    "import": (
        f"import os\n\n\n# write a function for the area of a circle{MARK}\n",
        AREA,
        f"import os\nimport math\n\n\n# write a function for the area of a circle\n{AREA}",
    ),
    "import and cursor on the next line": (
        f"# write a function for the area of a circle\n{MARK}",
        AREA,
        f"import math\n\n\n# write a function for the area of a circle\n{AREA}",
    ),
}


async def test_the_whole_file_in_every_place() -> None:
    with FakeEndpoint([fenced(code) for _, code, _ in PLACES.values()]) as fake:
        async with door(fake) as editor:
            for name, (marked, _, expected) in PLACES.items():
                editor.uri = f"file:///work/{name}.py"
                assert await editor.completed(marked) == expected, name


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
async def test_astral_characters_in_every_encoding(encoding: str) -> None:
    capabilities = {**FULL, "general": {"positionEncodings": [encoding]}}
    before = 's = "\U0001f600\U0001f600"; t = "é"\n'
    comment = "# \U0001f600\U0001d4b3 write a function computing the gcd of two numbers \U0001f600"
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake, capabilities) as editor:
            assert editor.client.capabilities["positionEncoding"] == encoding
            assert await editor.completed(f"{before}{comment}{MARK}\n") == f"{before}{comment}\n{GCD}"
            hover = await editor.client.request(
                "textDocument/hover", {**editor.asked, "position": {"line": 1, "character": 3}}
            )
    units = {"utf-8": 4, "utf-16": 2, "utf-32": 1}[encoding]
    assert hover["range"]["end"]["character"] == len(comment) - 3 + 3 * units


async def test_nothing_where_nothing_is_asked_for() -> None:
    plain = "def f():\n    return 1\n" * 3000
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake) as editor:
            assert await editor.offered(f"{MARK}{plain}") == []
            took = []
            for _ in range(10):
                started = time.perf_counter()
                assert (await editor.ask()[1])["items"] == []
                took.append(time.perf_counter() - started)
            assert await editor.offered(f'"""\n{COMMENT}{MARK}\n"""\n') == []
            assert await editor.offered(f"{COMMENT[:20]}{MARK}{COMMENT[20:]}\n") == []
            assert await editor.offered(f"#!/usr/bin/env python3{MARK}\n", trigger=INVOKED) == []
        assert fake.chats == []
    assert min(took) < 0.05


async def test_what_is_offered_unasked_what_on_request_and_what_the_user_sets() -> None:
    above_code = f"# the number of retries after a failure{MARK}\nRETRIES = 3\n"
    with FakeEndpoint([fenced("RETRY = 1\n")]) as fake:
        async with door(fake, PLAIN) as editor:
            assert await editor.offered(above_code) == []
            assert fake.chats == []
            assert len(await editor.offered(above_code, trigger=INVOKED)) == 1

            editor.configure(mode="manual")
            count = len(fake.chats)
            assert await editor.offered(f"{COMMENT}{MARK}") == []
            assert len(fake.chats) == count
            # Clients of older drafts say 0 for what is 1 now, and some say what nobody knows.
            for trigger in (0, INVOKED, "1"):
                assert len(await editor.offered(f"# make a constant{MARK}", trigger=trigger)) == 1

            editor.configure(surface="popup")
            assert await editor.offered(f"# make a constant{MARK}", trigger=INVOKED) == []

            editor.configure(comment="remove")
            fake.replies[:] = [fenced(WRONG)]
            assert await editor.offered(f"{COMMENT}{MARK}") == []
            (item,) = await editor.offered(f"{COMMENT}{MARK}", trigger=INVOKED)
            assert item["command"]["title"] == "Accept (failed: gcd(12, 18) gave 216, not 6)"
            editor.client.edit(editor.uri, [{"range": item["range"], "newText": item["insertText"]}])
            assert editor.text == f"{COMMENT}\n{WRONG.rstrip()}"  # such an editor keeps its comment

        async with door(fake, initializationOptions={"nl2code": {"comment": "remove"}}) as editor:
            fake.replies[:] = [fenced(GCD)]
            assert await editor.completed(f"x = 1\n\n\n{COMMENT}{MARK}\n") == f"x = 1\n\n\n{GCD}"

            # The command overtakes the change that it belongs to, and waits for it.
            fake.replies[:] = [fenced(AREA)]
            (item,) = await editor.offered(f"# write a function for the area of a circle{MARK}\n")
            _, result = editor.client.ask("workspace/executeCommand", item["command"])
            await asyncio.sleep(0.2)
            assert not result.done()
            editor.client.edit(editor.uri, [{"range": item["range"], "newText": item["insertText"]}])
            assert (await result)["followUp"] == "applied"
            assert editor.text == f"import math\n\n\n{AREA}"


async def _meanwhile(editor: Door, fake: FakeEndpoint, typed: threading.Event, offset: int, text: str) -> Any:
    """Ask, type while the model works, and return the answer."""
    typed.clear()
    count = len(fake.chats)
    _, answer = editor.ask()
    await asyncio.to_thread(fake.wait_for_chats, count + 1, 30)
    editor.client.insert(editor.uri, offset, text)
    await editor.client.command("nl2code.status")  # it has the edit now
    typed.set()
    return (await asyncio.wait_for(answer, 30))["items"]


async def test_an_answer_for_an_older_text_is_fitted_to_the_present_one_or_dropped() -> None:
    typed = threading.Event()

    def once_it_was_typed(_: Any) -> str:
        assert typed.wait(60)
        return fenced(GCD)

    with FakeEndpoint(once_it_was_typed) as fake:
        async with door(fake) as editor:
            editor.open(f"x = 1\n\n\n{COMMENT}{MARK}\n")
            (item,) = await _meanwhile(editor, fake, typed, 0, "import os\n")
            assert item["range"]["start"]["line"] == 4
            await editor.take(item)
            assert editor.text == f"import os\nx = 1\n\n\n{COMMENT}\n{GCD}"

            editor.uri = "file:///work/changed.py"
            editor.open(f"{COMMENT}{MARK}\n")
            assert await _meanwhile(editor, fake, typed, 10, "better ") == []

            editor.uri = "file:///work/written.py"
            editor.open(f"{COMMENT}{MARK}\n\n\ny = 1\n")
            assert await _meanwhile(editor, fake, typed, len(COMMENT) + 2, f"{GCD}\n") == []


async def test_cancelling_ends_the_work_at_the_endpoint() -> None:
    with FakeEndpoint([Reply(text=fenced(GCD * 20), token_delay=0.05)]) as fake:
        async with door(fake) as editor:
            editor.open(f"{COMMENT}{MARK}")
            request, answer = editor.ask()
            (chat,) = await asyncio.to_thread(fake.wait_for_chats, 1)
            editor.client.cancel(request)
            with pytest.raises(RpcError) as caught:
                await asyncio.wait_for(answer, 2)
            assert caught.value.code == -32800
            assert await asyncio.to_thread(chat.disconnected.wait, 2)

            # Keystrokes: a request that is taken back at once costs the model nothing.
            count = len(fake.chats)
            editor.uri = "file:///work/typing.py"
            editor.open(f"{COMMENT}{MARK}")
            for _ in range(5):
                request, answer = editor.ask()
                editor.client.cancel(request)
                with pytest.raises(RpcError):
                    await answer
            await asyncio.sleep(0.15)
            assert len(fake.chats) == count


async def test_a_slow_model_does_not_hold_the_request_and_its_work_is_not_lost() -> None:
    quick = (
        "import nl2code_server.lsp.features.inline_completion as f; f.LIMIT = 0.4;"
        "from nl2code_server.__main__ import main; main(['--stdio'])"
    )
    answered = threading.Event()

    def slow(_: Any) -> str:
        assert answered.wait(60)
        return fenced(GCD)

    with FakeEndpoint(slow) as fake:
        async with door(fake, args=("-c", quick)) as editor:
            assert await editor.offered(f"{COMMENT}{MARK}") == []
            assert editor.statuses[-1]["busy"]
            answered.set()  # not before: the request did not wait for it
            items: list[Any] = []
            async with asyncio.timeout(30):
                while not items:
                    items = (await editor.ask(AUTOMATIC)[1])["items"]
            assert len(items) == 1
            assert not editor.statuses[-1]["busy"]
        assert len(fake.chats) == 1
