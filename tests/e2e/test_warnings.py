"""What is risky about a suggestion is told before it is taken, on every surface; what nobody asked for stays back."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from e2e.door import INVOKED, MARK, PLAIN, door, events, fenced, store
from e2e.rpc import RpcError
from fakes.endpoint import FakeEndpoint
from fakes.secrets import planted
from nl2code_server.feedback.store import Store

DELETE = "# write a function that deletes the file at a path"
REMOVE = "import os\n\n\ndef delete(path):\n    os.remove(path)\n"
MEAN = "# write a function for the mean of a list of numbers"
HIJACKED = (
    "def mean(xs):\n    import os as o\n    run = o.system\n    run('id')\n    return sum(xs) / len(xs)\n"
)
DELETES = "it deletes files (os.remove)"
UNASKED = "nobody asked for code that starts or ends processes (os.system)"


async def hover(editor: Any) -> str:
    found = await editor.client.request(
        "textDocument/hover", {**editor.asked, "position": {"line": 0, "character": 3}}
    )
    text: str = found["contents"]["value"]
    return text


async def test_grey_text_that_was_asked_for_is_told_in_title_status_hover_action_and_log() -> None:
    with FakeEndpoint([fenced(REMOVE)]) as fake:
        async with door(fake) as editor:
            (item,) = await editor.offered(f"{DELETE}{MARK}\n")
            assert "os.remove" in item["insertText"]
            assert DELETES in item["command"]["title"]
            assert DELETES in editor.statuses[-1]["message"]
            assert editor.statuses[-1]["kind"] == "Normal"
            assert DELETES in await hover(editor)
            generate, *_ = await editor.actions()
            assert DELETES in generate["title"]
            told = await editor.client.command("nl2code.explainLast")
            assert f"ok risks ` {DELETES} `" in told["text"]
            await events("offered")
    with Store(store()) as opened:
        record = opened.record()
    assert record
    assert {"check": "risks", "ok": True, "detail": DELETES} in record.candidates[0].verdicts


async def test_what_nobody_asked_for_is_no_grey_text() -> None:
    with FakeEndpoint([fenced(HIJACKED)]) as fake:
        async with door(fake) as editor:
            assert await editor.offered(f"{MEAN}{MARK}\n") == []
            assert UNASKED in await hover(editor)
            (item,) = await editor.offered(f"{MEAN}{MARK}\n", trigger=INVOKED)
            assert f"failed: {UNASKED}" in item["command"]["title"]


@pytest.mark.parametrize(("button", "taken"), [(0, True), (1, False), (None, False)])
async def test_an_action_asks_before_it_puts_risky_code_in(button: int | None, taken: bool) -> None:
    asked: list[Any] = []

    def answer(params: Any) -> Any:
        asked.append(params)
        return None if button is None else params["actions"][button]

    with FakeEndpoint([fenced(REMOVE)]) as fake:
        async with door(fake, answers={"window/showMessageRequest": answer}) as editor:
            editor.open(f"{DELETE}{MARK}\n")
            (generate,) = await editor.actions()
            if taken:
                await editor.run(generate)
                assert "os.remove(path)" in editor.text
            else:
                with pytest.raises(RpcError, match=r"It was not put in: it deletes files"):
                    await editor.run(generate)
                assert editor.text == f"{DELETE}\n"
            # The command of clients that do not resolve actions asks as well.
            editor.open(f"{DELETE}{MARK}\n")
            result = await editor.client.command("nl2code.generate", editor.uri, 0)
            assert result["applied"] is taken
            assert ("os.remove" in editor.text) is taken
    assert len(asked) == 2
    assert all(DELETES in params["message"] and params["type"] == 2 for params in asked)


async def test_an_editor_that_cannot_ask_shows_a_warning() -> None:
    capabilities = {**PLAIN, "workspace": {"applyEdit": True}}
    with FakeEndpoint([fenced(REMOVE)]) as fake:
        async with door(fake, capabilities) as editor:
            editor.open(f"{DELETE}{MARK}\n")
            result = await editor.client.command("nl2code.generate", editor.uri, 0)
            assert result["applied"] is True
            told = await editor.client.wait_told("window/showMessage")
            assert DELETES in told["message"]


async def test_popup_and_alternatives_say_it() -> None:
    titles: list[str] = []

    def choose(params: Any) -> None:
        titles.extend(action["title"] for action in params["actions"])

    with FakeEndpoint([fenced(REMOVE)]) as fake:
        async with door(
            fake, answers={"window/showMessageRequest": choose}, initializationOptions={"surface": "both"}
        ) as editor:
            editor.open(f"{DELETE}{MARK}\n")
            items: list[Any] = []
            async with asyncio.timeout(20):
                while not items:
                    items = (await editor.client.request("textDocument/completion", editor.asked))["items"]
            assert DELETES in items[0]["detail"]
            listed = await editor.client.command("nl2code.alternatives", editor.uri, 0)
            assert listed["alternatives"][0]["warnings"] == [DELETES]
            assert titles and all(DELETES in title for title in titles)


def test_the_command_line_says_it() -> None:
    with FakeEndpoint([fenced(REMOVE)]) as fake:
        command = [sys.executable, "-m", "nl2code_server.cli", "write", "--endpoint", fake.url]
        plain = subprocess.run(
            [*command, DELETE[2:]], capture_output=True, text=True, timeout=60, check=False
        )
        assert DELETES in plain.stderr.replace("\n", " ")
        assert "os.remove" in plain.stdout
        done = subprocess.run(
            [*command, "--json", DELETE[2:]], capture_output=True, text=True, timeout=60, check=True
        )
        assert json.loads(done.stdout)["candidates"][0]["warnings"] == [DELETES]


async def test_hidden_characters_stay_out_of_prompt_and_file() -> None:
    comment = "# write f\u200b that returns its\u2066 argument\u202e\U000e0041\U000e0042"
    reply = 'def f(x):\n    """Re\u202eturn."""\n    return x  # \u2067\U000e0041done\n'
    with FakeEndpoint([fenced(reply)]) as fake:
        async with door(fake) as editor:
            editor.open(f"{comment}{MARK}\n")
            assert "not shown: U+200B, U+202E, U+2066, U+E0041, U+E0042" in await hover(editor)
            before = "y = '\u200b\U000e0043'\n"
            text = await editor.completed(f"{before}\n\n{comment}{MARK}\n")
            added = text.replace(before, "").replace(comment, "")
            assert "return x  # done" in added
            assert '"""Re\\u202eturn."""' in added
            assert added.isascii()
            sent = json.dumps(fake.chats[0].body, ensure_ascii=False)
            assert not set(sent) & set("\u200b\u202e\u2066\U000e0041\U000e0042\U000e0043")
            assert (
                "hidden characters were taken out: U+202E, U+2067, U+E0041" in editor.statuses[-1]["message"]
            )


async def test_a_new_secret_is_told_before_it_is_taken() -> None:
    secret = planted()["github token"]
    reply = f"def client():\n    token = {secret!r}\n    return token\n"
    with FakeEndpoint([fenced(reply)]) as fake:
        async with door(fake) as editor:
            (item,) = await editor.offered(f"# write a function that returns a client{MARK}\n")
            assert "it holds what looks like a secret: github-token" in item["command"]["title"]
            assert secret not in item["command"]["title"]
            # One that the file holds already tells nobody anything.
            (item,) = await editor.offered(f"KEY = {secret!r}\n\n# write a function that returns it{MARK}\n")
            assert "secret" not in item["command"]["title"]


async def test_a_made_up_package_is_told_also_without_a_workspace() -> None:
    reply = "import fastgcdlib\n\n\ndef gcd(a, b):\n    return fastgcdlib.gcd(a, b)\n"
    with FakeEndpoint([fenced(reply)]) as fake:
        async with door(fake) as editor:
            (item,) = await editor.offered(f"# write a function for the gcd of two numbers{MARK}\n")
            assert "found to look for fastgcdlib" in item["command"]["title"]
